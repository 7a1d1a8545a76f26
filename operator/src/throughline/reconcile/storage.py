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
    file = _FILES.get(spec.model.backend)
    wanted = None if file is None else (file, f", which backend {spec.model.backend} loads")
    try:
        answer = await absent(deps, uri, namespace, key=wanted)
    except ApiError as error:
        log.warning("storage not checked", uri=uri, error=str(error))
        return answer
    state.storage = (uri, deps.clock(), answer)
    return answer


async def absent(deps: Deps, uri: str, namespace: str, *, key: tuple[str, str] | None = None) -> str | None:
    """What of a pvc:// or configmap:// is not there, in words. `key`: that a ConfigMap must have, and why."""
    scheme, _, rest = uri.partition("://")
    kind, name = _KINDS[scheme], rest.split("/", 1)[0]
    found = await deps.kube.get("v1", kind, namespace, name)
    if found is None:
        return f"{kind} {name} does not exist in namespace {namespace}"
    if kind == "ConfigMap" and key is not None:
        keys = {*(found.get("data") or ()), *(found.get("binaryData") or ())}
        return None if key[0] in keys else f"ConfigMap {name} has no key {key[0]}{key[1]}"
    return None
