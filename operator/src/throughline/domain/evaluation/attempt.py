"""What is to be done with one EvaluationRun now: begin its Job, wait, read what it found, or give up."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from throughline import exits
from throughline.api.base import Resource
from throughline.api.modelrevision import Artifact, Digest
from throughline.domain.formatting import count

if TYPE_CHECKING:
    from throughline.api.evaluation import Evaluation

# What the last two lines of its log begin with.
MANIFEST_LINE = "throughline-manifest: "
RESULT_LINE = "throughline-result: "
MIN_SECONDS = 5  # that must be left for one more attempt
COMPLETE, FAILED = "Complete", "Failed"
AT_FIRST = "PodInitializing"  # the kubelet's reason where it knows none


class Words(Resource):
    """The evaluator's last words (docs/evaluate.md)."""

    exit_code: int
    outcome: str | None = None
    message: str = ""
    rows: int = 0
    result_digest: Digest | None = None
    artifact: Artifact | None = None

    @classmethod
    def parse(cls, text: str) -> Words | None:
        """None: it is not what the evaluator writes, as when the container was killed."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None


@dataclass(frozen=True, slots=True)
class JobView:
    """The Job of the last attempt."""

    name: str
    uid: str
    attempt: int
    ended: str | None  # Complete or Failed
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class PodReport:
    """The newest pod of the Job."""

    name: str
    namespace: str
    container: str  # the step whose words and exit code these are
    words: str = ""  # of its last end; before there is one, of its first step's
    waiting: str = ""  # why the evaluator does not run yet
    exit_code: int | None = None  # of its last end
    restarts: int = 0
    scoring: bool = False  # the suite's scorer is at work
    scorer_failed: str = ""  # how, with what it said last


class Do(StrEnum):
    BEGIN = "Begin"
    WAIT = "Wait"
    COLLECT = "Collect"
    FAIL = "Fail"


class Step(NamedTuple):
    """With the reason and message of the run's condition Succeeded."""

    do: Do
    attempt: int
    reason: str = ""
    message: str = ""


class Progress(NamedTuple):
    """What is known of a run that has not ended."""

    attempts: int  # Jobs that were begun
    age_seconds: float
    job: JobView | None
    pod: PodReport | None
    waits_for: str = ""  # what was missing, or under way but for the evaluator, when it was looked at last


def next_step(evaluation: Evaluation, seen: Progress) -> Step:
    """From a run's Job and pod to what is to be done. A Job that was begun and is gone counts as an attempt."""
    left = seconds_left(evaluation, seen.age_seconds)
    job = seen.job
    if job is None:
        if seen.attempts > evaluation.retries:
            times = "once" if seen.attempts == 1 else f"{seen.attempts} times"
            return Step(Do.FAIL, seen.attempts, "JobLost", f"its Job was deleted {times} before it had ended")
        if left < MIN_SECONDS:
            return _too_late(evaluation, seen.attempts, seen.waits_for)
        return Step(Do.BEGIN, seen.attempts + 1)
    if job.ended == COMPLETE:
        return Step(Do.COLLECT, job.attempt)
    if job.ended == FAILED:
        return _failed(evaluation, job, seen)
    if seen.pod is None or seen.pod.waiting:
        return Step(Do.WAIT, job.attempt, "Pending", _waits(seen.pod, seen.waits_for))
    if seen.pod.scoring:
        return Step(Do.WAIT, job.attempt, "Scoring", f"Job {job.name}: the scorer works on the predictions")
    again = f"; it was started again {count(seen.pod.restarts, 'time')}" if seen.pod.restarts else ""
    said = f"; before that: {_said(seen.pod)}" if seen.pod.restarts and _said(seen.pod) else ""
    return Step(Do.WAIT, job.attempt, "Running", f"Job {job.name}{again}{said}")


def _failed(evaluation: Evaluation, job: JobView, seen: Progress) -> Step:
    if job.reason == "DeadlineExceeded":
        return _too_late(evaluation, job.attempt, seen.waits_for or _said(seen.pod))
    words = Words.parse(seen.pod.words) if seen.pod is not None else None
    if words is not None and words.exit_code == exits.UNUSABLE:
        return Step(Do.FAIL, job.attempt, "BadInput", words.message)
    if crashed(seen.pod):
        return Step(Do.FAIL, job.attempt, "EvaluatorCrashed", _said(seen.pod) or job.message)
    failed = seen.pod.scorer_failed if seen.pod is not None else ""
    if failed or job.reason == "PodFailurePolicy":
        return Step(Do.FAIL, job.attempt, "ScorerFailed", failed or job.message)
    return Step(Do.FAIL, job.attempt, job.reason or "JobFailed", _said(seen.pod) or job.message)


def crashed(pod: PodReport | None) -> bool:
    """Whether the evaluator ended in a way that nobody foresaw: never a verdict, whatever else it left behind."""
    if pod is None:
        return False
    words = Words.parse(pod.words)
    # An interpreter that cannot even start its program exits with 1 and leaves no words.
    return pod.exit_code == exits.UNFORESEEN or (words is None and pod.exit_code == exits.REFUSED)


def after_loss(evaluation: Evaluation, seen: Progress, why: str) -> Step:
    """The Job completed, and what it found cannot be read: once more, as often as it may be tried."""
    if seen.attempts > evaluation.retries:
        return Step(Do.FAIL, seen.attempts, "ResultLost", why)
    if seconds_left(evaluation, seen.age_seconds) < MIN_SECONDS:
        return _too_late(evaluation, seen.attempts, why)
    return Step(Do.BEGIN, seen.attempts + 1, "ResultLost", why)


def seconds_left(evaluation: Evaluation, age_seconds: float) -> int:
    """Until the deadline, which counts from the run's creation."""
    return int(evaluation.deadline_seconds - age_seconds)


def _too_late(evaluation: Evaluation, attempt: int, said: str) -> Step:
    message = f"not done {evaluation.deadline_seconds} s after it was begun (spec.evaluation.deadlineSeconds)"
    return Step(Do.FAIL, attempt, "DeadlineExceeded", f"{message}; {said}" if said else message)


def _waits(pod: PodReport | None, before: str) -> str:
    """Why the evaluator does not run yet. A kubelet that gives a pod up says of it what it said at first."""
    if pod is None:
        return "no pod yet"
    step, _, reason = pod.waiting.partition(": ")
    return before if reason == AT_FIRST and before.startswith(f"{step}: ") else pod.waiting


def _said(pod: PodReport | None) -> str:
    if pod is None:
        return ""
    words = Words.parse(pod.words)
    if words is not None and words.message:
        return words.message
    if pod.waiting or not pod.exit_code:
        return pod.waiting
    command = f"kubectl logs {pod.name} -n {pod.namespace} -c {pod.container}"
    return f"the evaluator ended with exit code {pod.exit_code} and no word; `{command}` has more"
