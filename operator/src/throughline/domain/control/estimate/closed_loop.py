"""Detect closed-loop clients, who wait for their answers; open-loop arrivals come however they are served."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from throughline.domain.control.model.queueing import mean_batch, p99_us, saturation_per_second
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
    clients_in_flight: float = 0.0  # items, when last seen to be theirs; 0: they are not
    load: Load | None = None  # when its queue was last stationary
    load_before: Load | None = None  # the same under the settings, or on the pods, before
    served_since: tuple[Hashable, float] | None = None  # settings and pods, and since when these serve
    open_loop: Load | None = None  # when the load was last not theirs, under the present settings, on the present pods

    @property
    def sure(self) -> bool:
        return self.samples >= SAMPLES


def is_closed_loop(
    demand: Demand, curve: ServiceTimeModel, settings: BatchSettings, ready: int, *, mixed: bool = False
) -> bool:
    """Whether the load is of closed-loop clients: more is in flight than open-loop arrivals of that rate would leave
    waiting, and yet no queue grows; or batches are larger than those would make them, since answered clients come back
    together. `mixed`: the batches are still those of before a change, too.
    """
    if ready == 0:
        return False
    per_replica = demand.served_per_second / ready
    if demand.saturated and demand.queue_stationary:
        steady = min(per_replica, MAX_UTILIZATION * saturation_per_second(curve, settings))
        most = per_replica * p99_us(curve, settings, steady) / 1e6
        if demand.in_flight / ready > (1.0 + CLEAR) * most:
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
    if demand.queue_stationary and ready:
        now = Load(now_seconds, *served_by, demand.in_flight, demand.served_per_second)
        if load is not None and (load.settings, load.pods) != served_by:
            before = load
        load = now
        # Where all that can be served is, more clients raise what is in flight alone.
        room = demand.served_per_second / ready < MAX_UTILIZATION * saturation_per_second(curve, settings)
        longer = room and not state.samples and slowed(open_loop, now)
        seen = (seen and not longer) or responded(before, now)
        if longer and open_loop is not None:
            open_loop = open_loop._replace(at_seconds=now_seconds)
        elif not seen:
            open_loop = now
    same = (1.0 - CLEAR) * state.clients_in_flight <= demand.in_flight <= (
        1.0 + CLEAR
    ) * state.clients_in_flight and state.clients_in_flight > 0
    samples = state.samples + 1 if seen or same else 0
    clients_in_flight = state.clients_in_flight if samples else 0.0
    if seen and samples >= SAMPLES:
        clients_in_flight = demand.in_flight
    return ClosedLoop(samples, clients_in_flight, load, before, since, open_loop)
