"""The product itself as a contender: it sees what the operator would see, and the domain's own code decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.api.inferenceservice import PlacementStrategy
from throughline.api.status import BatchStatus, ControlStatus, InferenceServiceStatus, ReplicaStatus
from throughline.domain.control.loop import decide
from throughline.domain.control.observe.counters import STATISTICS_PODS
from throughline.domain.control.state import ControllerState
from throughline.domain.observed import BatchStatistic, LiveQueue, PodView, PoolView, ServiceView, Unavailable
from throughline.domain.records import with_records
from throughline.simulate.look import pod_metrics
from throughline.simulate.world import FIRST_POOL

if TYPE_CHECKING:
    from collections.abc import Callable

    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.api.servingpool import ServingPoolSpec
    from throughline.domain.decision import Decision
    from throughline.simulate.server import Replica
    from throughline.simulate.world import World

# Virtual time 0; decisions write timestamps, which count from 1970.
EPOCH_SECONDS = 1_700_000_000.0
# A frame of Prometheus is trusted so long, as in runtime.poller.
STALE_SECONDS = 45.0


class Autopilot:
    """One service under `domain.control.loop.decide`. `control`: what was known before, as after a restart."""

    name = "Throughline"

    def __init__(
        self,
        spec: InferenceServiceSpec,
        pool: ServingPoolSpec,
        *,
        window_seconds: float = 60.0,
        control: ControlStatus | None = None,
        decider: Callable[[ServiceView, ControllerState], tuple[Decision, ControllerState]] = decide,
    ) -> None:
        self.spec, self.pool, self.window_seconds = spec, pool, window_seconds
        self.state = ControllerState()
        self.status = InferenceServiceStatus(control=control or ControlStatus())
        self.decision: Decision | None = None
        self.decisions = 0
        self._decide = decider

    def _pod(self, world: World, pod: Replica, *, metrics: bool, asked: bool) -> PodView:
        ready = bool(pod.models)
        if ready:
            pod.settle(world.now)
        statistics = pod.models[-1].statistics if ready and asked else {}
        return PodView(
            name=pod.name, uid=pod.name, ip="10.0.0.1", ready=ready,
            ready_seconds=max(0.0, world.now - pod.ready_seconds), terminating=pod.leaving, template_hash="t",
            revision="r", settings=pod.in_force if ready else None,
            metrics=pod_metrics(pod, world.now, self.window_seconds) if ready and metrics else None,
            batch_statistics=tuple(
                BatchStatistic(size, n, round(seconds * 1e9)) for size, (n, seconds) in sorted(statistics.items())
            ),
            elsewhere=pod.pool != world.pool,
            queue=LiveQueue(pod.waiting, round(pod.counters.cancelled)) if ready and asked else None,
        )  # fmt: skip

    def _spec_of(self, world: World, pool: str) -> ServingPoolSpec:
        if pool == FIRST_POOL:
            return self.pool
        return self.pool.model_copy(update={"cost_per_hour": f"{world.places[pool].price_per_hour:g}"})

    def view(self, world: World) -> ServiceView:
        """What gather would show of this moment."""
        age = None if world.scraped_seconds is None else world.now - world.scraped_seconds
        gone = None
        if age is None or age > STALE_SECONDS:
            gone = Unavailable("PrometheusUnreachable", "no scrape has come for too long")
        # As in reconcile.servers: some of the ready pods, where any has traffic.
        counted = [p.name for p in world.ready if len(p.samples) < 2 or p.counters.success > 0]
        counted = counted if any(p.counters.success > 0 for p in world.ready) else []
        asked = set(sorted(counted)[:STATISTICS_PODS])
        here = PoolView(world.pool, self._spec_of(world, world.pool), world.holds, 1)
        pools: tuple[PoolView, ...] = ()
        if self.spec.placement.strategy is PlacementStrategy.CHEAPEST:
            pools = tuple(
                here if name == world.pool else PoolView(name, self._spec_of(world, name), place.replicas, 1)
                for name, place in world.places.items()
            )
        return ServiceView(
            now_seconds=EPOCH_SECONDS + world.now, name="simulated", namespace="default", generation=1, spec=self.spec,
            status=self.status, pool=here, pools=pools,
            pods=tuple(self._pod(world, p, metrics=gone is None, asked=p.name in asked) for p in world.pods),
            replicas=world.ordered, settings=world.settings, model_hash="r", metrics_unavailable=gone,
            metrics_window_seconds=self.window_seconds,
            metrics_time_seconds=None if world.scraped_seconds is None else EPOCH_SECONDS + world.now,
        )  # fmt: skip

    def step(self, world: World) -> float:
        """Look, decide and give the orders; seconds until the next look."""
        decision, self.state = self._decide(self.view(world), self.state)
        self.decision, self.decisions = decision, self.decisions + 1
        world.configure(decision.settings, dict(decision.pod_settings))
        if decision.replicas is not None:
            world.scale(decision.replicas)
        if decision.pool is not None:
            world.move(decision.pool)
        self.status = InferenceServiceStatus(
            control=decision.control,
            decisions=with_records(self.status.decisions, decision.records)
            if decision.records
            else self.status.decisions,
            replicas=ReplicaStatus(
                desired=world.ordered, ready=len(world.ready), recommended=decision.recommended_replicas
            ),
            batch=BatchStatus(settings=decision.settings, recommended=decision.recommended_settings),
            slo=decision.slo,
        )
        return decision.requeue_seconds
