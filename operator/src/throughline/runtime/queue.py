"""A work queue with client-go's semantics: a key is never reconciled twice at once, and wakes fold into one."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

from throughline.ports import ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from throughline.runtime.metrics import Metrics

log = structlog.get_logger("queue")

FIRST_BACKOFF = 0.2
CONFLICT_BACKOFF = 0.05
MAX_BACKOFF = 120.0
JITTER = 0.2
CONFLICT = 409


K = TypeVar("K", bound="Hashable")


class WorkQueue(Generic[K]):
    """Keys, workers, delays and backoff for one controller."""

    def __init__(
        self,
        name: str,
        reconcile: Callable[[K], Awaitable[float | None]],
        *,
        workers: int,
        metrics: Metrics,
        rng: random.Random | None = None,
    ) -> None:
        self.name = name
        self._reconcile = reconcile
        self._workers = workers
        self._metrics = metrics
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._dirty: set[K] = set()  # due, whether waiting for a worker or for the reconcile under way to end
        self._processing: dict[K, float] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        metrics.max_concurrent.labels(controller=name).set(workers)
        metrics.queue_depth.labels(name=name).set_function(self._ready.qsize)
        metrics.longest_running.labels(name=name).set_function(self.longest_running)
        metrics.active_workers.labels(controller=name).set_function(lambda: len(self._processing))

    def longest_running(self) -> float:
        """Age in seconds of the longest reconcile under way."""
        return time.monotonic() - min(self._processing.values()) if self._processing else 0.0

    def add(self, key: K, delay: float = 0.0) -> None:
        """Reconcile the key after `delay` seconds, or earlier if it is due earlier already."""
        if self._draining or key in self._dirty:
            return
        timer = self._timers.get(key)
        if delay > 0:
            loop = asyncio.get_running_loop()
            due = loop.time() + delay
            if timer is None or timer.when() > due:
                self._cancel_timer(key)
                self._timers[key] = loop.call_at(due, self.add, key)
            return
        self._cancel_timer(key)
        self._dirty.add(key)
        if key not in self._processing:
            self._ready.put_nowait(key)

    def forget(self, key: K) -> None:
        """Drop what is known of a key that exists no more."""
        self._cancel_timer(key)
        self._failures.pop(key, None)

    def _cancel_timer(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(), name=f"{self.name}-{number}")

    async def drain(self, seconds: float) -> bool:
        """Take no new work, and wait for what is under way; False when that took too long."""
        self._draining = True
        for key in list(self._timers):
            self._cancel_timer(key)
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            log.warning("reconciles cut off", controller=self.name, keys=[str(k) for k in self._processing])
            return False
        return True

    async def _work(self) -> None:
        while True:
            key = await self._ready.get()
            if self._draining:
                continue
            self._dirty.discard(key)
            self._processing[key] = started = time.monotonic()
            self._idle.clear()
            try:
                delay = await self._run_once(key)
            finally:
                del self._processing[key]
                self._metrics.reconcile_time.labels(controller=self.name).observe(time.monotonic() - started)
                if not self._processing:
                    self._idle.set()
            if key in self._dirty:  # woken while it ran
                self._ready.put_nowait(key)
            elif delay is not None:
                self.add(key, delay)

    async def _run_once(self, key: K) -> float | None:
        """One reconcile; never raises but for cancellation. Returns after how long to run it again."""
        result, delay = "success", None
        try:
            delay = await self._reconcile(key)
            self._failures.pop(key, None)
            if delay is not None:
                result, delay = "requeue_after", self._jittered(delay)
        except ApiError as error:
            result, delay = "error", self._backoff(key, error)
            log.warning("reconcile failed", controller=self.name, key=str(key), error=str(error), retry=round(delay, 2))
        except Exception:
            result, delay = "error", self._backoff(key, None)
            log.exception("reconcile failed", controller=self.name, key=str(key), retry=round(delay, 2))
        if result == "error":
            self._metrics.reconcile_errors.labels(controller=self.name).inc()
        self._metrics.reconcile_total.labels(controller=self.name, result=result).inc()
        return delay

    def _backoff(self, key: K, error: ApiError | None) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        first = CONFLICT_BACKOFF if error is not None and error.status == CONFLICT else FIRST_BACKOFF
        delay = min(MAX_BACKOFF, first * 2 ** min(failures - 1, 16))
        if error is not None and error.retry_after_seconds is not None:
            delay = max(delay, error.retry_after_seconds)
        return self._jittered(delay)

    def _jittered(self, seconds: float) -> float:
        return seconds * (1 + JITTER * (self._rng.random() - 0.5))
