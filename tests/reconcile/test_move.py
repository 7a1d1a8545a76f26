"""A service is moved to another pool: each successor is made before its predecessor goes, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from throughline.api.batching import BatchSettings
from throughline.domain.control.loop import decide
from throughline.reconcile import outlook
from throughline.reconcile.service import SOON_SECONDS, ServiceReconciler

from tests.reconcile.fakes import World, node, pool, service
from tests.reconcile.scene import KEY, serve

if TYPE_CHECKING:
    import pytest
    from throughline.domain.observed import ServiceView

LISTED = {"strategy": "Cheapest", "pools": [{"name": "gpu"}, {"name": "spot"}]}


def two_pools(world: World) -> dict[str, Any]:
    """A service on `gpu`; `spot` has a node with room for one replica."""
    spot = node("n2", gpus=1)
    spot["metadata"]["labels"]["pool"] = "spot"
    world.add(spot)
    world.add(pool("spot", nodeSelector={"pool": "spot"}, costPerHour="3"))
    return world.add(service(placement=LISTED))


def labelled(world: World, name: str) -> None:
    """The pods as the Deployment's template for that pool labels them."""
    for (kind, _, _), obj in list(world.kube.objects.items()):
        if kind == "Pod":
            metadata = {**obj["metadata"], "labels": {**obj["metadata"]["labels"], "throughline.io/pool": name}}
            world.add({**obj, "metadata": metadata})
    world.sync()


async def test_the_next_pass_is_on_the_pool_and_surges(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    obj = two_pools(world)
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    assert world.live("InferenceService", "m")["status"]["pool"] == "gpu", "the cheaper one"
    serve(world, obj, settings=BatchSettings(max_batch_size=1))
    labelled(world, "gpu")
    await reconcile(KEY)

    seen: list[ServiceView] = []

    def moving(view: ServiceView, memory: Any) -> Any:
        seen.append(view)
        decision, memory = decide(view, memory)
        return replace(decision, pool="spot"), memory

    monkeypatch.setattr(outlook, "decide", moving)
    delay = await reconcile(KEY)
    assert delay is not None
    assert delay <= SOON_SECONDS
    assert [p.name for p in seen[-1].pools] == ["gpu", "spot"]
    assert world.live("InferenceService", "m")["status"]["pool"] == "spot"
    template = world.live("Deployment", "m")["spec"]["template"]
    assert template["spec"]["nodeSelector"]["pool"] == "gpu", "not before it is written down"

    monkeypatch.setattr(outlook, "decide", lambda v, m: seen.append(v) or decide(v, m))
    world.sync()
    await reconcile(KEY)
    assert [p.elsewhere for p in seen[-1].pods] == [True]
    live = world.live("Deployment", "m")["spec"]
    assert live["template"]["spec"]["nodeSelector"]["pool"] == "spot"
    # The pool holds one replica only, and the one that is replaced is not on it.
    assert live["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


async def test_strategy_ordered_shows_no_other_pool(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    two_pools(world)
    world.add(service(placement={**LISTED, "strategy": "Ordered"}, generation=2))
    seen: list[ServiceView] = []
    monkeypatch.setattr(outlook, "decide", lambda v, m: seen.append(v) or decide(v, m))
    await ServiceReconciler(world.deps)(KEY)
    assert seen[-1].pools == ()
