"""What is done with a run next: by table, and that it always comes to an end."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from throughline.api.evaluation import Evaluation
from throughline.domain.evaluation.attempt import Do, JobView, PodReport, Progress, Words, after_loss, next_step

EVALUATION = Evaluation.model_validate({"suites": [{"name": "s"}], "deadlineSeconds": 600, "retries": 2})
SAID = json.dumps({"exitCode": 3, "outcome": None, "message": "no answer from the server", "rows": 0})
CRASHED = json.dumps({"exitCode": 70, "outcome": None, "message": "unforeseen KeyError", "rows": 0})
HANDED = json.dumps({"exitCode": 0, "outcome": None, "message": "", "rows": 10})
WRONG = json.dumps({"exitCode": 2, "outcome": None, "message": "no such column", "rows": 0})


def job(attempt: int = 1, ended: str | None = None, reason: str = "") -> JobView:
    return JobView(f"r-{attempt}", "uid", attempt, ended, reason, "what Kubernetes says")


def progress(attempts: int = 0, age: float = 10.0, job: JobView | None = None, **pod: object) -> Progress:
    return Progress(attempts, age, job, PodReport("p", "ns", "evaluate", **pod) if pod else None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "do", "attempt", "reason", "words"),
    [
        pytest.param(progress(), Do.BEGIN, 1, "", "", id="new"),
        pytest.param(progress(1), Do.BEGIN, 2, "", "", id="job deleted"),
        pytest.param(progress(3), Do.FAIL, 3, "JobLost", "3 times", id="job deleted too often"),
        pytest.param(progress(0, 597), Do.FAIL, 0, "DeadlineExceeded", "600 s", id="too late to begin"),
        pytest.param(progress(1, job=job()), Do.WAIT, 1, "Pending", "no pod", id="no pod yet"),
        pytest.param(progress(1, job=job(), waiting="Unschedulable: full"), Do.WAIT, 1, "Pending", "full", id="waits"),
        pytest.param(progress(1, job=job(), restarts=0), Do.WAIT, 1, "Running", "Job r-1", id="runs"),
        pytest.param(
            progress(1, job=job(), restarts=2, words=SAID), Do.WAIT, 1, "Running", "no answer from", id="runs again"
        ),
        pytest.param(progress(1, job=job(1, "Complete"), words=SAID), Do.COLLECT, 1, "", "", id="complete"),
        pytest.param(
            progress(1, job=job(1, "Failed", "DeadlineExceeded")), Do.FAIL, 1, "DeadlineExceeded", "600", id="deadline"
        ),
        pytest.param(
            progress(1, job=job(1, "Failed", "BackoffLimitExceeded"), words=SAID),
            Do.FAIL, 1, "BackoffLimitExceeded", "no answer from", id="failed, and said why",
        ),
        pytest.param(
            progress(1, job=job(1, "Failed", "BackoffLimitExceeded"), words=CRASHED, exit_code=70),
            Do.FAIL, 1, "EvaluatorCrashed", "unforeseen KeyError", id="a fault of the evaluator",
        ),
        pytest.param(
            progress(1, job=job(1, "Failed", "BackoffLimitExceeded"), exit_code=1),
            Do.FAIL, 1, "EvaluatorCrashed", "exit code 1 and no word", id="1 without words is no verdict",
        ),
        pytest.param(
            progress(1, job=job(1, "Failed", "BackoffLimitExceeded"), exit_code=137),
            Do.FAIL, 1, "BackoffLimitExceeded", "exit code 137", id="killed",
        ),
        pytest.param(progress(1, job=job(), scoring=True), Do.WAIT, 1, "Scoring", "the scorer works", id="scores"),
        pytest.param(
            progress(1, job=job(1, "Failed", "PodFailurePolicy"), words=HANDED, scorer_failed="exit code 3: no jq"),
            Do.FAIL, 1, "ScorerFailed", "exit code 3: no jq", id="scorer failed",
        ),
        pytest.param(
            progress(1, job=job(1, "Failed", "BackoffLimitExceeded"), scorer_failed="exit code 137 (OOMKilled)"),
            Do.FAIL, 1, "ScorerFailed", "OOMKilled", id="scorer killed too often",
        ),
        pytest.param(
            progress(1, job=job(1, "Failed", "PodFailurePolicy")),
            Do.FAIL, 1, "ScorerFailed", "what Kubernetes says", id="scorer failed, pod gone",
        ),
        pytest.param(
            progress(1, job=job(1, "Failed", "PodFailurePolicy"), words=WRONG),
            Do.FAIL, 1, "BadInput", "no such column", id="no predictions for the scorer",
        ),
        pytest.param(
            progress(1, job=job(1, "Failed")), Do.FAIL, 1, "JobFailed", "what Kubernetes says", id="failed, pod gone"
        ),
    ],
)  # fmt: skip
def test_next_step(seen: Progress, do: Do, attempt: int, reason: str, words: str) -> None:
    step = next_step(EVALUATION, seen)
    assert (step.do, step.attempt, step.reason) == (do, attempt, reason)
    assert words in step.message


def test_the_log_of_a_pod_without_a_word_is_one_command_away() -> None:
    message = next_step(EVALUATION, progress(1, job=job(1, "Failed"), exit_code=137)).message
    assert "`kubectl logs p -n ns -c evaluate`" in message


def test_what_was_waited_for_is_said_when_it_is_too_late() -> None:
    seen = progress(0, 599)._replace(waits_for="ConfigMap rows does not exist")
    assert next_step(EVALUATION, seen).message.endswith("; ConfigMap rows does not exist")


def test_what_was_under_way_is_said_when_the_job_is_too_late() -> None:
    seen = progress(1, 599, job=job(1, "Failed", "DeadlineExceeded"))._replace(
        waits_for="scorer: ErrImagePull: no such"
    )
    assert next_step(EVALUATION, seen).message.endswith("; scorer: ErrImagePull: no such")


def test_what_a_pod_waits_for_is_not_forgotten_when_the_kubelet_gives_it_up() -> None:
    pulling = "scorer: ErrImagePull: no such"
    seen = progress(1, 599, job=job(), waiting="scorer: PodInitializing")
    assert next_step(EVALUATION, seen._replace(waits_for=pulling)).message == pulling
    assert next_step(EVALUATION, seen).message == "scorer: PodInitializing"


def test_a_lost_result_is_tried_again_as_often_as_anything_else() -> None:
    assert after_loss(EVALUATION, progress(1, job=job()), "gone")[:2] == (Do.BEGIN, 2)
    assert after_loss(EVALUATION, progress(3, job=job(3)), "gone")[:3] == (Do.FAIL, 3, "ResultLost")
    assert after_loss(EVALUATION, progress(1, 599, job=job()), "gone")[:3] == (Do.FAIL, 1, "DeadlineExceeded")


@given(st.integers(0, 12), st.floats(0, 10_000))
def test_no_run_is_begun_for_ever(attempts: int, age: float) -> None:
    """With every Job lost, it begins at most once more than it may be retried, and never after the deadline."""
    step = next_step(EVALUATION, progress(attempts, age))
    if step.do is Do.BEGIN:
        assert step.attempt <= EVALUATION.retries + 1
        assert age < EVALUATION.deadline_seconds
    else:
        assert step.do is Do.FAIL


@pytest.mark.parametrize(
    "text", ["", "killed", "{}", '{"exitCode": "x"}', '{"exitCode": 0, "resultDigest": "sha256:0"}']
)
def test_words_of_others_are_none(text: str) -> None:
    assert Words.parse(text) is None


def test_words_are_the_evaluators() -> None:
    words = Words.parse(SAID)
    assert words is not None
    assert (words.exit_code, words.outcome, words.message) == (3, None, "no answer from the server")
