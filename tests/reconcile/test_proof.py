"""One service against the world in memory: a full batch is proved on one pod before requests fill one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from throughline.api.batching import BatchSettings
from throughline.api.status import BlockedBy
from throughline.ports import ApiError, Proof, TritonError
from throughline.reconcile.service import ServiceReconciler

from tests.reconcile.scene import KEY, config_of
from tests.reconcile.test_settings import fixed, retune, running

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.reconcile.fakes import World

WORDS = "cannot reshape [8,16] into [1,16]"


def sizes(world: World) -> list[tuple[str, int, bool]]:
    """(address, max_batch_size, whether requests are executed alone) of each load."""
    return [
        (ip, c["max_batch_size"], c.get("dynamic_batching", {}).get("preferred_batch_size") == [1])
        for ip, c in world.triton.loads
    ]


def asked(world: World) -> int:
    return len([c for c in world.triton.calls if c[0] == "prove"])


async def passes(world: World, reconcile: ServiceReconciler, count: int, seconds: float = 15.0) -> None:
    for _ in range(count):
        world.now += seconds
        await reconcile(KEY)


async def unbatched(world: World) -> tuple[ServiceReconciler, dict[str, Any]]:
    return await running(world, fixed(1))


def fails(rows: int) -> Callable[[BatchSettings, int], Proof]:
    return lambda _loaded, asked: Proof(asked, BlockedBy.BATCHES_FAIL, WORDS) if asked >= rows else Proof(asked)


async def test_one_pod_is_asked_for_a_full_batch_while_it_executes_requests_alone(world: World) -> None:
    """K4, K16."""
    reconcile, _ = await unbatched(world)
    batching: list[BatchSettings] = []

    def proof(loaded: BatchSettings, rows: int) -> Proof:
        batching.append(loaded)
        return Proof(rows)

    world.triton.proof = proof
    retune(world, fixed(16, 500))
    await reconcile(KEY)
    assert sizes(world) == [("10.0.0.1", 16, True), ("10.0.0.1", 16, False), ("10.0.0.2", 16, False)]
    assert [s.max_batch_size for s in batching] == [0], "the server puts no requests together meanwhile"
    await passes(world, reconcile, 1)
    assert world.live("InferenceService", "m")["status"]["control"]["provenBatch"] == 16
    retune(world, fixed(8))
    await passes(world, ServiceReconciler(world.deps), 1)
    assert asked(world) == 1, "it is proved for this model, and for smaller batches"


@pytest.mark.parametrize("together", [False, True], ids=["one-request", "several-requests"])
async def test_a_model_that_fails_batches_is_not_batched(world: World, *, together: bool) -> None:
    """K4."""
    reconcile, obj = await unbatched(world)
    if together:
        world.triton.together = lambda _proof: Proof(2, BlockedBy.BATCHES_FAIL, WORDS)
    else:
        world.triton.proof = fails(8)
    retune(world, fixed(16, 500))
    await passes(world, reconcile, 2)
    assert set(world.triton.loaded.values()) == {BatchSettings(max_batch_size=1)}
    assert {ip for ip, _, _ in sizes(world)} == {"10.0.0.1"}
    assert "max_batch_size: 1\n" in config_of(world, obj)
    assert world.conditions()["BatchTuned"] == ("False", "BatchesFail")
    assert f"batches fail: {WORDS}" in world.message("BatchTuned")
    loads, proofs = len(world.triton.loads), asked(world)
    await passes(world, ServiceReconciler(world.deps), 10, seconds=4000)
    assert (len(world.triton.loads), asked(world)) == (loads, proofs), "a new operator does not ask again"
    assert world.conditions()["BatchTuned"] == ("False", "BatchesFail")


async def test_a_model_that_mixes_rows_up_is_not_batched(world: World) -> None:
    """K16."""
    reconcile, _ = await unbatched(world)
    world.triton.proof = lambda _loaded, rows: Proof(rows, BlockedBy.ROWS_MIXED, "output y of row 2")
    retune(world, fixed(16))
    await passes(world, reconcile, 2)
    assert set(world.triton.loaded.values()) == {BatchSettings(max_batch_size=1)}
    assert world.conditions()["BatchTuned"] == ("False", "RowsMixed")
    assert "output y of row 2" in world.message("BatchTuned")
    (entry,) = world.live("InferenceService", "m")["status"]["control"]["rejected"]
    assert entry["settings"]["maxBatchSize"] == 2, "two rows were asked as well, so no other size need be"


async def test_a_proof_without_a_verdict_is_tried_again_seldom(world: World) -> None:
    reconcile, _ = await unbatched(world)

    def silent(_loaded: BatchSettings, _rows: int) -> Proof:
        raise TritonError("no answer within 30 s")

    world.triton.proof = silent
    retune(world, fixed(16))
    await passes(world, reconcile, 19)  # 285 s
    assert asked(world) == 1
    assert world.triton.loaded["10.0.0.1"] == BatchSettings(max_batch_size=1)
    assert world.conditions()["BatchTuned"] == ("False", "Loading")
    world.triton.proof = lambda _loaded, rows: Proof(rows)
    await passes(world, reconcile, 3)
    assert {s.max_batch_size for s in world.triton.loaded.values()} == {16}


async def test_a_pod_that_a_crash_left_in_a_proof_is_made_good(world: World) -> None:
    await unbatched(world)
    world.triton.loaded["10.0.0.1"] = BatchSettings(max_batch_size=0)
    await passes(world, ServiceReconciler(world.deps), 2)  # the first one reads the key
    assert world.triton.loaded["10.0.0.1"] == BatchSettings(max_batch_size=1)


async def test_what_serves_already_is_proved_as_it_is(world: World) -> None:
    """Of a model that came with the settings of its predecessor: nothing is loaded for it."""
    world.triton.proof = fails(4)
    await running(world, fixed(8))
    assert world.triton.loads == []
    assert asked(world) == 2, "eight rows and two, once"
    assert world.conditions()["BatchTuned"] == ("False", "BatchesFail")


async def test_nothing_is_sent_where_the_probe_is_off(world: World) -> None:
    reconcile, _ = await unbatched(world)
    live = world.live("InferenceService", "m")
    live["spec"]["model"]["probe"] = "ConfigOnly"
    world.add(live)
    retune(world, fixed(16))
    await passes(world, reconcile, 2)
    assert {s.max_batch_size for s in world.triton.loaded.values()} == {16}
    assert asked(world) == 0


async def test_a_refusal_outlives_a_status_that_cannot_be_written_and_the_operator(world: World) -> None:
    """K6."""
    reconcile, _ = await unbatched(world)
    world.triton.refuse = lambda _ip, config: "beyond the profile" if config["max_batch_size"] > 8 else None
    retune(world, fixed(16))
    await reconcile(KEY)
    tried = len([c for c in world.triton.calls if c[0] == "load"])
    world.kube.fail = lambda _verb, kind, _name: ApiError(500, "Busy", "etcd") if kind.endswith("/status") else None
    with pytest.raises(ApiError):
        await passes(world, reconcile, 1)
    world.kube.fail = lambda *_: None
    await passes(world, reconcile, 1)
    (entry,) = world.live("InferenceService", "m")["status"]["control"]["rejected"]
    assert (entry["blockedBy"], entry.get("until")) == ("Refused", None)
    await passes(world, ServiceReconciler(world.deps), 10, seconds=4000)
    assert len([c for c in world.triton.calls if c[0] == "load"]) == tried
    assert world.conditions()["BatchTuned"] == ("False", "Refused")
    assert "beyond the profile" in world.message("BatchTuned")
