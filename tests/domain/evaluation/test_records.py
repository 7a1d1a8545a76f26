"""What is written down of evaluations."""

from dataclasses import replace

import pytest
from throughline.api.base import ConditionStatus, Outcome
from throughline.api.evaluationresult import EvaluationResult
from throughline.domain.decision import ConditionUpdate
from throughline.domain.evaluation.attempt import Words
from throughline.domain.evaluation.records import (
    judged,
    new_revision,
    revision_name,
    revision_status,
    service_status,
    surplus,
)

from tests.domain.evaluation.cases import (
    BEGUN,
    FILES,
    NEW,
    OLD,
    OTHER_FILES,
    U,
    absent,
    approval,
    candidate,
    digest,
    evidence,
    revision,
    run,
    suite,
)

FAILED = Outcome.FAILED
NOW = "2026-02-02T02:02:02Z"
RESULT = {
    "rows": 1234, "confidencePercent": 95, "resamples": 100, "seed": 1, "datasetDigest": digest("d"),
    "metrics": [
        {"metric": "accuracy", "value": 0.123456789, "low": 0.1, "high": 0.2, "rows": 1234},
        {"metric": "auroc", "rows": 0, "reason": "one class only"},
    ],
    "verdict": {"outcome": "Failed", "reasons": []},
}  # fmt: skip


def test_a_verdict_is_a_success_whatever_it_is() -> None:
    words = Words(exit_code=1, outcome="Failed", message="accuracy is too low", rows=1234, result_digest=digest("e"))
    before = run(ended=U, artifact=None)
    after = judged(before, words, EvaluationResult.model_validate(RESULT), NOW)
    (said,) = after.conditions
    assert (said.type, said.status, said.reason) == ("Succeeded", ConditionStatus.TRUE, "VerdictFailed")
    assert (after.verdict, after.message, after.rows) == ("Failed", "accuracy is too low", 1234)
    assert (after.completed, after.result_digest, after.dataset_digest) == (NOW, digest("e"), digest("d"))
    (metric,) = after.metrics
    assert (metric.metric, metric.value, metric.low, metric.high) == ("accuracy", "0.123457", "0.1", "0.2")


def test_a_record_is_made_of_the_first_files_that_were_read() -> None:
    late, first = run(created=BEGUN + 60, artifact=OTHER_FILES), run(created=BEGUN)
    unread = run(created=BEGUN - 60, artifact=None)
    known = evidence([late, first, unread], [revision(OLD, artifact=digest("0"))])
    made = new_revision(known, candidate(), "fraud", NOW)
    assert made is not None
    assert made.artifact.digest == FILES
    assert made.parent is not None
    assert (made.parent.name, made.parent.digest) == (revision_name("fraud", OLD), digest("0"))
    assert new_revision(evidence([unread]), candidate(), "fraud", NOW) is None
    assert new_revision(evidence([first], [revision(NEW, None)]), candidate(), "fraud", NOW) is None


def test_a_record_keeps_what_deleted_runs_have_found() -> None:
    record = revision(NEW, None)
    first = revision_status(record, evidence([run(name="r1")], [record]), None, 1, NOW)
    kept, later = replace(record, status=first), [run(name="r2", verdict=FAILED)]
    second = revision_status(kept, evidence(later, [kept]), None, 1, NOW)
    assert [(e.name, e.verdict) for e in second.evaluations] == [("r1", "Passed"), ("r2", "Failed")]
    assert revision_status(replace(record, status=second), evidence(later), None, 1, NOW) == second


def test_a_record_has_the_newest_approval_and_what_was_decided() -> None:
    record, said = revision(NEW, None), approval()
    update = ConditionUpdate("Admitted", ConditionStatus.TRUE, "Admitted", "")
    after = revision_status(record, evidence([], [record], approvals=[said]), update, 1, NOW)
    assert after.approval == said
    assert [(c.type, c.status) for c in after.conditions] == [("Admitted", "True")]
    # An approval that was deleted stays on record.
    assert revision_status(replace(record, status=after), evidence(), None, 1, NOW).approval == said


@pytest.mark.parametrize(("limit", "gone"), [(1, ["r1", "r2"]), (2, ["r1"]), (3, []), (100, [])])
def test_the_oldest_go_but_for_what_counts(limit: int, gone: list[str]) -> None:
    """r0 is the newest of its suite for the model that serves."""
    after = [run(name=f"r{i}", created=i) for i in (1, 2, 3)]
    known = evidence([run(OLD, name="r0", created=0), *after, run(name="now", created=9, ended=U)])
    assert [r.name for r in surplus(known, limit, [NEW, OLD])] == gone


def test_the_service_shows_the_newest_end_of_each_suite() -> None:
    runs = [run(name="r1", created=1), run(name="r2", created=2, verdict=FAILED)]
    known = evidence(runs, suites=[suite(), absent("never")])
    status = service_status(known, candidate(), OLD)
    assert status.spec_hash == OLD
    assert [(s.suite, s.run, s.verdict) for s in status.suites] == [("census", "r2", "Failed")]
