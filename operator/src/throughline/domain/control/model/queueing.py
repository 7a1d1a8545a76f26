"""Predict the latency and capacity of one replica: a queue served in batches by several instances.

Triton's dynamic batcher starts a batch as soon as an instance is free, with up to `max_batch_size` of what waits. With
`max_queue_delay_microseconds` it holds a batch back until it is full or its oldest has waited so long, and while
the server is busy it closes each batch when the one before has started (docs/simulator.md). Under load, batches form by
themselves out of what arrives during an execution. The formulas are the usual approximations of a bulk-service queue
M/D^[1,B]/k (Bailey 1954, doi:10.1111/j.2517-6161.1954.tb00149.x; heavy-traffic tail after Kingman 1962): good to some
tens of per cent, which is why every prediction is multiplied by the measured bias before it is used.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from throughline.domain.control.tuning import MAX_UTILIZATION

if TYPE_CHECKING:
    from throughline.api.batching import BatchSettings
    from throughline.domain.control.model.service_time_model import ServiceTimeModel

TAIL = 0.01  # share of the requests that a 99th percentile allows to be late
MAX_FEEDBACK = 0.99  # of the sizes of two batches in a row
_NORMAL_99 = 2.326
_LOG_TAIL = math.log(1 / TAIL)
_TRICKLE = 1e-6  # items per second, of a replica that is as good as idle
_BISECTIONS = 10  # to a thousandth of the saturation throughput


def largest_batch(settings: BatchSettings) -> int:
    """Items in a full batch; max_batch_size 0 is a model without a batch dimension, which executes one at a time."""
    return max(1, settings.max_batch_size)


def saturation_per_second(curve: ServiceTimeModel, settings: BatchSettings) -> float:
    """Items per second with every batch full and every instance busy."""
    batch = largest_batch(settings)
    alpha_us, beta_us = curve.with_contention(settings.instances, batch)
    return 1e6 * settings.instances * curve.devices * batch / max(1.0, alpha_us + beta_us * batch)


class _Server(NamedTuple):
    """What the formulas need of a curve and settings, worked out once for many rates."""

    alpha_us: float  # of instances that share their device
    beta_us: float
    limit: int
    k: int  # instances of the replica, on all its devices
    delay_us: float
    dispersion: float
    saturation: float

    @classmethod
    def of(cls, curve: ServiceTimeModel, settings: BatchSettings, dispersion: float) -> _Server:
        limit, k = largest_batch(settings), settings.instances * curve.devices
        alpha_us, beta_us = curve.with_contention(settings.instances, limit)
        delay = float(settings.max_queue_delay_microseconds) if limit > 1 else 0.0
        return cls(
            alpha_us, beta_us, limit, k, delay, dispersion,
            1e6 * k * limit / max(1.0, alpha_us + beta_us * limit),
        )  # fmt: skip

    def mean_batch(self, rate_us: float) -> float:
        """The batch size that reproduces itself: as many items as arrive while one such batch is executed."""
        spare = self.k - rate_us * self.beta_us
        natural = rate_us * self.alpha_us / spare if spare > 0 else math.inf
        return min(float(self.limit), max(1.0, natural, 1.0 + rate_us * self.delay_us))

    def mean_us(self, rate_per_second: float) -> float:
        """While batches are not full: the mean batch, and where all instances are busy half of a cycle, and more the
        more a large batch makes the next one large, too; without a fixed cost that is the queue M/D/1.
        """
        rate_us = rate_per_second / 1e6
        service_us = self.alpha_us + self.beta_us * self.mean_batch(rate_us)
        busy = min(1.0, rate_us * (self.alpha_us + self.beta_us) / self.k) ** self.k
        held_us = 0.0
        if self.delay_us > 0 and rate_us > 0:
            # Whoever opens a batch waits for all of the delay, or until it is full; who joins, for half of it.
            held_us = min(self.delay_us, (self.limit - 1) / rate_us)
            joined = rate_us * held_us
            held_us *= (1.0 + joined / 2) / (1.0 + joined)
        feedback = min(MAX_FEEDBACK, rate_us * self.beta_us / self.k)
        return service_us * (1.0 + busy / self.k / 2 / (1.0 - feedback)) + held_us

    def p99_us(self, rate_per_second: float) -> float:
        if rate_per_second >= self.saturation:
            return math.inf
        rate_us, limit, k = rate_per_second / 1e6, self.limit, self.k
        alpha_us, beta_us = self.alpha_us, self.beta_us
        batch = self.mean_batch(rate_us)
        cycle_us = (alpha_us + beta_us * batch) / k
        # The batch a late request finds itself in: those that came during a long cycle, and itself. A long cycle makes
        # the next batch large too, so the batch sizes are a first-order autoregression with this coefficient.
        feedback = min(MAX_FEEDBACK, rate_us * beta_us / k)
        arrivals = rate_us * cycle_us
        unbounded = 1.0 + arrivals + _NORMAL_99 * math.sqrt(self.dispersion * arrivals / (1.0 - feedback * feedback))
        high = max(batch, min(float(limit), unbounded))
        service_us = alpha_us + beta_us * high
        busy = min(1.0, rate_us * (alpha_us + beta_us) / k) ** k
        wait_us = service_us / k * (1.0 - TAIL / busy) if busy > TAIL else 0.0
        overflow_us = 0.0
        if unbounded > limit:
            # What full batches leave behind: an exponential tail of whole further cycles.
            full_cycle_us = (alpha_us + beta_us * limit) / k
            mean_arrivals = rate_us * full_cycle_us
            left_behind = _LOG_TAIL * self.dispersion * mean_arrivals / (2.0 * (limit - mean_arrivals))
            overflow_us = min(1.0, 2.0 * (unbounded - limit) / limit) * left_behind / limit * full_cycle_us
        held_us = 0.0
        if self.delay_us > 0 and rate_us > 0:
            # With a delay a busy server closes a batch when the one ahead of it starts: one more cycle of waiting.
            closed_us = cycle_us * (1.0 - TAIL / busy) if busy > TAIL else 0.0
            held_us = max(closed_us, min(self.delay_us, (limit - 1) / rate_us) - wait_us)
        return service_us + wait_us + overflow_us + held_us


def mean_batch(curve: ServiceTimeModel, settings: BatchSettings, rate_per_second: float) -> float:
    """Mean items per execution at that rate on one replica."""
    return _Server.of(curve, settings, 1.0).mean_batch(rate_per_second / 1e6)


def p99_us(curve: ServiceTimeModel, settings: BatchSettings, rate_per_second: float, dispersion: float = 1.0) -> float:
    """99th percentile of the time from arrival to response, in microseconds; infinite where the queue grows.

    `rate_per_second`: items per second on this replica. `dispersion`: variance over mean of the arrivals in a short
    interval (1 for Poisson).
    """
    return _Server.of(curve, settings, dispersion).p99_us(rate_per_second)


def mean_us(curve: ServiceTimeModel, settings: BatchSettings, rate_per_second: float) -> float:
    """Mean time from arrival to response, in microseconds, at that rate on one replica that is not saturated."""
    return _Server.of(curve, settings, 1.0).mean_us(rate_per_second)


def carries(
    curve: ServiceTimeModel, settings: BatchSettings, rate_per_second: float, limit_us: float, dispersion: float = 1.0
) -> bool:
    """Whether `capacity_per_second` is at least that, found with a single prediction. For settings without a queue
    delay, whose p99 only grows with the rate. A negative rate is carried by all.
    """
    if rate_per_second < 0:
        return True
    server = _Server.of(curve, settings, dispersion)
    return rate_per_second <= MAX_UTILIZATION * server.saturation and server.p99_us(rate_per_second) <= limit_us


@lru_cache(maxsize=65536)
def capacity_per_second(
    curve: ServiceTimeModel, settings: BatchSettings, limit_us: float, dispersion: float = 1.0
) -> float:
    """Most items per second that one replica serves with p99 at most `limit_us`; 0 where even an idle one is slower."""
    server = _Server.of(curve, settings, dispersion)
    if server.p99_us(_TRICKLE) > limit_us:
        return 0.0
    low, high = _TRICKLE, MAX_UTILIZATION * server.saturation
    if server.p99_us(high) <= limit_us:
        return high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if server.p99_us(middle) <= limit_us:
            low = middle
        else:
            high = middle
    return low


# Share of the even split that k > 1 instances reach when nothing holds a batch back: groups that finish together merge,
# the less so the less room max_batch_size leaves for it. In the discrete-event model of the tests, with 24 to 128
# clients, 0.95 in the mean (0.82 to 1.0) where a group holds no more than its even part of the clients, and 0.83 (0.69
# to 1.0) where it may hold twice that; on the real server 1.0 and 0.94, on a GPU 1.0 and 0.82 (docs/gpu.md).
_UNEVEN = 0.95
_MERGED = 0.83
# With a queue delay a busy server closes a batch early (decision 0010), and clients who come back after that are one
# more group: half of the time in the discrete-event model, and on the real server.
_CLOSED_EARLY = 0.5


def _even_share(in_flight: float, limit: int, k: int) -> float:
    """What is reached of the even split; a straight line between the two measured ends."""
    room = min(1.0, max(0.0, limit * k / in_flight - 1.0))
    return _UNEVEN + (_MERGED - _UNEVEN) * room


def closed_loop_per_second(
    curve: ServiceTimeModel, settings: BatchSettings, in_flight: float, inter_execution_idle_us: float = 0.0
) -> float:
    """Items per second when `in_flight` items are always under way (closed-loop clients).

    They fall into one group more than there are instances: the free instance takes what waits at once, and those just
    answered come back too late for it. An instance is idle while its group has merged with another, and after each
    execution for `inter_execution_idle_us`, and does not contend for the device meanwhile: where the others fill that,
    nothing is lost.
    """
    limit, k = largest_batch(settings), settings.instances * curve.devices
    curve, in_flight = curve.segment_for(limit), max(1.0, in_flight)
    delay_us = settings.max_queue_delay_microseconds if limit > 1 else 0
    groups = k + 1.0 + (_CLOSED_EARLY if delay_us else 0.0)
    batch = min(float(limit), max(1.0, in_flight / groups))
    alone_us = max(1.0, curve.service_us(batch, 1))
    busy = min(float(k), in_flight / batch) * alone_us / (alone_us + inter_execution_idle_us)  # instances
    if k > 1 and 1.0 < batch < limit:
        busy *= _even_share(in_flight, limit, k)
    contended = 1.0 + curve.contention_of(alone_us) * max(0.0, busy / curve.devices - 1.0)
    reached = 1e6 * busy * batch / (alone_us * contended)
    if delay_us and batch < limit:  # each waits for the delay at least
        reached = min(reached, 1e6 * in_flight / (alone_us + delay_us))
    return min(reached, saturation_per_second(curve, settings))


# p99 over mean latency of closed-loop clients. An answer takes as long as its group waits for an instance and executes,
# at most two executions where the groups are even; 1.2 to 1.8 in perf_analyzer's measurements of the tour's models.
_CLOSED_TAIL = 2.0


def closed_p99_us(closed_per_second: float, in_flight: float) -> float:
    """An upper estimate of the 99th percentile of what clients wait, in microseconds, where that many items per second
    are answered and `in_flight` are always under way: their quotient is the mean (Little 1961,
    doi:10.1287/opre.9.3.383).
    """
    return _CLOSED_TAIL * 1e6 * max(1.0, in_flight) / closed_per_second
