"""The traffic and the models of `python -m bench traces`: one function a group, each case with a name of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from throughline.simulate import traces, traffic
from throughline.simulate.run import Case
from throughline.simulate.types import Environment, Event, Truth

if TYPE_CHECKING:
    from pathlib import Path

    from throughline.simulate.types import Traffic

HOUR = 3600.0
DAY = 6 * HOUR  # a week of short days: four times as steep, and a quarter to compute
POOL_REPLICAS = 150
# An encoder on a shared accelerator: 40 ms for an execution, 8 ms for each item of it; two instances share a device.
ENCODER = Truth(40_000, 8_000, contention=0.8)
ENCODER_SLO_US = 500_000.0
RATE = 1500.0  # requests per second: the load of about seventeen replicas that batch, and of ninety that do not
# The same, five times as large, for traffic of days.
LARGE = Truth(200_000, 40_000, contention=0.8)
LARGE_SLO_US = 2_500_000.0
LARGE_RATE = 120.0
SMALL_ALPHA = Truth(2_000, 8_000, contention=0.8)  # batching saves a fifth
SLOW_START_SECONDS = 180.0


def generated(seed: int = 1) -> list[Case]:
    """Every group that is made up; another seed makes other arrivals of the same kinds."""
    return [*promised(seed), *further(seed), *models(seed)]


def promised(seed: int) -> list[Case]:
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
    large = [traffic.diurnal(LARGE_RATE, 7 * DAY, day_seconds=DAY, **s)]
    return [*(_encoder(t) for t in encoder), *(_large(t) for t in large)]


def further(seed: int) -> list[Case]:
    """Traffic and incidents that the decision core was not developed on."""
    s = {"seed": seed}
    encoder = [
        traffic.level_jumps(RATE / 3, 3 * HOUR, **s),
        traffic.deploy(RATE / 2, 3 * HOUR, **s),
        # A burst needs twenty replicas that batch, and there is room for fifteen.
        traffic.correlated_bursts(RATE / 2, 3 * HOUR, pool_replicas=POOL_REPLICAS, left_replicas=15, **s),
        traffic.leak(RATE / 2, 3 * HOUR, **s),
    ]
    # Two weeks, of days of three hours.
    large = [traffic.holiday(LARGE_RATE, 7 * DAY, day_seconds=DAY / 2, **s)]
    return [*(_encoder(t) for t in encoder), *(_large(t) for t in large)]


def models(seed: int) -> list[Case]:
    """Other models and other pods under the same waves of an hour each."""
    waves = traffic.diurnal(RATE / 2, 2 * HOUR, day_seconds=HOUR, seed=seed)

    def named(name: str, **changes: Any) -> Traffic:
        return replace(waves, name=name, **changes)

    knee = replace(ENCODER, knee_items=8, knee_factor=2.0)
    return [
        _case(named("knee at 8"), knee, ENCODER_SLO_US),
        _case(named("small α"), SMALL_ALPHA, ENCODER_SLO_US),
        _case(named("slow start"), ENCODER, ENCODER_SLO_US, pod_start_seconds=SLOW_START_SECONDS),
        _encoder(named("cost doubles", events=(Event(HOUR, "cost", 2.0),))),
    ]


def recorded(folder: Path) -> list[Case]:
    """The traces of a folder, scaled to the pool under test; their names say by how much."""
    return [_encoder(traces.from_csv(p, rate_per_second=RATE / 2)) for p in sorted(folder.glob("*.csv"))]


def _encoder(t: Traffic) -> Case:
    return _case(t, ENCODER, ENCODER_SLO_US)


def _large(t: Traffic) -> Case:
    return _case(t, LARGE, LARGE_SLO_US)


def _case(t: Traffic, truth: Truth, slo_us: float, **environment: Any) -> Case:
    return Case(truth, Environment(pool_replicas=POOL_REPLICAS, **environment), t, slo_us)
