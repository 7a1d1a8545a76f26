"""InferenceService: what must hold for one model, and where it may run."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from throughline.api import compute, serverflags, unserved
from throughline.api.base import (
    ATOMIC_LIST,
    DNS_SUBDOMAIN,
    FieldRules,
    Image,
    Label,
    Name,
    ObjectKey,
    Quantity,
    Resource,
    Rule,
    list_map,
    matches,
)
from throughline.api.compute import ComputeResources
from throughline.api.dynamicbatching import DynamicBatching
from throughline.api.evaluation import Evaluation
from throughline.api.monitoring import Monitoring
from throughline.api.pods import PodSettings, ResourceClaim
from throughline.api.schedules import Schedule
from throughline.api.tensors import InputTensor, OutputTensor
from throughline.api.unserved import Unserved

if TYPE_CHECKING:
    from throughline.api.servingpool import ServingPoolSpec
    from throughline.api.tensors import Tensor


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


# Of requests, where spec.slo.availability does not say.
ALLOWED_FAILURES = 0.01


class SLO(Resource):
    """What must hold, measured at the server (Triton's request time: queue and compute)."""

    latency_p99_milliseconds: Annotated[int, Field(ge=1, le=600_000, alias="latencyP99Milliseconds")]
    throughput_per_second: Annotated[
        int | None,
        Field(ge=1, le=10_000_000, description="Requests per second to be ready for even when fewer arrive."),
    ] = None
    availability: Annotated[
        str | None,
        Field(
            max_length=8,
            pattern=r"^(100|[1-9]?[0-9](\.[0-9]{1,3})?)%$",
            description="Requests that must succeed, of those that clients did not give up, such as 99.9%. If absent, "
            "1 % may fail.",
        ),
    ] = None

    @property
    def allowed_failures(self) -> float:
        """The share of requests that may fail."""
        return ALLOWED_FAILURES if self.availability is None else 1.0 - float(self.availability[:-1]) / 100.0


class PoolReference(Resource):
    name: Name


class PlacementStrategy(StrEnum):
    ORDERED = "Ordered"
    CHEAPEST = "Cheapest"


class Placement(Resource):
    """The pools that a service may run on, in order of preference, and how one of them is chosen."""

    strategy: Annotated[
        PlacementStrategy,
        Field(
            description="Ordered takes the first pool that exists and can hold minReplicas, and stays there; Cheapest "
            "the one where the replicas that the SLO needs cost least, and moves when another is clearly cheaper, or "
            "when the present one is full."
        ),
    ] = PlacementStrategy.ORDERED
    pools: Annotated[list[PoolReference], Field(min_length=1, max_length=8, json_schema_extra=list_map("name"))]


class ScalingMode(StrEnum):
    AUTO = "Auto"
    RECOMMEND = "Recommend"
    OFF = "Off"


class Scaling(Resource):
    """Bounds and mode of the replica count."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="$minReplicas <= $maxReplicas",
            holds=lambda s: s.min_replicas <= s.max_replicas,
            message="spec.scaling.minReplicas must not be above spec.scaling.maxReplicas (10 if absent); "
            "lower the first or raise the second",
            field="minReplicas",
        ),
        Rule(
            cel="!has(self.schedules) || self.schedules.all(s, s.minReplicas <= $maxReplicas)",
            holds=lambda s: all(one.min_replicas <= s.max_replicas for one in s.schedules),
            message="minReplicas of each of spec.scaling.schedules must not be above spec.scaling.maxReplicas "
            "(10 if absent); lower the first or raise the second",
            field="schedules",
        ),
    )

    mode: Annotated[
        ScalingMode,
        Field(
            description="Auto sets replicas; Recommend only says what it would do; Off leaves them to you or an HPA."
        ),
    ] = ScalingMode.AUTO
    replicas: Annotated[
        int | None,
        Field(
            ge=0,
            le=1000,
            description="Replica count in mode Off or Recommend, as `kubectl scale`, a HorizontalPodAutoscaler or KEDA "
            "writes it. It is obeyed as it is: minReplicas, maxReplicas and schedules do not apply to it. If absent, "
            "the replicas of the Deployment are left as they are. Has no effect in mode Auto.",
        ),
    ] = None
    min_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = 10
    scale_down_stabilization_seconds: Annotated[
        int, Field(ge=0, le=3600, description="How long fewer replicas must have been enough before any is removed.")
    ] = 300
    schedules: Annotated[
        tuple[Schedule, ...],
        Field(
            max_length=16,
            json_schema_extra=list_map("name"),
            description="Times that are known to need replicas. Outside of them the demand alone decides.",
        ),
    ] = ()

    @property
    def requested_replicas(self) -> int | None:
        """The count that a user or another autoscaler has set and the operator obeys."""
        return None if self.mode is ScalingMode.AUTO else self.replicas


class BatchingMode(StrEnum):
    AUTO = "Auto"
    RECOMMEND = "Recommend"
    FIXED = "Fixed"


class MaxBatchSizeBounds(Resource):
    """Bounds of Triton's max_batch_size; 0 for both says that the model has no batch dimension."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="$min > 0 || $max == 0",
            holds=lambda s: s.min > 0 or s.max == 0,
            message="spec.batching.maxBatchSize.min may be 0 only when spec.batching.maxBatchSize.max is 0 too: "
            "set both to 0 for a model without a batch dimension, or min to 1",
            field="min",
        ),
        Rule(
            cel="$min <= $max",
            holds=lambda s: s.min <= s.max,
            message="spec.batching.maxBatchSize.min (1 if absent) must not be above spec.batching.maxBatchSize.max "
            "(64 if absent); for a model without a batch dimension set both to 0",
            field="min",
        ),
    )

    min: Annotated[int, Field(ge=0, le=4096)] = 1
    max: Annotated[int, Field(ge=0, le=4096)] = 64


