"""Bring the product up as a user would: Prometheus, the chart, the pools."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughline.lineage import keys

from e2e import helm
from e2e.stack import models, prometheus
from e2e.stack.objects import apply, get, items, until

if TYPE_CHECKING:
    from e2e.cluster import Cluster

# Short times, so that a demo or test need not wait for production's: Prometheus scrapes every 5 s here.
METRICS_WINDOW_SECONDS = 20
POLL_SECONDS = 5
SIGNING = "throughline-signing"


def values(cluster: Cluster, *, build: str = "", **settings: Any) -> dict[str, Any]:
    """Values of the chart for this cluster; `build` is the suffix of the images of another build."""
    return {
        **helm.image_values(cluster.images[f"operator{build}"]),
        "crds": {"enabled": not foreign_crds(cluster)},
        "signing": {"secretName": SIGNING},
        "settings": {
            "prometheusUrl": prometheus.URL,
            "defaultTritonImage": cluster.images["triton"],
            "evaluatorImage": cluster.images[f"evaluator{build}"],
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


def signing_key(cluster: Cluster) -> None:
    """A key pair in the operator's namespace, made once for a cluster; verifiers take signing.pub."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": helm.NAMESPACE}}
    apply(cluster, [namespace])
    if get(cluster, "secret", SIGNING, helm.NAMESPACE) is not None:
        return
    with tempfile.TemporaryDirectory() as folder:
        private = Path(folder) / "signing.key"
        public, _ = keys.generate(private, keys.Algorithm.ECDSA_P256)
        data = {"signing.key": private.read_text(), "signing.pub": public.read_text()}
    metadata = {"name": SIGNING, "namespace": helm.NAMESPACE}
    apply(cluster, [{"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}])


def install(cluster: Cluster, *, chart: Path = helm.CHART, build: str = "", **settings: Any) -> None:
    """Everything but a service: Prometheus, the operator from its chart, the pools and the models' storage."""
    prometheus.install(cluster)
    signing_key(cluster)
    helm.install_chart(cluster.kubeconfig, values(cluster, build=build, **settings), chart=chart)
    apply(cluster, [*models.pools(), models.waiting_storage()])
    until("the pools to be seen", lambda: pools_ready(cluster), seconds=60)


def pools_ready(cluster: Cluster) -> bool:
    found = items(cluster, "servingpools")
    return bool(found) and all((p.get("status") or {}).get("allocatable") is not None for p in found)


def operator_pod(cluster: Cluster) -> str:
    """Name of the operator's pod that is there."""
    found = items(cluster, "pods", helm.NAMESPACE, "app.kubernetes.io/name=throughline")
    return str(next(p["metadata"]["name"] for p in found if not p["metadata"].get("deletionTimestamp")))
