"""One service against the alternatives, on the same traffic: what `throughline simulate` tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from throughline.api.batching import BatchingMode
from throughline.domain.control.model.bounds import between, clamp, lower_bounds
from throughline.domain.formatting import count, plain
from throughline.simulate.arena import ALLOWED_VIOLATIONS, UNBATCHED, fewest, first_replicas, run_contenders
from throughline.simulate.autopilot import Autopilot
from throughline.simulate.loadtest import HAND_TUNED_DELAYS_MICROSECONDS, HAND_TUNED_SIZES, best_settings, capacity
from throughline.simulate.run import run_autopilot

if TYPE_CHECKING:
    from collections.abc import Callable

    from throughline.api.batching import Batching, BatchSettings
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.api.servingpool import ServingPoolSpec
    from throughline.simulate.run import Case, Result


TUNED_INSTANCES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)


class NoSettingError(Exception):
    """No batch setting meets the SLO even for one request at a time."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of it. `fixed` is the constant count that, knowing the whole trace, would have been enough."""

    ours: Result
    autoscalers: tuple[Result, ...] = ()
    fixed: Result | None = None

    @property
    def alternatives(self) -> tuple[Result, ...]:
        return self.autoscalers if self.fixed is None else (*self.autoscalers, self.fixed)

    @property
    def cheapest(self) -> Result | None:
        """Of the autoscalers, the cheapest that kept the SLO."""
        able = [result for result in self.autoscalers if kept(result)]
        return min(able, key=lambda result: result.replica_hours, default=None)

    def ratio(self, result: Result) -> float:
        """Its cost over ours; from the hours, which a price of 0 leaves comparable."""
        return result.replica_hours / self.ours.replica_hours

    def verdict(self) -> str:
        """In one sentence."""
        share = f"{self.ours.violations:.2%} of the requests too late or lost"
        said = [f"Throughline {'kept' if kept(self.ours) else 'did not keep'} the SLO ({share})"]
        if self.autoscalers:
            said.append(self._against_autoscalers())
        if self.fixed is not None:
            said.append(self._against_fixed(self.fixed))
        return "; ".join(said) + "."

    def _against_autoscalers(self) -> str:
        best = self.cheapest
        also = " too" if kept(self.ours) else ""
        if best is None:
            return f"no autoscaler kept it{' either' if not also else ''}"
        return f"the cheapest autoscaler that kept it{also}, {best.contender}, costs {_times(self.ratio(best))}"

    def _against_fixed(self, fixed: Result) -> str:
        replicas = count(fixed.moments[-1].replicas, "constant replica")
        if not kept(fixed):
            return f"{replicas}, all that there may be, would not have kept it"
        return f"{replicas}, the fewest that keep it for who knows the trace before, cost {_times(self.ratio(fixed))}"


def _times(ratio: float) -> str:
    return f"{ratio:.2f} times as much"


def kept(result: Result) -> bool:
    """Whether so many requests were answered in time as an SLO on p99 asks for."""
    return result.violations <= ALLOWED_VIOLATIONS


def tuned(case: Case, batching: Batching) -> BatchSettings:
    """The settings with the highest capacity within the bounds, as a careful sweep would find them."""
    size, delay, count = batching.max_batch_size, batching.max_queue_delay_microseconds, batching.instances
    return best_settings(
        case.truth,
        case.slo_us,
        between(size.min, size.max, HAND_TUNED_SIZES),
        between(delay.min, delay.max, HAND_TUNED_DELAYS_MICROSECONDS),
        between(count.min, count.max, TUNED_INSTANCES),
    )


def compare(
    case: Case,
    spec: InferenceServiceSpec,
    pool: ServingPoolSpec,
    *,
    alternatives: bool = True,
    progress: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Everything on one case. NoSettingError where no setting within the bounds meets the SLO.

    Throughline starts as on its first day, from the lower bounds with nothing learned, the alternatives with the
    settings and targets that a load test of the model gives.
    """
    progress("load tests")
    batching = spec.batching
    best = tuned(case, batching)
    if capacity(case.truth, best, case.slo_us) <= 0.0:
        raise NoSettingError(
            f"no batch settings within spec.batching meet a p99 of {plain(case.slo_us / 1e3, 6)} ms: one item "
            f"alone takes {plain(case.truth.service_us(1, batching.instances.min) / 1e3, 4)} ms"
        )
    progress("Throughline")
    fixed = batching.fixed if batching.mode is BatchingMode.FIXED else None
    low, high = spec.scaling.min_replicas, case.environment.pool_replicas
    ours = run_autopilot(
        case,
        Autopilot(spec, pool),
        fixed or lower_bounds(batching),
        replicas=max(low, first_replicas(case, fixed or best)),
    )
    if not alternatives:
        return Comparison(ours)
    unbatched = clamp(UNBATCHED, batching)
    progress("autoscalers")
    results = run_contenders(case, unbatched, "")
    if unbatched != best:
        progress("autoscalers, tuned by hand")
        results += run_contenders(case, best, ", tuned")
    progress("constant replicas")
    return Comparison(ours, tuple(results), fewest(case, best, low, high))
