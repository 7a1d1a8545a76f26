"""The simulator against the real Triton: the same arrivals through both, and what each made of them."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from throughline.api.batching import BatchSettings
from throughline.simulate.server import Model, Tally
from throughline.simulate.types import Truth

from e2e.report import OUT, Figure, at_most, table
from e2e.stack import models
from e2e.stack.objects import apply
from e2e.stack.scenario import Settings, fix

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from e2e.cluster import Cluster
    from e2e.stack.load import Load, Result

NAME = "oracle"
ALPHA_US, BETA_US, PARALLEL = 20_000, 2_000, 2
SECONDS = 20.0
SETTINGS: tuple[Settings, ...] = (
    (1, 0, 1),
    (1, 0, 2),
    (4, 0, 1),
    (8, 0, 2),
    (8, 5000, 1),
    (16, 0, 1),
    (16, 20000, 2),
    (32, 2000, 1),
    (64, 0, 2),
)
LOADS = (0.45, 0.8)  # of the saturation throughput
MEDIAN_ERROR = 0.10


@dataclass(frozen=True, slots=True)
class Seen:
    """One combination, by either."""

    throughput_per_second: float
    mean_batch: float
    p50_us: float
    p99_us: float


@dataclass(frozen=True, slots=True)
class Compared:
    settings: Settings
    load: float
    real: Seen
    simulated: Seen

    def errors(self) -> dict[str, float]:
        """|simulated / real − 1| by quantity."""
        fields = ("throughput_per_second", "mean_batch", "p50_us", "p99_us")
        return {f: abs(getattr(self.simulated, f) / getattr(self.real, f) - 1.0) for f in fields}


def statistics_of(cluster: Cluster) -> dict[str, Any]:
    """GET /v2/models/NAME/stats of the one pod."""
    label = f"throughline.io/inferenceservice={NAME}"
    found = cluster.kubectl(
        "get", "pods", "-l", label, "--field-selector=status.phase=Running", "-o", "jsonpath={.items[*].metadata.name}"
    )
    (pod,) = found.stdout.split()
    fetch = (
        f"import urllib.request as u;print(u.urlopen('http://127.0.0.1:8000/v2/models/{NAME}/stats').read().decode())"
    )
    out = cluster.kubectl("exec", pod, "-c", "triton", "--", "python3", "-c", fetch).stdout
    return dict(json.loads(out)["model_stats"][0])


def counted(before: dict[str, Any], after: dict[str, Any]) -> tuple[int, int]:
    """(executions, items) between two looks."""
    return tuple(int(after[n]) - int(before[n]) for n in ("execution_count", "inference_count"))  # type: ignore[return-value]


def calibrate(cluster: Cluster, load: Load, service: dict[str, Any]) -> tuple[Truth, float]:
    """The model's real cost by batch size, and what the way to the server and back adds to a latency, in µs.

    The cost is how long an instance is taken by one batch when there is always another: what Triton calls compute, and
    what lies between two batches. One instance, callers enough to fill every batch.
    """
    sizes, cycles_us = [], []
    for size in (1, 4, 16, 32):
        fix(cluster, service, (size, 0, 1), 1)
        before = statistics_of(cluster)
        result = load.concurrency(NAME, 3 * size, 6.0)
        executions, items = counted(before, statistics_of(cluster))
        sizes.append(items / executions)
        cycles_us.append(1e6 * items / executions / result.throughput_per_second)
    beta, alpha = np.polyfit(sizes, cycles_us, 1)
    fix(cluster, service, (1, 0, 1), 1)
    alone = load.concurrency(NAME, 1, 6.0)
    way_us = max(0.0, statistics.median(alone.latencies_us) - (alpha + beta))
    return Truth(float(alpha), float(beta), noise=0.01, parallel=PARALLEL), float(way_us)


def simulated(truth: Truth, settings: Settings, result: Result, way_us: float) -> Seen:
    """The very arrivals of the real run, through the simulator's server."""
    arrivals = np.array(result.sent_seconds)
    size, delay, instances = settings
    model = Model(BatchSettings(max_batch_size=size, max_queue_delay_microseconds=delay, instances=instances), 0.0)
    rng = np.random.default_rng(1)
    tally = Tally.over_time(float(arrivals[-1]) + 60, 15.0, 1e9, rng.normal(1.0, truth.noise, 4096))
    model.take(arrivals)
    started = model.run(np.inf, truth, tally, np.zeros(truth.parallel))
    assert started is not None
    finish, latency = started
    latency = np.sort(latency + way_us)
    return Seen(
        len(arrivals) / (finish.max() - arrivals[0]),
        len(arrivals) / len(model.open),
        float(latency[len(latency) // 2]),
        float(latency[int(0.99 * len(latency))]),
    )


def compare(
    cluster: Cluster, load: Load, service: dict[str, Any], truth: Truth, way_us: float, settings: Settings, share: float
) -> Compared:
    """One combination: Poisson load at that share of what these settings carry at most."""
    fix(cluster, service, settings, 1)
    size, _, instances = settings
    rate = share * 1e6 * size * min(instances, PARALLEL) / truth.service_us(size, instances)
    before = statistics_of(cluster)
    result = load.rate(NAME, rate, SECONDS)
    executions, items = counted(before, statistics_of(cluster))
    ends = [s + lat / 1e6 for s, lat in zip(result.sent_seconds, result.latencies_us, strict=True)]
    real = Seen(
        len(ends) / (max(ends) - result.sent_seconds[0]),
        items / executions,
        result.percentile_us(0.5),
        result.percentile_us(0.99),
    )
    return Compared(settings, share, real, simulated(truth, settings, result, way_us))


def markdown(compared: Sequence[Compared]) -> str:
    """The table of docs/simulator.md."""
    head = "| max batch / queue delay × instances | load | throughput /s | mean batch | p50 ms | p99 ms | worst error |"
    lines = [head, "|" + "---|" * 7]
    for c in compared:
        size, delay, instances = c.settings
        pairs = [
            f"{c.real.throughput_per_second:.0f} / {c.simulated.throughput_per_second:.0f}",
            f"{c.real.mean_batch:.2f} / {c.simulated.mean_batch:.2f}",
            f"{c.real.p50_us / 1000:.1f} / {c.simulated.p50_us / 1000:.1f}",
            f"{c.real.p99_us / 1000:.1f} / {c.simulated.p99_us / 1000:.1f}",
        ]
        name, worst = max(c.errors().items(), key=lambda e: e[1])
        cell = f"{worst:.1%} ({name.removesuffix('_us').removesuffix('_per_second').replace('_', ' ')})"
        lines.append(
            f"| {size} / {delay / 1000:g} ms × {instances} | {c.load:.0%} | " + " | ".join(pairs) + f" | {cell} |"
        )
    return "\n".join(lines)


def run(cluster: Cluster, load: Load, progress: Callable[[str], None]) -> list[Figure]:
    """Median and worst error over all combinations and quantities; the table goes to out/oracle.md."""
    model = models.waiting_model(ALPHA_US, BETA_US, parallel=PARALLEL)
    service = models.service(NAME, model, slo_ms=2000)
    apply(cluster, [service])
    truth, way_us = calibrate(cluster, load, service)
    progress(f"oracle: s(b) = {truth.alpha_us:.0f} + {truth.beta_us:.0f}·b µs, the way there and back {way_us:.0f} µs")
    compared = []
    for settings in SETTINGS:
        for share in LOADS:
            found = compare(cluster, load, service, truth, way_us, settings, share)
            compared.append(found)
            worst = max(found.errors().values())
            progress(f"oracle: {settings} at {share:.0%}: p99 {found.real.p99_us / 1000:.0f} ms, "
                     f"simulated {found.simulated.p99_us / 1000:.0f} ms, worst error {worst:.1%}")  # fmt: skip
    OUT.mkdir(exist_ok=True)
    (OUT / "oracle.md").write_text(markdown(compared) + "\n")
    rows = [("quantity", "median error", "worst error")]
    figures = []
    for field in ("throughput_per_second", "mean_batch", "p50_us", "p99_us"):
        errors = [c.errors()[field] for c in compared]
        rows.append((field, f"{statistics.median(errors):.1%}", f"{max(errors):.1%}"))
        figures.append(
            at_most(f"simulator against Triton, {field}: median error", statistics.median(errors), "", MEDIAN_ERROR)
        )
        figures.append(Figure(f"simulator against Triton, {field}: worst error", max(errors), ""))
    progress("\n" + table(rows))
    cluster.kubectl("delete", "inferenceservice", NAME, "--ignore-not-found")
    return figures
