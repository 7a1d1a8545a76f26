"""What is to be so, from what is read: the half of a pass that writes nothing. `throughline plan` has it, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from throughline.domain.conditions import DRIFT_WITHIN_BOUNDS
from throughline.domain.control.loop import decide
from throughline.domain.evaluation import monitoring
from throughline.reconcile import scalers
from throughline.reconcile.evaluation.judgement import judge
from throughline.reconcile.gather import gather, live_status

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.domain.decision import ConditionUpdate, Decision
    from throughline.domain.observed import ServiceView
    from throughline.domain.placement import Refusal
    from throughline.domain.scalers import OtherScaler
    from throughline.reconcile.context import Deps, ServiceState
    from throughline.reconcile.evaluation.judgement import Judgement
    from throughline.reconcile.gather import Gathered


class Outlook(NamedTuple):
    """`judgement.spec`: with the model that may serve. `other`: who else scales."""

    judgement: Judgement
    seen: Gathered
    other: OtherScaler | None
    decision: Decision

    @property
    def refusal(self) -> Refusal | None:
        """Why nothing is made: what runs is left as it is."""
        return self.seen.refusal or self.judgement.refusal


async def look(deps: Deps, state: ServiceState, service: Mapping[str, Any], spec: InferenceServiceSpec) -> Outlook:
    """Judge the model, read the rest, decide. Only `state` changes."""
    judgement = await judge(deps, state, service, spec, live_status(state, service))
    seen = await gather(deps, state, service, judgement.spec, digest=judgement.digest)
    judgement = judgement._replace(drift=_drift(judgement, seen.view))
    other = await scalers.other(deps, state, seen.view, seen.deployment)
    decision, state.memory = decide(scalers.held(seen.view, other), state.memory)
    return Outlook(judgement, seen, other, decision)


def _drift(judgement: Judgement, view: ServiceView) -> ConditionUpdate:
    before = next((c for c in view.status.conditions if c.type == DRIFT_WITHIN_BOUNDS), None)
    return monitoring.with_servers(judgement.drift, judgement.spec.monitoring, view.pods, before)
