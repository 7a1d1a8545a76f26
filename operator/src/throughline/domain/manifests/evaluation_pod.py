"""The pod of an evaluation: the evaluator, beside it a scratch replica of the model, and a scorer where there is one.

With a scorer that is a container, the steps are init containers in a row: what comes next begins when what was before
has ended well, and Kubernetes sees to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from throughline.domain.manifests import model_files, names, pod, pod_settings, readers, scorer
from throughline.domain.manifests.triton_config import served_name

if TYPE_CHECKING:
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.api.servingpool import ServingPoolSpec
    from throughline.domain.manifests.evaluation import Assignment
    from throughline.domain.manifests.names import Identity
    from throughline.domain.manifests.options import RenderOptions

EVALUATOR = "evaluate"  # ends last, with the result
GRACE_SECONDS = 15
CPU_REQUEST, MEMORY_REQUEST = "100m", "512Mi"


def inputs_name(run: str) -> str:
    """Name of the ConfigMap with what a run is given; what it found is in the one that has the run's name."""
    return f"{run}-inputs"


def spec(
    identity: Identity,
    service: InferenceServiceSpec,
    pool: ServingPoolSpec,
    options: RenderOptions,
    assignment: Assignment,
) -> dict[str, Any]:
    """All of the pod's spec but its account. `service`: with the model that is judged."""
    config = {
        "name": inputs_name(assignment.run),
        "items": [{"key": f"{names.CONFIG_NAME}.pbtxt", "path": f"{names.CONFIG_NAME}.pbtxt"}],
    }
    first = pod.linker(identity, service, pool, options) if assignment.scratch else []
    first += [pod.scratch_server(identity, service, pool, options)] if assignment.scratch else []
    volumes = pod.volumes(service, pool, config) if assignment.scratch else [model_files.volume(service)]
    volumes += [*readers.volumes(assignment.datasets), *_work_volumes(assignment)]
    asks = _asking(identity, service, options, assignment)
    declared = assignment.suite.task.scorer
    if declared is None:
        last = {**asks, "args": [*asks["args"], "--output=/work/out"]}
    else:
        first += [scorer.predictor(asks), scorer.container(declared, options)]
        last = scorer.judge(_container(options))
        volumes += scorer.volumes()
    return {
        "automountServiceAccountToken": False,
        **pod.pull_secrets(service.runtime),
        "enableServiceLinks": False,
        "restartPolicy": "OnFailure" if declared is None else "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        **pod_settings.common(service, pool, options),
        **({"initContainers": first} if first else {}),
        "containers": [last],
        "volumes": volumes,
        **(pod.claimed(service, pool) if assignment.scratch else {}),
    }


def _container(options: RenderOptions) -> dict[str, Any]:
    """The evaluator, before it is given anything to do."""
    return {
        "name": EVALUATOR,
        "image": options.evaluator_image,
        "args": ["--job", "--suite=/suite/suite.json"],
        "env": [{"name": "HOME", "value": "/work"}, {"name": "TMPDIR", "value": "/work"}],
        "resources": {"requests": {"cpu": CPU_REQUEST, "memory": MEMORY_REQUEST}},
        "securityContext": pod.container_security(),
        "volumeMounts": [
            {"name": "suite", "mountPath": "/suite", "readOnly": True},
            {"name": "work", "mountPath": "/work"},
        ],
        **options.pull_policy,
    }


def _asking(
    identity: Identity, service: InferenceServiceSpec, options: RenderOptions, assignment: Assignment
) -> dict[str, Any]:
    """The evaluator with all that it needs to read rows and to ask the model."""
    model = served_name(service, identity.name)
    container = _container(options)
    container["args"] += _arguments(identity, service, model, assignment)
    container["volumeMounts"] = [
        model_files.version_mount(service, model),
        *container["volumeMounts"],
        *readers.mounts(assignment.datasets),
    ]
    return {**container, **readers.secrets(assignment.datasets)}


def _arguments(identity: Identity, service: InferenceServiceSpec, model: str, assignment: Assignment) -> list[str]:
    host = "127.0.0.1" if assignment.scratch else f"{names.service_name(identity.name)}.{identity.namespace}.svc"
    found = [
        f"--url=grpc://{host}:{names.GRPC_PORT}",
        f"--model={model}",
        f"--version={service.model.version}",
        f"--model-directory=/models/{model}",
    ]
    if not assignment.scratch:
        found.append("--low-priority")
    if assignment.evaluation.max_rows_per_second is not None:
        found.append(f"--max-rows-per-second={assignment.evaluation.max_rows_per_second}")
    return found


def _work_volumes(assignment: Assignment) -> list[dict[str, Any]]:
    suite = {"name": inputs_name(assignment.run), "items": [{"key": "suite.json", "path": "suite.json"}]}
    return [{"name": "suite", "configMap": suite}, {"name": "work", "emptyDir": {}}]
