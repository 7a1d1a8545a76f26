"""One replica: its queue, its instances, and the counters that a scrape or a look at its statistics reads."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from throughline.simulate.kernel import LATENCY_BINS, serve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from throughline.api.batching import BatchSettings
    from throughline.simulate.types import Truth


@lru_cache(maxsize=1024)
def _service_seconds(truth: Truth, limit: int, instances: int) -> NDArray[np.float64]:
    return np.array([0.0] + [truth.service_us(b, instances) / 1e6 for b in range(1, limit + 1)])


_NONE = np.empty(0)
_NO_ROWS = np.empty((0, 6))


@dataclass(slots=True)
class Tally:
    """What all requests of the run add up to, by the bucket of their arrival."""

    bucket_seconds: float
    slo_us: float
    histogram: NDArray[np.int64]
    over: NDArray[np.int64]  # answered later than the SLO allows
    lost: NDArray[np.int64]
    noise: NDArray[np.float64]
    timeout_seconds: float = math.inf  # a request that waits longer is given up by its caller
    noise_at: int = 0

    @classmethod
    def over_time(
        cls,
        seconds: float,
        bucket_seconds: float,
        slo_us: float,
        noise: NDArray[np.float64],
        timeout_seconds: float = math.inf,
    ) -> Tally:
        buckets = int(np.ceil(seconds / bucket_seconds)) + 1
        zero = np.zeros(buckets, dtype=np.int64)
        histogram = np.zeros((buckets, LATENCY_BINS), dtype=np.int64)
        return cls(bucket_seconds, slo_us, histogram, zero, zero.copy(), noise, timeout_seconds)

    def lose(self, arrivals: NDArray[np.float64]) -> None:
        """Requests that get no answer."""
        buckets = np.minimum((arrivals / self.bucket_seconds).astype(np.int64), self.lost.size - 1)
        np.add.at(self.lost, buckets, 1)


@dataclass(slots=True)
class Counters:
    """Cumulative, as Triton's: requests, executions, microseconds."""

    success: float = 0.0
    executions: float = 0.0
    request_us: float = 0.0
    queue_us: float = 0.0
    compute_us: float = 0.0
    cancelled: float = 0.0


@dataclass(frozen=True, slots=True)
class Leak:
    """A loaded model that gets slower: by `per_hour` of its first cost in each hour since it was loaded, or since the
    leak began.
    """

    since_seconds: float = 0.0
    per_hour: float = 0.0

    def slowdown(self, loaded_seconds: float, now_seconds: float) -> float:
        """Cost over the first cost of a model loaded then."""
        if not self.per_hour:
            return 1.0
        return 1.0 + self.per_hour * max(0.0, now_seconds - max(loaded_seconds, self.since_seconds)) / 3600.0


NO_LEAK = Leak()


