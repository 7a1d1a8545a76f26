"""What is written down of evaluations: the run's status, the ModelRevision, and which runs are kept."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from throughline.api.base import ConditionStatus, Outcome
from throughline.api.evaluationrun import MAX_METRICS, EvaluationRunStatus, MetricResult
from throughline.api.modelrevision import (
    EvaluationVerdict,
    ModelRevisionSpec,
    ModelRevisionStatus,
    ParentRevision,
    RevisionEvaluation,
)
from throughline.api.status import EvaluationStatus, SuiteStatus
from throughline.domain.conditions import replaced
from throughline.domain.decision import ConditionUpdate
from throughline.domain.evaluation.views import SUCCEEDED, newest, newest_ended
from throughline.domain.manifests.names import base_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from throughline.api.evaluationresult import EvaluationResult
    from throughline.domain.evaluation.attempt import Words
    from throughline.domain.evaluation.views import Candidate, Evidence, RevisionView, RunView

MAX_EVALUATIONS = 64
MESSAGE_LIMIT = 2048


def run_status(run: RunView, update: ConditionUpdate, now: str, **changes: object) -> EvaluationRunStatus:
    """The run's status with its condition and those fields new."""
    conditions = replaced(run.status.conditions, update, run.generation, now)
    ended = update.status is not ConditionStatus.UNKNOWN
    return run.status.model_copy(
        update={
            "observed_generation": run.generation,
            "conditions": conditions,
            "started": run.status.started or now,
            "completed": now if ended else None,
            **changes,
        }
    )


def judged(run: RunView, words: Words, result: EvaluationResult, now: str) -> EvaluationRunStatus:
    """The status of a run whose Job has come to a verdict."""
    outcome = result.verdict.outcome if result.verdict is not None else Outcome.UNKNOWN
    update = ConditionUpdate(SUCCEEDED, ConditionStatus.TRUE, f"Verdict{outcome}", f"{result.rows} rows were judged")
    metrics = [
        MetricResult(metric=e.metric, value=_number(e.value), low=_bound(e.low), high=_bound(e.high))
        for e in result.metrics
        if e.value is not None
    ]
    return run_status(
        run,
        update,
        now,
        verdict=outcome,
        message=words.message[:MESSAGE_LIMIT],
        rows=result.rows,
        metrics=metrics[:MAX_METRICS],
        artifact=words.artifact,
        dataset_digest=result.dataset_digest,
        result_digest=words.result_digest,
    )


def _number(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else str(value)


def _bound(value: float | None) -> str | None:
    return None if value is None else _number(value)


def revision_name(service: str, spec_hash: str) -> str:
    """Name of the ModelRevision."""
    return f"{base_name(service)}-{spec_hash}"


def new_revision(evidence: Evidence, candidate: Candidate, service: str, now: str) -> ModelRevisionSpec | None:
    """The record of the model, as soon as a run has read its files; None: there is one, or none can be made yet."""
    if evidence.revision(candidate.spec_hash) is not None:
        return None
    read = [r for r in evidence.runs if r.spec.spec_hash == candidate.spec_hash and r.status.artifact is not None]
    if not read:
        return None
    first = min(read, key=lambda r: (r.created_seconds, r.name))
    assert first.status.artifact is not None  # noqa: S101 - the line above
    before = last_admitted(evidence.revisions)
    parent = None
    if before is not None:
        parent = ParentRevision(name=before.name, digest=before.spec.artifact.digest)
    return ModelRevisionSpec(
        service=service,
        artifact=first.status.artifact,
        spec_hash=candidate.spec_hash,
        model=candidate.model,
        pool=candidate.pool,
        parent=parent,
        created=now,
    )


def last_admitted(revisions: Iterable[RevisionView]) -> RevisionView | None:
    """The one made last of those that may serve."""
    return max((r for r in revisions if r.admitted), key=lambda r: (r.spec.created, r.name), default=None)


def revision_status(
    record: RevisionView, evidence: Evidence, admitted: ConditionUpdate | None, generation: int, now: str
) -> ModelRevisionStatus:
    """With the runs of the revision, of which some may be deleted by now, and the newest approval.

    `admitted` None: nothing new is said of that.
    """
    known = {e.name: e for e in record.status.evaluations}
    runs = [r for r in evidence.runs if r.spec.spec_hash == record.spec.spec_hash]
    for run in sorted(runs, key=lambda r: (r.created_seconds, r.name)):
        if run.ended is not None and run.status.result_digest is not None:
            known[run.name] = RevisionEvaluation(
                name=run.name,
                suite=run.spec.suite,
                suite_digest=run.spec.suite_digest,
                dataset_digest=run.status.dataset_digest,
                verdict=EvaluationVerdict(str(run.status.verdict or Outcome.UNKNOWN)),
                result_digest=run.status.result_digest,
            )
    conditions = record.status.conditions
    if admitted is not None:
        conditions = replaced(conditions, admitted, generation, now)
    return record.status.model_copy(
        update={
            "observed_generation": generation,
            "conditions": conditions,
            "evaluations": list(known.values())[-MAX_EVALUATIONS:],
            "approval": evidence.approvals[0] if evidence.approvals else record.status.approval,
        }
    )


def surplus(evidence: Evidence, history_limit: int, judged_hashes: Sequence[str]) -> list[RunView]:
    """Finished runs beyond the limit, oldest first. The newest of each suite for a model that counts now is kept."""
    kept = set()
    for spec_hash in judged_hashes:
        for suite in evidence.suites:
            for run in (
                newest(evidence.runs, suite, spec_hash),
                newest_ended(evidence.runs, suite, spec_hash),
            ):
                kept |= {run.name} if run is not None else set()
    finished = sorted((r for r in evidence.runs if r.ended is not None), key=lambda r: (-r.created_seconds, r.name))
    return [r for r in finished[history_limit:] if r.name not in kept][::-1]


def service_status(evidence: Evidence, wanted: Candidate, live_hash: str | None) -> EvaluationStatus:
    """For the status of the InferenceService."""
    found = [(suite.name, newest_ended(evidence.runs, suite, wanted.spec_hash)) for suite in evidence.suites]
    suites = [
        SuiteStatus(suite=name, run=run.name, verdict=run.status.verdict, completed=run.status.completed)
        for name, run in found
        if run is not None
    ]
    return EvaluationStatus(spec_hash=live_hash or "", suites=suites)
