"""Affinity and spread constraints: the part of core/v1 that services need, with a bound on everything.

Field names and meanings are core/v1's, with one addition: a term or constraint without `labelSelector` means the pods
of the service itself. Core/v1 would match no pod there, and a ServingPool does not know the label of each service.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from throughline.api.base import ATOMIC_LIST, Label, Resource, Rule, list_map
from throughline.api.labels import LabelKey, LabelValue, key_rule

SET_LIST: dict[str, Any] = {"x-kubernetes-list-type": "set"}
OWN_PODS = "Absent: the pods of the service itself."


class NodeOperator(StrEnum):
    """How a node's label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


class LabelOperator(StrEnum):
    """How a pod's or a namespace's label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


Values = Annotated[list[LabelValue], Field(max_length=32, json_schema_extra=ATOMIC_LIST)]
_VALUES_CEL = "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)"
_INTEGER = re.compile(r"[0-9]{1,18}")


class NodeRequirement(Resource):
    """A requirement on a node's label."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"self.operator in ['Gt', 'Lt'] || {_VALUES_CEL}",
            holds=lambda s: s.operator in {"Gt", "Lt"} or (s.operator in {"In", "NotIn"}) == bool(s.values),
            message="spec.runtime.affinity: values must be given with operator In or NotIn, and be absent with Exists "
            "or DoesNotExist; add or remove them",
            field="values",
        ),
        Rule(
            cel="!(self.operator in ['Gt', 'Lt']) || "
            "(has(self.values) && size(self.values) == 1 && self.values[0].matches('^[0-9]{1,18}$'))",
            holds=lambda s: (
                s.operator not in {"Gt", "Lt"} or (len(s.values) == 1 and _INTEGER.fullmatch(s.values[0]) is not None)
            ),
            message="spec.runtime.affinity: values must be one whole number with operator Gt or Lt; correct them",
            field="values",
        ),
    )

    key: LabelKey
    operator: NodeOperator
    values: Values = []


class LabelRequirement(Resource):
    """A requirement on a label."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=_VALUES_CEL,
            holds=lambda s: (s.operator in {"In", "NotIn"}) == bool(s.values),
            message="labelSelector: values must be given with operator In or NotIn, and be absent with Exists or "
            "DoesNotExist; add or remove them",
            field="values",
        ),
    )

    key: LabelKey
    operator: LabelOperator
    values: Values = []


class LabelSelector(Resource):
    """Which pods; empty: all."""

    RULES: ClassVar[tuple[Rule, ...]] = (key_rule("matchLabels", "match_labels", "labelSelector.matchLabels"),)

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=16)] = {}
    match_expressions: Annotated[list[LabelRequirement], Field(max_length=8, json_schema_extra=ATOMIC_LIST)] = []


class NodeSelectorTerm(Resource):
    """Requirements that a node meets, all of them."""

    match_expressions: Annotated[
        list[NodeRequirement], Field(min_length=1, max_length=8, json_schema_extra=ATOMIC_LIST)
    ]


class NodeSelector(Resource):
    """Terms of which a node meets one."""

    node_selector_terms: Annotated[
        list[NodeSelectorTerm], Field(min_length=1, max_length=8, json_schema_extra=ATOMIC_LIST)
    ]


Weight = Annotated[int, Field(ge=1, le=100)]


class PreferredNodes(Resource):
    """Nodes that are preferred, and how much."""

    weight: Weight
    preference: NodeSelectorTerm


class NodeAffinity(Resource):
    """Nodes that a pod needs or prefers."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    preferred_during_scheduling_ignored_during_execution: Annotated[
        list[PreferredNodes], Field(max_length=8, json_schema_extra=ATOMIC_LIST)
    ] = []


class PodAffinityTerm(Resource):
    """Pods that a pod runs with, or apart from."""

    label_selector: Annotated[LabelSelector | None, Field(description=OWN_PODS)] = None
    namespaces: Annotated[
        list[Label],
        Field(max_length=16, json_schema_extra=ATOMIC_LIST, description="Absent: the namespace of the service."),
    ] = []
    topology_key: LabelKey


class WeightedPodAffinityTerm(Resource):
    """Pods that a pod prefers to run with, or apart from, and how much."""

    weight: Weight
    pod_affinity_term: PodAffinityTerm


class PodAffinity(Resource):
    """Pods that a pod needs or prefers near, or away from, itself."""

    required_during_scheduling_ignored_during_execution: Annotated[
        list[PodAffinityTerm], Field(max_length=8, json_schema_extra=ATOMIC_LIST)
    ] = []
    preferred_during_scheduling_ignored_during_execution: Annotated[
        list[WeightedPodAffinityTerm], Field(max_length=8, json_schema_extra=ATOMIC_LIST)
    ] = []


class Affinity(Resource):
    """Which nodes, and which pods nearby, a pod needs or prefers (core/v1 Affinity)."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class WhenUnsatisfiable(StrEnum):
    """What happens to a pod that would break the constraint."""

    DO_NOT_SCHEDULE = "DoNotSchedule"
    SCHEDULE_ANYWAY = "ScheduleAnyway"


class InclusionPolicy(StrEnum):
    """Whether nodes that the pod may not run on count."""

    HONOR = "Honor"
    IGNORE = "Ignore"


class TopologySpreadConstraint(Resource):
    """How pods are spread over zones, hosts, … (core/v1 TopologySpreadConstraint)."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.minDomains) || self.whenUnsatisfiable == 'DoNotSchedule'",
            holds=lambda s: s.min_domains is None or s.when_unsatisfiable is WhenUnsatisfiable.DO_NOT_SCHEDULE,
            message="spec.runtime.topologySpreadConstraints[].minDomains needs whenUnsatisfiable DoNotSchedule; "
            "set that, or remove minDomains",
            field="minDomains",
        ),
    )

    max_skew: Annotated[int, Field(ge=1, le=1000)]
    topology_key: LabelKey
    when_unsatisfiable: WhenUnsatisfiable
    label_selector: Annotated[LabelSelector | None, Field(description=OWN_PODS)] = None
    min_domains: Annotated[int, Field(ge=1, le=1000)] | None = None
    match_label_keys: Annotated[list[LabelKey], Field(max_length=4, json_schema_extra=SET_LIST)] = []
    node_affinity_policy: InclusionPolicy | None = None
    node_taints_policy: InclusionPolicy | None = None


SPREAD_KEYS = list_map("topologyKey", "whenUnsatisfiable")
