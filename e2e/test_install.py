"""Chart and Kustomize base on a real cluster: they come up, and an upgrade restarts nothing.

Each installation serves a namespace of its own alone, so that an operator which is there already is not disturbed, and
takes the kinds that are there. e2e/test_readme.py installs and keeps the chart's own.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from e2e.helm import image_values, install_chart, uninstall_chart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parent.parent
SELECTOR = "app.kubernetes.io/component=operator"
WAIT = "--timeout=120s"


def get(cluster: Cluster, *arguments: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(cluster.kubectl("get", *arguments, "-o", "json").stdout)
    return result


def pod_uids(cluster: Cluster, namespace: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in get(cluster, "pods", "-n", namespace, "-l", SELECTOR)["items"]}


@pytest.fixture
def namespace(crds: Cluster) -> Iterator[str]:
    name = f"install-{secrets.token_hex(3)}"
    yield name
    crds.kubectl("delete", "namespace", name, "--wait=false", check=False)


def test_chart(cluster: Cluster, namespace: str) -> None:
    values: dict[str, Any] = {
        **image_values(cluster.images["operator"]),
        "crds": {"enabled": False},
        "settings": {"namespaces": [namespace]},
        # Where pod security is enforced, a pod that does not meet it is refused; the namespace is labelled below.
        "podAnnotations": {"throughline.io/test": "1"},
    }
    labels = json.dumps({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}})
    cluster.kubectl("create", "namespace", namespace)
    cluster.kubectl("patch", "namespace", namespace, "-p", labels)
    kubeconfig = cluster.kubeconfig
    try:
        install_chart(kubeconfig, values, release="it", namespace=namespace)
        before = pod_uids(cluster, namespace)
        assert len(before) == 1

        # The same values, and one that is no part of the pod.
        install_chart(kubeconfig, {**values, "commonLabels": {"upgraded": "yes"}}, release="it", namespace=namespace)
        assert pod_uids(cluster, namespace) == before

        holder = get(cluster, "lease", "it-throughline", "-n", namespace)["spec"]["holderIdentity"]
        (pod,) = get(cluster, "pods", "-n", namespace, "-l", SELECTOR)["items"]
        assert pod["metadata"]["name"] in holder
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    finally:
        uninstall_chart(kubeconfig, release="it", namespace=namespace)
    # Helm waits for the Deployment; its pods end a little later.
    cluster.kubectl("wait", "--for=delete", "pods", "-n", namespace, "-l", SELECTOR, WAIT, timeout_seconds=150)
    assert pod_uids(cluster, namespace) == set()


def test_kustomize_base(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    image = image_values(cluster.images["operator"])["image"]
    settings = [
        {"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": {"name": n, "value": v}}
        for n, v in (("THROUGHLINE_NAMESPACES", namespace),)
    ]
    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "namePrefix": f"{namespace}-",
        "resources": ["base"],
        "images": [{"name": "throughline/operator", "newName": image["repository"], "newTag": image.get("tag", "")}],
        "patches": [{"target": {"kind": "Deployment"}, "patch": json.dumps(settings)}],
    }
    (tmp_path / "base").symlink_to(ROOT / "manifests" / "base")
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    rendered = cluster.kubectl("kustomize", str(tmp_path), "--load-restrictor=LoadRestrictionsNone").stdout
    documents = [d for d in yaml.safe_load_all(rendered) if d["kind"] != "CustomResourceDefinition"]
    try:
        cluster.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(documents))
        cluster.kubectl(
            *("rollout", "status", "-n", namespace, f"deployment/{namespace}-throughline", WAIT), timeout_seconds=150
        )
    finally:
        cluster.kubectl(
            "delete", "--ignore-not-found", "-f", "-", input=yaml.safe_dump_all(documents), timeout_seconds=150
        )
