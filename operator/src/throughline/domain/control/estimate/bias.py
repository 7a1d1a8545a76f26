"""The bias of predictions, measured over predicted p99: what all settings have in common, and what is each one's own.

A neighbour on the node, a slow network or other payloads make every prediction err alike, and come and go; how
far the formulas are off for a batch size or an instance count is a property of these settings, and stays. What is
measured is the sum of both (of logarithms), of the settings in force only. A Kalman filter of two scalars tells them
apart: what is known least takes most of each deviation. So the first measurements under new settings are taken for
their own, and what changes later, while the settings do not, is taken to be common, and expected of all others, too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from throughline.domain.control.model.queueing import TAIL, p99_us
from throughline.domain.control.observe.observation import SUMMARY_SECONDS
from throughline.domain.control.tuning import CLEAR, MAX_BIAS, SAME, SAMPLE_INTERVAL_SECONDS, SAMPLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.api.batching import BatchSettings
    from throughline.api.status import ServiceTime
    from throughline.domain.control.estimate.forecast import ArrivalSample
    from throughline.domain.control.model.service_time_model import ServiceTimeModel
    from throughline.domain.control.observe.demand import Demand

# The latency summary still covers a load of so long ago: it is scraped, and queried, some samples later.
LOOKBACK_SECONDS = SUMMARY_SECONDS + SAMPLES * SAMPLE_INTERVAL_SECONDS
OWN_KEPT = 8


class OwnBias(NamedTuple):
    """Of settings that were in force: logarithm of the factor, and its variance."""

    settings: BatchSettings
    log: float
    variance: float


class Bias(NamedTuple):
    """Factors by which predictions of p99 err. `common_log` None: nothing is known yet."""

    common_log: float | None = None
    common_variance: float = CLEAR**2
    updated_seconds: float = 0.0
    own: tuple[OwnBias, ...] = ()

    def own_of(self, settings: BatchSettings) -> OwnBias:
        found = next((known for known in self.own if known.settings == settings), None)
        return found or OwnBias(settings, 0.0, CLEAR**2)

    def of(self, settings: BatchSettings) -> float:
        """Measured over predicted p99, as expected now."""
        return _bounded(math.exp((self.common_log or 0.0) + self.own_of(settings).log))

    def spread_of(self, settings: BatchSettings) -> float:
        """Standard deviation of what is their own: of the common part nothing is left in a comparison."""
        return math.sqrt(self.own_of(settings).variance)

    @property
    def of_others(self) -> float:
        """What all settings have in common."""
        return _bounded(math.exp(self.common_log or 0.0))

    def of_untried(self, present: BatchSettings) -> float:
        """Of settings that were never in force, beside the present ones: what makes these slower than predicted is
        expected of others, too. Optimism moves nothing.
        """
        return max(self.of(present), self.of_others)

    def with_own(self, own: OwnBias) -> Bias:
        return self._replace(own=(*(e for e in self.own if e.settings != own.settings), own)[-OWN_KEPT:])

    def worse(self, settings: BatchSettings) -> Bias:
        """Where the settings were rolled back."""
        own = self.own_of(settings)
        return self.with_own(OwnBias(settings, max(0.0, own.log) + math.log(1.0 + CLEAR), CLEAR**2))

    def known_from(self, learned: ServiceTime) -> Bias:
        """With what was persisted, where nothing was measured since."""
        if self.common_log is not None:
            return self
        return self._replace(common_log=math.log(_bounded(learned.error_permille / 1000)))


def _bounded(factor: float) -> float:
    return min(max(factor, 1.0 / MAX_BIAS), MAX_BIAS)


def tells_of_bias(demand: Demand, slo_us: float) -> bool:
    """Whether the measured p99 says anything of the predicted one. How far a prediction is off near the SLO is what
    counts; far below it, it says next to nothing of that.
    """
    p99_us = demand.p99_us
    return (
        p99_us is not None
        and p99_us > 0.5 * slo_us
        and not demand.overloaded
        and demand.requests_per_second * SUMMARY_SECONDS * TAIL >= 1.0
    )


def load_dropped(samples: Sequence[ArrivalSample]) -> bool:
    """Whether the latency summary still looks back to a load that was clearly higher than it is now."""
    if not samples:
        return False
    now = samples[-1]
    since, most = now.at_seconds - LOOKBACK_SECONDS, (1.0 + CLEAR) * now.per_second
    for sample in reversed(samples):
        if sample.at_seconds < since:
            break
        if sample.per_second > most:
            return True
    return False


def update_bias(
    bias: Bias, demand: Demand, slo_us: float, curve: ServiceTimeModel, settings: BatchSettings, disp: float,
    ready: int, since_last_seconds: float, samples: Sequence[ArrivalSample], now_seconds: float,
) -> Bias:  # fmt: skip
    """With the measured p99 of the settings in force; the same where it tells nothing."""
    if demand.p99_us is None or ready == 0 or since_last_seconds <= 0.0 or not tells_of_bias(demand, slo_us):
        return bias
    if load_dropped(samples):
        return bias
    relevance = min(1.0, 2.0 * demand.p99_us / slo_us - 1.0)
    if relevance <= 0.0:
        return bias
    per_replica = demand.served_per_second / ready * demand.skew
    predicted_us = p99_us(curve, settings, per_replica, disp)
    measured = math.log(_bounded(demand.p99_us / predicted_us))
    # Samples that are nearer than the summary looks back see in part the same requests.
    noise = SAME**2 / (relevance * min(1.0, since_last_seconds / SUMMARY_SECONDS))
    drift = SAME**2 * max(0.0, now_seconds - bias.updated_seconds) / SUMMARY_SECONDS
    common_variance = min(CLEAR**2, bias.common_variance + drift)
    own, common = bias.own_of(settings), bias.common_log or 0.0
    deviation, total = measured - common - own.log, common_variance + own.variance + noise
    common_gain, own_gain = common_variance / total, own.variance / total
    return Bias(
        common + common_gain * deviation, (1.0 - common_gain) * common_variance, now_seconds, bias.own
    ).with_own(OwnBias(settings, own.log + own_gain * deviation, (1.0 - own_gain) * own.variance))
