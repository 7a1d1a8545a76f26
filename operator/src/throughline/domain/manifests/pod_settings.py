"""What a pod says beside its containers: from the pool's and the service's `spec.runtime`.

| Field | The pool's and the service's |
|---|---|
| podLabels, podAnnotations | both; of one key, the service's |
| priorityClassName, runtimeClassName, securityContext (each field) | the service's, else the pool's |
| topologySpreadConstraints | the service's list, else the pool's, else one over hosts |
| affinity | both hold |
| volumes | both; of one name or path, the service's |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from throughline.api.pods import ACCELERATOR_CLAIM, PodIDs
from throughline.domain import nodes
from throughline.domain.manifests import names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel

    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.api.pods import PodSecurityContext, Volume
    from throughline.api.servingpool import ServingPoolSpec
    from throughline.domain.manifests.names import Identity
    from throughline.domain.manifests.options import RenderOptions

USER = 1000  # triton-server of NVIDIA's images
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
VOLUME_PREFIX = "volume-"  # none of our own volumes is named so
_KINDS = ("persistentVolumeClaim", "configMap", "secret")


def metadata(
    spec: InferenceServiceSpec,
    pool: ServingPoolSpec,
    labels: Mapping[str, str],
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Of a pod. `labels` and `annotations` are ours, and win."""
    found: dict[str, Any] = {"labels": {**pool.runtime.pod_labels, **spec.runtime.pod_labels, **labels}}
    annotated = {**pool.runtime.pod_annotations, **spec.runtime.pod_annotations, **(annotations or {})}
    return {**found, "annotations": annotated} if annotated else found


def common(spec: InferenceServiceSpec, pool: ServingPoolSpec, options: RenderOptions) -> dict[str, Any]:
    """Of the spec of every pod of the service: who it runs as, how important it is, and where it may run."""
    return {
        "securityContext": security(spec, pool, options),
        **_named("priorityClassName", spec.runtime.priority_class_name or pool.runtime.priority_class_name),
        **_named("runtimeClassName", spec.runtime.runtime_class_name or pool.runtime.runtime_class_name),
        **placed_on(spec, pool, options),
    }


def _named(field: str, value: str | None) -> dict[str, str]:
    return {field: value} if value else {}


def security(spec: InferenceServiceSpec, pool: ServingPoolSpec, options: RenderOptions) -> dict[str, Any]:
    """Of a pod, under the restricted pod security standard, whatever the ids."""
    layers = (spec.runtime.security_context, pool.runtime.security_context)
    found: dict[str, Any] = {"runAsNonRoot": True}
    for field, attribute in (("runAsUser", "run_as_user"), ("runAsGroup", "run_as_group"), ("fsGroup", "fs_group")):
        value = _id(layers, attribute, options.pod_ids)
        if value is not None:
            found[field] = value
    groups = next((g for layer in layers if (g := layer.supplemental_groups) is not None), None)
    if groups:
        found["supplementalGroups"] = list(groups)
    return {**found, "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"}}


def _id(layers: tuple[PodSecurityContext, ...], attribute: str, installation: PodIDs) -> int | None:
    """The first that says anything decides: a number, or whether there is to be one."""
    for layer in layers:
        value: int | None = getattr(layer, attribute)
        if value is not None:
            return value
        if layer.ids is not None:
            return USER if layer.ids is PodIDs.FIXED else None
    return USER if installation is PodIDs.FIXED else None


def placed_on(spec: InferenceServiceSpec, pool: ServingPoolSpec, options: RenderOptions) -> dict[str, Any]:
    """What keeps a pod to the nodes that capacity counts (`nodes.in_pool`, `nodes.node_terms`)."""
    scheduling: dict[str, Any] = {"nodeSelector": {"kubernetes.io/arch": pool.architecture.value, **pool.node_selector}}
    tolerated = pool.tolerations if options.template_version == 1 else nodes.tolerations(pool)
    if tolerated:
        scheduling["tolerations"] = [t.to_wire() for t in tolerated]
    affinity = _node_affinity(spec, pool)
    if affinity:
        scheduling["affinity"] = {"nodeAffinity": affinity}
    return scheduling


