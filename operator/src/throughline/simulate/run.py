"""One contender over one trace, from its first replica to the bill."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from throughline.simulate.kernel import percentile_us
from throughline.simulate.look import WorldLook
from throughline.simulate.world import BUCKET_SECONDS, World, changes

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from throughline.api.batching import BatchSettings
    from throughline.simulate.autopilot import Autopilot
    from throughline.simulate.types import Autoscaler, Environment, Place, Traffic, Truth
    from throughline.simulate.world import Moment


@dataclass(frozen=True, slots=True)
class Case:
    """The same for every contender."""

    truth: Truth
    environment: Environment
    traffic: Traffic
    slo_us: float
    seed: int = 1
    places: Mapping[str, Place] = field(default_factory=dict)  # other pools, for those that may move


@dataclass(frozen=True, slots=True)
class Result:
    """What a contender made of a case, after the warm-up."""

    contender: str
    replica_hours: float
    cost: float
    requests: int
    over: int  # answered, but later than the SLO allows
    lost: int  # never answered
    p99_us: float | None
    changes: int
    settings: BatchSettings  # last in force
    moments: tuple[Moment, ...]
    p99_by_bucket_us: tuple[float | None, ...]
    demand_by_bucket: NDArray[np.int64]  # requests
    paid_by_bucket: NDArray[np.float64]  # replica-seconds

    @property
    def violations(self) -> float:
        """Share of the requests that were too late or lost."""
        return (self.over + self.lost) / self.requests if self.requests else 0.0


def _result(name: str, world: World, case: Case) -> Result:
    good, over, lost = world.requests()
    counted = world.counted()
    histogram = world.tally.histogram
    hours = world.replica_hours()
    return Result(
        contender=name, replica_hours=hours, cost=world.cost(),
        requests=good + over + lost, over=over, lost=lost, p99_us=percentile_us(histogram[counted].sum(axis=0), 0.99),
        changes=changes(world.moments, case.traffic.warmup_seconds), settings=world.settings,
        moments=tuple(world.moments), p99_by_bucket_us=tuple(percentile_us(row, 0.99) for row in histogram),
        demand_by_bucket=histogram.sum(axis=1) + world.tally.lost, paid_by_bucket=world.paid_seconds,
    )  # fmt: skip


def run_autopilot(case: Case, pilot: Autopilot, settings: BatchSettings, *, replicas: int, name: str = "") -> Result:
    """The product, from `settings` and so many ready replicas. It looks when it asked to, and at each new pod."""
    world = World(
        case.truth, case.environment, case.traffic, slo_us=case.slo_us, settings=settings, replicas=replicas,
        seed=case.seed, places=case.places,
    )  # fmt: skip
    woken = [False]
    world.on_change = lambda: woken.__setitem__(0, True)
    due = 0.0
    while world.now < case.traffic.duration_seconds:
        if due <= world.now or woken[0]:
            woken[0] = False
            due = world.now + pilot.step(world)
        world.advance(min(due, case.traffic.duration_seconds, world.now + BUCKET_SECONDS))
    return _result(name or pilot.name, world, case)


def run_autoscaler(case: Case, scaler: Autoscaler, *, replicas: int, sampling: bool = False) -> Result:
    """Any other autoscaler, each at its own interval. `sampling`: it reads concurrency at the pods (Knative)."""
    world = World(
        case.truth, case.environment, case.traffic, slo_us=case.slo_us, settings=scaler.settings,
        replicas=replicas, seed=case.seed, sampling=sampling,
    )  # fmt: skip
    look = WorldLook(world)
    while world.now < case.traffic.duration_seconds:
        orders = scaler.decide(look)
        if orders.replicas is not None:
            world.scale(orders.replicas)
        world.advance(min(world.now + scaler.interval_seconds, case.traffic.duration_seconds))
    return _result(scaler.name, world, case)
