"""The server's container: resources, environment, flags and devices."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from throughline.api import compute, serverflags
from throughline.api.base import (
    ATOMIC_LIST,
    Image,
    Label,
    Name,
    ObjectKey,
    Quantity,
    Resource,
    Rule,
    list_map,
)
from throughline.api.compute import ComputeResources
from throughline.api.pods import PodSettings, ResourceClaim


class ResourceRequirements(ComputeResources):
    """CPU and memory of one replica; the pool adds the accelerator."""

    RULES: ClassVar[tuple[Rule, ...]] = compute.rules(
        "spec.runtime.resources", "the accelerator is named by the ServingPool"
    )


class KeySelector(Resource):
    name: Name
    key: ObjectKey


class EnvVarSource(Resource):
    """Where an environment variable comes from: a Secret or ConfigMap of the same namespace."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.secretKeyRef) != has(self.configMapKeyRef)",
            holds=lambda s: (s.secret_key_ref is None) != (s.config_map_key_ref is None),
            message="spec.runtime.env[].valueFrom must have one of secretKeyRef and configMapKeyRef; remove or add one",
        ),
    )

    secret_key_ref: KeySelector | None = None
    config_map_key_ref: KeySelector | None = None


class EnvVar(Resource):
    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!(has(self.value) && has(self.valueFrom))",
            holds=lambda s: s.value is None or s.value_from is None,
            message="spec.runtime.env[] may have value or valueFrom, not both; remove one",
            field="value",
        ),
    )

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=253)]
    value: Annotated[str, Field(max_length=4096)] | None = None
    value_from: EnvVarSource | None = None


class LocalObjectReference(Resource):
    name: Name


class Runtime(PodSettings):
    """How the server's pod is built. All optional; much of it may also be said by the pool, for all services there."""

    RULES: ClassVar[tuple[Rule, ...]] = (*PodSettings.RULES, serverflags.RULE)

    image: Annotated[Image | None, Field(description="Triton image; else the pool's, else the operator's default.")] = (
        None
    )
    image_pull_secrets: Annotated[
        list[LocalObjectReference], Field(max_length=8, json_schema_extra=list_map("name"))
    ] = []
    resources: ResourceRequirements = ResourceRequirements()
    env: Annotated[list[EnvVar], Field(max_length=64, json_schema_extra=list_map("name"))] = []
    args: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=512)]],
        Field(
            max_length=32,
            json_schema_extra=ATOMIC_LIST,
            description=f"Further flags of tritonserver as --flag=value. Allowed are {', '.join(serverflags.FLAGS)}; "
            "the others open an API, or contradict what the operator sets or measures. A Triton that does not know a "
            "flag ends at its start: 2.51 lacks grpc-infer-thread-count, grpc-max-response-pool-size and "
            "http-max-input-size.",
        ),
    ] = []
    service_account_name: Annotated[
        Label | None, Field(description="An existing ServiceAccount; else one without any right is made.")
    ] = None
    shared_memory: Annotated[
        Quantity, compute.bytes_rules("spec.runtime.sharedMemory"), Field(description="Size of /dev/shm, in memory.")
    ] = "256Mi"
    start_timeout_seconds: Annotated[
        int, Field(ge=10, le=7200, description="How long a pod may take to load the model before it is restarted.")
    ] = 600
    drain_seconds: Annotated[
        int, Field(ge=0, le=600, description="Between leaving the Service and the end of the server.")
    ] = 15
    resource_claims: Annotated[
        list[ResourceClaim],
        Field(
            max_length=8,
            json_schema_extra=list_map("name"),
            description="Further devices of the server, by dynamic resource allocation; the pool adds the accelerator.",
        ),
    ] = []
