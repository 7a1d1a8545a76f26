"""Everything that a decision about one service is made from, read once: the watched objects, Prometheus, Triton."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from throughline.api import validation
from throughline.api.inferenceservice import InferenceServiceSpec, PlacementStrategy
from throughline.api.status import InferenceServiceStatus
from throughline.domain.control.observe import series
from throughline.domain.manifests import (
    Identity,
    config_map_name,
    deployment_name,
    label_value,
    model_hash,
    served_name,
)
from throughline.domain.observed import MetricsFrame, PodView, ServiceView, Unavailable
from throughline.domain.placement import PoolChoice, Refusal, choose_pool
from throughline.reconcile import servers, storage
from throughline.reconcile.pods import Pods, ended_pods, pod_view, pods_of, running, silent_node
from throughline.reconcile.requests import Requests
from throughline.reconcile.settings_text import from_config_map, recognised

if TYPE_CHECKING:
    from collections.abc import Mapping

    from throughline.api.batching import BatchSettings
    from throughline.reconcile.context import Deps, ServiceState

PROBLEMS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Gathered:
    """The view, and what the shell needs beside it."""

    view: ServiceView
    identity: Identity
    model: str  # its name on the wire
    refusal: Refusal | None
    storage_missing: str | None
    deployment: dict[str, Any] | None
    why_there: str  # on that pool; empty: on none


def parse_spec(state: ServiceState, service: Mapping[str, Any]) -> InferenceServiceSpec | None:
    """The spec of this generation; None, and `state.problem` in words, when it is not valid."""
    metadata = service["metadata"]
    generation = int(metadata.get("generation") or 0)
    if state.generation != generation or (state.spec is None and state.problem is None):
        state.generation, state.spec, state.problem = generation, None, None
        try:
            state.spec = InferenceServiceSpec.model_validate(service.get("spec") or {})
        except ValidationError as error:
            state.problem = _in_words(service, error)
    return state.spec


def _in_words(service: Mapping[str, Any], error: ValidationError) -> str:
    """Field and fix of each problem, as `throughline validate` says them."""
    document = {k: service[k] for k in ("apiVersion", "kind", "metadata", "spec") if k in service}
    problems = [f"{p.field}: {p.message}" for p in validation.check(document)]
    if not problems:
        problems = [f"{validation.dotted(('spec', *e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)]
    more = len(problems) - PROBLEMS_SHOWN
    return "; ".join(problems[:PROBLEMS_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def parse_status(service: Mapping[str, Any]) -> InferenceServiceStatus:
    """The live status; what another version wrote and this one cannot read is taken for absent."""
    try:
        return InferenceServiceStatus.model_validate(service.get("status") or {})
    except ValidationError:
        return InferenceServiceStatus()


def live_status(state: ServiceState, service: Mapping[str, Any]) -> InferenceServiceStatus:
    """`parse_status`, once for each version of the object: a calm service's does not change for hours, and the same
    object needs no comparison either.
    """
    version = service["metadata"].get("resourceVersion")
    if state.status is None or version is None or state.status[0] != version:
        state.status = (version or "", parse_status(service))
    return state.status[1]


async def gather(
    deps: Deps,
    state: ServiceState,
    service: Mapping[str, Any],
    spec: InferenceServiceSpec,
    *,
    digest: str | None = None,
) -> Gathered:
    """Read it all. Pools last and without a pause after them, so that two services do not count the same room.

    `digest`: of the model's files, where each pod compares them.
    """
    metadata = service["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    identity = Identity(name=name, namespace=namespace, uid=metadata["uid"])
    model = served_name(spec, name)
    revision = model_hash(spec, model)
    status = live_status(state, service)
    deployment = deps.objects.get("Deployment", namespace, deployment_name(name))
    settings = _durable(deps, state, spec, identity, revision, status)

    usage = await deps.cluster.usage()
    listed_pods = pods_of(deps.objects, namespace, name)
    pods = await _pods(deps, state, spec, identity, model, status, settings, listed_pods)
    missing = None
    if not any(p.ready and p.revision == revision for p in pods):
        missing = await storage.missing(deps, state, spec, namespace)

    frame = deps.frame()
    label = label_value(name)
    shapes = usage.shapes.get((namespace, label), {}) if usage is not None else {}
    requests = Requests(deps.options, state.requests, identity, spec, digest, shapes)
    listed = deps.cluster.pools((namespace, name), label, spec, usage, requests)
    others = () if listed else [pool["metadata"]["name"] for pool in deps.objects.all("ServingPool")]
    choice = choose_pool(spec, listed, status.pool, others)
    if isinstance(choice, PoolChoice):
        here = label_value(choice.pool.name)
        pods = tuple(replace(p, elsewhere=True) if p.pool not in {here, ""} else p for p in pods)
    gone = frame if isinstance(frame, Unavailable) else series.partial(frame, pods)
    weighed = len(listed) > 1 and spec.placement.strategy is PlacementStrategy.CHEAPEST
    view = ServiceView(
        now_seconds=deps.clock(),
        name=name,
        namespace=namespace,
        generation=state.generation,
        spec=spec,
        status=status,
        pool=choice.pool if isinstance(choice, PoolChoice) else None,
        pools=tuple(listed.values()) if weighed else (),
        pods=pods,
        replicas=None if deployment is None else (deployment.get("spec") or {}).get("replicas"),
        settings=settings,
        model_hash=revision,
        metrics_unavailable=gone,
        metrics_window_seconds=deps.tuning.metrics_window,
        metrics_time_seconds=frame.time_seconds if isinstance(frame, MetricsFrame) else None,
        series=frame.series if isinstance(frame, MetricsFrame) else None,
        model=model,
        memory_limited="memory" in spec.runtime.resources.limits,
        refused_settings=tuple(state.newly_refused.items()),
        failed_proof=state.failed_proof,
        proven_batch=state.proven[1] if state.proven[0] == revision else 0,
        ended_pods=ended_pods(listed_pods, deps.clock()),
        pods_refused=_deployment_message(deployment, "ReplicaFailure", "True"),
        rollout_stalled=_deployment_message(deployment, "Progressing", "False"),
    )
    return Gathered(
        view=view,
        identity=identity,
        model=model,
        refusal=choice if isinstance(choice, Refusal) else None,
        storage_missing=missing,
        deployment=deployment,
        why_there=choice.why if isinstance(choice, PoolChoice) else "",
    )


def _deployment_message(deployment: Mapping[str, Any] | None, type_: str, status: str) -> str | None:
    """What the Deployment's condition says where it has that status; None where it has not."""
    conditions = ((deployment or {}).get("status") or {}).get("conditions") or ()
    found = next((c for c in conditions if c.get("type") == type_ and c.get("status") == status), None)
    return None if found is None else found.get("message") or found.get("reason") or type_


