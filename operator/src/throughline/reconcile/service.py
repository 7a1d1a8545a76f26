"""One pass for one InferenceService: gather → decide → apply → status. Level-triggered from first line to last."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from throughline.api.base import ConditionStatus
from throughline.domain.conditions import ACCEPTED, workload_conditions
from throughline.domain.control.tuning import SAMPLE_INTERVAL_SECONDS
from throughline.domain.decision import ConditionUpdate
from throughline.domain.manifests import deployment_name, replicas_patch
from throughline.domain.placement import Refusal
from throughline.domain.scalers import SCALER
from throughline.ports import ApiError
from throughline.reconcile import batch, children, proof, scalers, secret, status
from throughline.reconcile.context import ServiceState
from throughline.reconcile.gather import parse_spec, parse_status
from throughline.reconcile.outlook import look

if TYPE_CHECKING:
    from collections.abc import Mapping

    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.domain.decision import Decision
    from throughline.domain.observed import ServiceView
    from throughline.reconcile.context import Deps, Key
    from throughline.reconcile.evaluation.judgement import Judgement
    from throughline.reconcile.gather import Gathered

log = structlog.get_logger("service")

SOON_SECONDS = 2.0
NOTHING_SERVES_SECONDS = 60.0
LOADING_SECONDS = 5.0


class ServiceReconciler:
    """The work of the queue of InferenceServices."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._states: dict[Key, ServiceState] = {}

    async def __call__(self, key: Key) -> float | None:
        """Returns after how many seconds to look again, None when only a change matters."""
        service = self._deps.objects.get("InferenceService", *key)
        if service is None or service["metadata"].get("deletionTimestamp"):
            self._states.pop(key, None)  # owner references remove the rest
            self._deps.hooks.forgotten(key)
            return None
        uid = service["metadata"]["uid"]
        state = self._states.get(key)
        if state is None or state.uid != uid:
            state = self._states[key] = ServiceState(uid=uid)
        spec = parse_spec(state, service)
        if spec is None:
            await self._refuse(service, Refusal("InvalidSpec", "spec", state.problem or "not valid"))
            return None
        return await self._pass(state, service, spec)

    async def _refuse(self, service: Mapping[str, Any], refusal: Refusal) -> None:
        """Only the condition: what runs goes on as it is."""
        before = parse_status(service)
        update = ConditionUpdate(ACCEPTED, ConditionStatus.FALSE, refusal.reason, refusal.message)
        generation = int(service["metadata"].get("generation") or 0)
        after = status.with_conditions(before, [update], generation, self._deps.clock())
        await status.write(self._deps, service, before, after)

    async def _pass(self, state: ServiceState, service: Mapping[str, Any], spec: InferenceServiceSpec) -> float:
        deps, tuning = self._deps, self._deps.tuning
        outlook = await look(deps, state, service, spec)
        judgement, seen, other, decision = outlook
        state.last_settings = decision.settings
        delay = min(tuning.decision_interval, decision.requeue_seconds)

        replicas, refusal, rejected = seen.view.replicas, outlook.refusal, None
        if refusal is None and seen.view.pool is not None:
            self._reserve(seen.view, decision)
            try:
                conflict, unfinished = await self._apply(state, seen, judgement, decision)
                replicas = await self._scale(seen, decision) if conflict is None else replicas
                refusal = Refusal("NameConflict", "metadata.name", conflict) if conflict else None
                delay = min(delay, SOON_SECONDS) if unfinished else delay
            except ApiError as error:
                if not error.terminal:
                    raise
                refusal, rejected = _rejected(error), error
        if decision.pool is not None:
            delay = min(delay, SOON_SECONDS)  # the next pass is on that pool
        if _loading(seen.view):
            delay = min(delay, LOADING_SECONDS)
        elif not seen.view.serving and delay >= min(tuning.decision_interval, SAMPLE_INTERVAL_SECONDS):
            delay = max(delay, NOTHING_SERVES_SECONDS)  # pods wake it when they come
        updates = [
            *workload_conditions(replace(seen.view, replicas=replicas), refusal, storage_missing=seen.storage_missing),
            *scalers.told(decision.conditions, other, seen.view),
        ]
        after = status.with_decision(seen.view, decision, updates, judgement, replicas=replicas)
        await status.write(deps, service, seen.view.status, after, [*decision.records, *judgement.records])
        _written(state, seen.view)
        deps.hooks.observed((seen.view.namespace, seen.view.name), after.conditions)
        if rejected is not None:
            raise rejected  # for the queue's backoff: the condition says it already
        return delay

    def _reserve(self, view: ServiceView, decision: Decision) -> None:
        more = (decision.replicas or 0) - (view.replicas or 0)
        key = (view.namespace, view.name)
        if view.pool is not None and more > 0:
            self._deps.cluster.reserve(view.pool.name, key, more)
        if decision.pool is not None:
            self._deps.cluster.reserve(decision.pool, key, decision.replicas or view.replicas or 1)

    async def _apply(
        self, state: ServiceState, seen: Gathered, judgement: Judgement, decision: Decision
    ) -> tuple[str | None, bool]:
        """Secret, settings and children; returns the name conflict, if any, and whether to look again soon."""
        deps, view, pool, spec = self._deps, seen.view, seen.view.pool, judgement.spec
        assert pool is not None  # noqa: S101 - the caller's condition
        if any(p.waiting_reason == "CreateContainerConfigError" for p in view.pods):
            state.secret_seen = False  # the Secret may have been deleted
        needs_key = seen.deployment is None or any(p.ip for p in view.pods)
        conflict = await secret.ensure(deps, state, seen.identity) if needs_key else None
        if conflict is not None:
            return conflict, False
        until = deps.clock() + deps.tuning.batch_apply_seconds
        todo = batch.differing(spec, decision, view.pods, view.model_hash)
        durable, new = decision.settings, view.settings is not None and view.settings != decision.settings
        blocked = decision.control.rejected
        first = next((item for item in todo if new and item[1] == decision.settings), None)
        tried = batch.Loading()
        if first is not None:
            tried = await batch.load(deps, state, view, seen.model, pool, [first], rejected=blocked, until=until)
            todo.remove(first)
        if (tried.refused or tried.unfinished) and view.settings is not None:
            durable = view.settings  # a restarted pod must not find what no server has taken
        wanted = children.wanted(seen, judgement, decision, pool, durable)
        conflict = await children.apply(deps, state, wanted)
        state.conflict = conflict
        if conflict is None and durable == decision.settings:
            rest = await batch.load(deps, state, view, seen.model, pool, todo, rejected=blocked, until=until)
            tried = batch.Loading(unfinished=rest.unfinished or rest.loaded or tried.loaded)
            await children.sweep(deps, state, seen.identity, view.model_hash)
            if decision.reloads:
                await batch.repair(deps, state, spec, seen.model, pool, view.pods, decision)
            if not todo and view.settings == durable and not batch.is_blocked(state, blocked, durable):
                await proof.in_force(deps, state, view, seen.model)
        # What was just loaded, refused or proved is for the next decision to see.
        return conflict, tried.unfinished or _news(state, view)

    async def _scale(self, seen: Gathered, decision: Decision) -> int | None:
        """Replicas of the Deployment after this pass, under a field manager that owns nothing else."""
        name = deployment_name(seen.identity.name)
        live = self._deps.objects.get("Deployment", seen.identity.namespace, name)
        replicas = None if live is None else (live.get("spec") or {}).get("replicas")
        if live is None or decision.replicas is None or decision.replicas == replicas:
            return replicas
        log.info("scale", replicas=decision.replicas, before=replicas)
        patch = replicas_patch(name, seen.identity.namespace, decision.replicas)
        self._deps.objects.put(await self._deps.kube.apply(patch, field_manager=SCALER))
        return decision.replicas


def _news(state: ServiceState, view: ServiceView) -> bool:
    """Whether something was refused or proved that the last decision has not seen."""
    refused = state.newly_refused.keys() - dict(view.refused_settings).keys()
    proved = state.proven[0] == view.model_hash and state.proven[1] > view.proven_batch
    return proved or bool(refused) or state.failed_proof != view.failed_proof


def _written(state: ServiceState, view: ServiceView) -> None:
    """Forget what the status that was just written tells of; not what came up in this pass."""
    for settings, words in view.refused_settings:
        if state.newly_refused.get(settings) == words:
            del state.newly_refused[settings]
    if state.failed_proof == view.failed_proof:
        state.failed_proof = None


def _loading(view: ServiceView) -> bool:
    """Whether some server runs that neither serves nor has said why not: it tells nobody when it gives up."""
    return any(p.container_id and not (p.ready or p.terminating or p.waiting_reason or p.load_error) for p in view.pods)


def _rejected(error: ApiError) -> Refusal:
    """What the API server refused for good, as a condition."""
    return Refusal("ApplyRejected", "spec", f"the API server refused an object of this service: {error.message}")
