"""What a pool says of the accelerator that each replica asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.reconcile.pool import PoolReconciler

from tests.reconcile.fakes import node, pool

if TYPE_CHECKING:
    from typing import Any

    from tests.reconcile.fakes import World


def _offering(resource: str) -> dict[str, Any]:
    found = node("n1")
    found["status"]["allocatable"][resource] = "8"
    return found


async def _ready(world: World) -> tuple[str, str, str]:
    await PoolReconciler(world.deps)("gpu")
    (condition,) = world.live("ServingPool", "gpu", "")["status"]["conditions"]
    return condition["status"], condition["reason"], condition.get("message", "")


async def test_two_shares_of_a_gpu_for_each_replica_buy_nothing_and_the_condition_says_so(world: World) -> None:
    world.add(_offering("nvidia.com/gpu.shared"))
    world.add(pool("gpu", accelerator={"resource": "nvidia.com/gpu.shared", "countPerReplica": 2}))
    status, reason, message = await _ready(world)
    assert (status, reason) == ("True", "NodesReady")
    assert "set spec.accelerator.countPerReplica to 1" in message


async def test_two_whole_gpus_for_each_replica_need_no_words(world: World) -> None:
    world.add(pool("gpu", accelerator={"resource": "nvidia.com/gpu", "countPerReplica": 2}))
    assert await _ready(world) == ("True", "NodesReady", "")
