"""Whether what spec.model.storage names is there; asked only while pods are not ready, for only then it matters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from throughline.ports import ApiError

if TYPE_CHECKING:
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.reconcile.context import Deps, ServiceState

log = structlog.get_logger("storage")

# The file that a backend looks for. Without it Triton mostly says so; the python backend waits for it for ever.
_FILES = {"onnxruntime": "model.onnx", "python": "model.py", "tensorrt": "model.plan"}
_KINDS = {"pvc": "PersistentVolumeClaim", "configmap": "ConfigMap"}


async def missing(deps: Deps, state: ServiceState, spec: InferenceServiceSpec, namespace: str) -> str | None:
    """What is missing, in words; None when it is there or cannot be asked."""
    uri = spec.model.storage.uri
    last_uri, asked, answer = state.storage
    if last_uri != uri:
        answer = None
    elif deps.clock() - asked < deps.tuning.storage_seconds:
        return answer
    scheme, _, rest = uri.partition("://")
    kind, name = _KINDS[scheme], rest.split("/", 1)[0]
    try:
        found = await deps.kube.get("v1", kind, namespace, name)
    except ApiError as error:
        log.warning("storage not checked", kind=kind, name=name, error=str(error))
        return answer
    answer = None if found is not None else f"{kind} {name} does not exist in namespace {namespace}"
    file = _FILES.get(spec.model.backend)
    if found is not None and kind == "ConfigMap" and file is not None:
        keys = {*(found.get("data") or ()), *(found.get("binaryData") or ())}
        answer = (
            None if file in keys else f"ConfigMap {name} has no key {file}, which backend {spec.model.backend} loads"
        )
    state.storage = (uri, deps.clock(), answer)
    return answer
