"""Which model serves, and what AccuracyPassing says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from throughline.api.base import Outcome
from throughline.api.modelrevision import Decision
from throughline.domain.condition_reasons import known
from throughline.domain.condition_types import ACCURACY_PASSING
from throughline.domain.evaluation.admission import Serving, accuracy, admission, serving, suites_finding
from throughline.domain.evaluation.views import ADMITTED

from tests.domain.evaluation.cases import (
    BEGUN,
    FILES,
    NEW,
    OLD,
    OLDEST,
    OTHER_FILES,
    F,
    T,
    U,
    absent,
    approval,
    candidate,
    evaluation,
    evidence,
    model,
    revision,
    run,
    suite,
)

if TYPE_CHECKING:
    from throughline.api.base import ConditionStatus
    from throughline.api.evaluation import Evaluation
    from throughline.domain.evaluation.views import Candidate, Evidence, RevisionView, SuiteView

PASSED, FAILED, UNKNOWN = Outcome.PASSED, Outcome.FAILED, Outcome.UNKNOWN
REPORT = evaluation()
ENFORCE = evaluation(gate="Enforce")
APPROVED = evaluation(gate="Enforce", approval="Required")
ROLL_BACK = evaluation(gate="Enforce", onDecay="RollBack")
BOTH = (suite("census"), suite("drift"))
LOW = "accuracy 0.75 is below the floor 0.8"
REJECTED = approval(Decision.REJECTED)


@pytest.mark.parametrize(
    ("found", "status", "reason", "said"),
    [
        (evidence([run()]), T, "AllPassed", "census: passed on 1000 rows"),
        (evidence([run(verdict=FAILED, message=LOW)]), F, "BoundMissed", f"census: {LOW}"),
        (evidence([run(verdict=UNKNOWN, message="spans the floor")]), F, "Undecided", "census: spans the floor"),
        (evidence([run(verdict=None)]), F, "Undecided", "census"),
        (
            evidence([run(ended=F, message="no such column", name="run-1")]),
            U,
            "EvaluationFailed",
            "census: run run-1: no such column",
        ),
        (evidence(), U, "NotEvaluated", f"census has not been run for revision {NEW}"),
        (evidence([run(OLD)]), U, "NotEvaluated", f"census has not been run for revision {NEW}"),
        (evidence([run(ended=U)]), U, "NotEvaluated", f"census has not been run for revision {NEW}"),
        # What was found before stands while another runs, and the newest that ended counts.
        (evidence([run(), run(created=BEGUN + 60, ended=U)]), T, "AllPassed", "census: passed"),
        (evidence([run(), run(created=BEGUN + 60, verdict=FAILED, message=LOW)]), F, "BoundMissed", LOW),
        (evidence([run(verdict=FAILED), run(created=BEGUN + 60)]), T, "AllPassed", "census: passed"),
        # The files are others than those that the revision is of.
        (
            evidence([run(artifact=OTHER_FILES)], [revision()]),
            F,
            "ArtifactChanged",
            f"{OTHER_FILES}, but ModelRevision fraud-{NEW} is of {FILES}",
        ),
        (evidence([run(artifact=FILES)], [revision()]), T, "AllPassed", ""),
        (evidence([run(artifact=None)], [revision()]), T, "AllPassed", ""),
        (evidence(suites=[absent()]), U, "SuiteNotFound", "EvaluationSuite census does not exist"),
        (
            evidence(suites=[suite(regions=["us-east-1", "eu-north-1"])]),
            U,
            "RegionNotAllowed",
            "census: its data may be read in eu-north-1, us-east-1, and pool gpu is in eu-west-1",
        ),
        (evidence(suites=[suite(training=["us-east-1"])]), U, "RegionNotAllowed", "may be read in no region at all"),
        # A verdict that is there stands, even where it could not be come to today.
        (evidence([run()], suites=[absent()]), T, "AllPassed", ""),
        # All must pass; the gravest is told, and of equals all.
        (
            evidence([run(), run(NEW, "drift")], suites=BOTH),
            T,
            "AllPassed",
            "census: passed on 1000 rows; drift: passed",
        ),
        (evidence([run()], suites=BOTH), U, "NotEvaluated", f"drift has not been run for revision {NEW}"),
        (evidence([run(NEW, "drift", verdict=FAILED, message=LOW)], suites=BOTH), F, "BoundMissed", f"drift: {LOW}"),
        (
            evidence([run(verdict=FAILED, message="a"), run(NEW, "drift", verdict=FAILED, message="b")], suites=BOTH),
            F,
            "BoundMissed",
            "census: a; drift: b",
        ),
        (
            evidence([run(verdict=UNKNOWN, message="a"), run(NEW, "drift", verdict=FAILED, message="b")], suites=BOTH),
            F,
            "Undecided",
            "census: a",
        ),
    ],
)
def test_what_the_suites_say(found: Evidence, status: ConditionStatus, reason: str, said: str) -> None:
    finding = suites_finding(found, candidate())
    assert (finding.status, finding.reason) == (status, reason)
    assert said in finding.message
    assert known(ACCURACY_PASSING, finding.reason)


def test_only_what_has_the_reason_is_told() -> None:
    runs = [run(verdict=UNKNOWN, message="a"), run(NEW, "drift", verdict=FAILED, message="b")]
    assert suites_finding(evidence(runs, suites=BOTH), candidate()) == (F, "Undecided", "census: a")


def test_a_pool_without_a_region_is_told() -> None:
    finding = suites_finding(evidence(), candidate(region=None))
    assert (finding.status, finding.reason) == (U, "RegionNotAllowed")
    assert "pool gpu names no region" in finding.message


PASSING, FAILING = [run()], [run(verdict=FAILED, message=LOW)]
LATER = [run(), run(created=BEGUN + 60, verdict=FAILED, message=LOW)]


@pytest.mark.parametrize(
    ("told", "found", "status", "reason"),
    [
        (ENFORCE, evidence(PASSING, [revision(NEW, None)]), T, "Admitted"),
        (ENFORCE, evidence(PASSING), T, "Admitted"),
        (ENFORCE, evidence(FAILING, [revision(NEW, None)]), F, "BoundMissed"),
        (ENFORCE, evidence([run(verdict=UNKNOWN)], [revision(NEW, None)]), F, "Undecided"),
        (ENFORCE, evidence([run(ended=F)], [revision(NEW, None)]), U, "EvaluationFailed"),
        (ENFORCE, evidence(), U, "NotEvaluated"),
        (ENFORCE, evidence([run(artifact=OTHER_FILES)], [revision(NEW, None)]), F, "ArtifactChanged"),
        # What was refused is let in when a later run passes.
        (ENFORCE, evidence([*FAILING, run(created=BEGUN + 60)], [revision(NEW, F)]), T, "Admitted"),
        # A person's word is asked for once every suite passed, and there is a record for them to name.
        (APPROVED, evidence(PASSING), U, "NotEvaluated"),
        (APPROVED, evidence(PASSING, [revision(NEW, None)]), U, "AwaitingApproval"),
        (APPROVED, evidence(PASSING, [revision(NEW, U)]), U, "AwaitingApproval"),
        (APPROVED, evidence(PASSING, [revision(NEW, U)], approvals=[approval()]), T, "Admitted"),
        (APPROVED, evidence(FAILING, [revision(NEW, None)], approvals=[approval()]), F, "BoundMissed"),
        (APPROVED, evidence(approvals=[approval()]), U, "NotEvaluated"),
        # The newest counts, also where none is required, and over what was admitted.
        (ENFORCE, evidence(PASSING, [revision(NEW, None)], approvals=[REJECTED]), F, "Rejected"),
        (APPROVED, evidence(PASSING, [revision(NEW, T)], approvals=[REJECTED]), F, "Rejected"),
        (APPROVED, evidence(PASSING, [revision(NEW, U)], approvals=[REJECTED, approval()]), F, "Rejected"),
        (APPROVED, evidence(PASSING, [revision(NEW, F)], approvals=[approval(), REJECTED]), T, "Admitted"),
        # What was admitted stays so: a later failure is told, and acts only with RollBack.
        (ENFORCE, evidence(LATER, [revision()]), T, "Admitted"),
        (ENFORCE, evidence(LATER, [revision(), revision(OLD)]), T, "Admitted"),
        (APPROVED, evidence(PASSING, [revision()]), T, "Admitted"),
        (ENFORCE, evidence(PASSING, [revision()], suites=BOTH), T, "Admitted"),
        (ROLL_BACK, evidence(LATER, [revision(), revision(OLD)]), F, "BoundMissed"),
        # Back to where? Only to another that was admitted, and only for a bound that was missed.
        (ROLL_BACK, evidence(LATER, [revision()]), T, "Admitted"),
        (ROLL_BACK, evidence(LATER, [revision(), revision(OLD, F), revision(OLDEST, None)]), T, "Admitted"),
        (ROLL_BACK, evidence([run(verdict=UNKNOWN)], [revision(), revision(OLD)]), T, "Admitted"),
        (ROLL_BACK, evidence([run(ended=F)], [revision(), revision(OLD)]), T, "Admitted"),
        (ROLL_BACK, evidence(PASSING, [revision(), revision(OLD)]), T, "Admitted"),
        # Gone back from, it stays out until it passes.
        (ROLL_BACK, evidence(LATER, [revision(NEW, F), revision(OLD)]), F, "BoundMissed"),
    ],
)
def test_whether_a_revision_may_serve(told: Evaluation, found: Evidence, status: ConditionStatus, reason: str) -> None:
    update = admission(told, found, candidate())
    assert (update.type, update.status, update.reason) == (ADMITTED, status, reason)


@pytest.mark.parametrize(
    ("told", "found", "said"),
    [
        (ENFORCE, evidence(FAILING), f"census: {LOW}"),
        (APPROVED, evidence(PASSING, [revision(NEW, U)]), f"ModelRevision fraud-{NEW} waits for approval"),
        (ENFORCE, evidence(approvals=[REJECTED]), "alice@example.com in ModelApproval said: the gap is known"),
    ],
)
def test_what_is_said_of_one_that_may_not(told: Evaluation, found: Evidence, said: str) -> None:
    assert said in admission(told, found, candidate()).message


AS_WANTED = Serving(model(NEW), NEW, held_back=False)
FIRST, SECOND = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def kept(spec_hash: str) -> Serving:
    return Serving(model(spec_hash), spec_hash, held_back=True)


@pytest.mark.parametrize(
    ("told", "revisions", "live", "expected"),
    [
        # Without a gate, whatever was found.
        (None, [], OLD, AS_WANTED),
        (None, [revision(NEW, F), revision(OLD)], OLD, AS_WANTED),
        (REPORT, [], None, AS_WANTED),
        (REPORT, [revision(NEW, F), revision(OLD)], OLD, AS_WANTED),
        # With one: what is admitted.
        (ENFORCE, [revision()], OLD, AS_WANTED),
        (ENFORCE, [revision(), revision(OLD)], None, AS_WANTED),
        (ENFORCE, [revision(OLD)], OLD, kept(OLD)),
        (ENFORCE, [revision(NEW, None), revision(OLD)], OLD, kept(OLD)),
        (ENFORCE, [revision(NEW, U), revision(OLD)], OLD, kept(OLD)),
        (ENFORCE, [revision(NEW, F), revision(OLD)], OLD, kept(OLD)),
        # The one admitted last, by its time and not by its place, and not what runs by chance.
        (ENFORCE, [revision(OLD, created=SECOND), revision(OLDEST, created=FIRST)], OLDEST, kept(OLD)),
        (ENFORCE, [revision(OLDEST, created=FIRST), revision(OLD, created=SECOND)], None, kept(OLD)),
        (ENFORCE, [revision(OLD, F, created=SECOND), revision(OLDEST, created=FIRST)], OLD, kept(OLDEST)),
        # None is: what runs is left as it is, and of a new service nothing runs.
        (ENFORCE, [], None, Serving(None, "", held_back=True)),
        (ENFORCE, [revision(NEW, F)], None, Serving(None, "", held_back=True)),
        (ENFORCE, [], OLD, Serving(None, OLD, held_back=True)),
        (ENFORCE, [revision(NEW, U), revision(OLD, F)], OLD, Serving(None, OLD, held_back=True)),
        # A gate that comes over what serves already does not stop it, even where it is then refused …
        (ENFORCE, [], NEW, AS_WANTED),
        (ENFORCE, [revision(NEW, None)], NEW, AS_WANTED),
        (ENFORCE, [revision(NEW, U), revision(OLD)], NEW, AS_WANTED),
        (ENFORCE, [revision(NEW, F)], NEW, AS_WANTED),
        # … but for where there is one to go back to.
        (ENFORCE, [revision(NEW, F), revision(OLD)], NEW, kept(OLD)),
    ],
)
def test_which_model_serves(
    told: Evaluation | None, revisions: list[RevisionView], live: str | None, expected: Serving
) -> None:
    assert serving(told, candidate(), revisions, live) == expected


STAYS = f"revision {OLD} serves on"


def says(
    told: Evaluation | None,
    found: Evidence,
    now_serving: Serving = AS_WANTED,
    wanted: Candidate | None = None,
    *,
    evaluator: bool = True,
) -> tuple[Any, ...]:
    update = accuracy(told, found, wanted or candidate(), now_serving, evaluator=evaluator)
    assert update.type == ACCURACY_PASSING
    assert known(ACCURACY_PASSING, update.reason), update.reason
    return update.status, update.reason, update.message


@pytest.mark.parametrize(
    ("told", "found", "now_serving", "status", "reason", "said"),
    [
        (REPORT, evidence(PASSING), AS_WANTED, T, "AllPassed", ""),
        (REPORT, evidence(FAILING), AS_WANTED, F, "BoundMissed", LOW),
        (ENFORCE, evidence(LATER, [revision()]), AS_WANTED, F, "BoundMissed", LOW),
        (ENFORCE, evidence(suites=[absent()]), AS_WANTED, U, "SuiteNotFound", "does not exist"),
        # Kept out, and why; then what serves in its place.
        (ENFORCE, evidence(FAILING, [revision(OLD)]), kept(OLD), F, "RevisionHeldBack", f"{LOW}; {STAYS}"),
        (ENFORCE, evidence([run(verdict=UNKNOWN)], [revision(OLD)]), kept(OLD), F, "RevisionHeldBack", STAYS),
        (ENFORCE, evidence([], [revision(OLD)]), kept(OLD), U, "NotEvaluated", STAYS),
        (ENFORCE, evidence([run(ended=F)], [revision(OLD)]), kept(OLD), U, "EvaluationFailed", STAYS),
        (ENFORCE, evidence([run(artifact=OTHER_FILES)], [revision(NEW, F)]), kept(OLD), F, "ArtifactChanged", STAYS),
        (APPROVED, evidence(PASSING, [revision(NEW, U)]), kept(OLD), U, "AwaitingApproval", f"approval; {STAYS}"),
        (APPROVED, evidence(PASSING, [revision(OLD)]), kept(OLD), U, "NotEvaluated", f"being written; {STAYS}"),
        (
            APPROVED,
            evidence(PASSING, [revision(NEW, F)], approvals=[REJECTED]),
            kept(OLD),
            F,
            "Rejected",
            f"the gap is known; {STAYS}",
        ),
        (ENFORCE, evidence(FAILING), Serving(None, "", held_back=True), F, "RevisionHeldBack", "; nothing serves"),
        (ENFORCE, evidence(), Serving(None, OLD, held_back=True), U, "NotEvaluated", STAYS),
    ],
)
def test_what_accuracy_passing_says(
    told: Evaluation, found: Evidence, now_serving: Serving, status: ConditionStatus, reason: str, said: str
) -> None:
    assert says(told, found, now_serving)[:2] == (status, reason)
    assert said in says(told, found, now_serving)[2]


def test_nothing_is_claimed_where_nothing_is_configured() -> None:
    assert says(None, evidence(PASSING))[:2] == (U, "NotConfigured")
    # Whether there is an evaluator is then of no matter.
    assert says(None, evidence(), evaluator=False)[1] == "NotConfigured"


@pytest.mark.parametrize("now_serving", [AS_WANTED, kept(OLD)])
def test_a_missing_evaluator_is_told_before_all_else(now_serving: Serving) -> None:
    status, reason, message = says(ENFORCE, evidence(PASSING), now_serving, evaluator=False)
    assert (status, reason) == (U, "EvaluatorMissing")
    assert "evaluatorImage" in message


@pytest.mark.parametrize("suites", [(absent(),), (suite(regions=["us-east-1"]),)])
def test_what_cannot_be_judged_is_kept_out(suites: tuple[SuiteView, ...]) -> None:
    """Unknown is not passed: neither a missing suite nor a forbidden region opens the gate."""
    found = evidence(suites=suites)
    assert admission(ENFORCE, found, candidate()).status == U
    assert serving(ENFORCE, candidate(), [revision(OLD)], OLD) == kept(OLD)
