"""One EvaluationRun, from its first Job to its verdict. Correct from any state: a Job's name follows from the attempt,
a result is taken over only whole, and the status is the last that is written.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import ValidationError

from throughline import exits
from throughline.api.base import ConditionStatus
from throughline.api.evaluationresult import EvaluationResult
from throughline.domain.changes import Action, change
from throughline.domain.decision import ConditionUpdate
from throughline.domain.diff import with_hash
from throughline.domain.evaluation.attempt import (
    MANIFEST_LINE,
    RESULT_LINE,
    Do,
    JobView,
    PodReport,
    Progress,
    Step,
    Words,
    after_loss,
    next_step,
    seconds_left,
)
from throughline.domain.evaluation.records import judged, run_status
from throughline.domain.evaluation.views import SUCCEEDED
from throughline.domain.manifests import REVISION_LABEL, evaluation, evaluation_pod
from throughline.domain.ownership import FIELD_MANAGER
from throughline.domain.times import rfc3339
from throughline.lineage import canonical
from throughline.ports import ApiError
from throughline.reconcile import children, secret, storage, writes
from throughline.reconcile.evaluation import jobs
from throughline.reconcile.pods import pods_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from throughline.api.evaluationrun import EvaluationRunStatus
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.domain.evaluation.views import Evidence, RunView
    from throughline.domain.manifests import Identity
    from throughline.domain.observed import Manifest
    from throughline.reconcile.context import Deps, ServiceState

log = structlog.get_logger("evaluation")

POLL_SECONDS = 5.0
DONE_SECONDS = 0.1
WAITING = "Waiting"
TOLD_LATER = frozenset({WAITING, "Pending", "Scoring"})  # reasons whose message says why it was too late in the end
# Of a ConfigMap, which holds 1 MiB with all that is around it.
MAX_RESULT_BYTES = 1_000_000


class LostError(Exception):
    """What a completed Job found cannot be read."""


@dataclass(frozen=True, slots=True)
class Case:
    """What one pass over a run is given."""

    deps: Deps
    state: ServiceState
    identity: Identity
    spec: InferenceServiceSpec  # with the model that is judged
    evidence: Evidence
    run: RunView


async def advance(case: Case) -> float:
    """Do what is next; returns after how long to look again."""
    deps, run, declared = case.deps, case.run, case.spec.evaluation
    assert declared is not None  # noqa: S101 - the caller's condition
    seen_jobs = sorted((_job(j) for j in jobs.of_run(deps, case.identity, run.name)), key=lambda j: j.attempt)
    job = seen_jobs[-1] if seen_jobs else await _unseen(case)
    # The label of a Job that this process has not seen made may come after its status.
    attempts = max(run.status.attempts, job.attempt if job is not None else 0)
    pod = None if job is None else await jobs.pod(deps, case.identity.namespace, job, evaluation_pod.EVALUATOR)
    waits_for = next((c.message for c in run.status.conditions if c.reason in TOLD_LATER), "")
    seen = Progress(attempts, deps.clock() - run.created_seconds, job, pod, waits_for)
    step = next_step(declared, seen)
    if step.do is Do.COLLECT:
        assert job is not None  # noqa: S101 - only a completed Job is collected
        try:
            return await _collect(case, pod)
        except LostError as error:
            step = after_loss(declared, seen, str(error))
            log.warning("result lost", run=run.name, job=job.name, why=str(error))
    if step.do is Do.FAIL:
        words = Words.parse(pod.words) if pod is not None else None
        return await _fail(case, step, words)
    if step.do is Do.BEGIN:
        return await _begin(case, step, job, seconds_left(declared, seen.age_seconds))
    update = ConditionUpdate(SUCCEEDED, ConditionStatus.UNKNOWN, step.reason, step.message)
    await _write(case, run_status(run, update, rfc3339(deps.clock()), attempts=attempts))
    return POLL_SECONDS


def _job(job: Mapping[str, Any]) -> JobView:
    return jobs.view(job, int(job["metadata"]["name"].rsplit("-", 1)[-1]))


async def _unseen(case: Case) -> JobView | None:
    """The Job that the status tells of, where the watch does not show it: before it counts as lost, it is asked for."""
    if case.run.status.attempts == 0:
        return None
    name = evaluation.job_name(case.run.name, case.run.status.attempts)
    live = await case.deps.kube.get("batch/v1", "Job", case.identity.namespace, name)
    return None if live is None or live["metadata"].get("deletionTimestamp") else _job(live)


async def _begin(case: Case, step: Step, before: JobView | None, seconds: int) -> float:
    """The next attempt's Job, with what it needs; or what must be there first, as a condition."""
    deps, run, identity = case.deps, case.run, case.identity
    declared, pool = case.spec.evaluation, deps.cluster.pool_spec(run.spec.pool)
    suite = next((s for s in case.evidence.suites if s.name == run.spec.suite), None)
    assert declared is not None  # noqa: S101 - the caller's condition
    if suite is None or suite.spec is None or suite.digest != run.spec.suite_digest:
        # What it was begun for is no more; the suite as it is now gets a run of its own.
        return await _fail(case, Step(Do.FAIL, step.attempt, "SuiteChanged", "the suite was changed meanwhile"), None)
    task = evaluation.Assignment(run.name, run.uid, suite.name, suite.spec, declared, seconds)
    missing = f"ServingPool {run.spec.pool} does not exist" if pool is None else await _missing(case, task)
    if pool is None or missing is not None:
        update = ConditionUpdate(SUCCEEDED, ConditionStatus.UNKNOWN, WAITING, missing or "")
        await _write(case, run_status(run, update, rfc3339(deps.clock())))
        return deps.tuning.storage_seconds
    if before is not None:
        await writes.delete(deps, "batch/v1", "Job", identity.namespace, before.name, before.uid)
    for manifest in evaluation.surroundings(identity, task):
        await _applied(deps, identity, with_hash(manifest))
    await deps.kube.apply(evaluation.inputs(identity, case.spec, pool, task), field_manager=FIELD_MANAGER)
    job = evaluation.job(identity, case.spec, pool, deps.options, task, step.attempt)
    log.info("evaluation begins", run=run.name, job=job["metadata"]["name"], suite=suite.name, reason=run.spec.reason)
    deps.objects.put(await deps.kube.apply(job, field_manager=FIELD_MANAGER))
    update = ConditionUpdate(SUCCEEDED, ConditionStatus.UNKNOWN, "Pending", "no pod yet")
    await _write(case, run_status(run, update, rfc3339(deps.clock()), attempts=step.attempt))
    return POLL_SECONDS


