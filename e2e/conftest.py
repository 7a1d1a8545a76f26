"""One cluster for all tests of a run, and the product on it for those that ask for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from throughline.api.crd import KINDS, definition

from e2e.cluster import Cluster, PrerequisiteMissing
from e2e.stack import up
from e2e.stack.objects import delete_crds, get

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What tests the bare cluster comes first: on one with the product, the operator answers to what they make."""
    items.sort(key=lambda item: "product" in getattr(item, "fixturenames", ()))


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


@pytest.fixture(scope="module")
def crds(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with every kind. Only what was missing is made, and taken away again: where the chart has put them,
    they are the chart's, and Helm would not take over what others made.
    """
    missing = [kind for kind in KINDS if get(cluster, "crd", kind.crd_name) is None]
    names = [f"crd/{kind.crd_name}" for kind in missing]
    if missing:
        made = {"apiVersion": "v1", "kind": "List", "items": [definition(kind) for kind in missing]}
        cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(made))
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
    yield cluster
    if missing:
        delete_crds(cluster, names)


@pytest.fixture(scope="session")
def product(cluster: Cluster) -> Cluster:
    """The cluster with Prometheus, the operator and the pools."""
    up.install(cluster)
    return cluster
