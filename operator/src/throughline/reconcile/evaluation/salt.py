"""Whether the salt of a service's samples is there. Without it the sidecar that samples cannot be created, and so no
pod. The Secret is read by name, and its value is looked at for its length alone.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

import structlog

from throughline.api.monitoring import SALT_BYTES
from throughline.domain.manifests import deployment_name, sampling
from throughline.ports import ApiError
from throughline.reconcile.pods import init_container_status, pods_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from throughline.api.monitoring import SaltReference
    from throughline.domain.manifests import Identity
    from throughline.reconcile.context import Deps, ServiceState

log = structlog.get_logger("monitoring")

FIX = f"create it with {SALT_BYTES} random bytes or more, which stay the same"


async def missing(
    deps: Deps, state: ServiceState, identity: Identity, salt: SaltReference, *, doubted: bool
) -> str | None:
    """What is wrong with it, in words; None when it is as it must be, or cannot be asked.

    Once it was found it is asked for again only where a pod waits for it, or it is `doubted` for another reason.
    """
    wanted = f"{salt.name}/{salt.key}"
    last, asked, answer = state.salt if state.salt is not None else ("", 0.0, None)
    if last == wanted:
        fresh = deps.clock() - asked < deps.tuning.storage_seconds
        if fresh or (answer is None and not doubted and not _waited_for(deps, identity)):
            return answer
    try:
        found = await deps.kube.get("v1", "Secret", identity.namespace, salt.name)
    except ApiError as error:
        log.warning("salt not checked", secret=salt.name, error=str(error))
        return answer if last == wanted else None
    problem = _problem(found, salt, identity.namespace)
    answer = None if problem is None else f"spec.monitoring.sampling.salt: {problem}; {FIX}"
    state.salt = (wanted, deps.clock(), answer)
    return answer


def sampled(deps: Deps, identity: Identity) -> bool:
    """Whether the Deployment's pods have the sidecar already."""
    live = deps.objects.get("Deployment", identity.namespace, deployment_name(identity.name)) or {}
    template = ((live.get("spec") or {}).get("template") or {}).get("spec") or {}
    return any(c.get("name") == sampling.CONTAINER for c in template.get("initContainers") or ())


def _problem(secret: Mapping[str, Any] | None, salt: SaltReference, namespace: str) -> str | None:
    if secret is None:
        return f"Secret {salt.name} does not exist in namespace {namespace}"
    value = (secret.get("data") or {}).get(salt.key)
    if value is None:
        return f"Secret {salt.name} has no key {salt.key}"
    try:
        length = len(base64.b64decode(value, validate=True))
    except binascii.Error:
        return f"Secret {salt.name} cannot be read under {salt.key}"
    if length < SALT_BYTES:
        return f"Secret {salt.name} has {length} bytes under {salt.key}, which can be guessed"
    return None


def _waited_for(deps: Deps, identity: Identity) -> bool:
    """Whether the sidecar of some pod cannot be created."""
    for pod in pods_of(deps.objects, identity.namespace, identity.name).replicas:
        sidecar = init_container_status(pod.get("status") or {}, sampling.CONTAINER) or {}
        waiting = (sidecar.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") == "CreateContainerConfigError":
            return True
    return False
