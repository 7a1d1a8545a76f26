"""What a worker keeps between two decisions. Losing it is safe: the loop then waits until it has measured again."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from throughline.domain.control.budget import Budget
from throughline.domain.control.counters import Counted
from throughline.domain.control.season import Season
from throughline.domain.control.service_time import ServiceTimeEstimator

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from throughline.api.batching import BatchSettings
    from throughline.api.status import ServiceTime
    from throughline.domain.control.choose import Problem
    from throughline.domain.control.closed_loop import Load
    from throughline.domain.control.counters import Failed
    from throughline.domain.control.fast_path import Stable
    from throughline.domain.control.forecast import ArrivalSample
    from throughline.domain.control.growth import Growth
    from throughline.domain.control.observations import Queue

    Biases = tuple[tuple[BatchSettings, float], ...]

JUDGED_KEPT = 4
BIASES_KEPT = 8
CHANGES_KEPT = 16
START_SECONDS = 60.0


class ScaleDownFloor(NamedTuple):
    """Fewer than `replicas` were tried at this demand and were not enough; not tried again before `until_seconds`."""

    replicas: int
    until_seconds: float
    demand_per_second: float
    wait_seconds: float  # of this time; the next is twice as long


def with_bias(biases: Biases, settings: BatchSettings, bias: float) -> Biases:
    """`ControllerState.biases` with a new one."""
    return (*(e for e in biases if e[0] != settings), (settings, bias))[-BIASES_KEPT:]


def needed_since(
    before: tuple[tuple[float, int], ...], now_seconds: float, needed: int, window_seconds: float
) -> tuple[tuple[float, int], ...]:
    """`ControllerState.needed` with what is needed now."""
    begin = now_seconds - window_seconds
    return (*(seen for seen in before if seen[1] > needed and seen[0] > begin), (now_seconds, needed))


class OptimalityRange(NamedTuple):
    """A situation in which no settings were found better than those in force, for demand between the two bounds."""

    situation: Hashable  # all but the demand
    low_per_second: float
    high_per_second: float


class ControllerState(NamedTuple):
    """Volatile state of one service's loop. A tuple, as every sample makes a new one: frozen dataclasses take several
    times as long.
    """

    # What every sample changes, in the order of `after_fast_path`.
    counted: Counted = Counted()  # the servers' counters in the last sample; the estimator's are of the last full pass
    # (Unix time, replicas that were needed then): of the window of the scale-down stabilization what can still be its
    # most, so that fewer were needed at each later time
    needed: tuple[tuple[float, int], ...] = ()
    metrics_time_seconds: float | None = None  # of the last sample of the metrics
    samples: tuple[ArrivalSample, ...] = ()  # arrivals from sample to sample, oldest first
    queue_seen: Queue | None = None
    # What p99 was measured to be over what was predicted, by settings: no two err alike.
    biases: Biases = ()
    in_flight: float | None = None  # smoothed
    stable: Stable | None = None  # what the fast path may decide again; None: only a full pass may
    # What only a full pass changes.
    estimator: ServiceTimeEstimator = ServiceTimeEstimator()
    estimate: ServiceTime | None = None  # the newest; status.control has the last one that was worth writing
    model_hash: str = ""
    pool: str = ""
    # (pool to move to, since when without a break the move has paid)
    pending_move: tuple[str, float] | None = None
    open_pods: int = 0  # that requests may have gone to in the last sample: those that served, and those that left
    since_seconds: float | None = None  # when this state began; a window is judged only once it is full
    calm_per_second: float | None = None  # items that arrived, when last no server was saturated
    season: Season = Season()  # the arrivals' period; as of the last full pass
    budget: Budget = Budget()  # of late requests; as of the last full pass
    batch_changes: tuple[float, ...] = ()  # when settings were changed, newest last
    changed_in_flight: float | None = None  # items, when settings were changed last
    saving_since: float | None = None  # since when other settings would have done with fewer replicas, without a break
    last_down: tuple[float, int, float] | None = None  # (when, replicas before, demand then) of the last removal
    scale_down_floor: ScaleDownFloor | None = None
    growth: Growth | None = None  # replicas that were added last, until they are found to help
    shortfall_since: float | None = None  # since when a little more has been needed than there is
    ordered_seconds: float | None = None  # when replicas were ordered that are not ready yet
    start_seconds: float = START_SECONDS  # from the order to a ready replica, as last seen
    inter_execution_idle_us: float = 0.0  # between two executions of one instance that has enough to do; smoothed
    closed_loop_samples: int = 0  # samples in a row in which the load was that of closed-loop clients
    clients_in_flight: float = 0.0  # items in flight when last seen to be of closed-loop clients; 0: they are not
    load: Load | None = None  # when its queue was last stationary
    load_before: Load | None = None  # the same under the settings, or on the pods, before
    served_since: tuple[Hashable, float] | None = None  # settings and pods, and since when these serve
    judged: tuple[OptimalityRange, ...] = ()  # so that a steady service is not weighed in every sample
    # pod name → since when no share of the load has reached it
    unloaded_since: Mapping[str, float] = MappingProxyType({})
    settings_since: tuple[Hashable, float] | None = None  # settings in force and since when they are seen on every pod
    failed: Mapping[str, Failed] = MappingProxyType({})  # of the last observation, by pod uid
    problem: Problem | None = None  # the last one: its rounded numbers stay until the measured ones have left them

    def after_fast_path(
        self,
        counted: Counted,
        needed: tuple[tuple[float, int], ...],
        metrics_time_seconds: float | None,
        samples: tuple[ArrivalSample, ...],
        queue_seen: Queue,
        biases: Biases,
        in_flight: float | None,
        stable: Stable,
    ) -> ControllerState:
        """After the fast path. As `_replace`, which takes four times as long: it asks for each of the thirty fields."""
        new = (counted, needed, metrics_time_seconds, samples, queue_seen, biases, in_flight, stable)
        return ControllerState._make(new + self[len(new) :])

    def on_pool(self, pool: str) -> ControllerState:
        """On another pool. The arrivals, and the start time of a replica, are known; the service time is not."""
        return ControllerState(
            pool=pool, model_hash=self.model_hash, samples=self.samples, season=self.season, budget=self.budget,
            since_seconds=self.since_seconds, metrics_time_seconds=self.metrics_time_seconds,
            calm_per_second=self.calm_per_second, start_seconds=self.start_seconds,
        )  # fmt: skip

    def bias_of(self, settings: BatchSettings) -> float | None:
        return next((bias for known, bias in self.biases if known == settings), None)

    def with_batch_change(self, now_seconds: float, in_flight: float | None, *, new: bool) -> ControllerState:
        """`new`: not one that passed as a canary."""
        # What was not enough with the old settings may be with the new ones. The effects of replicas and settings are
        # confounded now; but those that served no more share something that settings do not widen.
        futile = self.growth is not None and self.growth.futile
        changes = (*self.batch_changes, now_seconds)[-CHANGES_KEPT:] if new else self.batch_changes
        return self._replace(
            batch_changes=changes, scale_down_floor=None, last_down=None, growth=self.growth if futile else None,
            changed_in_flight=in_flight,
        )  # fmt: skip

    def with_judged(self, judged: OptimalityRange | None) -> ControllerState:
        if judged is None or judged in self.judged:
            return self
        return self._replace(judged=(*self.judged, judged)[-JUDGED_KEPT:])

    def with_needed(self, now_seconds: float, needed: int, window_seconds: float) -> ControllerState:
        return self._replace(needed=needed_since(self.needed, now_seconds, needed, window_seconds))
