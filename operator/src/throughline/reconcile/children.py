"""The objects of one service: applied when they are not as rendered, left alone when they are or are not ours."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from throughline.domain import ownership
from throughline.domain.changes import Action, Change, doubtful
from throughline.domain.changes import changes as compared
from throughline.domain.diff import with_hash
from throughline.domain.manifests import (
    REVISION_LABEL,
    SERVICE_LABEL,
    deployment_name,
    foreign_owner,
    label_value,
    render,
)
from throughline.domain.ownership import FIELD_MANAGER
from throughline.reconcile import writes
from throughline.reconcile.pods import pods_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from throughline.api.batching import BatchSettings
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.domain.decision import Decision
    from throughline.domain.manifests import Identity
    from throughline.domain.observed import PoolView
    from throughline.reconcile.context import Deps, ServiceState
    from throughline.reconcile.evaluation.judgement import Judgement
    from throughline.reconcile.gather import Gathered

log = structlog.get_logger("children")

APPLIED_KINDS = (
    "ServiceAccount",
    "ConfigMap",
    "NetworkPolicy",
    "Service",
    "PodDisruptionBudget",
    "Deployment",
    "PodMonitor",
    "CronJob",
)


class Wanted(NamedTuple):
    """What the children are rendered from, beside the operator's own options."""

    identity: Identity
    spec: InferenceServiceSpec  # with the model that may serve
    pool: PoolView
    settings: BatchSettings
    room: bool  # for one replica more than there are
    digest: str | None  # of the model's files, where each pod is to compare them


def wanted(seen: Gathered, judgement: Judgement, decision: Decision, pool: PoolView, settings: BatchSettings) -> Wanted:
    """From what is read and decided."""
    view = seen.view
    # A replica that does not fit where another leaves gains nothing from that: what runs stays, and the new one waits.
    # Nor does one that comes from another pool, whose predecessor holds nothing of this one.
    most, replicas = pool.capacity_replicas, decision.replicas or view.replicas or 1
    room = most is None or most > replicas or not pool.replaces or any(p.elsewhere for p in view.pods)
    return Wanted(seen.identity, judgement.spec, pool, settings, room, judgement.digest)


async def apply(deps: Deps, state: ServiceState, wanted: Wanted) -> str | None:
    """Make the children as rendered; returns the name conflict that stopped it, if one did."""
    if state.agreed == _fingerprint(deps, state, wanted) and state.conflict is None:
        return None
    found = await changes(deps, wanted)
    refused = next((change for change in found if change.action is Action.REFUSE), None)
    if refused is not None:
        return refused.why
    reasons: dict[str, list[str]] = {}
    rewritten: dict[str, tuple[str, ...]] = {}
    for change in found:
        name = f"{change.kind}/{change.name}"
        admission = change.rewritten
        if change.action in {Action.CREATE, Action.UPDATE}:
            reasons.setdefault(change.why, []).append(name)
            reply = await deps.kube.apply(change.manifest, field_manager=FIELD_MANAGER)
            deps.objects.put(reply)
            admission = tuple(ownership.rewritten(change.manifest, reply))
        elif change.action is Action.DELETE:
            await _withdraw(deps, change)
        if admission:
            rewritten[name] = admission
    for why, applied in reasons.items():
        log.info("applied", objects=applied, why=why)
    if rewritten != state.rewritten and rewritten:
        log.warning("admission rewrites what was applied; it is left so", fields=rewritten)
    state.rewritten = rewritten
    state.agreed = _fingerprint(deps, state, wanted)
    return None


async def changes(deps: Deps, wanted: Wanted) -> list[Change]:
    """What happens to each child, and why; writes nothing."""
    identity = wanted.identity
    deployment = deps.objects.get("Deployment", identity.namespace, deployment_name(identity.name))
    manifests = _render(deps, wanted, deployment)
    live = await asyncio.gather(*(look_up(deps, manifest) for manifest in manifests))
    whole = next((one for one in live if one is not None and one["kind"] == "Deployment"), None)
    if whole is not None and ownership.told(whole):
        manifests = _render(deps, wanted, whole)  # its strategy depends on whether somebody edited it
    cron_jobs = deps.objects.children(identity.namespace, identity.name, "CronJob")
    return compared(identity, manifests, live, cron_jobs)


