"""Conditions of the Kubernetes API conventions, and their summary as kstatus reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.api.base import Condition, ConditionStatus
from throughline.domain.condition_reasons import describe, describe_pool, nature
from throughline.domain.condition_types import (
    ACCEPTED,
    ACCURACY_PASSING,
    BATCH_TUNED,
    DRIFT_WITHIN_BOUNDS,
    LOAD_BALANCED,
    METRICS_AVAILABLE,
    MODEL_READY,
    NOT_YET_OBSERVED,
    READY,
    RECONCILING,
    SCALING_ACTIVE,
    SLO_MET,
    STALLED,
    TYPES,
    WORKLOAD_READY,
    Meaning,
    Nature,
)
from throughline.domain.decision import ConditionUpdate
from throughline.domain.workload_conditions import PROBE_FAILED, served, workload_conditions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "ACCEPTED",
    "ACCURACY_PASSING",
    "BATCH_TUNED",
    "DRIFT_WITHIN_BOUNDS",
    "LOAD_BALANCED",
    "METRICS_AVAILABLE",
    "MODEL_READY",
    "NOT_YET_OBSERVED",
    "PROBE_FAILED",
    "READY",
    "RECONCILING",
    "SCALING_ACTIVE",
    "SLO_MET",
    "STALLED",
    "TYPES",
    "WORKLOAD_READY",
    "Meaning",
    "Nature",
    "describe",
    "describe_pool",
    "headline",
    "merge",
    "replaced",
    "resolve",
    "served",
    "summary",
    "workload_conditions",
]

MESSAGE_LIMIT = 2048
# Ready says that the spec is realised and served. How well (SLOMet, MetricsAvailable, ScalingActive, BatchTuned) is not
# part of it: a service under more load than its bounds allow still serves, and a lost Prometheus stops no request.
SERVING_TYPES = (ACCEPTED, WORKLOAD_READY, MODEL_READY)


def merge(
    existing: Iterable[Condition], updates: Sequence[ConditionUpdate], generation: int, now_rfc3339: str
) -> list[Condition]:
    """All conditions, in a stable order. What did not change is the same object; only a new status has a new time.

    A type that nobody has spoken of yet is Unknown; one of a later version of the operator is kept, at the end.
    """
    before = {condition.type: condition for condition in existing}
    fresh = {update.type: update for update in updates}
    order = [*TYPES, *(t for t in (*before, *fresh) if t not in TYPES)]
    return [_merged(t, before.get(t), fresh.get(t), generation, now_rfc3339) for t in dict.fromkeys(order)]


def _merged(
    type_: str, before: Condition | None, update: ConditionUpdate | None, generation: int, now: str
) -> Condition:
    if update is None:
        if before is not None:
            return before
        update = ConditionUpdate(type_, ConditionStatus.UNKNOWN, NOT_YET_OBSERVED, "not looked at yet")
    changed = before is None or before.status != update.status
    after = Condition(
        type=type_,
        status=update.status,
        reason=update.reason,
        message=update.message[:MESSAGE_LIMIT],
        last_transition_time=now if before is None or changed else before.last_transition_time,
        observed_generation=generation,
    )
    return before if before is not None and after == before else after


def replaced(
    existing: Iterable[Condition], update: ConditionUpdate, generation: int, now_rfc3339: str
) -> list[Condition]:
    """The conditions with that one new; for resources whose conditions are not those of an InferenceService."""
    before = list(existing)
    old = next((c for c in before if c.type == update.type), None)
    after = _merged(update.type, old, update, generation, now_rfc3339)
    return [after if c is old else c for c in before] if old is not None else [*before, after]


def summary(conditions: Iterable[Condition], *, served: bool = False) -> tuple[ConditionUpdate, ...]:
    """Ready, Reconciling and Stalled from the others. `served`: spec.scaling.minReplicas of this revision serve, so
    that replicas which are missing beyond them, as at every scale-up, make nothing unready.

    Ready is False with the reason and message of the cause: of what waits for the user first, then of what is broken,
    then of what is only under way. Stalled is True only when nothing but a change by the user helps; Reconciling is
    True while it is neither ready nor stalled, a fault that is tried again included. So kstatus says Current, Failed or
    InProgress.
    """
    by_type = {c.type: c for c in conditions}
    looked_at = [by_type[t] for t in SERVING_TYPES if t in by_type]
    failing = [c for c in looked_at if c.status == ConditionStatus.FALSE and not (served and c.type == WORKLOAD_READY)]
    if failing:
        cause = min(failing, key=lambda c: _URGENCY[nature(c.type, c.reason)])  # the first of equals
        stalled = nature(cause.type, cause.reason) is Nature.USER
        return _summary(ConditionStatus.FALSE, cause.reason, cause.message, stalled=stalled)
    unknown = next((c for c in looked_at if c.status == ConditionStatus.UNKNOWN), None)
    if unknown is not None or len(looked_at) < len(SERVING_TYPES):
        reason, message = (unknown.reason, unknown.message) if unknown else (NOT_YET_OBSERVED, "not looked at yet")
        return _summary(ConditionStatus.UNKNOWN, reason, message, stalled=False)
    return (
        ConditionUpdate(READY, ConditionStatus.TRUE, "Serving", by_type[MODEL_READY].message),
        ConditionUpdate(RECONCILING, ConditionStatus.FALSE, "Settled", ""),
        ConditionUpdate(STALLED, ConditionStatus.FALSE, "NotStalled", ""),
    )


def headline(conditions: Iterable[Condition]) -> Condition | None:
    """The one condition worth a line: why it is not ready; else why the SLO is missed; else what else needs somebody.

    Else Ready itself. Reason and message of the line come from it, so that they are of one thing.
    """
    by_type = {c.type: c for c in conditions}
    ready, slo = by_type.get(READY), by_type.get(SLO_MET)
    if ready is not None and ready.status == ConditionStatus.TRUE:
        others = [by_type[t] for t in _OTHERS if t in by_type]
        wrong = [
            c for c in others if c.status == ConditionStatus.FALSE and _URGENCY[nature(c.type, c.reason)] <= _FAULT
        ]
        missed = [slo] if slo is not None and slo.status == ConditionStatus.FALSE else []
        return next(iter([*missed, *wrong]), ready)
    return ready


_OTHERS = (
    WORKLOAD_READY,
    ACCURACY_PASSING,
    DRIFT_WITHIN_BOUNDS,
    METRICS_AVAILABLE,
    SCALING_ACTIVE,
    BATCH_TUNED,
    LOAD_BALANCED,
)
_URGENCY = {Nature.USER: 0, Nature.FAULT: 1, Nature.PROGRESS: 2, Nature.GOOD: 3}
_FAULT = _URGENCY[Nature.FAULT]


def _summary(status: ConditionStatus, reason: str, message: str, *, stalled: bool) -> tuple[ConditionUpdate, ...]:
    ready = ConditionUpdate(READY, status, reason, message)
    if stalled:
        return (
            ready,
            ConditionUpdate(RECONCILING, ConditionStatus.FALSE, "Settled", ""),
            ConditionUpdate(STALLED, ConditionStatus.TRUE, reason, message),
        )
    return (
        ready,
        ConditionUpdate(RECONCILING, ConditionStatus.TRUE, reason, message),
        ConditionUpdate(STALLED, ConditionStatus.FALSE, "NotStalled", ""),
    )


def resolve(
    existing: Iterable[Condition],
    updates: Sequence[ConditionUpdate],
    generation: int,
    now_rfc3339: str,
    *,
    served: bool = False,
) -> list[Condition]:
    """`merge`, with the summary of the result merged in: what status.conditions should be. `served`: see `summary`."""
    before = list(existing)
    summarised = summary(merge(before, updates, generation, now_rfc3339), served=served)
    return merge(before, [*updates, *summarised], generation, now_rfc3339)
