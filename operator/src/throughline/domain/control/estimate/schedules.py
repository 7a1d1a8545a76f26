"""Replicas that are to be ready at times which the user has named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.api.schedules import last_start_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from throughline.api.schedules import Schedule


def scheduled(schedules: Iterable[Schedule], now_seconds: float, lead_seconds: float) -> Schedule | None:
    """The schedule that asks for the most replicas now; None where none does.

    One that begins within `lead_seconds`, the time that a replica takes to start, counts as begun.
    """
    minute = int(now_seconds + lead_seconds) // 60
    # One that was in force before the lead reached into the next: it ends when it ends, not the lead earlier.
    now = int(now_seconds) // 60
    active = [s for s in schedules if _begun(s, minute, now_seconds) or _begun(s, now, now_seconds)]
    return max(active, key=lambda s: s.min_replicas, default=None)


def _begun(schedule: Schedule, minute: int, now_seconds: float) -> bool:
    start = last_start_seconds(schedule.schedule, schedule.time_zone, minute)
    return now_seconds < start + schedule.duration_minutes * 60
