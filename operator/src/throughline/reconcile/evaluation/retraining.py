"""A Job that makes a better model, once for each run that found the one that serves to have decayed.

What it makes comes in as any model does: by a change of spec.model, which the gate judges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from throughline.api.base import Outcome
from throughline.api.evaluation import Decay
from throughline.api.evaluationrun import RunReason
from throughline.domain.evaluation.views import newest_ended
from throughline.domain.manifests import evaluation
from throughline.domain.ownership import FIELD_MANAGER
from throughline.reconcile import writes

if TYPE_CHECKING:
    from throughline.api.evaluation import Evaluation
    from throughline.domain.evaluation.views import RunView
    from throughline.domain.manifests import Identity
    from throughline.reconcile.context import Deps
    from throughline.reconcile.evaluation.evidence import Known

log = structlog.get_logger("retraining")


async def start(deps: Deps, identity: Identity, declared: Evaluation, known: Known) -> bool:
    """Whether one was started, and the run's status tells of it."""
    if declared.on_decay is not Decay.START_JOB or declared.retraining_cron_job is None or known.live is None:
        return False
    found = (newest_ended(known.evidence.runs, s, known.live.spec_hash) for s in known.evidence.suites)
    run = next((r for r in found if r is not None and _decayed(r)), None)
    if run is None:
        return False
    cron_job = await deps.kube.get("batch/v1", "CronJob", identity.namespace, declared.retraining_cron_job)
    if cron_job is None:
        await _not_there(deps, identity, declared.retraining_cron_job)
        return False
    job = evaluation.retraining(identity.namespace, run.name, cron_job)
    log.info("retraining begins", run=run.name, job=job["metadata"]["name"], cron_job=declared.retraining_cron_job)
    # The name is of this run alone: applied again after a crash it is the same Job.
    await deps.kube.apply(job, field_manager=FIELD_MANAGER)
    status = run.status.model_copy(update={"retraining_job": job["metadata"]["name"]})
    await writes.status(deps, "EvaluationRun", identity.namespace, run.name, status.to_wire())
    return True


def _decayed(run: RunView) -> bool:
    """A model that fails at its first evaluation has not decayed: it never was good."""
    first = run.spec.reason is RunReason.REVISION
    return run.status.verdict is Outcome.FAILED and not first and run.status.retraining_job is None


async def _not_there(deps: Deps, identity: Identity, name: str) -> None:
    service = deps.objects.get("InferenceService", identity.namespace, identity.name)
    message = f"CronJob {name} of spec.evaluation.retrainingCronJob does not exist, so no Job is started; create it"
    log.warning("no retraining", service=identity.name, why=message)
    if service is not None:
        await writes.emit(deps, service, type_="Warning", reason="CronJobNotFound", message=message, action="StartJob")