async def _applied(deps: Deps, identity: Identity, manifest: Manifest) -> None:
    live = await children.look_up(deps, manifest)
    found = change(identity, manifest, live)
    if found.action is Action.REFUSE:
        raise ApiError(409, "Conflict", found.why)
    if found.action is not Action.KEEP:
        deps.objects.put(await deps.kube.apply(manifest, field_manager=FIELD_MANAGER))


async def _missing(case: Case, task: evaluation.Assignment) -> str | None:
    """What a pod would wait for without a word: asked for before there is one."""
    deps, namespace = case.deps, case.identity.namespace
    if task.scratch:
        conflict = await secret.ensure(deps, case.state, case.identity)
        if conflict is not None:
            return conflict
    elif not _rolled_out(case):
        return "the replicas that serve are not yet all of this revision"
    found = await storage.absent(deps, case.spec.model.storage.uri, namespace)
    if found is not None:
        return f"spec.model.storage: {found}"
    for _, dataset in task.datasets:
        source = dataset.source
        absent = None
        if source.pvc is not None:
            absent = await storage.absent(deps, f"pvc://{source.pvc.claim_name}", namespace)
        elif source.config_map is not None:
            wanted = source.config_map
            absent = await storage.absent(deps, f"configmap://{wanted.name}", namespace, key=(wanted.key, ""))
        if absent is not None:
            return f"the data set of EvaluationSuite {task.suite_name}: {absent}"
    return None


def _rolled_out(case: Case) -> bool:
    """Whether all pods that may answer are of the revision."""
    pods = pods_of(case.deps.objects, case.identity.namespace, case.identity.name).replicas
    hashes = {p["metadata"]["labels"].get(REVISION_LABEL) for p in pods}
    return hashes == {case.run.spec.spec_hash}


