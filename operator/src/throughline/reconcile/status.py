"""The status: built, compared with the live one, and written only when something a reader would see has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from throughline.api.base import ConditionStatus
from throughline.api.status import Action, BatchStatus, InferenceServiceStatus, ReplicaStatus
from throughline.domain.condition_reasons import nature
from throughline.domain.conditions import (
    ACCURACY_PASSING,
    DRIFT_WITHIN_BOUNDS,
    MODEL_READY,
    READY,
    SLO_MET,
    WORKLOAD_READY,
    Nature,
    headline,
    resolve,
    served,
)
from throughline.domain.manifests import selector_text, service_name
from throughline.domain.records import settings_text, with_records
from throughline.domain.times import rfc3339
from throughline.reconcile import writes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from throughline.api.base import Condition
    from throughline.api.status import DecisionRecord
    from throughline.domain.decision import ConditionUpdate, Decision
    from throughline.domain.observed import ServiceView
    from throughline.reconcile.context import Deps
    from throughline.reconcile.evaluation.judgement import Judgement

log = structlog.get_logger("status")

GRPC_PORT = 8001
# Conditions whose turning False, or back to True, is worth an Event; the others only repeat these.
REPORTED = frozenset(
    {
        *("Accepted", WORKLOAD_READY, MODEL_READY, SLO_MET),
        *("MetricsAvailable", "ScalingActive", "BatchTuned", ACCURACY_PASSING, DRIFT_WITHIN_BOUNDS),
    }
)
# Lines of the ledger that are no Event: holding is none, and the condition AccuracyPassing tells of a verdict.
TOLD_BY_CONDITION = frozenset({Action.HOLD, Action.EVALUATE})
WARNED_BY_ACTION = frozenset({Action.ROLLBACK})


def with_decision(
    view: ServiceView,
    decision: Decision,
    updates: Sequence[ConditionUpdate],
    judgement: Judgement,
    *,
    replicas: int | None,
) -> InferenceServiceStatus:
    """The status after a pass that went through."""
    before = view.status
    on_all = bool(view.serving) and all(p.settings == decision.settings for p in view.serving)
    settings = decision.settings if on_all or before.batch.settings is None else before.batch.settings
    conditions = resolve(
        before.conditions,
        [*updates, judgement.update, judgement.drift],
        view.generation,
        rfc3339(view.now_seconds),
        served=served(view),
    )
    return InferenceServiceStatus(
        observed_generation=view.generation,
        conditions=conditions,
        **_line(conditions),
        pool=decision.pool or (view.pool.name if view.pool else before.pool),
        url=f"grpc://{service_name(view.name)}.{view.namespace}.svc:{GRPC_PORT}",
        replicas=ReplicaStatus(
            desired=replicas or 0,
            ready=len(view.serving),
            recommended=decision.recommended_replicas,
            summary=f"{len(view.serving)}/{replicas or 0}",
        ),
        selector=selector_text(view.name),
        batch=BatchStatus(
            settings=settings, summary=settings_text(settings)[:64], recommended=decision.recommended_settings
        ),
        slo=decision.slo,
        control=decision.control,
        evaluation=judgement.status,
        monitoring=judgement.monitored,
        decisions=with_records(before.decisions, [*decision.records, *judgement.records]),
    )


def with_conditions(
    before: InferenceServiceStatus, updates: Sequence[ConditionUpdate], generation: int, now: float
) -> InferenceServiceStatus:
    """The status with only the conditions changed."""
    conditions = resolve(before.conditions, updates, generation, rfc3339(now))
    changed = {"conditions": conditions, **_line(conditions), "observed_generation": generation}
    return before.model_copy(update=changed)


def _line(conditions: Sequence[Condition]) -> dict[str, str]:
    """What the printer columns show: reason and message of one condition."""
    shown = headline(conditions)
    return {"reason": shown.reason, "message": shown.message} if shown is not None else {}


async def write(
    deps: Deps,
    service: Mapping[str, Any],
    before: InferenceServiceStatus,
    after: InferenceServiceStatus,
    records: Sequence[DecisionRecord] = (),
) -> None:
    """Write the status if it differs, and tell of what changed: log, metric and Event, once each."""
    wire = after.to_wire()
    if (service.get("status") or {}) != wire:
        metadata = service["metadata"]
        if not await writes.status(deps, service["kind"], metadata["namespace"], metadata["name"], wire):
            return
    await tell(deps, service, before.conditions, after.conditions)
    for entry in records:
        if entry in before.decisions or entry not in after.decisions:
            continue
        deps.hooks.decided(entry.action)
        log.info("decision", action=entry.action, reason=entry.reason, message=entry.message, inputs=entry.inputs)
        if entry.action not in TOLD_BY_CONDITION:
            await writes.emit(
                deps,
                service,
                type_="Warning" if entry.action in WARNED_BY_ACTION else "Normal",
                reason=entry.reason,
                message=entry.message,
                action=entry.action,
            )


async def tell(
    deps: Deps, regarding: Mapping[str, Any], before: Sequence[Condition], after: Sequence[Condition]
) -> None:
    """Log, count and report each condition whose status, or whose reason for being False, is new."""
    known = {c.type: c for c in before}
    for condition in after:
        old = known.get(condition.type)
        if old is not None and (old.status, old.reason) == (condition.status, condition.reason):
            continue
        if old is None or old.status != condition.status:
            deps.hooks.transitioned(condition.type, condition.status)
        passing = nature(condition.type, condition.reason) in {Nature.PROGRESS, Nature.GOOD}
        failed = condition.status == ConditionStatus.FALSE and condition.type in REPORTED and not passing
        recovered = (
            condition.status == ConditionStatus.TRUE
            and old is not None
            and old.status == ConditionStatus.FALSE
            and condition.type in {*REPORTED, READY}
        )
        if old is not None or failed:  # the first look at a new service is no news but for what is wrong
            log.info(
                "condition",
                type=condition.type,
                status=condition.status,
                reason=condition.reason,
                message=condition.message,
            )
        if failed or recovered:
            await writes.emit(
                deps,
                regarding,
                type_="Warning" if failed else "Normal",
                reason=condition.reason,
                message=f"{condition.type}: {condition.message}" if condition.message else condition.type,
                action="Reconcile",
            )
