"""Suites, runs and revisions of one service, each as it is unless told otherwise."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from throughline.api.base import Condition, ConditionStatus, Outcome
from throughline.api.evaluation import Evaluation
from throughline.api.evaluationrun import EvaluationRunSpec, EvaluationRunStatus, RunReason
from throughline.api.evaluationsuite import EvaluationSuiteSpec
from throughline.api.model import Model
from throughline.api.modelrevision import (
    Artifact,
    Decision,
    ModelRevisionSpec,
    ModelRevisionStatus,
    RevisionApproval,
)
from throughline.domain.evaluation.views import (
    ADMITTED,
    SUCCEEDED,
    Candidate,
    Evidence,
    RevisionView,
    RunView,
    SuiteView,
)

from tests.api.suites import EVALUATION_SUITE

if TYPE_CHECKING:
    from collections.abc import Sequence

T, F, U = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
REGION = "eu-west-1"
NEW, OLD, OLDEST = "aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc"  # hashes of spec.model: the wanted one, and those before


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


BEGUN = at("2026-01-05T12:00:00")  # a Monday


def digest(digit: str) -> str:
    return f"sha256:{digit * 64}"


FILES, OTHER_FILES, SUITE, CHANGED_SUITE = digest("1"), digest("2"), digest("3"), digest("4")


def evaluation(*names: str, schedule: str | None = None, **fields: Any) -> Evaluation:
    told = {"schedule": schedule} if schedule else {}
    suites = [{"name": name, **told} for name in names or ("census",)]
    return Evaluation.model_validate({"suites": suites, **fields})


def suite(
    name: str = "census",
    *,
    digest: str = SUITE,
    regions: Sequence[str] = (REGION,),
    training: Sequence[str] | None = None,
) -> SuiteView:
    spec: dict[str, Any] = EVALUATION_SUITE["spec"]

    def dataset(where: Sequence[str]) -> dict[str, Any]:
        return {**spec["dataset"], "governance": {**spec["dataset"]["governance"], "regions": list(where)}}

    more = {} if training is None else {"trainingDataset": dataset(training)}
    found = EvaluationSuiteSpec.model_validate({**spec, "dataset": dataset(regions), **more})
    return SuiteView(name, found, digest)


def absent(name: str = "census") -> SuiteView:
    return SuiteView(name, None, "", "does not exist")


def model(spec_hash: str) -> Model:
    return Model.model_validate({"storage": {"uri": f"pvc://models/{spec_hash}"}, "backend": "onnxruntime"})


def candidate(spec_hash: str = NEW, region: str | None = REGION) -> Candidate:
    return Candidate(spec_hash, model(spec_hash), "fraud", "gpu", region)


def condition(type_: str, status: ConditionStatus, message: str = "") -> Condition:
    return Condition(
        type=type_, status=status, reason="Told", message=message, last_transition_time="2026-01-05T12:00:00Z"
    )


def run(
    spec_hash: str = NEW,
    suite: str = "census",
    *,
    verdict: Outcome | None = Outcome.PASSED,
    ended: ConditionStatus | None = T,
    created: float = BEGUN,
    suite_digest: str = SUITE,
    message: str = "",
    artifact: str | None = FILES,
    name: str = "",
) -> RunView:
    """A run that ended with a verdict; with `ended` False one that came to none, with Unknown or None one under way."""
    spec = EvaluationRunSpec(
        service="fraud",
        suite=suite,
        suite_digest=suite_digest,
        spec_hash=spec_hash,
        model=model(spec_hash),
        served_name="fraud",
        pool="gpu",
        reason=RunReason.REVISION,
    )
    status = EvaluationRunStatus(
        conditions=[] if ended is None else [condition(SUCCEEDED, ended, message)],
        verdict=verdict if ended == T else None,
        message=message,
        rows=1000,
        result_digest=digest("e") if ended == T and verdict is not None else None,
        artifact=None if artifact is None else Artifact(digest=artifact, files=1, size_bytes=1),
    )
    return RunView(name or f"{suite}-{spec_hash}-{created:.0f}", "uid", created, 1, spec, status)


def revision(
    spec_hash: str = NEW,
    admitted: ConditionStatus | None = T,
    *,
    created: str = "2026-01-05T12:00:00Z",
    artifact: str = FILES,
) -> RevisionView:
    spec = ModelRevisionSpec(
        service="fraud",
        artifact=Artifact(digest=artifact, files=1, size_bytes=1),
        spec_hash=spec_hash,
        model=model(spec_hash),
        pool="gpu",
        created=created,
    )
    conditions = [] if admitted is None else [condition(ADMITTED, admitted)]
    return RevisionView(f"fraud-{spec_hash}", spec, ModelRevisionStatus(conditions=conditions))


def approval(decision: Decision = Decision.APPROVED) -> RevisionApproval:
    return RevisionApproval(
        name="said",
        uid="uid",
        decision=decision,
        approved_by="alice@example.com",
        reason="the gap is known",
        time="2026-01-05T13:00:00Z",
    )


def evidence(
    runs: Sequence[RunView] = (),
    revisions: Sequence[RevisionView] = (),
    *,
    suites: Sequence[SuiteView] | None = None,
    approvals: Sequence[RevisionApproval] = (),
) -> Evidence:
    return Evidence((suite(),) if suites is None else tuple(suites), tuple(runs), tuple(revisions), tuple(approvals))
