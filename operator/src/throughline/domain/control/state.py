"""What a worker keeps between two decisions. Losing it is safe: the loop then waits until it has measured again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from throughline.domain.control.act.state import ActState
from throughline.domain.control.estimate.estimates import EstimatorState
from throughline.domain.control.observe.observation import ObserverState
from throughline.domain.control.optimise.proposal import OptimiserState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from throughline.api.batching import BatchSettings
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.domain.control.model.service_time_model import ServiceTimeModel
    from throughline.domain.control.predict.outcome import Problem
    from throughline.domain.decision import Decision
    from throughline.domain.observed import PoolView


class Stable(NamedTuple):
    """A decision to do nothing, and all that it depends on."""

    decision: Decision
    until_seconds: float
    spec: InferenceServiceSpec
    pool: PoolView | None
    settings: BatchSettings
    replicas: int
    window_seconds: float
    memory_limited: bool
    pods: tuple[str, ...]  # uids of those that serve, in their order
    problem: Problem
    fitted: ServiceTimeModel
    demand: tuple[float, float]  # for which no other settings are better
    capacity_per_second: float
    least: int  # replicas
    means_us: Mapping[int, float]  # of an execution, by batch size


class ControllerState(NamedTuple):
    """Volatile state of one service's loop: one part for each stage, which writes it and no other."""

    observed: ObserverState = ObserverState()
    estimated: EstimatorState = EstimatorState()
    problem: Problem | None = None  # the last one: its rounded numbers stay until the measured ones have left them
    optimised: OptimiserState = OptimiserState()
    acted: ActState = ActState()
    stable: Stable | None = None  # what the fast path may decide again; None: only a full pass may
    model_hash: str = ""
    pool: str = ""

    def after_fast_path(
        self, observed: ObserverState, estimated: EstimatorState, acted: ActState, stable: Stable
    ) -> ControllerState:
        return ControllerState(
            observed, estimated, self.problem, self.optimised, acted, stable, self.model_hash, self.pool
        )

    def of(self, model_hash: str, pool: str) -> ControllerState:
        """The state, as far as it holds for this model and pool."""
        if self.model_hash != model_hash:
            return ControllerState(model_hash=model_hash, pool=pool)
        if not self.pool or self.pool == pool:
            return self._replace(pool=pool)
        return ControllerState(
            observed=self.observed.on_pool(), estimated=self.estimated.on_pool(), model_hash=model_hash, pool=pool
        )
