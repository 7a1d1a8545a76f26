"""The cluster in virtual time: replicas come, serve, are scraped and go, and all of it is paid for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from throughline.simulate.server import NO_LEAK, Leak, Replica, Tally
from throughline.simulate.types import COST_KINDS, Place, truth_after

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from throughline.api.batching import BatchSettings
    from throughline.simulate.types import Environment, Event, Traffic, Truth

BUCKET_SECONDS = 15.0
KEEP_SAMPLES_SECONDS = 330.0
NOISE_VALUES = 1 << 16
GATEWAY_SAMPLES = 40
_EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the record: what was so at a time."""

    at_seconds: float
    replicas: int
    ready: int
    settings: BatchSettings


@dataclass(frozen=True, slots=True)
class GatewaySample:
    """One scrape of the gateway in front: its counters since the start."""

    at_seconds: float
    requests: int
    late: int  # over the SLO, given up, or without a server; known when the execution starts


FIRST_POOL = "pool"  # the environment's


class World:
    """One service, on one pool at a time. The driver advances it and gives it orders; it never decides. `places`: pools
    that it may be moved to, beside the environment's.
    """

    def __init__(
        self,
        truth: Truth,
        environment: Environment,
        traffic: Traffic,
        *,
        slo_us: float,
        settings: BatchSettings,
        replicas: int,
        seed: int = 1,
        sampling: bool = False,
        places: Mapping[str, Place] = MappingProxyType({}),
    ) -> None:
        self.environment, self.traffic = environment, traffic
        first = Place(truth, environment.price_per_hour, environment.pool_replicas)
        self.places = {FIRST_POOL: first, **places}
        self.pool = FIRST_POOL
        self._truths = {name: place.truth for name, place in self.places.items()}  # now, after the events so far
        self._cost_events: list[Event] = []
        self._leak = NO_LEAK
        rng = np.random.default_rng(seed)
        sigma = math.sqrt(math.log1p(truth.noise**2))
        noise = np.exp(rng.normal(-sigma * sigma / 2, sigma, NOISE_VALUES)) if sigma else np.ones(1)
        self.tally = Tally.over_time(
            traffic.duration_seconds, BUCKET_SECONDS, slo_us, noise, environment.timeout_seconds
        )
        # The share of the pods at which a request goes in, drawn once: the same for every contender.
        self._place = rng.random(traffic.arrivals.size)
        self._next = 0  # arrival
        self.now = 0.0
        self.settings = settings
        self.ordered = replicas
        self.capacity = environment.pool_replicas
        self.pods: list[Replica] = []
        self.scrapes_fail_until = -1.0
        self.scraped_seconds: float | None = None
        self.gateway: list[GatewaySample] = []
        self._named = 0
        self._next_scrape = environment.scrape_seconds
        self._events = sorted(traffic.events, key=lambda e: e.at_seconds)
        self.sampling = sampling  # concurrency each second
        self.concurrency: list[float] = []
        self._next_sample = 1.0 if sampling else math.inf
        self.paid_seconds = np.zeros(self.tally.lost.size)
        self.paid = np.zeros(self.tally.lost.size)  # money
        self.moments: list[Moment] = []
        self.on_change: Callable[[], None] | None = None
        for _ in range(replicas):
            self._create(ready_seconds=0.0)
        self._note()

    # ------------------------------------------------------------------ orders

    def scale(self, replicas: int) -> None:
        """Order a count. What the pool cannot hold stays pending and costs nothing."""
        if replicas != self.ordered:
            self.ordered = replicas
            self._reconcile()
            self._note()

    def move(self, pool: str) -> None:
        """Order another pool: as a rolling update, each replica goes when its successor serves."""
        self.pool, self.capacity = pool, self.places[pool].replicas
        self._reconcile()
        self._note()

    def configure(self, settings: BatchSettings, exceptions: dict[str, BatchSettings] | None = None) -> None:
        """Order settings for all replicas, other ones for those named."""
        changed = settings != self.settings
        self.settings = settings
        for pod in self.pods:
            wanted = (exceptions or {}).get(pod.name, settings)
            if not pod.leaving and pod.settings != wanted:
                pod.change(wanted, self.now, self.environment.reload_seconds)
                changed = True
        if changed:
            self._note()

    def _create(self, ready_seconds: float) -> None:
        self._named += 1
        pod = Replica(f"pod-{self._named}", self.now, ready_seconds, self.settings, self.pool)
        if ready_seconds <= self.now:
            pod.start(self.places[pod.pool].truth.parallel)
        self.pods.append(pod)

    def _reconcile(self) -> None:
        """As a ReplicaSet: create what lacks and the pool has room for; remove what is not ready first, then the
        youngest.
        """
        staying = [p for p in self.pods if not p.leaving]
        wanted = min(self.ordered, self.capacity)
        left = [p for p in staying if p.pool != self.pool]
        if left:
            self._roll(staying, left)
            return
        e = self.environment
        for _ in range(wanted - len(staying)):
            self._create(self.now + e.pod_start_seconds + e.model_load_seconds)
        excess = max(0, len(staying) - self.ordered)
        for pod in sorted(staying, key=lambda p: (bool(p.models), -p.created_seconds))[:excess]:
            self._leave(pod)
        self._bury()

    def _roll(self, staying: Sequence[Replica], left: Sequence[Replica]) -> None:
        """As a Deployment with maxSurge 1 and maxUnavailable 0: those on the pool that was left go as others serve."""
        here = len(staying) - len(left)
        serve = sum(bool(p.models) for p in staying if p.pool == self.pool)
        going = left[: max(0, len(left) + serve - self.ordered)]
        for pod in going:
            self._leave(pod)
        e = self.environment
        most = min(self.ordered + 1 - (len(staying) - len(going)), min(self.ordered, self.capacity) - here)
        for _ in range(most):
            self._create(self.now + e.pod_start_seconds + e.model_load_seconds)
        self._bury()

    def _leave(self, pod: Replica) -> None:
        pod.drained_seconds = self.now + (self.environment.drain_seconds if pod.models else 0.0)

    def _bury(self) -> None:
        """A leaving replica is gone when it has drained, and its last request is done."""
        for pod in self.pods:
            if pod.leaving:
                pod.settle(self.now)
        self.pods = [p for p in self.pods if self._open(p) or p.waiting or p.executing]

    def _open(self, pod: Replica) -> bool:
        """Whether requests may go to it, once it is ready."""
        return pod.drained_seconds is None or self.now < pod.drained_seconds - _EPSILON

    def _note(self) -> None:
        self.moments.append(Moment(self.now, self.ordered, len(self.ready), self.settings))

    # ------------------------------------------------------------------ what is

    @property
    def ready(self) -> list[Replica]:
        return [p for p in self.pods if p.models and not p.leaving]

    @property
    def holds(self) -> int:
        """How many replicas of this service its pool can hold: what runs there keeps its place."""
        return max(self.capacity, sum(p.pool == self.pool and not p.leaving for p in self.pods))

    # ------------------------------------------------------------------ time

    def advance(self, until: float) -> None:
        """Serve until then, with everything that happens on the way."""
        while self.now < until - _EPSILON:
            due = [p.ready_seconds for p in self.pods if not p.models]
            due += [p.reload[0] for p in self.pods if p.reload is not None]
            due += [p.drained_seconds for p in self.pods if p.drained_seconds is not None and self._open(p)]
            due += [e.at_seconds for e in self._events[:1]]
            step = min(until, self._next_scrape, self._next_sample, *due)
            self._serve(max(step, self.now))
            self._happen()

    def _serve(self, until: float) -> None:
        arrivals = self.traffic.arrivals
        end = int(np.searchsorted(arrivals, until, side="right"))
        coming, place = arrivals[self._next : end], self._place[self._next : end]
        self._next = end
        serving = [p for p in self.pods if p.models and self._open(p)]
        if not serving:
            self.tally.lose(coming)
        elif len(serving) == 1:
            serving[0].models[-1].take(coming)
        else:
            index = (place * len(serving)).astype(np.int64)
            for i, pod in enumerate(serving):
                pod.models[-1].take(coming[index == i])
        for pod in self.pods:
            pod.run(until, self._truths[pod.pool], self.tally, self._leak)
        bucket = min(int(self.now / BUCKET_SECONDS), self.paid_seconds.size - 1)
        seconds = until - self.now
        self.paid_seconds[bucket] += seconds * len(self.pods)
        self.paid[bucket] += seconds * sum(self.places[p.pool].price_per_hour for p in self.pods) / 3600
        self.now = until

    def _happen(self) -> None:
        """Whatever is due now."""
        now = self.now
        changed = self._pods_change()
        while self._events and self._events[0].at_seconds <= now:
            changed |= self._event(self._events.pop(0))
        if self._next_sample <= now:
            self._next_sample += 1.0
            for pod in self.pods:
                pod.settle(now)
            self.concurrency.append(float(sum(p.waiting + p.executing for p in self.pods)))
        if self._next_scrape <= now:
            self._next_scrape += self.environment.scrape_seconds
            self._bury()
            self._scrape()
        if changed:
            self._note()
            if self.on_change is not None:
                self.on_change()

    def _pods_change(self) -> bool:
        """Start the servers and finish the reloads that are due."""
        changed = False
        for pod in self.pods:
            if not pod.models and pod.ready_seconds <= self.now:
                pod.start(self.places[pod.pool].truth.parallel)
                changed = True
            if pod.reload is not None and pod.reload[0] <= self.now:
                pod.reload_done()
                changed = True
        if changed and any(p.pool != self.pool for p in self.pods if not p.leaving):
            self._reconcile()
        return changed

    def _event(self, event: Event) -> bool:
        """Let it happen; whether a pod was affected."""
        if event.kind in COST_KINDS:
            self._cost_events.append(event)
            self._truths = {name: truth_after(place.truth, self._cost_events) for name, place in self.places.items()}
        elif event.kind == "leak":
            self._leak = Leak(event.at_seconds, event.value)
        elif event.kind == "metrics":
            self.scrapes_fail_until = self.now + event.value
        elif event.kind == "pool":
            self._resize_pool(int(event.value))
            return True
        elif event.kind == "room":
            before = len(self.pods)
            self.capacity = int(event.value)
            self._reconcile()
            return len(self.pods) != before
        elif event.kind == "node":
            self._kill(math.ceil(event.value * len(self.ready)))
            self._reconcile()
            return True
        else:
            raise ValueError(f"unknown event {event.kind!r}: cost, item cost, leak, metrics, node, pool or room")
        return False

    def _scrape(self) -> None:
        if self.now <= self.scrapes_fail_until:
            return
        self.scraped_seconds = self.now
        late = int(self.tally.over.sum() + self.tally.lost.sum())
        self.gateway.append(GatewaySample(self.now, self._next, late))
        del self.gateway[:-GATEWAY_SAMPLES]
        for pod in self.ready:
            pod.scrape(self.now, self.environment.summary_seconds, KEEP_SAMPLES_SECONDS)

    def _resize_pool(self, capacity: int) -> None:
        """The pool holds so many from now on; the oldest replicas were on what is lost."""
        self.capacity = capacity
        self._kill(max(0, sum(not p.leaving for p in self.pods) - capacity))
        self._reconcile()

    def _kill(self, count: int) -> None:
        """The oldest replicas die with all their requests."""
        for pod in [p for p in self.pods if not p.leaving][:count]:
            pod.settle(self.now)
            for model in pod.models:
                self.tally.lose(model.waiting)
                # Requests that were executing: their arrivals are not kept by request, their number is.
                self.tally.lose(np.full(model.executing, self.now))
            self.pods.remove(pod)

    # ------------------------------------------------------------------ the account

    def counted(self) -> slice:
        """Buckets after the warm-up."""
        return slice(int(self.traffic.warmup_seconds / BUCKET_SECONDS), None)

    def replica_hours(self) -> float:
        return float(self.paid_seconds[self.counted()].sum()) / 3600

    def cost(self) -> float:
        return float(self.paid[self.counted()].sum())

    def requests(self) -> tuple[int, int, int]:
        """(answered in time, over the SLO, lost) after the warm-up; what still waits at the end is lost."""
        for pod in self.pods:
            for model in pod.models:
                self.tally.lose(model.waiting)
                model.waiting = model.waiting[:0]
        s = self.counted()
        answered, over = int(self.tally.histogram[s].sum()), int(self.tally.over[s].sum())
        return answered - over, over, int(self.tally.lost[s].sum())


def changes(moments: Sequence[Moment], since_seconds: float = 0.0) -> int:
    """How often the ordered replicas or the settings were changed."""
    return sum(
        (a.replicas, a.settings) != (b.replicas, b.settings)
        for a, b in pairwise(moments)
        if b.at_seconds >= since_seconds
    )
