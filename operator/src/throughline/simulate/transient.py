"""One time bin of one replica, measured: how many of its arrivals are late, and how long the queue is at its end.

A planner over bins needs both as a function of the load and of the queue at the bin's start. Neither has a closed form
for a dynamic batcher, so the kernel of the simulator itself is asked, many short independent runs a cell. The state
carried from bin to bin is the mean virtual waiting time: how long an arrival would wait for its execution. Unlike the
length of the queue it is bounded where callers give up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from throughline.simulate.kernel import serve
from throughline.simulate.server import Tally

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from throughline.api.batching import BatchSettings
    from throughline.simulate.types import Truth

    Floats = NDArray[np.float64]

RUNS = 100  # per cell whose queue is below the SLO
RUNS_QUEUED = 20  # per cell whose queue is longer: nearly all is late there
NOISE_VALUES = 4096
# Replicas do not wait alike: their waiting times are exponential about the mean, as in heavy traffic (Kingman 1961, doi
# 10.1017/S0305004100036094), but no wider than this share of the SLO: in an overload all queues grow by the same.
WAIT_SPREAD = 0.5
# Waiting time at the start of a bin, as a share of the SLO; longer ones double up to the time at which callers give up.
_SHARES_OF_SLO = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
# Utilization: fine where the late share bends. Above, a queue grows by the difference to 1 whatever the load.
_UTILIZATIONS = (0.0, 0.25, 0.4, 0.5, *(0.05 * i for i in range(11, 23)), 1.2, 1.35, 1.6, 2.0)


@dataclass(frozen=True, slots=True)
class BinTable:
    """A bin of one replica. Axes: utilization of the bin, waiting time at its start.

    `peak_per_second`: requests per second in full batches, which utilization is a share of. `late`: share of the bin's
    arrivals that end over the SLO or lost. `after`: waiting time at the end, as a fractional index into
    `waits_seconds`. Both grow along both axes.
    """

    peak_per_second: float
    utilizations: Floats
    waits_seconds: Floats
    late: Floats
    after: Floats

    def at(self, utilization: Floats) -> tuple[Floats, Floats]:
        """(late, after) at these utilizations, by linear interpolation; shapes are theirs and one axis of waits."""
        u = np.clip(utilization, 0.0, self.utilizations[-1])
        right = np.clip(np.searchsorted(self.utilizations, u), 1, self.utilizations.size - 1)
        low, high = self.utilizations[right - 1], self.utilizations[right]
        weight = ((u - low) / (high - low))[..., None]
        late, after = (t[right - 1] * (1.0 - weight) + t[right] * weight for t in (self.late, self.after))
        return late, after


@lru_cache(maxsize=64)
def bin_table(
    truth: Truth, settings: BatchSettings, slo_us: float, bin_seconds: float, timeout_seconds: float, seed: int = 11
) -> BinTable:
    """Measure Poisson arrivals over a bin, at each utilization and waiting time; callers give up at the timeout."""
    slo_seconds = slo_us / 1e6
    waits = [share * slo_seconds for share in _SHARES_OF_SLO if share * slo_seconds < timeout_seconds]
    # Beyond a bin and the SLO all are late, and the queue only tells how many bins more will be.
    longest = min(timeout_seconds, 64.0 * (bin_seconds + slo_seconds))
    while 2.0 * waits[-1] < longest:
        waits.append(2.0 * waits[-1])
    waits.append(longest)
    highest = max(3.0, 1.0 + longest / bin_seconds)
    utilizations = np.array([*_UTILIZATIONS, *np.geomspace(3.0, highest, 3 if highest > 3.0 else 1)])
    one = _Bin(truth, settings, slo_us, bin_seconds, timeout_seconds, seed)
    late, after = np.zeros((2, utilizations.size, len(waits)))
    for j, wait in enumerate(waits):
        for i, utilization in enumerate(utilizations):
            late[i, j], left = one.measure(utilization, wait, RUNS if wait < slo_seconds else RUNS_QUEUED)
            after[i, j] = np.interp(left, waits, np.arange(len(waits)))
    for table in (late, after):  # what is measured has noise, and a planner would find its dents
        for axis in (0, 1):
            np.maximum.accumulate(table, axis=axis, out=table)
    return BinTable(one.peak_per_second, utilizations, np.array(waits), late, after)


class _Bin:
    """The bin, to run again and again."""

    def __init__(
        self,
        truth: Truth,
        settings: BatchSettings,
        slo_us: float,
        bin_seconds: float,
        timeout_seconds: float,
        seed: int,
    ) -> None:
        k, parallel = settings.instances, truth.parallel
        self.limit = max(1, settings.max_batch_size)
        self.service_seconds = np.array([0.0] + [truth.service_us(b, k) / 1e6 for b in range(1, self.limit + 1)])
        at_a_time = min(k, parallel or k)
        self.between_seconds = self.service_seconds[self.limit] / at_a_time  # from a full batch to the next
        self.peak_per_second = self.limit / self.between_seconds
        self.settings, self.parallel, self.bin_seconds = settings, parallel, bin_seconds
        self.rng = np.random.default_rng(seed)
        self.spread_seconds = WAIT_SPREAD * slo_us / 1e6
        sigma = math.sqrt(math.log1p(truth.noise**2))
        noise = np.exp(self.rng.normal(-sigma * sigma / 2, sigma, NOISE_VALUES))
        self.tally = Tally.over_time(bin_seconds, math.inf, slo_us, noise, timeout_seconds)

    def measure(self, utilization: float, wait_seconds: float, runs: int) -> tuple[float, float]:
        """(late share, mean waiting time at the end) over independent runs."""
        requests = late = 0
        left = 0.0
        for _ in range(runs):
            came, over, wait = self._once(utilization * self.peak_per_second, wait_seconds)
            requests, late, left = requests + came, late + over, left + wait
        return late / max(1, requests), left / runs

    def _once(self, per_second: float, wait_seconds: float) -> tuple[int, int, float]:
        """(arrivals, of them late, waiting time at the end) of one run.

        The queue at the start takes `wait_seconds` in the mean to work off: the batches that execute, then full ones.
        The batch that an arrival would join is left out, so that half of one is missing at the end of a bin.
        """
        if wait_seconds > 0.0:
            spread = min(1.0, self.spread_seconds / wait_seconds)  # coefficient of variation
            wait_seconds *= self.rng.gamma(spread**-2, spread**2)
        executing = min(wait_seconds, self.rng.random() * self.between_seconds)
        queued = round((wait_seconds - executing) * self.peak_per_second)
        came = np.sort(self.rng.uniform(0.0, self.bin_seconds, self.rng.poisson(per_second * self.bin_seconds)))
        # Ages by which each has waited for `wait_seconds` when its turn comes. The last is a probe of the end.
        before = -(np.arange(queued, 0, -1) - 0.5) / self.peak_per_second
        instances = np.arange(self.settings.instances)
        free_at = executing + self.between_seconds * instances if wait_seconds > 0.0 else np.zeros(instances.size)
        latency, started = self._serve(np.concatenate((before, came, [self.bin_seconds])), free_at)
        mine = latency[queued:-1]
        over = int(((mine > self.tally.slo_us) | (mine < 0.0)).sum())
        return came.size, over, min(self.tally.timeout_seconds, max(0.0, started - self.bin_seconds))

    def _serve(self, waiting: Floats, free_at: Floats) -> tuple[Floats, float]:
        """(latency of each in µs, negative where lost; when the last was started or given up, in seconds)."""
        t, count = self.tally, waiting.size
        finish, latency, batches = np.empty(count), np.empty(count), np.empty((count, 6))
        delay_seconds = self.settings.max_queue_delay_microseconds / 1e6 if self.limit > 1 else 0.0
        # The kernel counts by the time of arrival, and its arrays begin at 0.
        earlier = -min(0.0, float(waiting[0]))
        _, rows, t.noise_at = serve(
            waiting + earlier, free_at + earlier, np.zeros(self.parallel), np.full(1, -np.inf), self.limit,
            delay_seconds, self.service_seconds, t.noise, t.noise_at, np.inf, t.timeout_seconds, t.slo_us,
            t.bucket_seconds, t.histogram, t.over, t.lost, finish, latency, batches,
        )  # fmt: skip
        return latency, float(finish[-1] if latency[-1] < 0.0 else batches[rows - 1, 5]) - earlier
