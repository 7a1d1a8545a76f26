"""Other ways to run the operator: bound to namespaces, with a standby, beside the Prometheus operator.

One installation of its own, in a namespace of its own, that serves another one alone.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

import pytest

from e2e.helm import image_values, install_chart, uninstall_chart
from e2e.stack import models
from e2e.stack.objects import apply, get, items, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

OPERATOR = "app.kubernetes.io/component=operator"
MONITORS = "podmonitors.monitoring.coreos.com"
LEASE = "modes-throughline"

# As much of the Prometheus operator as there is to see of it here: its resource.
POD_MONITORS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": MONITORS},
    "spec": {
        "group": "monitoring.coreos.com",
        "names": {
            "kind": "PodMonitor",
            "plural": "podmonitors",
            "singular": "podmonitor",
        },
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                    }
                },
            }
        ],
    },
}


def namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def holder(cluster: Cluster, name: str) -> str:
    """The pod that leads; empty where none does."""
    spec = (get(cluster, "lease", LEASE, name) or {}).get("spec") or {}
    identity = str(spec.get("holderIdentity") or "")
    pods = [p["metadata"]["name"] for p in items(cluster, "pods", name, OPERATOR)]
    return next((pod for pod in pods if pod in identity), "")


@pytest.fixture(scope="module")
def served(local: Cluster, crds: Cluster) -> Iterator[tuple[str, str, str]]:
    """(namespace of the operators, the one that they serve, another one), with a service in each of the latter."""
    tag = secrets.token_hex(3)
    home, mine, other = (f"{what}-{tag}" for what in ("operators", "served", "left"))
    apply(crds, [namespace(n) for n in (home, mine, other)])
    apply(local, [POD_MONITORS])
    local.kubectl("wait", "--for=condition=Established", f"crd/{MONITORS}", "--timeout=30s")
    values = {
        **image_values(local.images["operator"]),
        "crds": {"enabled": False},
        "replicas": 2,
        "settings": {"namespaces": [mine], "defaultTritonImage": local.images["triton"]},
    }
    try:
        install_chart(local.kubeconfig, values, release="modes", namespace=home)
        apply(local, models.pools())
        for where in (mine, other):
            service = models.service("m", models.waiting_model(1000, 0), namespace=where)
            apply(local, [models.waiting_storage(where), service])
        yield home, mine, other
    finally:
        for name in (mine, other):
            local.kubectl("delete", "inferenceservice", "m", "-n", name, "--ignore-not-found", check=False)
        uninstall_chart(local.kubeconfig, release="modes", namespace=home)
        pools = [f"servingpool/{p['metadata']['name']}" for p in models.pools()]
        local.kubectl("delete", *pools, "--ignore-not-found", check=False)
        for name in (home, mine, other):
            local.kubectl("delete", "namespace", name, "--wait=false", check=False)
        # Not deleted, which can take minutes: served no more, it is as if it were not there.
        unserved = [{"op": "replace", "path": "/spec/versions/0/served", "value": False}]
        local.kubectl("patch", "crd", MONITORS, "--type=json", "-p", json.dumps(unserved))


def test_only_the_namespaces_that_are_named_are_served(local: Cluster, served: tuple[str, str, str]) -> None:
    home, mine, other = served
    until("the Deployment", lambda: items(local, "deployments", mine), seconds=60)
    left = get(local, "inferenceservice", "m", other)
    assert left is not None
    assert left["status"] == {"observedGeneration": -1}, "it was not looked at"
    assert not items(local, "deployments", other)
    account = f"system:serviceaccount:{home}:{items(local, 'pods', home, OPERATOR)[0]['spec']['serviceAccountName']}"

    def may(where: str) -> bool:
        answer = local.kubectl("auth", "can-i", "patch", "deployments", "-n", where, "--as", account, check=False)
        return answer.stdout.strip() == "yes"

    assert may(mine)
    assert not may(other), "rights end where the names end"


def test_a_pod_monitor_is_made_where_its_kind_exists(local: Cluster, served: tuple[str, str, str]) -> None:
    _, mine, _ = served
    (monitor,) = until("the PodMonitor", lambda: items(local, "podmonitors", mine), seconds=60)
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    labels = monitor["spec"]["selector"]["matchLabels"]
    pods = until(
        "the pods", lambda: items(local, "pods", mine, ",".join(f"{k}={v}" for k, v in labels.items())), seconds=60
    )
    ports = {p["name"]: p["containerPort"] for c in pods[0]["spec"]["containers"] for p in c.get("ports", ())}
    assert ports[endpoint["port"]] == 8002


def test_a_standby_takes_over_from_a_leader_that_is_gone(local: Cluster, served: tuple[str, str, str]) -> None:
    home, mine, _ = served
    first = until("a leader", lambda: holder(local, home), seconds=60)
    others = {p["metadata"]["name"] for p in items(local, "pods", home, OPERATOR)} - {first}
    assert len(others) == 1, "a standby waits"
    local.kubectl("delete", "pod", first, "-n", home, "--grace-period=0", "--force")
    second = until("another leader", lambda: (h := holder(local, home)) != first and h, seconds=60)
    local.kubectl("patch", "tis", "m", "-n", mine, "--type=merge", "-p", '{"spec":{"scaling":{"minReplicas":2}}}')

    def scaled() -> bool:
        (deployment,) = items(local, "deployments", mine)
        return bool(deployment["spec"]["replicas"] == 2)

    until("the new leader to act", scaled, seconds=90)
    assert holder(local, home) == second
