"""One cluster for all tests of a run, and the product on it for those that ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.cluster import Cluster, PrerequisiteMissing
from e2e.stack import up

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


@pytest.fixture(scope="session")
def product(cluster: Cluster) -> Cluster:
    """The cluster with Prometheus, the operator and the pools."""
    up.install(cluster)
    return cluster