class Model:
    """One loaded model: a reload makes a new one, and the old one works off what it had taken."""

    def __init__(self, settings: BatchSettings, loaded_seconds: float) -> None:
        self.settings = settings
        self.loaded_seconds = loaded_seconds
        self.limit = max(1, settings.max_batch_size)
        self.waiting: NDArray[np.float64] = _NONE
        self.free_at = np.full(settings.instances, loaded_seconds)
        self.last_start = np.full(1, -np.inf)
        self.open: NDArray[np.float64] = _NO_ROWS  # batches that are not finished yet
        self.statistics: dict[int, tuple[int, float]] = {}  # batch size → (executions, compute seconds)

    def take(self, arrivals: NDArray[np.float64]) -> None:
        if arrivals.size:
            self.waiting = np.concatenate((self.waiting, arrivals)) if self.waiting.size else arrivals

    def resize(self, settings: BatchSettings, now: float) -> None:
        """Instances are added and removed in place; one that is removed finishes its batch first."""
        free = np.sort(self.free_at)
        more = settings.instances - free.size
        self.free_at = np.concatenate((free, np.full(more, now))) if more > 0 else free[: settings.instances].copy()
        self.settings = settings

    def run(
        self, until: float, truth: Truth, tally: Tally, device_at: NDArray[np.float64], leak: Leak = NO_LEAK
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Start what starts before `until`; (finish, latency µs) of the requests started, None when none was. The leak
        is that of `until` for all of them: a world's steps are at most a scrape long.
        """
        if not self.waiting.size:
            return None
        k = self.settings.instances
        service = _service_seconds(truth, self.limit, k) * leak.slowdown(self.loaded_seconds, until)
        count = self.waiting.size
        finish, latency, batches = np.empty(count), np.empty(count), np.empty((count, 6))
        delay = self.settings.max_queue_delay_microseconds / 1e6 if self.limit > 1 else 0.0
        t = tally
        taken, rows, t.noise_at = serve(
            self.waiting, self.free_at, device_at, self.last_start, self.limit, delay, service, t.noise, t.noise_at,
            until, t.timeout_seconds, t.slo_us, t.bucket_seconds, t.histogram, t.over, t.lost, finish, latency, batches,
        )  # fmt: skip
        if not taken:
            return None
        self.waiting = self.waiting[taken:]
        started = batches[:rows]
        self.open = np.concatenate((self.open, started)) if self.open.size else started
        return finish[:taken], latency[:taken]

    def settle(self, now: float, counters: Counters) -> None:
        """Count what is finished by now."""
        if not self.open.size:
            return
        done = self.open[:, 0] <= now
        rows = self.open[done]
        if not rows.size:
            return
        self.open = self.open[~done]
        sizes, service = rows[:, 1], rows[:, 2]
        counters.success += float(sizes.sum())
        counters.executions += float(rows.shape[0])
        counters.request_us += float(rows[:, 3].sum())
        counters.queue_us += float(rows[:, 4].sum())
        counters.compute_us += float((sizes * service).sum() * 1e6)  # each request is charged the whole batch
        whole = sizes.astype(np.int64)
        executions, seconds = np.bincount(whole), np.bincount(whole, weights=service)
        for size in np.flatnonzero(executions):
            n, s = self.statistics.get(int(size), (0, 0.0))
            self.statistics[int(size)] = (n + int(executions[size]), s + float(seconds[size]))

    @property
    def executing(self) -> int:
        """Requests in batches that are not finished; exact after `settle`."""
        return int(self.open[:, 1].sum()) if self.open.size else 0


@dataclass(slots=True)
class Replica:
    """A pod with its server."""

    name: str
    created_seconds: float
    ready_seconds: float
    settings: BatchSettings  # in force, or about to be
    pool: str = ""
    models: list[Model] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)
    reload: tuple[float, BatchSettings] | None = None  # when it is done, and to what
    samples: list[tuple[float, Counters, int, int]] = field(
        default_factory=list
    )  # (time, counters, waiting, executing)
    recent: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=list)
    p99_us: float | None = None
    drained_seconds: float | None = None  # when it gets no more requests; None: it stays
    device_at: NDArray[np.float64] = field(default_factory=lambda: _NONE)  # when each slot of the device is free

    @property
    def leaving(self) -> bool:
        return self.drained_seconds is not None

    def start(self, parallel: int) -> None:
        """The server is up and has its first model."""
        self.device_at = np.zeros(parallel)
        self.models = [Model(self.settings, self.ready_seconds)]

    def change(self, settings: BatchSettings, now: float, reload_seconds: float) -> None:
        """Order other settings: instances alone at once, the rest by a reload in the background."""
        self.settings = settings
        if not self.models:
            return
        current = self.models[-1].settings
        if current == settings:
            self.reload = None
        elif settings.model_copy(update={"instances": current.instances}) == current:
            self.reload = None
            self.models[-1].resize(settings, now)
        else:
            self.reload = (now + reload_seconds, settings)

    def reload_done(self) -> None:
        assert self.reload is not None  # noqa: S101 - called when it is due
        at, settings = self.reload
        self.models.append(Model(settings, at))
        self.reload = None

    @property
    def in_force(self) -> BatchSettings:
        """What new requests are served with."""
        return self.models[-1].settings

    def run(self, until: float, truth: Truth, tally: Tally, leak: Leak = NO_LEAK) -> None:
        for model in self.models:
            started = model.run(until, truth, tally, self.device_at, leak)
            if started is not None:
                self.recent.append(started)
                self.counters.cancelled += float((started[1] < 0).sum())

    def settle(self, now: float) -> None:
        for model in self.models:
            model.settle(now, self.counters)
        if len(self.models) > 1:
            newest = self.models[-1]
            self.models = [m for m in self.models if m is newest or m.waiting.size or m.open.size]

    @property
    def waiting(self) -> int:
        return sum(m.waiting.size for m in self.models)

    @property
    def executing(self) -> int:
        return sum(m.executing for m in self.models)

    def scrape(self, now: float, summary_seconds: float, keep_seconds: float) -> None:
        """What Prometheus would store at this moment."""
        self.settle(now)
        self.samples.append((now, replace(self.counters), self.waiting, self.executing))
        while self.samples[0][0] < now - keep_seconds:
            self.samples.pop(0)
        since = now - summary_seconds
        self.recent = [(f, lat) for f, lat in self.recent if f[-1] > since]
        if not self.recent:
            self.p99_us = None
            return
        finish = np.concatenate([f for f, _ in self.recent])
        latency = np.concatenate([lat for _, lat in self.recent])[(finish > since) & (finish <= now)]
        latency = latency[latency >= 0]
        self.p99_us = float(np.partition(latency, i)[i]) if (i := int(0.99 * latency.size)) < latency.size else None
