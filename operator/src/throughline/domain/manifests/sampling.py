"""What sampling adds to a serving pod: the server's trace flags, memory for raw requests, and the sidecar that redacts.

The server starts with tracing off. The sidecar turns it on, where the server is of a version that this cannot crash.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from throughline.api.quantities import canonical
from throughline.domain.manifests import names

if TYPE_CHECKING:
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.api.monitoring import Sampling
    from throughline.api.servingpool import ServingPoolSpec
    from throughline.domain.manifests.names import Identity
    from throughline.domain.manifests.options import RenderOptions

CONTAINER = "sample"
TRACES, STORAGE, ERASURES = "/samples", "/storage", "/erasures"
CPU_REQUEST, MEMORY_REQUEST, MEMORY_LIMIT = "50m", "192Mi", "512Mi"


def declared(spec: InferenceServiceSpec, pool: ServingPoolSpec, options: RenderOptions) -> Sampling | None:
    """What is to be sampled; None: nothing, or there is no image that could, or the pool is where nothing of it may be
    stored.
    """
    if spec.monitoring is None or not options.evaluator_image:
        return None
    return spec.monitoring.sampling if pool.region in spec.monitoring.sampling.governance.regions else None


def flags(sampling: Sampling) -> list[str]:
    """Of the server. Each traced request is a file of its own, written when it has been answered."""
    return [
        f"--trace-config=triton,file={TRACES}/trace",
        "--trace-config=triton,log-frequency=1",
        f"--trace-config=rate={sampling.one_in}",
    ]


def server_mounts() -> list[dict[str, Any]]:
    """Of the server: raw requests, and nothing of the storage."""
    return [{"name": "samples", "mountPath": TRACES}]


def volumes(sampling: Sampling) -> list[dict[str, Any]]:
    """Of the pod."""
    found: list[dict[str, Any]] = [
        # In memory: what is not redacted reaches no disk. Beyond the limit the server's writes fail, not its answers.
        {"name": "samples", "emptyDir": {"medium": "Memory", "sizeLimit": canonical(f"{sampling.buffer_mebibytes}Mi")}},
        {"name": "sample-storage", "persistentVolumeClaim": {"claimName": sampling.storage.claim_name}},
        {"name": "sample-work", "emptyDir": {}},
    ]
    if sampling.erasures is not None:
        found.append({"name": "sample-erasures", "configMap": {"name": sampling.erasures, "optional": True}})
    return found


def sidecar(
    identity: Identity, spec: InferenceServiceSpec, sampling: Sampling, options: RenderOptions, model: str
) -> dict[str, Any]:
    """A native sidecar (KEP-753): it ends after the server, and stores what that wrote last."""
    arguments = [
        f"--traces={TRACES}",
        f"--storage={STORAGE}/{sampling.storage.path.strip('/')}",
        f"--model={model}",
        f"--url=http://127.0.0.1:{names.HTTP_PORT}",
        f"--key-header={names.CONTROL_KEY_HEADER}",
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "samples", "mountPath": TRACES},
        {"name": "sample-storage", "mountPath": STORAGE},
        {"name": "sample-work", "mountPath": "/work"},
    ]
    if sampling.erasures is not None:
        arguments.append(f"--erasures={ERASURES}")
        mounts.append({"name": "sample-erasures", "mountPath": ERASURES, "readOnly": True})
    if spec.batching.max_batch_size.max == 0:
        arguments.append("--no-batch-dimension")
    return {
        "name": CONTAINER,
        "image": options.in_serving_pods,
        "command": ["python3", "-m", "throughline.evaluator.sampling"],
        "args": arguments,
        "env": _environment(identity, sampling),
        "restartPolicy": "Always",
        "resources": {
            "requests": {"cpu": CPU_REQUEST, "memory": MEMORY_REQUEST},
            "limits": {"memory": MEMORY_LIMIT},
        },
        "volumeMounts": mounts,
        **options.pull_policy,
    }


def _environment(identity: Identity, sampling: Sampling) -> list[dict[str, Any]]:
    control = {"name": names.secret_name(identity.name), "key": "key"}
    salt = {"name": sampling.salt.name, "key": sampling.salt.key}
    return [
        {"name": "THROUGHLINE_SAMPLING", "value": json.dumps(sampling.as_written(), sort_keys=True)},
        {"name": "THROUGHLINE_POD", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
        {"name": "THROUGHLINE_SALT", "valueFrom": {"secretKeyRef": salt}},
        {"name": names.CONTROL_KEY_ENV, "valueFrom": {"secretKeyRef": control}},
        {"name": "HOME", "value": "/work"},
        {"name": "TMPDIR", "value": "/work"},
    ]
