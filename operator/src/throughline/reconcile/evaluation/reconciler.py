"""One pass over the evaluations of one InferenceService: records, then the run that is under way, then the next.

A queue of its own: an evaluation takes minutes, and the loop of the service must not wait for it. The status of the
InferenceService stays the service's reconcile's, which is woken when something here has changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from throughline.api.base import API_VERSION, ConditionStatus
from throughline.api.evaluation import Approval
from throughline.domain.evaluation.next_run import next_run, wait_seconds
from throughline.domain.evaluation.records import surplus
from throughline.domain.evaluation.views import SUCCEEDED
from throughline.domain.manifests import Identity, evaluation
from throughline.domain.manifests.names import metadata
from throughline.domain.ownership import FIELD_MANAGER
from throughline.reconcile import writes
from throughline.reconcile.context import ServiceState
from throughline.reconcile.evaluation import retraining, revisions, runs, statements
from throughline.reconcile.evaluation.evidence import know
from throughline.reconcile.evaluation.guard import LOOK_AGAIN_SECONDS
from throughline.reconcile.gather import parse_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from throughline.api.evaluation import Evaluation
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.domain.evaluation.views import RunView
    from throughline.reconcile.context import Deps, Key
    from throughline.reconcile.evaluation.evidence import Known

log = structlog.get_logger("evaluation")

SOON_SECONDS = 0.1


@dataclass(slots=True)
class _State:
    service: ServiceState
    told: dict[str, statements.Told] = field(default_factory=dict)  # of each ModelRevision, when it was signed last


class EvaluationReconciler:
    """The work of the queue of evaluations, by InferenceService."""

    def __init__(self, deps: Deps, wake_service: Callable[[Key], None]) -> None:
        self._deps = deps
        self._wake_service = wake_service
        self._states: dict[Key, _State] = {}

    async def __call__(self, key: Key) -> float | None:
        """Returns after how many seconds to look again, None when only a change matters."""
        service = self._deps.objects.get("InferenceService", *key)
        if service is None or service["metadata"].get("deletionTimestamp"):
            self._states.pop(key, None)  # owner references remove runs and records
            return None
        uid = service["metadata"]["uid"]
        state = self._states.get(key)
        if state is None or state.service.uid != uid:
            state = self._states[key] = _State(ServiceState(uid=uid))
        spec = parse_spec(state.service, service)
        if spec is None:
            return None  # its condition Accepted says so; what runs goes on
        identity = Identity(name=key[1], namespace=key[0], uid=uid)
        before = dict(self._deps.objects.versions(*key))
        try:
            return await self._pass(state, identity, service, spec)
        finally:
            if dict(self._deps.objects.versions(*key)) != before:
                self._wake_service(key)

    async def _pass(
        self, state: _State, identity: Identity, service: Mapping[str, Any], spec: InferenceServiceSpec
    ) -> float | None:
        deps, declared = self._deps, spec.evaluation
        if declared is None:  # most services: a start of the operator asks for every one of them
            await self._stop(identity)
            return None
        if not deps.options.evaluator_image:
            return None  # AccuracyPassing says so
        parsed = state.service.parsed
        known = await know(deps, parsed, service, spec, declared)
        for gone in state.told.keys() - {record.name for record in known.evidence.revisions}:
            del state.told[gone]  # the next of its name is signed anew
        if await revisions.record(deps, parsed, identity, declared, known):
            return SOON_SECONDS
        if await statements.keep(deps, state.told, identity, known):
            return SOON_SECONDS
        if await retraining.start(deps, identity, declared, known):
            return SOON_SECONDS
        await self._clear(identity, declared, known)
        active = next((r for r in known.evidence.runs if r.ended is None), None)
        if active is None:
            return await self._next(identity, declared, known)
        if self._superseded(active, known):
            log.info("evaluation stopped", run=active.name, why="neither the model nor the suite is wanted any more")
            await self._delete_run(identity, active.name, active.uid)
            return SOON_SECONDS
        judged = spec.model_copy(update={"model": active.spec.model})
        return await runs.advance(runs.Case(deps, state.service, identity, judged, known.evidence, active))

    def _superseded(self, run: RunView, known: Known) -> bool:
        wanted = {known.wanted.spec_hash, known.live_hash}
        return run.spec.spec_hash not in wanted or all(s.name != run.spec.suite for s in known.evidence.suites)

    async def _next(self, identity: Identity, declared: Evaluation, known: Known) -> float:
        deps = self._deps
        begin = next_run(declared, identity.name, known.wanted, known.live, known.evidence, deps.clock())
        if begin is None:
            wait = wait_seconds(declared.suites, deps.clock())
            # No event tells of the admission policy: approvals that are there already count once it is installed.
            unguarded = declared.approval is Approval.REQUIRED and not known.evidence.guarded
            return min(wait, LOOK_AGAIN_SECONDS) if unguarded else wait
        log.info("evaluation due", run=begin.name, suite=begin.spec.suite, reason=begin.spec.reason)
        manifest = {
            "apiVersion": API_VERSION,
            "kind": "EvaluationRun",
            "metadata": metadata(identity, begin.name),
            "spec": begin.spec.to_wire(),
        }
        deps.objects.put(await deps.kube.apply(manifest, field_manager=FIELD_MANAGER))
        return SOON_SECONDS

    async def _clear(self, identity: Identity, declared: Evaluation, known: Known) -> None:
        """Jobs whose run has ended, and runs beyond the history's limit."""
        deps = self._deps
        ended = {r.name for r in known.evidence.runs if r.ended is not None}
        for job in deps.objects.children(identity.namespace, identity.name, "Job"):
            found = job["metadata"]
            if found["labels"].get(evaluation.RUN_LABEL) in ended and not found.get("deletionTimestamp"):
                await writes.delete(deps, "batch/v1", "Job", identity.namespace, found["name"], found["uid"])
        hashes = [h for h in (known.wanted.spec_hash, known.live_hash) if h]
        for run in surplus(known.evidence, declared.history_limit, hashes):
            await self._delete_run(identity, run.name, run.uid)

    async def _stop(self, identity: Identity) -> None:
        """The service is not evaluated any more: what is under way ends, what was found stays."""
        for run in self._deps.objects.children(identity.namespace, identity.name, "EvaluationRun"):
            conditions = (run.get("status") or {}).get("conditions") or ()
            if any(c["type"] == SUCCEEDED and c["status"] != ConditionStatus.UNKNOWN for c in conditions):
                continue
            found = run["metadata"]
            await self._delete_run(identity, found["name"], found["uid"])

    async def _delete_run(self, identity: Identity, name: str, uid: str) -> None:
        await writes.delete(self._deps, API_VERSION, "EvaluationRun", identity.namespace, name, uid)