def _durable(
    deps: Deps,
    state: ServiceState,
    spec: InferenceServiceSpec,
    identity: Identity,
    revision: str,
    status: InferenceServiceStatus,
) -> BatchSettings | None:
    """The settings in the ConfigMap of the current model revision."""
    found = deps.objects.get("ConfigMap", identity.namespace, config_map_name(identity.name, revision))
    written = None if found is None else from_config_map(found)
    return recognised(spec.model, written, (state.last_settings, status.batch.settings))


async def _pods(
    deps: Deps,
    state: ServiceState,
    spec: InferenceServiceSpec,
    identity: Identity,
    model: str,
    status: InferenceServiceStatus,
    settings: BatchSettings | None,
    listed: Pods,
) -> tuple[PodView, ...]:
    live = listed.replicas
    frame = deps.frame()
    pods = [pod_view(pod, deps.clock(), silent_node=silent_node(pod, deps.objects)) for pod in live]
    if isinstance(frame, MetricsFrame):
        pods = [
            replace(
                pod,
                metrics=frame.pods.get((identity.namespace, pod.name, model)),
                memory_used_ratio=frame.memory_used_ratio.get((identity.namespace, pod.name)),
            )
            for pod in pods
        ]
    up = frozenset(p["metadata"]["uid"] for p in live if running(p))
    asked = await servers.ask(deps, state, spec, model, pods, up)
    trial = status.control.trial
    likely = (
        state.last_settings,
        settings,
        status.batch.settings,
        *((trial.settings, trial.previous) if trial else ()),
    )
    return tuple(replace(pod, settings=recognised(spec.model, pod.settings, likely)) for pod in asked)