async def _withdraw(deps: Deps, change: Change) -> None:
    metadata = change.manifest["metadata"]
    log.info("delete", kind=change.kind, name=change.name, why=change.why)
    await writes.delete(
        deps, str(change.manifest["apiVersion"]), change.kind, metadata["namespace"], change.name, metadata["uid"]
    )


def _fingerprint(deps: Deps, state: ServiceState, wanted: Wanted) -> tuple[Any, ...]:
    """Everything that rendering and comparing depend on; pods have no part in it. The model may be another than that
    of the generation: one that the gate has admitted. And samples may have to wait for their salt.
    """
    identity, spec, pool, settings, room, digest = wanted
    versions = deps.objects.versions(identity.namespace, identity.name)
    children = tuple(sorted((k, v) for k, v in versions.items() if k[0] in APPLIED_KINDS))
    declared = (identity.uid, state.generation, spec.model, spec.monitoring is None)
    return (*declared, pool.name, pool.spec, settings, room, digest, deps.options, children)


def _render(deps: Deps, wanted: Wanted, deployment: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The manifests with their hashes."""
    identity, spec, pool, settings, room, digest = wanted
    rendered = render(
        identity, spec, pool.name, pool.spec, settings, deps.options, surge=room, digest=digest, live=deployment
    )
    return [with_hash(manifest) for manifest in rendered]


async def look_up(deps: Deps, manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """The object as it is. The API server is asked for one that the watch does not show: it may be another's, without
    our label. And for one that differs from what was applied: what is watched is kept without its managedFields.
    """
    kind, namespace, name = manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]
    shown = deps.objects.get(kind, namespace, name)
    if shown is not None and not doubtful(manifest, shown):
        return shown
    return await deps.kube.get(manifest["apiVersion"], kind, namespace, name)


async def sweep(deps: Deps, state: ServiceState, identity: Identity, current: str) -> None:
    """Delete the ConfigMaps of model revisions that no running pod and no ReplicaSet is of."""
    config_maps = deps.objects.children(identity.namespace, identity.name, "ConfigMap")
    old = {}
    for config_map in config_maps:
        revision = config_map["metadata"]["labels"].get(REVISION_LABEL)
        if revision and revision != current and foreign_owner(config_map, identity) is None:
            old[revision] = config_map["metadata"]
    if not old:
        state.swept = None
        return
    pods = pods_of(deps.objects, identity.namespace, identity.name).replicas
    used = {p["metadata"]["labels"].get(REVISION_LABEL) for p in pods}
    # ReplicaSets are not watched: asked for only when the Deployment or the pods have changed since the last time.
    deployments = deps.objects.children(identity.namespace, identity.name, "Deployment")
    versions = tuple(d["metadata"]["resourceVersion"] for d in deployments)
    seen = (tuple(sorted(old)), tuple(sorted(map(str, used))), versions)
    if state.swept == seen or not old.keys() - used:
        return
    selector = f"{SERVICE_LABEL}={label_value(identity.name)}"
    for replica_set in await deps.kube.list("apps/v1", "ReplicaSet", identity.namespace, label_selector=selector):
        template = ((replica_set.get("spec") or {}).get("template") or {}).get("metadata") or {}
        used.add((template.get("labels") or {}).get(REVISION_LABEL))
    for revision, metadata in old.items():
        if revision not in used:
            log.info("delete", kind="ConfigMap", name=metadata["name"], why="no pod or ReplicaSet is of its revision")
            await writes.delete(deps, "v1", "ConfigMap", identity.namespace, metadata["name"], metadata["uid"])
    state.swept = seen
