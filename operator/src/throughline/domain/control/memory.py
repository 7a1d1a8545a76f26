"""What a worker remembers between two decisions. Losing it is safe: the loop then waits until it knows again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from throughline.domain.control.service_time import Learner

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from throughline.api.inferenceservice import BatchSettings
    from throughline.api.status import ServiceTime
    from throughline.domain.control.forecast import Look

JUDGED_KEPT = 4
ERRORS_KEPT = 8
CHANGES_KEPT = 16
START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Keep:
    """Fewer than `replicas` were tried at this demand and were not enough; not tried again before `until_seconds`."""

    replicas: int
    until_seconds: float
    demand_per_second: float
    wait_seconds: float  # of this time; the next is twice as long


@dataclass(frozen=True, slots=True)
class LoopMemory:
    """Volatile state of one service's loop."""

    learner: Learner = field(default_factory=Learner)
    known: ServiceTime | None = None  # the newest estimate; status.control has the last one worth writing
    model_hash: str = ""
    # (Unix time, replicas that were needed then): the window of the scale-down stabilization
    needed: tuple[tuple[float, int], ...] = ()
    since_seconds: float | None = None  # when this memory began; a window is judged only once it is full
    metrics_time_seconds: float | None = None  # of the last look at the metrics
    looks: tuple[Look, ...] = ()  # arrivals from look to look, oldest first
    # (when it was scraped, requests waiting, growth per second since the scrape before)
    queue_seen: tuple[float, float, float] | None = None
    # What p99 was measured to be over what was predicted, by settings: no two err alike.
    errors: tuple[tuple[BatchSettings, float], ...] = ()
    batch_changes: tuple[float, ...] = ()  # when settings were changed, newest last
    last_down: tuple[float, int, float] | None = None  # (when, replicas before, demand then) of the last removal
    keep: Keep | None = None
    short_since: float | None = None  # since when a little more has been needed than there is
    ordered_seconds: float | None = None  # when replicas were ordered that are not ready yet
    start_seconds: float = START_SECONDS  # from the order to a ready replica, as last seen
    in_flight: float | None = None  # smoothed
    waiting_looks: int = 0  # looks in a row at which the load was that of callers who wait for their answers
    # Situations in which the settings in force were found to be as good as any, so that a steady service is not
    # weighed anew at every look.
    judged: tuple[Hashable, ...] = ()
    # pod name → since when no share of the load has reached it
    unloaded_since: Mapping[str, float] = field(default_factory=dict)
    settings_since: tuple[str, float] | None = None  # settings in force and since when they are seen on every pod

    def error_of(self, settings: BatchSettings) -> float | None:
        return next((error for known, error in self.errors if known == settings), None)

    def with_error(self, settings: BatchSettings, error: float) -> LoopMemory:
        others = tuple(e for e in self.errors if e[0] != settings)
        return replace(self, errors=(*others, (settings, error))[-ERRORS_KEPT:])

    def with_batch_change(self, now_seconds: float) -> LoopMemory:
        # What was not enough with the old settings may be with the new ones.
        return replace(
            self, batch_changes=(*self.batch_changes, now_seconds)[-CHANGES_KEPT:], keep=None, last_down=None
        )

    def with_judged(self, situation: Hashable | None) -> LoopMemory:
        if situation is None or situation in self.judged:
            return self
        return replace(self, judged=(*self.judged, situation)[-JUDGED_KEPT:])

    def with_needed(self, now_seconds: float, needed: int, window_seconds: float) -> LoopMemory:
        kept = tuple((t, n) for t, n in self.needed if t > now_seconds - window_seconds)
        return replace(self, needed=(*kept, (now_seconds, needed)))
