"""kopf: watches our own resources and wakes. Nothing is worked on here, and nothing is ever written by kopf.

No finalizer, annotation, peering object or Event comes from it: handlers are `on.event` alone, and both of its
storages are replaced by ones that keep nothing (which also saves a deep copy of every object at every event).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kopf

from throughline.api.base import GROUP, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from throughline.settings import Settings

PLURALS = ("inferenceservices", "servingpools")
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
LIST_PAGE = 500

Seen = "Callable[[str | None, Mapping[str, Any]], None]"


class NoDiffBase(kopf.DiffBaseStorage):
    """Remembers nothing: changes are not what reconciles look at."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return None


class NoProgress(kopf.ProgressStorage):
    """Remembers nothing: an `on.event` handler has no progress."""

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence


def registry(seen: Callable[[str | None, Mapping[str, Any]], None]) -> kopf.OperatorRegistry:
    """Handlers that hand every event of our resources to `seen(type, object)`."""
    handlers = kopf.OperatorRegistry()

    async def on_event(event: Any, **_: Any) -> None:
        seen(event["type"], event["object"])

    for plural in PLURALS:
        kopf.on.event(GROUP, VERSION, plural, id=f"wake-{plural}", registry=handlers)(on_event)
    kopf.on.login(id="login", registry=handlers)(login)
    return handlers


def kopf_settings(settings: Settings) -> kopf.OperatorSettings:
    """kopf, reduced to watching."""
    reduced = kopf.OperatorSettings()
    reduced.posting.enabled = False
    reduced.peering.standalone = True
    # Without it kopf would list and watch every CRD and namespace; ours are waited for before it starts.
    reduced.scanning.disabled = True
    reduced.persistence.finalizer = f"{GROUP}/never-set"
    reduced.persistence.diffbase_storage = NoDiffBase()
    reduced.persistence.progress_storage = NoProgress()
    reduced.persistence.consistency_timeout = 0
    reduced.watching.chunk_size = LIST_PAGE
    reduced.queueing.idle_timeout = 1.0  # a task per object that has changed within this time, not more
    reduced.networking.connect_timeout = 5.0
    reduced.networking.request_timeout = 30.0
    reduced.networking.enforce_retry_after = True
    # The process ends by itself, with its own deadline; kopf must not kill it in between.
    reduced.process.ultimate_exiting_timeout = None
    reduced.queueing.exit_timeout = min(2.0, settings.shutdown_seconds)
    return reduced


async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """As adapters.kube connects: KUBECONFIG, else the pod's service account, else ~/.kube/config."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if os.environ.get("KUBECONFIG") or not host:
        return kopf.login_with_kubeconfig(**kwargs)
    return kopf.ConnectionInfo(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        ca_path=str(ACCOUNT / "ca.crt"),
        token=(ACCOUNT / "token").read_text().strip(),
    )
