"""Small helpers over kubectl: apply, read, wait."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from e2e.cluster import Cluster

T = TypeVar("T")


class TimedOutError(Exception):
    """What was waited for did not come."""


def apply(cluster: Cluster, objects: Iterable[dict[str, Any]]) -> None:
    """Server-side apply as a user would do it."""
    items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(items))


def get(cluster: Cluster, kind: str, name: str, namespace: str = "default") -> dict[str, Any] | None:
    """The object; None where there is none."""
    out = cluster.kubectl("get", kind, name, "-n", namespace, "--ignore-not-found", "-o", "json").stdout
    return json.loads(out) if out.strip() else None


def items(cluster: Cluster, kind: str, namespace: str = "default", selector: str = "") -> list[dict[str, Any]]:
    found = cluster.kubectl("get", kind, "-n", namespace, "-l", selector, "-o", "json").stdout
    return list(json.loads(found)["items"])


def until_ended(cluster: Cluster, pod: str, namespace: str, *, seconds: float) -> dict[str, Any]:
    """How the pod's first container ended: its state `terminated`."""

    def ended() -> dict[str, Any]:
        found = (get(cluster, "pod", pod, namespace) or {}).get("status") or {}
        return dict((found.get("containerStatuses") or [{}])[0].get("state", {}).get("terminated") or {})

    return until(f"{pod} to end", ended, seconds=seconds)


def condition(obj: dict[str, Any] | None, kind: str) -> dict[str, Any]:
    """The condition of that type; empty where it is not there."""
    conditions = ((obj or {}).get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == kind), {})


def until(what: str, check: Callable[[], T], *, seconds: float, every: float = 1.0) -> T:
    """The first true value of `check`; TimedOutError with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise TimedOutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(every)
