"""A pod that fails its requests has its model loaded again, whole: once, and never as a matter of its settings."""

from __future__ import annotations

from dataclasses import replace

from throughline.api.batching import BatchSettings
from throughline.domain.observed import MetricsFrame
from throughline.ports import TritonError
from throughline.reconcile.service import ServiceReconciler

from tests.reconcile.fakes import World, metrics, service
from tests.reconcile.scene import KEY, serve

SETTINGS = BatchSettings(max_batch_size=1)


async def two_pods_one_of_which_fails(world: World) -> ServiceReconciler:
    obj = world.add(service(scaling={"minReplicas": 2}, batching={"mode": "Fixed", "fixed": SETTINGS.to_wire()}))
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    serve(world, obj, pods=2, settings=SETTINGS)
    await reconcile(KEY)
    world.now += 300
    frame = MetricsFrame(world.now, 60)
    rates = {"m-0": metrics(), "m-1": metrics(0.0, failure_rate=100.0)}
    world.metrics = replace(frame, pods={("default", name, "m"): rate for name, rate in rates.items()})
    return reconcile


async def passes(world: World, reconcile: ServiceReconciler, count: int = 8) -> None:
    for _ in range(count):
        await reconcile(KEY)
        world.sync()
        world.now += 5


async def test_the_model_is_loaded_again_on_that_pod_alone(world: World) -> None:
    reconcile = await two_pods_one_of_which_fails(world)
    before = len(world.triton.loads)
    await passes(world, reconcile)
    ((ip, config),) = world.triton.loads[before:]
    assert ip == "10.0.0.2"
    assert "throughline.io/loaded-again" in config["parameters"], "the same configuration would change nothing"
    assert world.conditions()["SLOMet"] == ("False", "PodFailing")
    assert world.conditions()["LoadBalanced"] == ("Unknown", "PodFailing")
    assert world.conditions()["Ready"] == ("True", "Serving")
    assert [e for e in world.kube.events if "ModelReloaded" in str(e)]


async def test_an_operator_that_crashes_meanwhile_repairs_once_more_at_the_most(world: World) -> None:
    reconcile = await two_pods_one_of_which_fails(world)
    before = len(world.triton.loads)
    await passes(world, reconcile, 4)
    await passes(world, ServiceReconciler(world.deps), 20)
    await passes(world, ServiceReconciler(world.deps), 20)
    assert 1 <= len(world.triton.loads) - before <= 2


async def test_a_load_that_fails_is_not_held_against_the_settings(world: World) -> None:
    reconcile = await two_pods_one_of_which_fails(world)
    world.triton.refuse = lambda _ip, _config: "the stub is gone"
    await passes(world, reconcile)
    assert world.conditions()["ModelReady"] == ("True", "Ready")
    assert [what for what, _ in world.triton.calls].count("load") <= 1 + 2
    world.triton.refuse = _down
    await passes(world, ServiceReconciler(world.deps))
    assert world.conditions()["ModelReady"] == ("True", "Ready")


def _down(_ip: str, _config: object) -> str | None:
    raise TritonError("no answer")
