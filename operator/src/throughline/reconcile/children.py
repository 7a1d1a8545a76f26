"""The objects of one service: applied when they are not as rendered, left alone when they are or are not ours."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from throughline.domain.diff import needs_apply, with_hash
from throughline.domain.manifests import (
    REVISION_LABEL,
    SERVICE_LABEL,
    deployment_name,
    foreign_owner,
    label_value,
    render,
)
from throughline.reconcile import writes
from throughline.reconcile.context import FIELD_MANAGER
from throughline.reconcile.pods import pods_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from throughline.api.inferenceservice import BatchSettings, InferenceServiceSpec
    from throughline.domain.manifests import Identity
    from throughline.domain.observed import PoolView
    from throughline.reconcile.context import Deps, ServiceState

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


class _Wanted(NamedTuple):
    """What the children are rendered from, beside the operator's own options."""

    identity: Identity
    spec: InferenceServiceSpec
    pool: PoolView
    settings: BatchSettings
    room: bool  # for one replica more than there are
    digest: str | None


async def apply(
    deps: Deps,
    state: ServiceState,
    identity: Identity,
    spec: InferenceServiceSpec,
    pool: PoolView,
    settings: BatchSettings,
    *,
    replicas: int | None,
    digest: str | None = None,
    moves: bool = False,
) -> str | None:
    """Make the children as rendered; returns the name conflict that stopped it, if one did.

    `replicas` is what the pool must hold now, for the room of a rollout. `digest`: of the model's files, where each
    pod is to compare them. `moves`: it comes from another pool.
    """
    # A replica that fits nowhere gains nothing from one that leaves: what runs stays, and the new one waits. Nor does
    # one that comes from another pool, whose predecessor holds nothing of this one.
    most = pool.capacity_replicas
    room = most is None or most == 0 or most > (replicas or 1) or moves
    wanted = _Wanted(identity, spec, pool, settings, room, digest)
    if state.agreed == _fingerprint(deps, state, wanted) and state.conflict is None:
        return None
    manifests = _render(deps, wanted)
    live = await asyncio.gather(*(look_up(deps, manifest) for manifest in manifests))
    for manifest, found in zip(manifests, live, strict=True):
        owner = foreign_owner(found, identity) if found is not None else None
        if owner is not None:
            metadata = manifest["metadata"]
            return (
                f"{manifest['kind']} {metadata['namespace']}/{metadata['name']} exists and is {owner}: "
                "delete or rename it, or give the InferenceService another name"
            )
    reasons: dict[str, list[str]] = {}
    for manifest, found in zip(manifests, live, strict=True):
        why = needs_apply(manifest, found)
        if why is not None:
            reasons.setdefault(why, []).append(f"{manifest['kind']}/{manifest['metadata']['name']}")
            deps.objects.put(await deps.kube.apply(manifest, field_manager=FIELD_MANAGER))
    await _withdraw(deps, identity, {m["metadata"]["name"] for m in manifests if m["kind"] == "CronJob"})
    for why, applied in reasons.items():
        log.info("applied", objects=applied, why=why)
    state.agreed = _fingerprint(deps, state, wanted)
    return None


async def _withdraw(deps: Deps, identity: Identity, rendered: set[str]) -> None:
    """Delete what is declared no more and would go on by itself."""
    for live in deps.objects.children(identity.namespace, identity.name, "CronJob"):
        found = live["metadata"]
        if found["name"] in rendered or foreign_owner(live, identity) is not None:
            continue
        log.info("delete", kind="CronJob", name=found["name"], why="spec.monitoring declares no drift and no labels")
        await writes.delete(deps, "batch/v1", "CronJob", identity.namespace, found["name"], found["uid"])


def _fingerprint(deps: Deps, state: ServiceState, wanted: _Wanted) -> tuple[Any, ...]:
    """Everything that rendering and comparing depend on; pods have no part in it. The model may be another than that
    of the generation: one that the gate has admitted. And samples may have to wait for their salt.
    """
    identity, spec, pool, settings, room, digest = wanted
    versions = deps.objects.versions(identity.namespace, identity.name)
    children = tuple(sorted((k, v) for k, v in versions.items() if k[0] in APPLIED_KINDS))
    declared = (identity.uid, state.generation, spec.model, spec.monitoring is None)
    return (*declared, pool.name, pool.spec, settings, room, digest, deps.options, children)


def _render(deps: Deps, wanted: _Wanted) -> list[dict[str, Any]]:
    """The manifests with their hashes."""
    identity, spec, pool, settings, room, digest = wanted
    live = deps.objects.get("Deployment", identity.namespace, deployment_name(identity.name))
    rendered = render(
        identity, spec, pool.name, pool.spec, settings, deps.options, surge=room, digest=digest, live=live
    )
    return [with_hash(manifest) for manifest in rendered]


async def look_up(deps: Deps, manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """The object as it is. One that the watch does not show may be another's, without our label: it is asked for."""
    kind, namespace, name = manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]
    shown = deps.objects.get(kind, namespace, name)
    return shown if shown is not None else await deps.kube.get(manifest["apiVersion"], kind, namespace, name)


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