class MaxQueueDelayBounds(Resource):
    """Bounds of Triton's max_queue_delay_microseconds."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="$min <= $max",
            holds=lambda s: s.min <= s.max,
            message="spec.batching.maxQueueDelayMicroseconds.min must not be above "
            "spec.batching.maxQueueDelayMicroseconds.max (20000 if absent); lower the first or raise the second",
            field="min",
        ),
    )

    min: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    max: Annotated[int, Field(ge=0, le=10_000_000)] = 20_000


class InstancesBounds(Resource):
    """Bounds of the count of Triton's instance_group: instances on each device of a replica."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="$min <= $max",
            holds=lambda s: s.min <= s.max,
            message="spec.batching.instances.min must not be above spec.batching.instances.max "
            "(4 if absent); lower the first or raise the second",
            field="min",
        ),
    )

    min: Annotated[int, Field(ge=1, le=64)] = 1
    max: Annotated[int, Field(ge=1, le=64)] = 4


class BatchSettings(Resource):
    """One point of the space that batching chooses from, in Triton's own words."""

    max_batch_size: Annotated[int, Field(ge=0, le=4096)]
    max_queue_delay_microseconds: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    instances: Annotated[int, Field(ge=1, le=64)] = 1


class Batching(Resource):
    """Bounds and mode of the batch settings. In mode Auto a service starts from the lower bounds."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="$mode != 'Fixed' || has(self.fixed)",
            holds=lambda s: s.mode is not BatchingMode.FIXED or s.fixed is not None,
            message="spec.batching.fixed is required when spec.batching.mode is Fixed; add it, or set mode Auto",
            field="mode",
        ),
    )

    mode: BatchingMode = BatchingMode.AUTO
    max_batch_size: MaxBatchSizeBounds = MaxBatchSizeBounds()
    max_queue_delay_microseconds: MaxQueueDelayBounds = MaxQueueDelayBounds()
    instances: InstancesBounds = InstancesBounds()
    fixed: BatchSettings | None = None


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


class Runtime(PodSettings):
    """How the server's pod is built. All optional; much of it may also be said by the pool, for all services there."""

    RULES: ClassVar[tuple[Rule, ...]] = (*PodSettings.RULES, serverflags.RULE)

    image: Annotated[Image | None, Field(description="Triton image; else the pool's, else the operator's default.")] = (
        None
    )
    image_pull_secrets: Annotated[list[PoolReference], Field(max_length=8, json_schema_extra=list_map("name"))] = []
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


_EMPTY = "(has(self.model.{0}) && self.model.{0}.exists(t, has(t.reshape) && t.reshape.shape.size() == 0))"


def _is_scalar(tensor: Tensor) -> bool:
    return tensor.reshape is not None and not tensor.reshape.shape


def _batches(batching: Batching) -> bool:
    return batching.max_batch_size.max > 0 and (batching.fixed is None or batching.fixed.max_batch_size > 0)


class InferenceServiceSpec(Resource):
    """A model, its SLO and a pool are enough; everything else has a default."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"!({_EMPTY.format('inputs')} || {_EMPTY.format('outputs')}) || !has(self.batching) || "
            "((!has(self.batching.maxBatchSize) || !has(self.batching.maxBatchSize.max) || "
            "self.batching.maxBatchSize.max > 0) && "
            "(!has(self.batching.fixed) || self.batching.fixed.maxBatchSize > 0))",
            holds=lambda s: _batches(s.batching) or not any(_is_scalar(t) for t in (*s.model.inputs, *s.model.outputs)),
            message="spec.model: an empty reshape.shape needs a batch dimension, since Triton has no tensors without "
            "any; set spec.batching.maxBatchSize.max (and spec.batching.fixed.maxBatchSize) above 0, or reshape to [1]",
            field="model",
        ),
    )

    model: Model
    slo: SLO
    placement: Placement
    scaling: Scaling = Scaling()
    batching: Batching = Batching()
    runtime: Runtime = Runtime()
    evaluation: Annotated[
        Evaluation | None, Field(description="Suites that judge the model, and what follows from their verdict.")
    ] = None
    monitoring: Annotated[
        Monitoring | None, Field(description="Samples of live traffic, and what they are compared with.")
    ] = None
