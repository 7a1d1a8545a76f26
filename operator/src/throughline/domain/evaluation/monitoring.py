"""DriftWithinBounds, from what the last look at the samples found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline import exits
from throughline.api.base import ConditionStatus, Outcome
from throughline.api.monitoring import version_parts
from throughline.api.schedules import next_start_seconds
from throughline.api.status import MonitoringStatus
from throughline.domain.condition_types import DRIFT_WITHIN_BOUNDS
from throughline.domain.decision import ConditionUpdate
from throughline.domain.evaluation.attempt import COMPLETE
from throughline.domain.times import unix_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.api.base import Condition
    from throughline.api.monitoring import Monitoring
    from throughline.domain.evaluation.attempt import JobView, Words
    from throughline.domain.observed import PodView

MESSAGE_LIMIT = 2048
# A look may take so long after its start.
LATE_SECONDS = 3600.0
ZONE = "Etc/UTC"
CHECK_FAILED = "CheckFailed"
# A stored status may still hold a reason by its former name.
RENAMED = {"LookFailed": CHECK_FAILED}
_REASONS = {Outcome.PASSED: "WithinBounds", Outcome.FAILED: "Drifted", Outcome.UNKNOWN: "NotEnoughRows"}
_STATUSES = {
    "WithinBounds": ConditionStatus.TRUE,
    "Drifted": ConditionStatus.FALSE,
    "NotEnoughRows": ConditionStatus.UNKNOWN,
    CHECK_FAILED: ConditionStatus.UNKNOWN,
}


def found(job: JobView, completed: str, words: Words | None) -> MonitoringStatus:
    """What a look's Job has found, from its last words; None: it left none."""
    outcome = None if words is None or words.outcome is None else Outcome(words.outcome)
    if job.ended != COMPLETE or words is None or outcome is None or words.exit_code not in exits.VERDICTS:
        said = words.message if words is not None and words.message else job.message or "it left no last words"
        return MonitoringStatus(
            job=job.name, completed=completed, reason=CHECK_FAILED, message=f"Job {job.name}: {said}"[:MESSAGE_LIMIT]
        )
    return MonitoringStatus(
        job=job.name,
        completed=completed,
        outcome=outcome,
        reason=_REASONS[outcome],
        message=words.message[:MESSAGE_LIMIT],
        rows=words.rows,
    )


def condition(last: MonitoringStatus | None, schedule: str, now: float) -> ConditionUpdate:
    """What is too old is not held to be so any more."""
    if last is None:
        return _said(ConditionStatus.UNKNOWN, "NotLookedAt", f"the samples are looked at by schedule: {schedule}")
    done = unix_seconds(last.completed)
    after = next_start_seconds(schedule, ZONE, next_start_seconds(schedule, ZONE, done))
    if now > after + LATE_SECONDS:
        return _said(ConditionStatus.UNKNOWN, "Stale", f"last looked at {last.completed}; then: {last.message}")
    reason = RENAMED.get(last.reason, last.reason)
    return _said(_STATUSES[reason], reason, last.message)


SERVER_TOO_OLD, SALT_MISSING = "ServerTooOld", "SaltMissing"
# Nothing is sampled for another reason, which is said already.
KEPT_FROM = frozenset({"EvaluatorMissing", "RegionNotAllowed", SALT_MISSING})
SAY_NOTHING = frozenset({"NotConfigured", "NotLookedAt"})  # of what was sampled
NOT_CONFIGURED = ConditionUpdate(
    DRIFT_WITHIN_BOUNDS, ConditionStatus.UNKNOWN, "NotConfigured", "spec.monitoring declares no drift and no labels"
)


def kept_from(reason: str, message: str) -> ConditionUpdate:
    """Nothing may be looked at, or cannot be."""
    return _said(ConditionStatus.UNKNOWN, reason, message)


def with_servers(
    update: ConditionUpdate, monitoring: Monitoring | None, pods: Sequence[PodView], before: Condition | None
) -> ConditionUpdate:
    """What the looks found, or that nothing is sampled because the servers are too old for it.

    `before`: the condition as it is; it stands while no server says its version.
    """
    if monitoring is None or update.reason in KEPT_FROM:
        return update
    ready = [p for p in pods if p.ready and not p.terminating]
    known = [p for p in ready if p.server_version]
    if not known:
        held = before is not None and before.reason == SERVER_TOO_OLD
        return _said(ConditionStatus.UNKNOWN, SERVER_TOO_OLD, before.message) if before and held else update
    minimum = monitoring.sampling.minimum_server_version
    old = [p for p in known if version_parts(p.server_version or "") < version_parts(minimum)]
    if not old:
        return update
    versions = ", ".join(sorted({p.server_version or "" for p in old}))
    why = (
        f"Triton {versions} is older than spec.monitoring.sampling.minimumServerVersion {minimum}, and tracing could "
        "crash it; serve with a newer image (spec.runtime.image, or the pool's spec.image)"
    )
    if len(old) == len(known):
        last = "" if update.reason in SAY_NOTHING else f"; the last look: {update.message}"
        return _said(ConditionStatus.UNKNOWN, SERVER_TOO_OLD, f"nothing is sampled: {why}{last}"[:MESSAGE_LIMIT])
    told = f"{len(old)} of {len(known)} servers are not sampled: {why}; {update.message}"
    return _said(update.status, update.reason, told[:MESSAGE_LIMIT])


def _said(status: ConditionStatus, reason: str, message: str) -> ConditionUpdate:
    return ConditionUpdate(DRIFT_WITHIN_BOUNDS, status, reason, message)
