"""client-go's promises: never twice at once, nothing lost, wakes folded, errors backed off."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from throughline.ports import ApiError
from throughline.runtime import queue as queue_module
from throughline.runtime.metrics import Metrics
from throughline.runtime.queue import WorkQueue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


@asynccontextmanager
async def started(reconcile: Any, workers: int = 4) -> AsyncIterator[WorkQueue[str]]:
    queue: WorkQueue[str] = WorkQueue("q", reconcile, workers=workers, metrics=Metrics())
    task = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def settle() -> None:
    await asyncio.sleep(0.02)


async def test_wakes_before_a_reconcile_fold_into_one() -> None:
    seen: list[str] = []

    async def reconcile(key: str) -> None:
        seen.append(key)

    async with started(reconcile) as queue:
        for _ in range(10):
            queue.add("a")
        queue.add("b")
        await settle()
    assert sorted(seen) == ["a", "b"]


async def test_a_wake_during_a_reconcile_runs_it_again_and_never_beside_itself() -> None:
    running = most = runs = 0
    go = asyncio.Event()

    async def reconcile(_key: str) -> None:
        nonlocal running, most, runs
        running, runs = running + 1, runs + 1
        most = max(most, running)
        await go.wait()
        running -= 1

    async with started(reconcile) as queue:
        queue.add("a")
        await settle()
        for _ in range(5):
            queue.add("a")
        await settle()
        assert (runs, most) == (1, 1)
        go.set()
        await settle()
    assert (runs, most) == (2, 1)


async def test_keys_run_beside_each_other_up_to_the_number_of_workers() -> None:
    running = most = 0
    go = asyncio.Event()

    async def reconcile(_key: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1

    async with started(reconcile, workers=3) as queue:
        for key in "abcdef":
            queue.add(key)
        await settle()
        go.set()
    assert most == 3


async def test_a_requeue_comes_back_and_an_earlier_wake_replaces_it() -> None:
    seen: list[float] = []
    loop = asyncio.get_running_loop()

    async def reconcile(_key: str) -> float | None:
        seen.append(loop.time())
        return 0.05 if len(seen) == 1 else None

    async with started(reconcile) as queue:
        queue.add("a")
        await asyncio.sleep(0.15)
        assert len(seen) == 2
        queue.add("a", 60)
        queue.add("a", 0.01)
        queue.add("a", 30)  # later than what is due: changes nothing
        await asyncio.sleep(0.05)
    assert len(seen) == 3


async def test_errors_back_off_and_one_key_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "FIRST_BACKOFF", 0.01)
    seen: list[str] = []

    async def reconcile(key: str) -> None:
        seen.append(key)
        if key == "bad":
            raise RuntimeError("boom")

    async with started(reconcile, workers=1) as queue:
        queue.add("bad")
        queue.add("good")
        await asyncio.sleep(0.1)
        counted = queue._metrics.reconcile_errors.labels(controller="q")._value.get()
    assert "good" in seen
    assert 3 <= seen.count("bad") <= 6, "10, 20, 40, 80 ms"
    assert counted == seen.count("bad")


def test_backoff_is_capped_and_obeys_retry_after() -> None:
    async def never(_key: str) -> None: ...

    queue: WorkQueue[str] = WorkQueue("q", never, workers=1, metrics=Metrics())
    delays = [queue._backoff("a", None) for _ in range(40)]
    assert delays[0] < 0.3
    assert max(delays) <= queue_module.MAX_BACKOFF * 1.1
    assert queue._backoff("b", ApiError(429, "TooMany", "slow down", 17.0)) >= 15
    assert queue._backoff("c", ApiError(409, "Conflict", "changed")) < 0.1


async def test_drain_waits_for_what_runs_and_starts_nothing() -> None:
    seen: list[str] = []
    done: list[str] = []

    async def reconcile(key: str) -> float:
        seen.append(key)
        await asyncio.sleep(0.05)
        done.append(key)
        return 0.01

    async with started(reconcile, workers=1) as queue:
        queue.add("a")
        queue.add("b")
        await asyncio.sleep(0.01)
        assert await queue.drain(5)
        queue.add("c")
        await asyncio.sleep(0.1)
    assert (seen, done) == (["a"], ["a"])


async def test_drain_gives_up_after_its_time() -> None:
    async def reconcile(_key: str) -> None:
        await asyncio.sleep(60)

    async with started(reconcile) as queue:
        queue.add("a")
        await settle()
        assert not await queue.drain(0.01)