async def _collect(case: Case, pod: PodReport | None) -> float:
    """Take over what the Job found, once: the result first, then the status that names its digest."""
    deps, run = case.deps, case.run
    if pod is None:
        raise LostError("its pod is gone, and with it the result")
    words = Words.parse(pod.words)
    if words is None:
        raise LostError(f"the evaluator left no last words in pod {pod.name}")
    if words.exit_code == exits.UNUSABLE:
        return await _fail(case, Step(Do.FAIL, run.status.attempts, "BadInput", words.message), words)
    if words.exit_code not in exits.VERDICTS or words.outcome is None:
        raise LostError(f"the evaluator ended with {words.exit_code}, which is no verdict: {words.message}")
    text, result, files = await _result(deps, case.identity.namespace, pod.name, words)
    size_bytes = len(text.encode())
    if size_bytes > MAX_RESULT_BYTES:
        message = f"the result has {size_bytes} bytes, and a ConfigMap holds a million; name fewer slices"
        return await _fail(case, Step(Do.FAIL, run.status.attempts, "ResultTooLarge", message), words)
    data = {evaluation.RESULT_KEY: text}
    if size_bytes + len(files.encode()) <= MAX_RESULT_BYTES:
        data[evaluation.MANIFEST_KEY] = files
    await deps.kube.apply(evaluation.result(case.identity, run.name, run.uid, data), field_manager=FIELD_MANAGER)
    after = judged(run, words, result, rfc3339(deps.clock()))
    await _write(case, after)
    await _tell(case, after, failed=str(after.verdict) != "Passed")
    return DONE_SECONDS


async def _result(deps: Deps, namespace: str, pod: str, words: Words) -> tuple[str, EvaluationResult, str]:
    """The bytes as text, what they say, and the manifest of the model's files, or nothing where that is not there.

    Raises:
        LostError: the log does not have them, or has others than the last words are of.
    """
    try:
        log_text = await deps.kube.log(namespace, pod, evaluation_pod.EVALUATOR)
    except ApiError as error:
        if error.status not in {writes.NOT_FOUND, 400}:  # 400: the container's log is gone
            raise
        raise LostError(f"the log of pod {pod} cannot be read: {error.message}") from error
    try:
        data, files = _unpacked(log_text, RESULT_LINE), _unpacked(log_text, MANIFEST_LINE)
        found = EvaluationResult.model_validate_json(data)
    except (binascii.Error, OSError, EOFError, zlib.error, ValidationError) as error:
        raise LostError(f"the result in the log of pod {pod} is absent, or not whole: {error}") from error
    if canonical.digest_bytes(data) != words.result_digest:
        raise LostError(f"the result in the log of pod {pod} is not the one that its last words are of")
    if words.artifact is None or canonical.digest_bytes(files) != words.artifact.digest:
        files = b""
    return data.decode(), found, files.decode()


def _unpacked(log_text: str, beginning: str) -> bytes:
    """What the last such line holds; nothing where there is none."""
    line = next((line for line in reversed(log_text.splitlines()) if line.startswith(beginning)), None)
    return b"" if line is None else gzip.decompress(base64.b64decode(line.removeprefix(beginning), validate=True))


async def _fail(case: Case, step: Step, words: Words | None) -> float:
    update = ConditionUpdate(SUCCEEDED, ConditionStatus.FALSE, step.reason, step.message)
    artifact = words.artifact if words is not None else None
    now = rfc3339(case.deps.clock())
    attempts = max(case.run.status.attempts, step.attempt)
    after = run_status(case.run, update, now, attempts=attempts, artifact=artifact)
    await _write(case, after)
    await _tell(case, after, failed=True)
    return DONE_SECONDS


async def _write(case: Case, after: EvaluationRunStatus) -> None:
    if after != case.run.status:
        await writes.status(case.deps, "EvaluationRun", case.identity.namespace, case.run.name, after.to_wire())


async def _tell(case: Case, after: EvaluationRunStatus, *, failed: bool) -> None:
    """Log, metric and Event of the run's end."""
    deps, run = case.deps, case.run
    end = after.conditions[-1]
    outcome = str(after.verdict) if after.verdict is not None else "None"
    deps.hooks.evaluated(outcome)
    message = after.message or end.message
    log.info("evaluation ended", run=run.name, suite=run.spec.suite, outcome=outcome, reason=end.reason, said=message)
    regarding = deps.objects.get("EvaluationRun", case.identity.namespace, run.name)
    if regarding is not None:
        type_ = "Warning" if failed else "Normal"
        await writes.emit(deps, regarding, type_=type_, reason=end.reason, message=message, action="Evaluate")
