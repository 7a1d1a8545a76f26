"""Bounds and mode of the replica count."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from throughline.api.base import (
    Resource,
    Rule,
    list_map,
)
from throughline.api.schedules import Schedule


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
