"""What a worker remembers between two decisions. Losing it is safe: the loop then waits until it knows again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from throughline.domain.control.service_time import Learner

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from throughline.api.status import ServiceTime

JUDGED_KEPT = 4


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
    # arrivals per second, one per look at the metrics, for their variability
    arrivals: tuple[float, ...] = ()
    in_flight: float | None = None  # smoothed
    waiting_looks: int = 0  # looks in a row at which the load was that of callers who wait for their answers
    # Situations in which the settings in force were found to be as good as any, so that a steady service is not
    # weighed anew at every look.
    judged: tuple[Hashable, ...] = ()
    # pod name → since when no share of the load has reached it
    unloaded_since: Mapping[str, float] = field(default_factory=dict)
    settings_since: tuple[str, float] | None = None  # settings in force and since when they are seen on every pod

    def with_judged(self, situation: Hashable | None) -> LoopMemory:
        if situation is None or situation in self.judged:
            return self
        return replace(self, judged=(*self.judged, situation)[-JUDGED_KEPT:])

    def with_needed(self, now_seconds: float, needed: int, window_seconds: float) -> LoopMemory:
        kept = tuple((t, n) for t, n in self.needed if t > now_seconds - window_seconds)
        return replace(self, needed=(*kept, (now_seconds, needed)))
