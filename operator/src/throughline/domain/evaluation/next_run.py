"""Which evaluation is to begin now, and when to look again."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple

from throughline.api.evaluationrun import EvaluationRunSpec, RunReason
from throughline.api.schedules import last_start_seconds, next_start_seconds
from throughline.domain.evaluation.views import newest
from throughline.domain.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.api.evaluation import Evaluation, SuiteReference
    from throughline.domain.evaluation.views import Candidate, Evidence, RunView, SuiteView

MAX_WAIT_SECONDS = 3600.0
MISSED_COUNTED = 100
# A Job's name is a label of its pods, 63 characters at most, and ends in the number of the attempt.
NAME_LENGTH = 52
HASH_DIGITS = 10


class Begin(NamedTuple):
    """A run to begin. The name follows from what it is for: begun twice, it is the same run."""

    name: str
    spec: EvaluationRunSpec


def runnable(suite: SuiteView, candidate: Candidate) -> bool:
    """Whether the suite is there, and its data may be read where the pool is."""
    regions = suite.regions()
    return regions is not None and candidate.region in regions


def next_run(
    evaluation: Evaluation, service: str, wanted: Candidate, serving: Candidate | None, evidence: Evidence, now: float
) -> Begin | None:
    """The next run; None where nothing is due, or one is under way: a service has one at a time.

    The model that is wanted is judged once by each suite, and again when the suite has changed. The one that serves is
    judged on schedule; of several starts that have passed only the last is made up for, and it counts the others.
    """
    if any(run.ended is None for run in evidence.runs):
        return None
    suites = {suite.name: suite for suite in evidence.suites}
    for reference in evaluation.suites:
        suite = suites[reference.name]
        if not runnable(suite, wanted):
            continue
        last = newest(evidence.runs, suite, wanted.spec_hash)
        if last is None:
            return _begin(service, suite, wanted, RunReason.REVISION)
        if last.spec.suite_digest != suite.digest:
            return _begin(service, suite, wanted, RunReason.SUITE)
    for reference in evaluation.suites if serving is not None else ():
        assert serving is not None  # noqa: S101 - the line above
        suite = suites[reference.name]
        last = newest(evidence.runs, suite, serving.spec_hash)
        if reference.schedule is None or last is None or not runnable(suite, serving):
            continue
        start = last_start_seconds(reference.schedule, reference.time_zone, int(now) // 60)
        if start > last.created_seconds:
            missed = _missed(reference, last, start)
            return _begin(service, suite, serving, RunReason.SCHEDULE, start, missed)
    return None


def wait_seconds(references: Sequence[SuiteReference], now: float) -> float:
    """Until the next start of a schedule, or for an hour."""
    starts = [next_start_seconds(r.schedule, r.time_zone, now) for r in references if r.schedule is not None]
    return min([MAX_WAIT_SECONDS, *(max(1.0, start - now) for start in starts)])


def _missed(reference: SuiteReference, last: RunView, start: float) -> int:
    assert reference.schedule is not None  # noqa: S101 - the caller's condition
    missed = 0
    while missed < MISSED_COUNTED:
        start = last_start_seconds(reference.schedule, reference.time_zone, int(start) // 60 - 1)
        if start <= last.created_seconds:
            break
        missed += 1
    return missed


def _begin(
    service: str,
    suite: SuiteView,
    candidate: Candidate,
    reason: RunReason,
    start: float | None = None,
    missed: int = 0,
) -> Begin:
    scheduled = None if start is None else rfc3339(start)
    spec = EvaluationRunSpec(
        service=service,
        suite=suite.name,
        suite_digest=suite.digest,
        spec_hash=candidate.spec_hash,
        model=candidate.model,
        served_name=candidate.served_name,
        pool=candidate.pool,
        reason=reason,
        scheduled=scheduled,
        missed=missed,
    )
    what = "\n".join([service, suite.name, suite.digest, candidate.spec_hash, scheduled or ""])
    digits = hashlib.sha256(what.encode()).hexdigest()[:HASH_DIGITS]
    readable = re.sub(r"[^a-z0-9-]", "-", f"{service}-{suite.name}")
    return Begin(f"{readable[: NAME_LENGTH - HASH_DIGITS - 1].strip('-')}-{digits}", spec)
