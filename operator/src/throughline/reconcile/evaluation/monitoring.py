"""What the last look at a service's samples found, taken over from its Job once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.domain.evaluation import monitoring
from throughline.domain.evaluation.attempt import Words
from throughline.domain.manifests import drift
from throughline.reconcile.evaluation import jobs, salt

if TYPE_CHECKING:
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.api.status import MonitoringStatus
    from throughline.domain.decision import ConditionUpdate
    from throughline.domain.manifests import Identity
    from throughline.reconcile.context import Deps, ServiceState


async def look(
    deps: Deps,
    state: ServiceState,
    identity: Identity,
    spec: InferenceServiceSpec,
    pool_name: str,
    before: MonitoringStatus | None,
) -> tuple[ConditionUpdate, MonitoringStatus | None]:
    """DriftWithinBounds, and what it follows from. A Job that was taken over already is not asked for again."""
    if spec.monitoring is None:
        return monitoring.NOT_CONFIGURED, None
    pool = deps.cluster.pool_spec(pool_name or spec.placement.pools[0].name)
    obstacle = drift.obstacle(spec.monitoring, None if pool is None else pool.region, deps.options)
    if obstacle is not None:
        return monitoring.kept_from(*obstacle), before
    doubted = before is not None and monitoring.RENAMED.get(before.reason, before.reason) == monitoring.CHECK_FAILED
    missing = await salt.missing(deps, state, identity, spec.monitoring.sampling.salt, doubted=doubted)
    if missing is not None:
        then = "a new pod cannot start until it is" if salt.sampled(deps, identity) else "until then nothing is sampled"
        return monitoring.kept_from(monitoring.SALT_MISSING, f"{missing}; {then}"), before
    declared = drift.declared(spec)
    if declared is None:
        return monitoring.NOT_CONFIGURED, None
    ended = [(end, job) for job in jobs.of_run(deps, identity, drift.RUN) if (end := jobs.end_of(job)) is not None]
    after = before
    if ended:
        end, job = max(ended, key=lambda e: (e[0].get("lastTransitionTime") or "", e[1]["metadata"]["name"]))
        completed = end.get("lastTransitionTime") or ""
        if before is None or (job["metadata"]["name"] != before.job and completed >= before.completed):
            view = jobs.view(job, 1)
            pod = await jobs.pod(deps, identity.namespace, view, drift.CONTAINER)
            after = monitoring.found(view, completed, None if pod is None else Words.parse(pod.words))
    return monitoring.condition(after, declared.schedule, deps.clock()), after
