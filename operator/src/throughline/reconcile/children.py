"""The objects of one service: applied when they are not as rendered, left alone when they are or are not ours."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from throughline.domain.diff import needs_apply, with_hash
from throughline.domain.manifests import REVISION_LABEL, SERVICE_LABEL, foreign_owner, label_value, render
from throughline.reconcile.context import FIELD_MANAGER

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
)


async def apply(
    deps: Deps,
    state: ServiceState,
    identity: Identity,
    spec: InferenceServiceSpec,
    pool: PoolView,
    settings: BatchSettings,
    *,
    replicas: int | None,
) -> str | None:
    """Make the children as rendered; returns the name conflict that stopped it, if one did.

    `replicas` is what the pool must hold now, for the room of a rollout.
    """
    # A replica that fits nowhere gains nothing from one that leaves: what runs stays, and the new one waits.
    room = pool.capacity_replicas is None or pool.capacity_replicas == 0 or pool.capacity_replicas > (replicas or 1)
    agreed = _fingerprint(deps, state, identity, pool, settings, room)
    if state.agreed == agreed and state.conflict is None:
        return None
    manifests = _render(deps, identity, spec, pool, settings, room)
    live = await _live(deps, identity, manifests)
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
    for why, applied in reasons.items():
        log.info("applied", objects=applied, why=why)
    state.agreed = _fingerprint(deps, state, identity, pool, settings, room)
    return None


def _fingerprint(
    deps: Deps, state: ServiceState, identity: Identity, pool: PoolView, settings: BatchSettings, room: bool
) -> tuple[Any, ...]:
    """Everything that rendering and comparing depend on; pods have no part in it."""
    versions = deps.objects.versions(identity.namespace, identity.name)
    children = tuple(sorted((k, v) for k, v in versions.items() if k[0] in APPLIED_KINDS))
    return (identity.uid, state.generation, pool.name, pool.spec, settings, room, deps.options, children)


def _render(
    deps: Deps, identity: Identity, spec: InferenceServiceSpec, pool: PoolView, settings: BatchSettings, room: bool
) -> list[dict[str, Any]]:
    """The manifests with their hashes. The rollout's strategy stays as it is while there is nothing to roll out."""
    live = next(iter(deps.objects.children(identity.namespace, identity.name, "Deployment")), None)
    surge = room if live is None else _surges(live)
    manifests = _hashed(deps, identity, spec, pool, settings, surge=surge)
    if surge != room and any(m["kind"] == "Deployment" and needs_apply(m, live) for m in manifests):
        manifests = _hashed(deps, identity, spec, pool, settings, surge=room)
    return manifests


def _hashed(
    deps: Deps, identity: Identity, spec: InferenceServiceSpec, pool: PoolView, settings: BatchSettings, *, surge: bool
) -> list[dict[str, Any]]:
    rendered = render(identity, spec, pool.name, pool.spec, settings, deps.options, surge=surge)
    return [with_hash(manifest) for manifest in rendered]


def _surges(deployment: Mapping[str, Any]) -> bool:
    rolling = ((deployment.get("spec") or {}).get("strategy") or {}).get("rollingUpdate") or {}
    return rolling.get("maxSurge") not in {0, "0", "0%"}


async def _live(deps: Deps, identity: Identity, manifests: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
    """Each object as it is. One that the watch does not show may be another's, without our label: it is asked for."""
    shown = [deps.objects.get(m["kind"], identity.namespace, m["metadata"]["name"]) for m in manifests]

    async def one(manifest: dict[str, Any], found: dict[str, Any] | None) -> dict[str, Any] | None:
        if found is not None:
            return found
        return await deps.kube.get(
            manifest["apiVersion"], manifest["kind"], identity.namespace, manifest["metadata"]["name"]
        )

    return list(await asyncio.gather(*(one(m, f) for m, f in zip(manifests, shown, strict=True))))


async def sweep(deps: Deps, state: ServiceState, identity: Identity, current: str) -> None:
    """Delete the ConfigMaps of model revisions that no pod and no ReplicaSet is of."""
    config_maps = deps.objects.children(identity.namespace, identity.name, "ConfigMap")
    old = {}
    for config_map in config_maps:
        revision = config_map["metadata"]["labels"].get(REVISION_LABEL)
        if revision and revision != current and foreign_owner(config_map, identity) is None:
            old[revision] = config_map["metadata"]
    if not old:
        state.swept = None
        return
    pods = deps.objects.children(identity.namespace, identity.name, "Pod")
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
            await deps.kube.delete("v1", "ConfigMap", identity.namespace, metadata["name"], uid=metadata["uid"])
            deps.objects.forget(("ConfigMap", identity.namespace, metadata["name"]))
    state.swept = seen
