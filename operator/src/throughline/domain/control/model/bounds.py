"""The bounds of spec.batching, and what lies within them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.api.batching import BatchSettings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from throughline.api.batching import Batching


def clamp(settings: BatchSettings, batching: Batching) -> BatchSettings:
    """The settings moved into the bounds."""
    b, d, i = batching.max_batch_size, batching.max_queue_delay_microseconds, batching.instances
    within = (
        b.min <= settings.max_batch_size <= b.max
        and d.min <= settings.max_queue_delay_microseconds <= d.max
        and i.min <= settings.instances <= i.max
    )
    if within:
        return settings
    return BatchSettings(
        max_batch_size=min(max(settings.max_batch_size, b.min), b.max),
        max_queue_delay_microseconds=min(max(settings.max_queue_delay_microseconds, d.min), d.max),
        instances=min(max(settings.instances, i.min), i.max),
    )


def lower_bounds(batching: Batching) -> BatchSettings:
    """Where a service starts: the least memory and no assumption about the model."""
    return BatchSettings(
        max_batch_size=batching.max_batch_size.min,
        max_queue_delay_microseconds=batching.max_queue_delay_microseconds.min,
        instances=batching.instances.min,
    )


def between(low: int, high: int, points: Iterable[int]) -> list[int]:
    """The bounds, and of the points those between them; sorted."""
    return sorted({low, high, *(p for p in points if low < p < high)})
