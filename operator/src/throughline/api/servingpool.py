"""ServingPool: where models may run, what a replica occupies there and what it costs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from throughline.api.base import ATOMIC_LIST, Condition, Image, Name, Number, Resource, Rule, list_map
from throughline.api.labels import LABEL_KEY, LabelKey, LabelValue, key_rule
from throughline.api.pods import PodSettings

# An extended resource of Kubernetes; behind "requests." its name must be one as well, in quotas.
EXTENDED_RESOURCE = LABEL_KEY.replace("*/)?", "*/)", 1)
MAX_RESOURCE = 244


class Tier(StrEnum):
    CLOUD = "Cloud"
    EDGE = "Edge"


class Architecture(StrEnum):
    AMD64 = "amd64"
    ARM64 = "arm64"


class TolerationOperator(StrEnum):
    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(Resource):
    """A core/v1 Toleration, without its eviction time."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="$operator != 'Exists' || !has(self.value)",
            holds=lambda s: s.operator is not TolerationOperator.EXISTS or s.value is None,
            message="spec.tolerations[].value must be absent when operator is Exists; remove it or set operator Equal",
            field="value",
        ),
        Rule(
            cel="$operator == 'Exists' || has(self.key)",
            holds=lambda s: s.operator is TolerationOperator.EXISTS or s.key is not None,
            message="spec.tolerations[].key may be absent only when operator is Exists; add it or set operator Exists",
            field="key",
        ),
    )

    key: LabelKey | None = None
    operator: TolerationOperator = TolerationOperator.EQUAL
    value: LabelValue | None = None
    effect: TaintEffect | None = None


class Accelerator(Resource):
    """What each replica gets of the nodes' devices: an extended resource, or a claim of its own."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.resource) != has(self.resourceClaimTemplateName)",
            holds=lambda s: (s.resource is None) != (s.resource_claim_template_name is None),
            message="spec.accelerator must have one of resource (from a device plugin) and resourceClaimTemplateName "
            "(dynamic resource allocation); remove or add one",
        ),
        Rule(
            cel="!has(self.resource) || !self.resource.startsWith('requests.') && "
            "!self.resource.contains('kubernetes.io/')",
            holds=lambda s: (
                s.resource is None or (not s.resource.startswith("requests.") and "kubernetes.io/" not in s.resource)
            ),
            message="spec.accelerator.resource must be an extended resource: its domain neither begins with requests. "
            "nor ends in kubernetes.io; write it as the device plugin names it (nvidia.com/gpu)",
            field="resource",
        ),
    )

    resource: Annotated[
        str | None,
        Field(
            pattern=EXTENDED_RESOURCE,
            max_length=MAX_RESOURCE,
            description="Extended resource name: nvidia.com/gpu, nvidia.com/mig-1g.10gb, nvidia.com/gpu.shared.",
        ),
    ] = None
    resource_claim_template_name: Annotated[
        Name | None,
        Field(
            description="A ResourceClaimTemplate of this name in the namespace of each service: each replica gets a "
            "claim made from it. Needs spec.capacity, since nodes do not say how many devices are free."
        ),
    ] = None
    count_per_replica: Annotated[
        int, Field(ge=1, le=16, description="How many of it one replica takes; with a claim: devices in that.")
    ] = 1

    @property
    def shared(self) -> bool:
        """Whether a unit is a share of a device in time: NVIDIA's device plugin names it so."""
        return (self.resource or "").endswith(".shared")

    @property
    def mig(self) -> bool:
        """Whether a unit is a part of a device in space."""
        return "/mig-" in (self.resource or "")

    @property
    def devices(self) -> int:
        """How many devices the server of one replica executes on. Shares and MIG devices are one, however many a
        replica asks for; of units of memory or of cores nobody can tell, so they are one device, too.
        """
        measured = any(unit in (self.resource or "").rpartition("/")[2] for unit in ("mem", "core", "percent"))
        return 1 if self.shared or self.mig or measured else self.count_per_replica


class PoolCapacity(Resource):
    """What the pool can grow to, when its nodes of this moment do not tell (a node autoscaler adds more)."""

    max_replicas: Annotated[
        int,
        Field(
            ge=0,
            le=100_000,
            description="Replicas, over all services, that the pool may hold; replaces the count made from the nodes.",
        ),
    ]


class ServingPoolSpec(Resource):
    """Which nodes make up the pool and what a replica costs there."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="size(self.nodeSelector) > 0",
            holds=lambda s: len(s.node_selector) > 0,
            message="spec.nodeSelector must name at least one label, or the pool would be every node of the cluster",
            field="nodeSelector",
        ),
        key_rule("nodeSelector", "node_selector", "spec.nodeSelector"),
        Rule(
            cel="!has(self.accelerator) || !has(self.accelerator.resourceClaimTemplateName) || has(self.capacity)",
            holds=lambda s: (
                s.accelerator is None or s.accelerator.resource_claim_template_name is None or s.capacity is not None
            ),
            message="spec.capacity is required with spec.accelerator.resourceClaimTemplateName, since nodes do not say "
            "how many devices are free; add it, with maxReplicas",
            field="capacity",
        ),
    )

    node_selector: Annotated[
        dict[str, LabelValue],
        Field(max_length=16, description="Labels that a node of the pool carries, all of them."),
    ]
    tolerations: Annotated[list[Toleration], Field(max_length=16, json_schema_extra=ATOMIC_LIST)] = []
    accelerator: Accelerator | None = None
    architecture: Architecture = Architecture.AMD64
    image: Annotated[Image | None, Field(description="Triton image for this pool (edge and igpu builds differ).")] = (
        None
    )
    cost_per_hour: Annotated[
        Number, Field(description="Price of one replica for one hour, in the currency of your choice.")
    ]
    region: Annotated[str | None, Field(max_length=63)] = None
    tier: Tier = Tier.CLOUD
    capacity: PoolCapacity | None = None
    runtime: Annotated[PodSettings, Field(description="Of all pods placed here.")] = PodSettings()

    @property
    def devices(self) -> int:
        """How many devices the server of one replica executes on; without an accelerator the CPU is the one."""
        return self.accelerator.devices if self.accelerator else 1


class ServingPoolStatus(Resource):
    """What the operator sees of the pool."""

    observed_generation: Annotated[int, Field(ge=-1)] = -1
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra=list_map("type"))] = []
    nodes: Annotated[int, Field(ge=0, description="Ready, schedulable nodes that the selector finds.")] | None = None
    allocatable: (
        Annotated[
            int,
            Field(ge=0, description="Units of the accelerator (without one: pods) on those nodes; absent with claims."),
        ]
        | None
    ) = None
    free: Annotated[int, Field(ge=0, description="Units of `allocatable` that no pod holds.")] | None = None
    services: Annotated[int, Field(ge=0, description="InferenceServices placed here.")] | None = None
