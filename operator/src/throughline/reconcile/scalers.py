"""Whether another autoscaler scales the same: asked only where the service or its Deployment shows that one may."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from throughline.api.scaling import ScalingMode
from throughline.domain import scalers
from throughline.ports import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from throughline.domain.decision import ConditionUpdate
    from throughline.domain.observed import ServiceView
    from throughline.domain.scalers import OtherScaler
    from throughline.reconcile.context import Deps, ServiceState

log = structlog.get_logger("scalers")

CHECK_SECONDS = 60.0


async def other(
    deps: Deps, state: ServiceState, view: ServiceView, deployment: Mapping[str, Any] | None
) -> OtherScaler | None:
    """Who else scales what the operator is to scale; None: nobody."""
    scaling, wrote = view.spec.scaling, scalers.wrote_replicas(deployment)
    on_service = scaling.mode is ScalingMode.AUTO and scaling.replicas is not None  # somebody wrote the count
    if not scalers.scales(scaling) or (wrote is False and not on_service):
        state.other_scaler = None
        return None
    if state.other_scaler is None or deps.clock() - state.other_scaler[0] >= CHECK_SECONDS:
        state.other_scaler = (deps.clock(), await _ask(deps, view, certain=wrote is True))
    return state.other_scaler[1]


async def _ask(deps: Deps, view: ServiceView, *, certain: bool) -> OtherScaler | None:
    """`certain`: the Deployment shows that one wrote its replicas, also where its name cannot be read."""
    try:
        found = await deps.kube.list("autoscaling/v2", "HorizontalPodAutoscaler", view.namespace)
    except ApiError as error:
        if not error.terminal:
            raise
        log.warning("autoscalers not read", namespace=view.namespace, error=str(error))
        if not certain:
            return None
        return scalers.OtherScaler(f"another autoscaler (`kubectl get hpa -n {view.namespace}` lists them)", None)
    return scalers.targeting(found, view.name, view.spec.scaling)


def held(view: ServiceView, by: OtherScaler | None) -> ServiceView:
    """The view to decide upon: while another scales the Deployment, its replicas are left alone, as in mode Off."""
    if by is None or by.on_service:
        return view
    scaling = view.spec.scaling
    mode = ScalingMode.OFF if scaling.mode is ScalingMode.AUTO else scaling.mode
    scaling = scaling.model_copy(update={"mode": mode, "replicas": None})
    return replace(view, spec=view.spec.model_copy(update={"scaling": scaling}))


def told(conditions: Sequence[ConditionUpdate], by: OtherScaler | None, view: ServiceView) -> list[ConditionUpdate]:
    """The conditions, with the conflict in place of what the loop says of scaling."""
    if by is None:
        return list(conditions)
    update = scalers.conflict(by, view.name, view.spec.scaling)
    return [update if c.type == update.type else c for c in conditions]
