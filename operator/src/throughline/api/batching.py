"""Bounds and mode of the batch settings."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from throughline.api.base import (
    Resource,
    Rule,
)


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
