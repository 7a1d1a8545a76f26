"""Writes that every reconcile makes in the same way. What was deleted meanwhile is forgotten, and is no error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from throughline.api.base import API_VERSION
from throughline.ports import ApiError
from throughline.reconcile.context import STATUS_MANAGER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from throughline.reconcile.context import Deps

log = structlog.get_logger("writes")

NOT_FOUND = 404


async def status(deps: Deps, kind: str, namespace: str | None, name: str, wire: Mapping[str, Any]) -> bool:
    """Write the status of an object of ours; False where it is gone."""
    manifest = {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace} if namespace else {"name": name},
        "status": wire,
    }
    try:
        deps.objects.put(await deps.kube.apply(manifest, field_manager=STATUS_MANAGER, subresource="status"))
    except ApiError as error:
        if error.status != NOT_FOUND:
            raise
        log.info("gone before its status was written", kind=kind, name=name)
        deps.objects.forget((kind, namespace or "", name))
        return False
    return True


async def delete(deps: Deps, api_version: str, kind: str, namespace: str, name: str, uid: str) -> None:
    """Delete that very object, and do not wait for the watch to say so."""
    await deps.kube.delete(api_version, kind, namespace, name, uid=uid)
    deps.objects.forget((kind, namespace, name))


async def emit(deps: Deps, regarding: Mapping[str, Any], *, type_: str, reason: str, message: str, action: str) -> None:
    """An Event that cannot be written is no reason to fail: condition and log say the same."""
    try:
        await deps.kube.emit(regarding, type_=type_, reason=reason, message=message, action=action)
    except ApiError as error:
        log.warning("event not written", reason=reason, error=str(error))