def _node_affinity(spec: InferenceServiceSpec, pool: ServingPoolSpec) -> dict[str, Any]:
    found: dict[str, Any] = {}
    terms = nodes.node_terms(pool.runtime, spec.runtime)
    if terms:
        found[REQUIRED] = {"nodeSelectorTerms": [{"matchExpressions": [wire(one) for one in term]} for term in terms]}
    preferred = [
        wire(one)
        for settings in (pool.runtime, spec.runtime)
        if settings.affinity is not None and settings.affinity.node_affinity is not None
        for one in settings.affinity.node_affinity.preferred_during_scheduling_ignored_during_execution
    ]
    return {**found, PREFERRED: preferred} if preferred else found


def among_pods(identity: Identity, spec: InferenceServiceSpec, pool: ServingPoolSpec) -> dict[str, Any]:
    """Affinity to and from other pods: of servers alone, on top of `placed_on`."""
    found: dict[str, Any] = {}
    for kind in ("podAffinity", "podAntiAffinity"):
        declared = [d for s in (pool.runtime, spec.runtime) if s.affinity and (d := wire(s.affinity).get(kind))]
        required = [_selecting(identity, t) for d in declared for t in d.get(REQUIRED, ())]
        preferred = [
            {**t, "podAffinityTerm": _selecting(identity, t["podAffinityTerm"])}
            for d in declared
            for t in d.get(PREFERRED, ())
        ]
        terms = {name: listed for name, listed in ((REQUIRED, required), (PREFERRED, preferred)) if listed}
        if terms:
            found[kind] = terms
    return found


def spread(identity: Identity, spec: InferenceServiceSpec, pool: ServingPoolSpec) -> list[dict[str, Any]]:
    """Of servers: evenly over hosts where that can be met, unless something else is declared."""
    declared = spec.runtime.topology_spread_constraints
    if declared is None:
        declared = pool.runtime.topology_spread_constraints
    if declared is not None:
        return [_selecting(identity, wire(one)) for one in declared]
    return [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": names.selector(identity.name)},
        }
    ]


def _selecting(identity: Identity, term: dict[str, Any]) -> dict[str, Any]:
    own = {"matchLabels": names.selector(identity.name)}
    return term if "labelSelector" in term else {**term, "labelSelector": own}


def volumes(spec: InferenceServiceSpec, pool: ServingPoolSpec) -> list[dict[str, Any]]:
    """Of the server's pod: what `mounts` mounts."""
    found = []
    for volume in _declared(spec, pool):
        declared = wire(volume)
        kind = next(k for k in _KINDS if k in declared)
        read_only = {"readOnly": True} if kind == "persistentVolumeClaim" else {}
        found.append({"name": f"{VOLUME_PREFIX}{volume.name}", kind: {**declared[kind], **read_only}})
    return found


def mounts(spec: InferenceServiceSpec, pool: ServingPoolSpec) -> list[dict[str, Any]]:
    """Of the server's container."""
    return [
        {
            "name": f"{VOLUME_PREFIX}{volume.name}",
            "mountPath": volume.mount_path,
            **({"subPath": volume.sub_path} if volume.sub_path else {}),
            "readOnly": True,
        }
        for volume in _declared(spec, pool)
    ]


def _declared(spec: InferenceServiceSpec, pool: ServingPoolSpec) -> Iterator[Volume]:
    own = spec.runtime.volumes
    taken = {v.name for v in own} | {v.mount_path for v in own}
    yield from own
    yield from (v for v in pool.runtime.volumes if not taken & {v.name, v.mount_path})


def resource_claims(spec: InferenceServiceSpec, pool: ServingPoolSpec) -> list[dict[str, Any]]:
    """Devices of the server's pod by dynamic resource allocation: the pool's accelerator, and the service's own."""
    found = [wire(claim) for claim in spec.runtime.resource_claims]
    template = pool.accelerator.resource_claim_template_name if pool.accelerator else None
    if template is None:
        return found
    return [{"name": ACCELERATOR_CLAIM, "resourceClaimTemplateName": template}, *found]


def wire(model: BaseModel) -> dict[str, Any]:
    """A part of a pod as the API server stores it: without empty lists and maps, but for a selector of everything."""
    written = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    pruned: dict[str, Any] = _pruned(written)
    return pruned


def _pruned(value: Any) -> Any:
    if isinstance(value, dict):
        found = {k: _pruned(v) for k, v in value.items()}
        return {k: v for k, v in found.items() if k == "labelSelector" or v not in ({}, [])}
    return [_pruned(v) for v in value] if isinstance(value, list) else value
