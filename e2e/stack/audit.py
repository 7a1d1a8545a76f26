"""What the operator asked of the API server, from its audit log."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from e2e import helm
from e2e.stack import up
from e2e.stack.objects import get

if TYPE_CHECKING:
    from e2e.cluster import Cluster

READ_VERBS = frozenset({"get", "list", "watch"})


def asked(cluster: Cluster, seconds: float) -> list[dict[str, Any]]:
    """What the operator asked for in the last seconds, but for its Lease."""
    pod = get(cluster, "pod", up.operator_pod(cluster), helm.NAMESPACE) or {}
    user = f"system:serviceaccount:{helm.NAMESPACE}:{pod['spec']['serviceAccountName']}"
    now = dt.datetime.now(dt.UTC)
    since = now - dt.timedelta(seconds=seconds)
    assert cluster.audit_log is not None
    found = []
    with cluster.audit_log.open() as lines:
        for line in lines:
            if user not in line or not line.endswith("\n"):  # the last one may still be being written
                continue
            event = json.loads(line)
            at = dt.datetime.fromisoformat(event["requestReceivedTimestamp"])
            if event["user"]["username"] == user and since <= at <= now:
                found.append(event)
    lease = [e for e in found if e["objectRef"].get("resource") == "leases"]
    assert lease, "the Lease is renewed at least"
    return [e for e in found if e not in lease]


def writes(events: list[dict[str, Any]]) -> Counter[str]:
    """How often what was written, as resource/subresource namespace/name."""
    refs = [e["objectRef"] for e in events if e["verb"] not in READ_VERBS]
    return Counter(
        f"{r['resource']}/{r.get('subresource', '')} {r.get('namespace', '')}/{r.get('name', '')}" for r in refs
    )
