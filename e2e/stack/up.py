"""Bring the product up as a user would: Prometheus, the chart, the pools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from e2e import helm
from e2e.stack import models, prometheus
from e2e.stack.objects import apply, get, items, until

if TYPE_CHECKING:
    from e2e.cluster import Cluster

# Short times, so that a demo or test need not wait for production's: Prometheus scrapes every 5 s here.
METRICS_WINDOW_SECONDS = 20
POLL_SECONDS = 5


def values(cluster: Cluster, **settings: Any) -> dict[str, Any]:
    """Values of the chart for this cluster."""
    return {
        **helm.image_values(cluster.images["operator"]),
        "crds": {"enabled": not foreign_crds(cluster)},
        "settings": {
            "prometheusUrl": prometheus.URL,
            "defaultTritonImage": cluster.images["triton"],
            "metricsWindowSeconds": METRICS_WINDOW_SECONDS,
            "metricsPollSeconds": POLL_SECONDS,
            "decisionIntervalSeconds": POLL_SECONDS,
            **settings,
        },
    }


def foreign_crds(cluster: Cluster) -> bool:
    """Whether the CRDs are there and were made by something else than this release, which Helm would not adopt."""
    found = get(cluster, "crd", "inferenceservices.throughline.io")
    notes = (found or {"metadata": {}})["metadata"].get("annotations") or {}
    return found is not None and notes.get("meta.helm.sh/release-namespace") != helm.NAMESPACE


def install(cluster: Cluster, **settings: Any) -> None:
    """Everything but a service: Prometheus, the operator from its chart, the pools and the models' storage."""
    prometheus.install(cluster)
    helm.install_chart(cluster.kubeconfig, values(cluster, **settings))
    apply(cluster, [*models.pools(), models.waiting_storage()])
    until("the pools to be seen", lambda: pools_ready(cluster), seconds=60)


def pools_ready(cluster: Cluster) -> bool:
    found = items(cluster, "servingpools")
    return bool(found) and all((p.get("status") or {}).get("allocatable") is not None for p in found)


def operator_pod(cluster: Cluster) -> str:
    """Name of the operator's pod that is there."""
    found = items(cluster, "pods", helm.NAMESPACE, "app.kubernetes.io/name=throughline")
    return str(next(p["metadata"]["name"] for p in found if not p["metadata"].get("deletionTimestamp")))
