"""The step load of the tour, and the brute-force sweep that it is held against."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from e2e.stack.objects import apply, condition, get, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from e2e.cluster import Cluster
    from e2e.stack.load import Load, Result

SAMPLE_SECONDS = 3.0
SETTLE_SECONDS = 120.0
Settings = tuple[int, int, int]  # max batch size, queue delay in µs, instances


@dataclass(frozen=True, slots=True)
class Sample:
    """The service's status at one moment."""

    at_seconds: float
    replicas: int
    ready: int
    settings: Settings
    p99: str
    throughput: str
    slo: str
    reason: str
    message: str

    @property
    def text(self) -> str:
        size, delay, instances = self.settings
        return f"{size}/{delay / 1000:g}ms×{instances}" if delay else f"{size}/0×{instances}"


def sample(cluster: Cluster, name: str, started: float, namespace: str = "default") -> Sample | None:
    obj = get(cluster, "inferenceservice", name, namespace)
    status = (obj or {}).get("status") or {}
    if not status:
        return None
    s = (status.get("batch") or {}).get("settings") or {}
    met = condition(obj, "SLOMet")
    return Sample(
        at_seconds=time.monotonic() - started,
        replicas=status["replicas"]["desired"],
        ready=status["replicas"]["ready"],
        settings=(s.get("maxBatchSize", 0), s.get("maxQueueDelayMicroseconds", 0), s.get("instances", 1)),
        p99=status["slo"]["latencyP99"],
        throughput=status["slo"]["throughput"],
        slo=met.get("status", "Unknown"),
        reason=met.get("reason", ""),
        message=met.get("message", ""),
    )


@dataclass
class Watch:
    """Samples of one service while it lives; `on_sample` is told each."""

    cluster: Cluster
    name: str
    on_sample: Callable[[Sample], None] = lambda _s: None
    samples: list[Sample] = field(default_factory=list)
    namespace: str = "default"
    started: float = field(default_factory=time.monotonic)

    @contextlib.contextmanager
    def running(self) -> Iterator[Watch]:
        stop = threading.Event()

        def work() -> None:
            while not stop.wait(SAMPLE_SECONDS):
                seen = sample(self.cluster, self.name, self.started, self.namespace)
                if seen is not None:
                    self.samples.append(seen)
                    self.on_sample(seen)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()

    def within(self, phase: Phase) -> list[Sample]:
        return [s for s in self.samples if 0 <= s.at_seconds - phase.started_seconds < phase.seconds]

    def last_change_seconds(self, phase: Phase) -> float:
        """When, from the begin of that load on, settings or replicas changed last under it; 0 where they did not."""
        changed = [b for a, b in pairwise(self.within(phase)) if (a.replicas, a.settings) != (b.replicas, b.settings)]
        return changed[-1].at_seconds - phase.started_seconds if changed else 0.0

    def ordered_back(self, phase: Phase) -> int:
        """How often replicas were added under that load after some had been removed under it."""
        fallen, times = False, 0
        for before, after in pairwise(self.within(phase)):
            fallen = fallen or after.replicas < before.replicas
            times += fallen and after.replicas > before.replicas
        return times


@dataclass(frozen=True, slots=True)
class Phase:
    """One level of the load."""

    name: str
    per_second: float
    seconds: float
    result: Result
    started_seconds: float

    def within_slo_after_seconds(self, slo_us: float, step_seconds: float = 5.0) -> float:
        """From when on the p99 of all that came later is within the SLO; infinite when it never is."""
        at = 0.0
        while at < self.seconds - step_seconds:
            if self.result.percentile_us(0.99, since_seconds=at) <= slo_us:
                return at
            at += step_seconds
        return float("inf")


def phase(load: Load, watch: Watch, name: str, model: str, per_second: float, seconds: float, **more: Any) -> Phase:
    """Poisson load at that rate for so long."""
    at = time.monotonic() - watch.started
    result = load.rate(model, per_second, seconds, **more)
    return Phase(name, per_second, seconds, result, at)


def fix(cluster: Cluster, obj: dict[str, Any], settings: Settings, replicas: int) -> None:
    """Pin the service to these settings and replicas, through its own API, and wait until they are in force."""
    size, delay, instances = settings
    fixed = {"maxBatchSize": size, "maxQueueDelayMicroseconds": delay, "instances": instances}
    spec = {
        **obj["spec"],
        "batching": {"mode": "Fixed", "fixed": fixed},
        "scaling": {"minReplicas": replicas, "maxReplicas": replicas},
    }
    name, namespace = obj["metadata"]["name"], obj["metadata"]["namespace"]
    apply(cluster, [{**obj, "spec": spec}])

    def in_force() -> bool:
        seen = get(cluster, "inferenceservice", name, namespace) or {"metadata": {}}
        status = seen.get("status") or {}
        return bool(
            status.get("observedGeneration") == seen["metadata"].get("generation")
            and status["batch"].get("settings") == fixed
            and status["replicas"]["ready"] == status["replicas"]["desired"] == replicas
            and condition(seen, "Reconciling").get("status") == "False"
        )

    until(f"{name} to have {settings} on {replicas} replicas", in_force, seconds=SETTLE_SECONDS, every=0.5)


@dataclass(frozen=True, slots=True)
class Swept:
    settings: Settings
    throughput_per_second: float
    p99_us: float


def sweep(
    cluster: Cluster,
    load: Load,
    obj: dict[str, Any],
    grid: Sequence[Settings],
    *,
    replicas: int,
    callers: int,
    seconds: float,
    progress: Callable[[str], None] = lambda _t: None,
    **more: Any,
) -> list[Swept]:
    """Throughput of every setting on the same replicas with the same callers, each measured by perf_analyzer."""
    found = []
    for settings in grid:
        fix(cluster, obj, settings, replicas)
        time.sleep(1.0)
        try:
            result = load.concurrency(obj["metadata"]["name"], callers, seconds, **more)
        except RuntimeError as error:
            # Settings fixed by hand are measured, not how they are reached: a generator that never began begins again.
            if "failed to connect" not in str(error):
                raise
            progress(f"{settings}: the generator did not reach the service, once more")
            time.sleep(5.0)
            result = load.concurrency(obj["metadata"]["name"], callers, seconds, **more)
        found.append(Swept(settings, result.throughput_per_second, result.percentile_us(0.99)))
        progress(f"{settings}: {result.throughput_per_second:.0f}/s, p99 {result.percentile_us(0.99) / 1000:.0f} ms")
    return found
