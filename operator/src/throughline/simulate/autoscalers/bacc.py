"""BACC: replicas for the upper bound of a forecast, with a miss rate that follows an error budget.

Source: B. Farkiani, F. Liu, G. Li and P. Crowley, "BACC: Budget-Aware Calibration and Control for Horizontal
Autoscaling", arXiv:2606.20575, 2026. Only its abstract was at hand. From it come the parts and their order: any
forecaster of the workload; adaptive conformal inference around it; a proportional-integral controller that adjusts how
aggressively to provision by the pace at which the violation budget of a fixed period is consumed; replicas that
Kubernetes carries out.

Our reading, where the abstract leaves it open; all points but the last favour BACC:
- The workload is the request rate at the gateway, once per scrape, and the forecaster is Holt's linear method, fitted
  online (the paper: ARIMA and Chronos, on CPU). The horizon is the time in which a replica starts plus one interval:
  a replica ordered now serves from then on, and until the next order it has to suffice.
- Capacity per replica is what a load test finds within the SLO, in full: the conformal margin is the headroom.
- The controller acts on the logarithm of the target miss rate α, so that equal errors change it by equal factors.
- The budget counts late requests, as a gateway reports them, and not intervals with a violation: it is what the SLO
  counts. Its period is the time in which the contenders are judged.
- Scale-up does not wait. Scale-down waits for 300 s, the default of Kubernetes' HorizontalPodAutoscaler.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from throughline.simulate.autoscalers.hpa import SCALE_DOWN, SYNC_SECONDS, Behavior, Policy, Rules, milli
from throughline.simulate.conformal import AdaptiveConformal
from throughline.simulate.holt import FittedHolt

if TYPE_CHECKING:
    from throughline.api.batching import BatchSettings
    from throughline.simulate.types import Look, Orders

# Two scrapes: the newest rate that Prometheus can tell.
RATE_WINDOW_SECONDS = 30.0
# Half an hour of scores: the fewest, rounded up, that tell a quantile of 99 %, so that the margin soon forgets a burst.
SCORES = 120
# Gains on the logarithm of α: a quarter of the budget ahead of the pace raises α e-fold. On bursty traffic (MMPP-2, six
# seeds, 80 minutes that count) 0.74 % of the requests were late of the 1 % that were allowed, with half of
# PROPORTIONAL 0.29 %; three times of it broke the SLO.
PROPORTIONAL = 4.0
INTEGRAL = 1.0
# Bounds of α. At 1/2 the bound is the median of the outcomes; 0.001 is below what SCORES can tell.
SAFEST, RISKIEST = 0.001, 0.5


class BudgetPace:
    """A proportional-integral controller: the target miss rate from the pace of the budget's consumption.

    Its error is the share of the period that is over, minus the share of the period's budget that is spent, at least
    −1; the budget is `allowed` (a share) of the period's requests, expected to come as they came so far.
    """

    def __init__(self, allowed: float, period_seconds: float, *, start_seconds: float = 0.0) -> None:
        """`start_seconds`: when the first period begins; until then α is `allowed`.

        Raises:
            ValueError: `allowed` is not between SAFEST and RISKIEST, or the period not above 0.
        """
        if not SAFEST <= allowed <= RISKIEST:
            raise ValueError(f"allowed is {allowed}; give a share from {SAFEST} to {RISKIEST}")
        if period_seconds <= 0.0:
            raise ValueError(f"period_seconds is {period_seconds}; give a number above 0")
        self._allowed = allowed
        self._period_seconds = period_seconds
        self._start_seconds = start_seconds
        self._updated_seconds = start_seconds
        self._requests = self._late = 0.0
        self._integral = 0.0  # of the error, over time in periods
        self._alpha = allowed

    @property
    def alpha(self) -> float:
        """The target miss rate, SAFEST to RISKIEST."""
        return self._alpha

    def observe(self, now_seconds: float, requests: float, late: float) -> None:
        """Take in how many requests came since the last observation, and how many of them were late."""
        if now_seconds <= self._start_seconds:
            return
        while now_seconds > self._start_seconds + self._period_seconds:
            self._start_seconds += self._period_seconds
            self._requests = self._late = 0.0
        self._requests += requests
        self._late += late
        step = (now_seconds - self._updated_seconds) / self._period_seconds
        self._updated_seconds = now_seconds
        if self._requests:
            self._control(step)

    def _control(self, step: float) -> None:
        elapsed = (self._updated_seconds - self._start_seconds) / self._period_seconds
        spent = elapsed * self._late / (self._allowed * self._requests)
        error = max(-1.0, elapsed - spent)
        low, high = math.log(SAFEST), math.log(RISKIEST)
        integral = self._integral + step * error
        wanted = math.log(self._allowed) + PROPORTIONAL * error + INTEGRAL * integral
        # Anti-windup: at a bound, the integral takes only what leads away from it.
        if low <= wanted <= high or (wanted > high) == (error < 0.0):
            self._integral = integral
        self._alpha = math.exp(min(max(wanted, low), high))


class _Issued(NamedTuple):
    """A forecast and its upper bound, requests per second, and the α that the bound was for."""

    forecast: float
    bound: float
    alpha: float


@dataclass(slots=True)
class Bacc:
    """`capacity`: requests per second of a replica within the SLO. `horizon_seconds`: how far ahead to provide for."""

    settings: BatchSettings
    capacity: float
    min_replicas: int
    max_replicas: int
    horizon_seconds: float
    budget: BudgetPace
    scale_down: Rules = SCALE_DOWN
    name: str = "bacc"
    interval_seconds: float = SYNC_SECONDS
    _forecaster: FittedHolt = field(init=False, repr=False)
    _conformal: AdaptiveConformal = field(init=False, repr=False)
    _behavior: Behavior = field(init=False, repr=False)
    _issued: deque[_Issued | None] = field(init=False, default_factory=deque, repr=False)  # of the next steps, in order

    def __post_init__(self) -> None:
        self._forecaster = FittedHolt(math.ceil(self.horizon_seconds / self.interval_seconds))
        self._conformal = AdaptiveConformal(window=SCORES)
        any_number = Rules((Policy("Pods", self.max_replicas, self.interval_seconds),), stabilization_seconds=0.0)
        self._behavior = Behavior(self.min_replicas, self.max_replicas, any_number, self.scale_down)

    def decide(self, look: Look) -> Orders:
        rate = look.requests_per_second(RATE_WINDOW_SECONDS)
        late = look.late_per_second(RATE_WINDOW_SECONDS)
        self._calibrate(rate)
        if rate is not None and late is not None:
            self.budget.observe(look.now_seconds, rate * self.interval_seconds, late * self.interval_seconds)
        self._forecaster.observe(rate)
        recommended = self._recommend(rate, look.replicas)
        return self._behavior.reconcile(look.now_seconds, look.replicas, recommended)

    def _calibrate(self, rate: float | None) -> None:
        """Score the forecast of this step."""
        issued = self._issued.popleft() if len(self._issued) == self._forecaster.horizon else None
        if rate is not None and issued is not None:
            self._conformal.observe(rate - issued.forecast, missed=rate > issued.bound, target=issued.alpha)

    def _recommend(self, rate: float | None, replicas: int) -> int | None:
        """Replicas for the upper bound; None without a rate. Without a score yet they do not become fewer."""
        forecast = self._forecaster.forecast()
        if rate is None or forecast is None:
            self._issued.append(None)
            return None
        alpha = self.budget.alpha
        margin = self._conformal.margin(alpha)
        bound = max(0.0, forecast + (margin or 0.0))
        needed = math.ceil(milli(bound) / milli(self.capacity))
        self._issued.append(_Issued(forecast, math.inf if margin is None else bound, alpha))
        return max(needed, replicas) if margin is None else needed
