"""One cluster for all tests of a run, and the product on it for those that ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from throughline.api.crd import KINDS

from e2e import helm
from e2e.cluster import Cluster, PrerequisiteMissing
from e2e.stack import up
from e2e.stack.objects import get

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What tests the bare cluster comes first: on one with the product, the operator answers to what they make. What
    removes the product and its kinds comes last.
    """
    items.sort(key=lambda item: (item.path.name == "test_readme.py", "product" in getattr(item, "fixturenames", ())))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    try:
        with Cluster.start(print) as cluster:
            yield cluster
    except PrerequisiteMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def local(cluster: Cluster) -> Cluster:
    if not cluster.is_local:
        pytest.skip("needs the nodes of the local cluster")
    return cluster


@pytest.fixture(scope="session")
def crds(cluster: Cluster) -> Cluster:
    """The cluster with every kind, for the whole run: the product's release, without an operator yet. Nothing deletes a
    kind to make it again, which can take minutes (docs/upgrade.md).
    """
    if any(get(cluster, "crd", kind.crd_name) is None for kind in KINDS):
        helm.install_chart(cluster.kubeconfig, {**helm.image_values(cluster.images["operator"]), "replicas": 0})
        names = [f"crd/{kind.crd_name}" for kind in KINDS]
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
    return cluster


@pytest.fixture(scope="session")
def product(crds: Cluster) -> Cluster:
    """The cluster with Prometheus, the operator and the pools."""
    up.install(crds)
    return crds
