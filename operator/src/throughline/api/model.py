"""The model of an InferenceService: where its files lie, its tensors, and how Triton is to run it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from throughline.api import unserved
from throughline.api.base import (
    DNS_SUBDOMAIN,
    FieldRules,
    Resource,
    Rule,
    list_map,
    matches,
)
from throughline.api.dynamicbatching import DynamicBatching
from throughline.api.tensors import InputTensor, OutputTensor
from throughline.api.unserved import Unserved

if TYPE_CHECKING:
    from throughline.api.servingpool import ServingPoolSpec


class InstanceKind(StrEnum):
    """Kinds of Triton's instance_group."""

    AUTO = "KIND_AUTO"
    CPU = "KIND_CPU"
    MODEL = "KIND_MODEL"


class Parameter(Resource):
    """An entry of `parameters` in Triton's model configuration."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    value: Annotated[str, Field(max_length=4096)]


_OBJECT = DNS_SUBDOMAIN.strip("^$")
_UPWARDS = r"^.*/[.][.]?(/.*)?$"


class ModelStorage(Resource):
    """Where the model's files are; mounted read-only, never copied."""

    uri: Annotated[
        str,
        Field(
            max_length=1024,
            pattern=rf"^(pvc://{_OBJECT}(/[A-Za-z0-9_@=+.-]+)*/?|configmap://{_OBJECT})$",
            description="pvc://CLAIM/PATH, a folder that holds the version folders (1, 2, …) and what the model "
            "reads beside them; or configmap://NAME, whose keys are the files of the one version.",
        ),
        FieldRules(
            Rule(
                cel=f"!self.matches(r'{_UPWARDS}')",
                holds=lambda uri: not matches(_UPWARDS, uri),
                message="spec.model.storage.uri must stay inside the claim: no '.' and no '..' in its path; write it "
                "from the claim's root, pvc://CLAIM/PATH",
            )
        ),
    ]


class Probe(StrEnum):
    """How a pod is checked after a load."""

    INFERENCE = "Inference"
    CONFIG_ONLY = "ConfigOnly"


def _shape_tensors(side: str) -> Rule:
    return Rule(
        cel=f"self.backend == 'tensorrt' || !has(self.{side}) || !self.{side}.exists(t, has(t.isShapeTensor) && "
        "t.isShapeTensor)",
        holds=lambda s: s.backend == "tensorrt" or not any(t.is_shape_tensor for t in getattr(s, side)),
        message=f"spec.model.{side}[].isShapeTensor is for backend tensorrt; Triton refuses it for others: remove it",
        field=side,
    )


class Model(Resource):
    """The model as Triton is to load it."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        *unserved.RULES,
        *(_shape_tensors(side) for side in ("inputs", "outputs")),
    )

    name: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
            max_length=128,
            description="Model name on the wire; the resource's name if absent.",
        ),
    ] = None
    storage: ModelStorage
    backend: Annotated[
        str,
        Field(pattern=r"^[a-z0-9_]+$", max_length=63, description="Triton backend: onnxruntime, tensorrt, python, …"),
    ]
    version: Annotated[int, Field(ge=1, le=2_147_483_647, description="The version folder to serve.")] = 1
    inputs: Annotated[
        list[InputTensor],
        Field(max_length=64, json_schema_extra=list_map("name"), description="Empty: Triton completes them itself."),
    ] = []
    outputs: Annotated[list[OutputTensor], Field(max_length=64, json_schema_extra=list_map("name"))] = []
    parameters: Annotated[list[Parameter], Field(max_length=64, json_schema_extra=list_map("name"))] = []
    probe: Annotated[
        Probe,
        Field(description="After each load a pod is asked for its configuration, and for an inference of zeros."),
    ] = Probe.INFERENCE
    instance_kind: Annotated[
        InstanceKind,
        Field(
            description="KIND_AUTO executes on each device of a replica, `instances` times; KIND_CPU keeps the model "
            "off them; KIND_MODEL leaves all of them to each instance, for a model that spans several GPUs."
        ),
    ] = InstanceKind.AUTO
    dynamic_batching: Annotated[
        DynamicBatching | None,
        Field(description="Order, priorities and limits of the queue; the operator keeps them through every change."),
    ] = None
    platform: Annotated[str | None, Field(max_length=63, description="Not read: name the backend.")] = None
    ensemble_scheduling: Annotated[Unserved | None, Field(description="Ensembles are not served.")] = None
    sequence_batching: Annotated[Unserved | None, Field(description="Stateful models are not served.")] = None
    model_transaction_policy: Annotated[Unserved | None, Field(description="Decoupled models are not served.")] = None

    def devices(self, pool: ServingPoolSpec) -> int:
        """On how many devices of one replica the model executes: Triton counts instances for each of them."""
        return pool.devices if self.instance_kind is InstanceKind.AUTO else 1
