"""One service against the world in memory: how batch settings reach the servers, and what these say of themselves."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from throughline.api.batching import BatchSettings
from throughline.domain.control.observe.counters import STATISTICS_PODS
from throughline.domain.observed import MetricsFrame
from throughline.reconcile.service import ServiceReconciler

from tests.reconcile.fakes import World, metrics, pod, service
from tests.reconcile.scene import KEY, config_of, revision_of, serve


def fixed(size: int, delay: int = 0, instances: int = 1) -> dict[str, Any]:
    values = {"maxBatchSize": size, "maxQueueDelayMicroseconds": delay, "instances": instances}
    return {"mode": "Fixed", "fixed": values}


async def running(world: World, batching: dict[str, Any], pods: int = 2) -> tuple[ServiceReconciler, dict[str, Any]]:
    """A service whose pods serve `batching`, settled."""
    obj = world.add(service(batching=batching, scaling={"minReplicas": pods}))
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    values = batching["fixed"]
    settings = BatchSettings(
        max_batch_size=values["maxBatchSize"],
        max_queue_delay_microseconds=values["maxQueueDelayMicroseconds"],
        instances=values["instances"],
    )
    serve(world, obj, pods=pods, settings=settings)
    await reconcile(KEY)
    await reconcile(KEY)
    return reconcile, world.live("InferenceService", "m")


def retune(world: World, batching: dict[str, Any]) -> dict[str, Any]:
    live = world.live("InferenceService", "m")
    changed = {**live, "spec": {**live["spec"], "batching": batching}}
    changed["metadata"] = {**live["metadata"], "generation": live["metadata"]["generation"] + 1}
    return world.add(changed)


async def test_new_settings_reach_every_pod_and_the_config_map(world: World) -> None:
    reconcile, obj = await running(world, fixed(4, 100))
    retune(world, fixed(16, 2000, 2))
    await reconcile(KEY)
    wanted = BatchSettings(max_batch_size=16, max_queue_delay_microseconds=2000, instances=2)
    assert world.triton.loaded == {"10.0.0.1": wanted, "10.0.0.2": wanted}
    assert "max_batch_size: 16" in config_of(world, obj)
    assert [c for c in world.triton.calls if c[0] == "settings"][-1] == ("settings", "10.0.0.2")
    await reconcile(KEY)
    await reconcile(KEY)
    assert world.live("InferenceService", "m")["status"]["batch"]["settings"]["maxBatchSize"] == 16
    loads = len(world.triton.loads)
    world.now += 300
    await reconcile(KEY)
    assert len(world.triton.loads) == loads


async def test_settings_that_triton_refuses_never_reach_the_config_map(world: World) -> None:
    reconcile, obj = await running(world, fixed(4))
    world.triton.refuse = lambda _ip, config: "out of memory" if config["max_batch_size"] == 64 else None
    retune(world, fixed(64))
    for _ in range(4):
        world.now += 5
        await reconcile(KEY)
    assert "max_batch_size: 4" in config_of(world, obj)
    assert {s.max_batch_size for s in world.triton.loaded.values()} == {4}
    assert world.conditions()["ModelReady"] == ("False", "ConfigurationRefused")
    assert "out of memory" in world.message("ModelReady")
    tried = [c for c in world.triton.calls if c[0] == "load"]
    assert len(tried) == 1, "a refusal is not tried again at once"


async def test_a_pod_that_restarted_with_old_settings_is_loaded_again(world: World) -> None:
    reconcile, _ = await running(world, fixed(8))
    world.triton.loaded["10.0.0.2"] = BatchSettings(max_batch_size=1)  # somebody else's load
    world.now += 61
    await reconcile(KEY)
    assert world.triton.loaded["10.0.0.2"].max_batch_size == 8


async def test_a_pod_that_cannot_be_asked_is_left_alone(world: World) -> None:
    reconcile, _ = await running(world, fixed(8))
    world.triton.down = {"10.0.0.2"}
    world.now += 61
    loads = len(world.triton.loads)
    await reconcile(KEY)
    assert len(world.triton.loads) == loads
    known = {uid: server.settings for uid, server in reconcile._states[KEY].servers.items()}
    assert known["uid-Pod-m-0"] == BatchSettings(max_batch_size=8)
    assert known["uid-Pod-m-1"] is None, "an old answer is no answer"


async def test_unbatched_settings_with_a_delay_are_not_loaded_for_ever(world: World) -> None:
    """Triton reports no queue delay where there is no batcher."""
    reconcile, _ = await running(world, fixed(1, 500))
    world.triton.loaded = {ip: BatchSettings(max_batch_size=1) for ip in world.triton.loaded}
    world.now += 61
    await reconcile(KEY)
    assert world.triton.loads == []
    assert world.conditions()["BatchTuned"][0] != "False"


async def test_a_failed_probe_is_said(world: World) -> None:
    obj = world.add(service())
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    world.triton.probe_error = "unexpected shape for input x"
    serve(world, obj, settings=BatchSettings(max_batch_size=1))
    await reconcile(KEY)
    assert world.conditions()["ModelReady"] == ("False", "ProbeFailed")
    assert "unexpected shape" in world.message("ModelReady")


async def test_a_model_that_does_not_load_is_said_in_tritons_words(world: World) -> None:
    obj = world.add(service())
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    world.triton.index_error = "Internal: file is missing: model.py"
    world.add(pod("m-0", revision_of(obj), ip="10.0.0.1", ready=False))
    await reconcile(KEY)
    assert world.conditions()["ModelReady"] == ("False", "ModelLoadFailed")
    assert "model.py" in world.message("ModelReady")


async def test_a_server_that_gives_up_on_its_model_is_noticed_soon(world: World) -> None:
    """It says nothing until it has, and no event of the pod tells."""
    obj = world.add(service())
    reconcile = ServiceReconciler(world.deps)
    assert await reconcile(KEY) == 60, "nothing runs, so there is nothing to look at"
    world.add(pod("m-0", revision_of(obj), ip="10.0.0.1", ready=False))
    world.triton.down = {"10.0.0.1"}
    delay = await reconcile(KEY)
    assert delay is not None
    assert delay <= 5
    world.triton.down, world.triton.index_error = set(), "no such file"
    world.now += 10
    await reconcile(KEY)
    assert world.conditions()["ModelReady"] == ("False", "ModelLoadFailed")


async def test_statistics_only_under_traffic_and_of_so_many_pods_at_most(world: World) -> None:
    pods = STATISTICS_PODS + 2
    obj = world.add(service(scaling={"minReplicas": 4}))
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    serve(world, obj, pods=pods, settings=BatchSettings(max_batch_size=1))
    await reconcile(KEY)
    assert [c for c in world.triton.calls if c[0] == "statistics"] == []
    busy = {("default", f"m-{i}", "m"): metrics() for i in range(pods)}
    world.metrics = MetricsFrame(world.now, 60, pods=busy)
    await reconcile(KEY)
    assert len([c for c in world.triton.calls if c[0] == "statistics"]) == STATISTICS_PODS
    assert len([c for c in world.triton.calls if c[0] == "queue"]) == STATISTICS_PODS
    world.triton.calls.clear()
    world.metrics = MetricsFrame(world.now, 60, pods={("default", "m-0", "m"): metrics()})
    await reconcile(KEY)
    assert len([c for c in world.triton.calls if c[0] == "queue"]) == STATISTICS_PODS, "new pods beside a busy one, too"


# --- crashes


class Killed(BaseException):
    """The process dies here."""


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(step=st.integers(min_value=1, max_value=14), after=st.booleans())
async def test_a_crash_at_any_step_converges(step: int, *, after: bool) -> None:
    """New settings, killed before or after any call that changes something; a fresh process makes it good."""
    world = World()
    await running(world, fixed(4, 100))
    obj = retune(world, fixed(16, 2000, 2))
    count = 0

    def counted(call: Any) -> Any:
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == step and not after:
                raise Killed
            result = await call(*args, **kwargs)
            if count == step and after:
                raise Killed
            return result

        return wrapped

    kube, triton = world.kube, world.triton
    apply, load = kube.apply, triton.load
    kube.apply, triton.load = counted(apply), counted(load)  # type: ignore[method-assign]
    with contextlib.suppress(Killed):
        await ServiceReconciler(world.deps)(KEY)
    kube.apply, triton.load = apply, load  # type: ignore[method-assign]
    world.store.__init__()  # type: ignore[misc] - a new process lists anew
    world.sync()
    reconcile = ServiceReconciler(world.deps)
    for _ in range(4):
        world.now += 15
        await reconcile(KEY)
    wanted = BatchSettings(max_batch_size=16, max_queue_delay_microseconds=2000, instances=2)
    assert set(world.triton.loaded.values()) == {wanted}
    assert "max_batch_size: 16" in config_of(world, obj)
    before = len(world.kube.writes)
    await reconcile(KEY)
    assert world.kube.writes[before:] == []
