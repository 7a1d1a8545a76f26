"""What a simulation is made of: the model's true cost, the place it runs in, the traffic, and who scales it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from throughline.api.batching import BatchSettings


@dataclass(frozen=True, slots=True)
class Truth:
    """How long one execution really takes: s_k(b) = (α + βb)(1 + γ(k − 1)), times noise, times `factor`.

    `knee_items`: past this batch size each further item costs `knee_factor` times β. `noise`: coefficient of
    variation of the lognormal factor on each execution. `parallel`: executions that the device runs at a time, others
    wait for it on their instance; 0: as many as there are instances.
    """

    alpha_us: float
    beta_us: float
    contention: float = 0.0
    noise: float = 0.05
    knee_items: int | None = None
    knee_factor: float = 2.0
    factor: float = 1.0
    parallel: int = 0

    def service_us(self, batch: int, instances: int) -> float:
        """Mean time of one execution of `batch` items while `instances` share the device."""
        extra = max(0, batch - self.knee_items) * self.beta_us * (self.knee_factor - 1.0) if self.knee_items else 0.0
        return self.factor * (self.alpha_us + self.beta_us * batch + extra) * (1.0 + self.contention * (instances - 1))


@dataclass(frozen=True, slots=True)
class Environment:
    """The cluster around the model. A replica is paid for from its creation until it has drained, and its last request
    is done.
    """

    pod_start_seconds: float = 30.0  # from the order to a running server: scheduling, image, start
    model_load_seconds: float = 10.0
    # How long a replica that goes still gets requests: gRPC callers keep their connections until their server ends.
    drain_seconds: float = 15.0
    reload_seconds: float = 2.0  # a change of max batch or delay; the old model serves until then
    pool_replicas: int = 40
    price_per_hour: float = 2.0
    scrape_seconds: float = 15.0
    summary_seconds: float = 60.0  # what Triton's latency summary looks back
    timeout_seconds: float = 10.0  # callers give up a request that has waited so long before its execution


@dataclass(frozen=True, slots=True)
class Place:
    """A pool beside the one of the environment: how fast the model is there, what a replica costs, how many fit."""

    truth: Truth
    price_per_hour: float
    replicas: int = 40


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens to the world at a time.

    kind "cost": the cost of an execution becomes `value` times the first one. kind "item cost": the cost of an item, β,
    becomes `value` times the first one. kind "leak": from now on each loaded model's cost grows linearly with its age,
    by `value` of its first cost per hour; a reload or a new replica begins again. kind "pool": the pool holds `value`
    replicas from now on, and what is above that dies with its requests. kind "room": other services leave room for
    `value` replicas from now on; running replicas stay, and those ordered above it are pending. kind "node": this share
    of the replicas dies with its requests, and is made anew. kind "metrics": scrapes fail for `value` seconds.
    """

    at_seconds: float
    kind: str
    value: float


COST_KINDS = frozenset({"cost", "item cost"})  # of Event: they change the truth for all replicas alike


def truth_after(truth: Truth, events: Iterable[Event]) -> Truth:
    """The first truth, changed by events in the order of their time; the last of each of `COST_KINDS` counts."""
    value = {e.kind: e.value for e in events if e.kind in COST_KINDS}
    return replace(
        truth,
        factor=truth.factor * value.get("cost", 1.0),
        beta_us=truth.beta_us * value.get("item cost", 1.0),
    )


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests of one item each. `arrivals`: sorted, seconds from 0; the first `warmup_seconds` do not count."""

    name: str
    duration_seconds: float
    arrivals: NDArray[np.float64]
    warmup_seconds: float = 600.0
    events: Sequence[Event] = field(default=())


class Look(Protocol):
    """What an autoscaler may see. Values come from the scrapes unless said; None is unknown, never zero."""

    @property
    def now_seconds(self) -> float: ...

    @property
    def replicas(self) -> int:
        """Ordered, ready or not."""
        ...

    @property
    def ready(self) -> int: ...

    def utilization(self) -> float | None:
        """Mean over the ready pods of the busy share of their instances (0 to 1), over the last scrape interval."""
        ...

    def pending(self) -> float | None:
        """Requests waiting in the servers' queues, over all pods, at the last scrape."""
        ...

    def in_flight(self) -> float | None:
        """Requests waiting or executing, over all pods, at the last scrape."""
        ...

    def served_per_second(self, window_seconds: float) -> float | None:
        """Rate of answers over all pods between the scrapes of the window, as PromQL's rate()."""
        ...

    def requests_per_second(self, window_seconds: float) -> float | None:
        """Rate of requests over the window as the gateway in front counts them, answered or not, by its scrapes."""
        ...

    def late_per_second(self, window_seconds: float) -> float | None:
        """Of those, the rate of requests that end too late: answered over the SLO, given up, or refused. As a gateway's
        histogram of durations with a bucket at the SLO tells it, except that a request counts once its execution
        starts, when it is known that it will be late.
        """
        ...

    def concurrency(self, window_seconds: float) -> float | None:
        """Mean of requests waiting or executing over all pods over the window, sampled each second at the pods
        themselves, as Knative's queue-proxy does; not from the scrapes.
        """
        ...

    def p99_us(self) -> float | None:
        """The worst pod's summary at the last scrape; None while idle."""
        ...


@dataclass(frozen=True, slots=True)
class Orders:
    """What is to be so from now on; None leaves it."""

    replicas: int | None = None


class Autoscaler(Protocol):
    """Scales replicas; the batch settings stay as they were given."""

    name: str
    interval_seconds: float
    settings: BatchSettings  # of every pod, from the start

    def decide(self, look: Look) -> Orders: ...
