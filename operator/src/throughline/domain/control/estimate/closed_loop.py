"""Detect closed-loop clients, who wait for their answers; open-loop arrivals come however they are served."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from throughline.domain.control.model.queueing import mean_batch, mean_us, p99_us, saturation_per_second
from throughline.domain.control.tuning import (
    CLEAR,
    MAX_UTILIZATION,
    MIN_COUNT,
    MIN_TELLING_BATCH,
    RESPONSE_SECONDS,
    SAME,
    SAMPLES,
    TOGETHER,
)

if TYPE_CHECKING:
    from collections.abc import Hashable

    from throughline.api.batching import BatchSettings
    from throughline.domain.control.model.service_time_model import ServiceTimeModel
    from throughline.domain.control.observe.demand import Demand


class Load(NamedTuple):
    """What was in flight and served, of the whole service, when its queue was last stationary."""

    at_seconds: float
    settings: Hashable  # of all pods, and of the canary
    pods: int
    in_flight: float  # items
    per_second: float  # items


class ClosedLoop(NamedTuple):
    """What is known of closed-loop clients."""

    samples: int = 0  # in a row, in which the load was theirs
    suspected: int = 0  # in a row, in which more was in flight than open-loop arrivals would leave; enough are counted
    given_up: int = 0  # in a row, in which many gave up; enough are counted, which is longer than the metrics window
    clients_in_flight: float = 0.0  # items, when last seen to be theirs; 0: they are not
    load: Load | None = None  # when its queue was last stationary
    load_before: Load | None = None  # the same under the settings, or on the pods, before
    served_since: tuple[Hashable, float] | None = None  # settings and pods, and since when these serve
    open_loop: Load | None = None  # when the load was last not theirs, under the present settings, on the present pods

    @property
    def sure(self) -> bool:
        return self.samples >= SAMPLES

    @property
    def undecided(self) -> bool:
        """Whether there is a suspicion that the next samples confirm or clear."""
        return 0 < self.suspected < SAMPLES

    @property
    def possible(self) -> bool:
        """Whether the load may be theirs."""
        return max(self.samples, self.suspected) >= SAMPLES


def waits(demand: Demand, curve: ServiceTimeModel, settings: BatchSettings, ready: int) -> bool:
    """Whether more is in flight than open-loop arrivals of that rate would leave waiting, and yet no queue grows."""
    if ready == 0 or demand.given_up or not demand.queue_stationary:
        return False
    per_replica = demand.served_per_second / ready
    if not demand.saturated:
        most_us = (1.0 + 2.0 * CLEAR) * mean_us(curve, settings, per_replica)
    else:
        steady = min(per_replica, MAX_UTILIZATION * saturation_per_second(curve, settings))
        most_us = (1.0 + CLEAR) * p99_us(curve, settings, steady)
    return demand.in_flight / ready > per_replica * most_us / 1e6


def is_closed_loop(
    demand: Demand, curve: ServiceTimeModel, settings: BatchSettings, ready: int, *, mixed: bool = False
) -> bool:
    """Whether the load is of closed-loop clients: they wait at saturated servers; or batches are larger than open-loop
    arrivals would make them, since answered clients come back together. `mixed`: the batches are still those of before
    a change, too.
    """
    if ready == 0 or demand.given_up:
        return False
    per_replica = demand.served_per_second / ready
    if demand.saturated and waits(demand, curve, settings, ready):
        return True
    if mixed or demand.mean_batch is None or demand.mean_batch < MIN_TELLING_BATCH:
        return False
    open_loop = mean_batch(curve, settings, per_replica)
    return demand.mean_batch > TOGETHER * open_loop


def responded(before: Load | None, now: Load) -> bool:
    """Whether as much is in flight as before a change, though it is served much faster, or slower. Of open-loop
    arrivals as much would come as before, and less of it be in flight.
    """
    if before is None or before.per_second <= 0 or now.per_second <= 0 or before.in_flight < MIN_COUNT:
        return False
    if now.at_seconds - before.at_seconds > RESPONSE_SECONDS:
        return False
    if abs(now.in_flight - before.in_flight) > SAME * before.in_flight:
        return False
    times = now.per_second / before.per_second
    against = now.pods < before.pods if times > 1.0 else now.pods >= before.pods
    return max(times, 1.0 / times) >= (1.0 + CLEAR if against else 1.0 + 2.0 * CLEAR)


def slowed(before: Load | None, now: Load) -> bool:
    """Whether as much is served as before, of open-loop arrivals, and more of it is in flight: then it takes longer,
    for a reason of its own. Closed-loop clients would have sent less.
    """
    if before is None or (before.settings, before.pods) != (now.settings, now.pods):
        return False
    if now.at_seconds - before.at_seconds > RESPONSE_SECONDS:
        return False
    same = abs(now.per_second - before.per_second) <= SAME * before.per_second
    return same and now.in_flight > (1.0 + SAME) * before.in_flight


def update(
    state: ClosedLoop, now_seconds: float, demand: Demand, curve: ServiceTimeModel, settings: BatchSettings,
    ready: int, window_seconds: float, tried: BatchSettings | None = None,
) -> ClosedLoop:  # fmt: skip
    """With what this sample shows of closed-loop clients. `tried`: the settings of the canary."""
    load, before, open_loop = state.load, state.load_before, state.open_loop
    # While the window still holds what fewer pods, or other settings, have served, the batches are of these.
    served_by = ((settings, tried), ready)
    since = state.served_since
    if since is None or since[0] != served_by:
        since = (served_by, now_seconds if since is not None else -math.inf)
    seen = is_closed_loop(demand, curve, settings, ready, mixed=now_seconds - since[1] < window_seconds)
    suspected = waits(demand, curve, settings, ready)
    if demand.queue_stationary and ready and not demand.given_up:
        now = Load(now_seconds, *served_by, demand.in_flight, demand.served_per_second)
        if load is not None and (load.settings, load.pods) != served_by:
            before = load
        load = now
        # Where all that can be served is, more clients raise what is in flight alone.
        room = demand.served_per_second / ready < MAX_UTILIZATION * saturation_per_second(curve, settings)
        longer = room and not state.samples and slowed(open_loop, now)
        seen = (seen and not longer) or responded(before, now)
        suspected = suspected and not longer
        if longer and open_loop is not None:
            open_loop = open_loop._replace(at_seconds=now_seconds)
        elif not seen:
            open_loop = now
    given_up = min(2 * SAMPLES, state.given_up + 1) if demand.given_up else 0
    known = state.clients_in_flight if given_up < 2 * SAMPLES else 0.0
    same = known > 0 and abs(demand.in_flight - known) <= CLEAR * known
    samples = state.samples + 1 if seen or same else 0
    clients_in_flight = state.clients_in_flight if samples else 0.0
    if seen and samples >= SAMPLES:
        clients_in_flight = demand.in_flight
    in_a_row = min(SAMPLES, state.suspected + 1) if suspected else 0
    return ClosedLoop(samples, in_a_row, given_up, clients_in_flight, load, before, since, open_loop)
