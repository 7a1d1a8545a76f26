"""Which model may serve, and what AccuracyPassing says. A verdict acts here, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from throughline.api.base import ConditionStatus, Outcome
from throughline.api.evaluation import Approval, Decay, Gate
from throughline.api.modelrevision import Decision
from throughline.domain.condition_types import ACCURACY_PASSING
from throughline.domain.decision import ConditionUpdate
from throughline.domain.evaluation.views import ADMITTED, newest_ended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.api.evaluation import Evaluation
    from throughline.api.model import Model
    from throughline.domain.evaluation.views import Candidate, Evidence, RevisionView, SuiteView

T, F, U = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
NOT_CONFIGURED = ConditionUpdate(ACCURACY_PASSING, U, "NotConfigured", "the service has no spec.evaluation")


class Finding(NamedTuple):
    """What stands in the way; or, with status True, that nothing does."""

    status: ConditionStatus
    reason: str
    message: str


def suites_finding(evidence: Evidence, candidate: Candidate) -> Finding:
    """What the suites say of the model, the gravest first."""
    found = [_suite_finding(suite, evidence, candidate) for suite in evidence.suites]
    grave = [f for f in found if f.status == F] or [f for f in found if f.status == U]
    if not grave:
        return Finding(T, "AllPassed", "; ".join(f.message for f in found))
    first = grave[0]
    return first._replace(message="; ".join(f.message for f in grave if f.reason == first.reason))


def _suite_finding(suite: SuiteView, evidence: Evidence, candidate: Candidate) -> Finding:
    run = newest_ended(evidence.runs, suite, candidate.spec_hash)
    if run is None or run.ended is None:
        return _why_not_run(suite, candidate)
    record = evidence.revision(candidate.spec_hash)
    artifact = run.status.artifact
    if record is not None and artifact is not None and artifact.digest != record.spec.artifact.digest:
        message = f"run {run.name} read {artifact.digest}, but ModelRevision {record.name} is of "
        return Finding(F, "ArtifactChanged", message + record.spec.artifact.digest)
    said = f"{suite.name}: {run.status.message}" if run.status.message else suite.name
    if run.ended.status == F:
        return Finding(U, "EvaluationFailed", f"{suite.name}: run {run.name}: {run.ended.message}")
    if run.status.retraining_job is not None:
        said += f"; Job {run.status.retraining_job} was started"
    if run.status.verdict is Outcome.FAILED:
        return Finding(F, "BoundMissed", said)
    if run.status.verdict is not Outcome.PASSED:
        return Finding(F, "Undecided", said)
    return Finding(T, "AllPassed", f"{suite.name}: passed on {run.status.rows} rows")


def _why_not_run(suite: SuiteView, candidate: Candidate) -> Finding:
    regions = suite.regions()
    if regions is None:
        return Finding(U, "SuiteNotFound", f"EvaluationSuite {suite.name} {suite.problem}")
    if candidate.region not in regions:
        where = f"is in {candidate.region}" if candidate.region else "names no region"
        allowed = ", ".join(sorted(regions)) or "no region at all"
        message = f"{suite.name}: its data may be read in {allowed}, and pool {candidate.pool} {where}"
        return Finding(U, "RegionNotAllowed", message)
    return Finding(U, "NotEvaluated", f"{suite.name} has not been run for revision {candidate.spec_hash}")


def admission(evaluation: Evaluation, evidence: Evidence, candidate: Candidate) -> ConditionUpdate:
    """Whether the revision may serve. What was admitted stays so when a suite changes or fails later, unless a person
    rejects it, or `onDecay` is RollBack and there is another to go back to.
    """
    record = evidence.revision(candidate.spec_hash)
    finding = suites_finding(evidence, candidate)
    approval = evidence.approvals[0] if evidence.approvals else None
    if approval is not None and approval.decision is Decision.REJECTED:
        finding = Finding(F, "Rejected", f"{approval.approved_by} in ModelApproval {approval.name}: {approval.reason}")
    elif record is not None and record.admitted:
        others = any(r.admitted for r in evidence.revisions if r is not record)
        decayed = evaluation.on_decay is Decay.ROLL_BACK and finding.reason == "BoundMissed" and others
        finding = finding if decayed else Finding(T, "Admitted", "")
    elif finding.status == T:
        finding = Finding(T, "Admitted", "")
        if evaluation.approval is Approval.REQUIRED and approval is None:
            finding = _awaiting(record, guarded=evidence.guarded)
    return ConditionUpdate(ADMITTED, finding.status, finding.reason, finding.message)


def _awaiting(record: RevisionView | None, *, guarded: bool) -> Finding:
    if record is None:  # nobody can approve what is not there to be named
        return Finding(U, "NotEvaluated", "every suite passed; the ModelRevision to approve is being written")
    message = f"every suite passed; ModelRevision {record.name} waits for approval"
    if not guarded:
        message += "; none counts while the admission policy of manifests/approval is not installed"
    return Finding(U, "AwaitingApproval", message)


class Serving(NamedTuple):
    """The model to serve; None: none may, so whatever runs is left as it is."""

    model: Model | None
    spec_hash: str
    held_back: bool  # it is not the one that the spec asks for


def serving(
    evaluation: Evaluation | None,
    wanted: Candidate,
    revisions: Sequence[RevisionView],
    live_hash: str | None,
) -> Serving:
    """The wanted model, or while the gate keeps that out, the one admitted last.

    `live_hash`: of the Deployment's pods. A gate that is declared over a model that serves already does not stop it.
    """
    as_wanted = Serving(wanted.model, wanted.spec_hash, held_back=False)
    if evaluation is None or evaluation.gate is not Gate.ENFORCE:
        return as_wanted
    record = next((r for r in revisions if r.spec.spec_hash == wanted.spec_hash), None)
    admitted = [r for r in revisions if r.admitted]
    refused = record is not None and any(c.type == ADMITTED and c.status == F for c in record.status.conditions)
    if (record is not None and record.admitted) or (live_hash == wanted.spec_hash and not (refused and admitted)):
        return as_wanted
    last = max(admitted, key=lambda r: (r.spec.created, r.name), default=None)
    if last is None:
        return Serving(None, live_hash or "", held_back=True)
    return Serving(last.spec.model, last.spec.spec_hash, held_back=True)


def accuracy(
    evaluation: Evaluation | None,
    evidence: Evidence,
    wanted: Candidate,
    now_serving: Serving,
    *,
    evaluator: bool,
) -> ConditionUpdate:
    """AccuracyPassing: of the revision that serves, and where another is kept out, why. `evaluator`: there is one."""
    if evaluation is None:
        return NOT_CONFIGURED
    if not evaluator:
        finding = Finding(U, "EvaluatorMissing", "the operator has no image of the evaluator; set evaluatorImage")
    else:
        finding = suites_finding(evidence, wanted)
        if now_serving.held_back:
            finding = _held_back(admission(evaluation, evidence, wanted), finding, now_serving)
    return ConditionUpdate(ACCURACY_PASSING, finding.status, finding.reason, finding.message)


def _held_back(admitted: ConditionUpdate, finding: Finding, now_serving: Serving) -> Finding:
    stays = f"revision {now_serving.spec_hash} serves on" if now_serving.spec_hash else "nothing serves"
    if admitted.reason == "Rejected" or (finding.status == T and admitted.status != T):
        return Finding(admitted.status, admitted.reason, f"{admitted.message}; {stays}")
    if admitted.status == T:
        return finding._replace(message=f"{finding.message}; it is about to serve")
    if finding.reason in {"BoundMissed", "Undecided"}:
        return Finding(F, "RevisionHeldBack", f"{finding.message}; {stays}")
    return finding._replace(message=f"{finding.message}; {stays}")
