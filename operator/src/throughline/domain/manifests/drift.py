"""The CronJob that looks at a service's samples: whether traffic is still as it was, and late labels, where declared.

A CronJob, for a look is short, and one that is missed is made up for by the next: it goes on where the last ended.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from throughline.api.base import GROUP
from throughline.domain.manifests import claims, evaluation, evaluation_pod, names, pod, pod_settings, readers

if TYPE_CHECKING:
    from throughline.api.evaluationdataset import Dataset
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.api.monitoring import Monitoring
    from throughline.api.servingpool import ServingPoolSpec
    from throughline.domain.manifests.names import Identity
    from throughline.domain.manifests.options import RenderOptions
    from throughline.domain.observed import Manifest

# On its Jobs in place of an EvaluationRun's name, so that they are watched as those of evaluations are.
RUN = "monitoring"
MONITORING_LABEL = f"{GROUP}/monitoring"  # on the pods: the InferenceService whose samples they look at
CONTAINER = "drift"
STORAGE = "/storage"
DEADLINE_SECONDS = 3000
STARTING_DEADLINE_SECONDS = 300


def declared(spec: InferenceServiceSpec) -> Monitoring | None:
    """What is to be looked at; None: nothing."""
    monitoring = spec.monitoring
    if monitoring is None or (monitoring.drift is None and monitoring.labels is None):
        return None
    return monitoring


def obstacle(monitoring: Monitoring, region: str | None, options: RenderOptions) -> tuple[str, str] | None:
    """Why nothing is sampled or looked at, as reason and message; None: nothing is in the way."""
    if not options.evaluator_image:
        return "EvaluatorMissing", "the operator has no image of the evaluator; set evaluatorImage"
    sets = [("sampling", monitoring.sampling.governance), *((n, d.governance) for n, d in _datasets(monitoring))]
    for name, governance in sets:
        if region not in governance.regions:
            where = f"is in {region}" if region else "names no region"
            allowed = ", ".join(sorted(governance.regions))
            return "RegionNotAllowed", f"{name}: its data may be kept and read in {allowed}, and the pool {where}"
    return None


def name_of(service: str) -> str:
    """Of all its objects."""
    return f"{names.base_name(service)}-monitoring"


def objects(
    identity: Identity, spec: InferenceServiceSpec, pool: ServingPoolSpec, options: RenderOptions
) -> list[Manifest]:
    """ServiceAccount, NetworkPolicy, ConfigMap and CronJob; nothing where nothing is declared."""
    monitoring = declared(spec)
    if monitoring is None or obstacle(monitoring, pool.region, options) is not None:
        return []
    name, ours = name_of(identity.name), {MONITORING_LABEL: names.label_value(identity.name)}
    surroundings = readers.surroundings(identity, name, ours, readers.store_rules(_datasets(monitoring)))
    config: Manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": names.metadata(identity, name),
        "data": {"monitoring.json": json.dumps(monitoring.as_written(), sort_keys=True, indent=1)},
    }
    return [*surroundings, config, _cron_job(identity, spec, pool, options, monitoring, ours)]


def _datasets(monitoring: Monitoring) -> list[tuple[str, Dataset]]:
    """(folder, data set)."""
    found = [] if monitoring.drift is None else [("data", monitoring.drift.baseline)]
    return found if monitoring.labels is None else [*found, ("labels", monitoring.labels.dataset)]


def _cron_job(
    identity: Identity,
    spec: InferenceServiceSpec,
    pool: ServingPoolSpec,
    options: RenderOptions,
    monitoring: Monitoring,
    ours: dict[str, str],
) -> Manifest:
    name = name_of(identity.name)
    labels = {**names.labels(identity.name), evaluation.RUN_LABEL: RUN}
    pod_labels = {k: v for k, v in labels.items() if k != names.SERVICE_LABEL} | ours
    reader = claims.shared({
        "serviceAccountName": name,
        "automountServiceAccountToken": False,
        **pod.pull_secrets(spec.runtime),
        "enableServiceLinks": False,
        "restartPolicy": "OnFailure",
        **pod_settings.common(spec, pool, options),
        "containers": [_container(options, monitoring)],
        "volumes": [
            {"name": "storage", "persistentVolumeClaim": {"claimName": monitoring.sampling.storage.claim_name}},
            {"name": "monitoring", "configMap": {"name": name}},
            {"name": "work", "emptyDir": {}},
            *readers.volumes(_datasets(monitoring)),
        ],
    })  # fmt: skip
    template = {"metadata": pod_settings.metadata(spec, pool, pod_labels), "spec": reader}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": names.metadata(identity, name),
        "spec": {
            "schedule": monitoring.schedule,
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": STARTING_DEADLINE_SECONDS,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {
                "metadata": {"labels": labels},
                "spec": {"backoffLimit": 2, "activeDeadlineSeconds": DEADLINE_SECONDS, "template": template},
            },
        },
    }


def _container(options: RenderOptions, monitoring: Monitoring) -> dict[str, Any]:
    folder = f"{STORAGE}/{monitoring.sampling.storage.path.strip('/')}"
    salt = {"name": monitoring.sampling.salt.name, "key": monitoring.sampling.salt.key}
    return {
        "name": CONTAINER,
        "image": options.evaluator_image,
        "command": ["python3", "-m", "throughline.evaluator.watching"],
        "args": [
            "--job",
            "--monitoring=/monitoring/monitoring.json",
            f"--storage={folder}",
            f"--state={folder}/watch/state.json",
            "--output=/work/out",
        ],
        "env": [
            {"name": "THROUGHLINE_SALT", "valueFrom": {"secretKeyRef": salt}},
            {"name": "HOME", "value": "/work"},
            {"name": "TMPDIR", "value": "/work"},
        ],
        "resources": {"requests": {"cpu": evaluation_pod.CPU_REQUEST, "memory": evaluation_pod.MEMORY_REQUEST}},
        "securityContext": pod.container_security(),
        "volumeMounts": [
            {"name": "storage", "mountPath": STORAGE},
            {"name": "monitoring", "mountPath": "/monitoring", "readOnly": True},
            {"name": "work", "mountPath": "/work"},
            *readers.mounts(_datasets(monitoring)),
        ],
        **readers.secrets(_datasets(monitoring)),
        **options.pull_policy,
    }
