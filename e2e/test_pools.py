"""Two pools, the strategy Cheapest: the cheaper one first, the dearer one when that is full, and no request lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from e2e.stack import models
from e2e.stack.load import Load
from e2e.stack.objects import apply
from e2e.stack.traffic import SteadyLoad
from e2e.stack.watching import Api, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

NAME, CHEAP, DEAR = "thrifty", "thrifty-edge", "thrifty-cpu"
FULL = 2  # replicas that the cheaper pool holds
PER_SECOND = 30
MOVE_SECONDS = 300.0  # a minute of wanting it, and a rollout


def pools() -> list[dict[str, Any]]:
    edge = [{"key": "throughline.io/edge", "operator": "Exists", "effect": "NoSchedule"}]
    return [
        models.pool(DEAR, cost="0.20", nodeSelector={"throughline.io/pool": "cpu"}),
        models.pool(
            CHEAP, cost="0.10", nodeSelector={"throughline.io/pool": "edge"}, tolerations=edge,
            capacity={"maxReplicas": FULL},
        ),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def api(product: Cluster, local: Cluster) -> Iterator[Api]:
    with scratch(local, "pools") as api:
        fixed = {"maxBatchSize": 8, "maxQueueDelayMicroseconds": 0, "instances": 1}
        service = models.service(
            NAME, models.waiting_model(4000, 200), slo_ms=200, namespace=api.namespace,
            placement={"strategy": "Cheapest", "pools": [{"name": DEAR}, {"name": CHEAP}]},
            batching={"mode": "Fixed", "fixed": fixed}, scaling={"minReplicas": 1, "maxReplicas": 4},
        )  # fmt: skip
        apply(product, [*pools(), service])
        yield api
    local.kubectl("delete", "servingpool", CHEAP, DEAR, "--ignore-not-found", "--wait=false")


def nodes(api: Api) -> set[str]:
    return {p["spec"].get("nodeName", "") for p in api.objects("pods", NAME)}


def status(api: Api) -> dict[str, Any]:
    return dict((api.service(NAME) or {}).get("status") or {})


def test_the_cheaper_pool_is_begun_with_whatever_the_order(api: Api) -> None:
    api.until_ready(NAME)
    assert status(api)["pool"] == CHEAP
    assert nodes(api) == {"edge-0"}


def test_a_full_pool_is_left_without_a_failed_request(api: Api) -> None:
    api.until_ready(NAME)
    load = Load(api.cluster, namespace=api.namespace).start()
    with SteadyLoad(load, NAME, PER_SECOND) as steady:
        api.patch(NAME, {"scaling": {"minReplicas": FULL + 1}})
        api.until("the other pool", lambda: status(api)["pool"] == DEAR, NAME, seconds=MOVE_SECONDS)
        # Where the machine is busy, the load may need more replicas than the least.
        moved = lambda: nodes(api) == {"cpu-0"} and len(api.ready_pods(NAME)) > FULL  # noqa: E731
        api.until("all replicas there", moved, NAME, seconds=MOVE_SECONDS)
    assert (steady.failed, steady.starts) == (0, 1), steady.said
    assert steady.answered > 0
    record = next(d for d in status(api)["decisions"] if d["action"] == "Place")
    assert record["reason"] == "PoolFull"
    assert f"pool {CHEAP} → {DEAR}" in record["message"]
    assert [k["name"] for k in status(api)["control"]["pools"]] == [CHEAP], "what was learned there is kept"
