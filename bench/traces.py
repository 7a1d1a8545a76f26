"""The decision core against every other autoscaler, on the same traffic, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from throughline.api.inferenceservice import InferenceServiceSpec
from throughline.api.servingpool import ServingPoolSpec
from throughline.simulate import traces, traffic
from throughline.simulate.arena import UNBATCHED, first_replicas, hindsight, run_contenders
from throughline.simulate.autopilot import Autopilot
from throughline.simulate.loadtest import hand_tuned
from throughline.simulate.run import Case, run_autopilot
from throughline.simulate.types import Environment, Truth

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from throughline.simulate.run import Result
    from throughline.simulate.types import Traffic

MAX_INSTANCES = 2
HOUR = 3600.0
DAY = 24 * HOUR
POOL_REPLICAS = 150
# An encoder on a shared accelerator: 40 ms for an execution, 8 ms for each item of it; two instances share a device.
ENCODER = Truth(40_000, 8_000, contention=0.8)
ENCODER_SLO_US = 500_000.0
RATE = 1500.0  # requests per second: the load of about seventeen replicas that batch, and of ninety that do not
# The same, five times as large, for traffic of days.
LARGE = Truth(200_000, 40_000, contention=0.8)
LARGE_SLO_US = 2_500_000.0
LARGE_RATE = 120.0


def spec(slo_us: float, pool_replicas: int, **more: Any) -> InferenceServiceSpec:
    """What a user writes: model, SLO, pool, and how many replicas and instances there may be."""
    return InferenceServiceSpec.model_validate(
        {
            "model": {"storage": {"uri": "pvc://models/m"}, "backend": "python"},
            "slo": {"latencyP99Milliseconds": round(slo_us / 1000)},
            "placement": {"pools": [{"name": "pool"}]},
            "scaling": {"minReplicas": 1, "maxReplicas": pool_replicas},
            "batching": {"instances": {"min": 1, "max": MAX_INSTANCES}},
            **more,
        }
    )


def pool(environment: Environment) -> ServingPoolSpec:
    return ServingPoolSpec.model_validate(
        {"nodeSelector": {"a": "b"}, "costPerHour": f"{environment.price_per_hour:g}"}
    )


def generated(seed: int = 1, days: int = 7) -> list[Case]:
    """All kinds of traffic of the product's promise."""
    s = {"seed": seed}
    encoder = [
        traffic.poisson(RATE, 2 * HOUR, **s),
        traffic.flash_crowd(RATE / 7, 2 * HOUR, **s),
        traffic.bursty(RATE / 2, 2 * HOUR, **s),
        traffic.slow_ramp(RATE / 10, RATE, 3 * HOUR, **s),
        traffic.on_off(RATE, 3 * HOUR, **s),
        traffic.cost_drift(RATE / 2, 3 * HOUR, **s),
        traffic.node_loss(RATE, 2 * HOUR, pool_replicas=POOL_REPLICAS, left_replicas=110, **s),
        traffic.metrics_gap(RATE, 2 * HOUR, **s),
    ]
    large = [traffic.diurnal(LARGE_RATE, days * DAY, **s)]
    return [*(_case(t, ENCODER, ENCODER_SLO_US) for t in encoder), *(_case(t, LARGE, LARGE_SLO_US) for t in large)]


def recorded(folder: Path) -> list[Case]:
    """The traces of a folder, scaled to the pool under test; their names say by how much."""
    found = [traces.from_csv(p, rate_per_second=RATE / 2) for p in sorted(folder.glob("*.csv"))]
    return [_case(t, ENCODER, ENCODER_SLO_US) for t in found]


def _case(t: Traffic, truth: Truth, slo_us: float) -> Case:
    return Case(truth, Environment(pool_replicas=POOL_REPLICAS), t, slo_us)


@dataclass(frozen=True, slots=True)
class Row:
    """One trace, all contenders."""

    trace: str
    ours: Result
    unbatched: Sequence[Result]
    tuned: Sequence[Result]
    floor: Result

    def best(self, results: Sequence[Result]) -> Result:
        """The cheapest that has no more violations than ours or than the SLO allows; the fewest where none has."""
        able = [r for r in results if r.violations <= max(0.01, self.ours.violations)]
        return min(able, key=lambda r: r.cost) if able else min(results, key=lambda r: r.violations)


def one(c: Case) -> Row:
    tuned = hand_tuned(c.truth, c.slo_us, MAX_INSTANCES)
    pilot = Autopilot(spec(c.slo_us, c.environment.pool_replicas), pool(c.environment))
    ours = run_autopilot(c, pilot, UNBATCHED, replicas=first_replicas(c, tuned))
    return Row(
        c.traffic.name, ours, run_contenders(c, UNBATCHED, ""), run_contenders(c, tuned, ", tuned"),
        hindsight(c, MAX_INSTANCES),
    )  # fmt: skip
