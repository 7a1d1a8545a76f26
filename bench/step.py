"""The step load for one model: what tuning gains, how soon the SLO holds, and how near to the best it comes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from e2e.report import Figure, at_least, at_most
from e2e.stack.objects import apply, condition, get, until
from e2e.stack.scenario import Phase, Settings, Swept, Watch, fix, phase, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from e2e.cluster import Cluster
    from e2e.stack.load import Load

LIMIT_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Case:
    """One model. `factors`: the levels, as multiples of what one unbatched instance carries."""

    name: str
    service: dict[str, Any]
    slo_ms: int
    factors: Sequence[tuple[float, float]]  # (multiple, seconds)
    grid: Sequence[Settings]
    callers: int
    gain: float | None  # throughput over unbatched on the same replicas; None: batching is not what helps
    unbatched_per_second: float | None = None  # None: measured first


def unbatched(cluster: Cluster, load: Load, case: Case) -> float:
    """What one unbatched instance carries, by two callers that keep it busy."""
    fix(cluster, case.service, (1, 0, 1), 1)
    return load.concurrency(case.name, 2, 10.0).throughput_per_second


def _near_best(swept: Sequence[Swept], tuned: Settings, slo_us: float) -> tuple[float, float, Swept]:
    """(tuned throughput, best throughput within the SLO, the best); the tuned point stands first and last."""
    mine = [s.throughput_per_second for s in swept if s.settings == tuned]
    within = [s for s in swept if s.p99_us <= slo_us] or list(swept)
    best = max(within, key=lambda s: s.throughput_per_second)
    return sum(mine) / len(mine), best.throughput_per_second, best


def run(cluster: Cluster, load: Load, case: Case, progress: Callable[[str], None]) -> list[Figure]:
    """All figures of one model; the service is deleted afterwards."""
    slo_us = case.slo_ms * 1000.0
    apply(cluster, [case.service])
    until(
        f"{case.name} to be ready",
        lambda: condition(get(cluster, "inferenceservice", case.name), "Ready").get("status") == "True",
        seconds=180,
    )
    base = case.unbatched_per_second or unbatched(cluster, load, case)
    progress(f"{case.name}: one unbatched instance carries {base:.0f}/s")
    # From nothing: the service anew, so that it starts from the lower bounds and has learned nothing.
    delete(cluster, case.name)
    apply(cluster, [case.service])
    until(
        f"{case.name} to be measured",
        lambda: condition(get(cluster, "inferenceservice", case.name), "MetricsAvailable").get("status") == "True",
        seconds=180,
    )
    watch, phases = Watch(cluster, case.name), list[Phase]()
    with watch.running():
        for factor, seconds in case.factors:
            progress(f"{case.name}: {factor:g}× = {factor * base:.0f}/s for {seconds:.0f} s")
            phases.append(phase(load, watch, f"{factor:g}×", case.name, factor * base, seconds))
            last = watch.samples[-1]
            progress(f"{case.name}: {last.ready}/{last.replicas} replicas, {last.text}, {last.reason}")
        progress(f"{case.name}: {case.callers} callers that wait for their answers")
        load.concurrency(case.name, case.callers, 75.0)
    tuned, replicas = watch.samples[-1].settings, watch.samples[-1].replicas
    others = [g for g in case.grid if g != tuned]
    points: list[Settings] = [tuned, *others, tuned]
    progress(f"{case.name}: sweep of {len(points)} settings on {replicas} replicas, tuned {tuned}")
    swept = sweep(
        cluster, load, case.service, points,
        replicas=replicas, callers=case.callers, seconds=6.0, progress=progress,
    )  # fmt: skip
    mine, best, which = _near_best(swept, tuned, slo_us)
    plain = next(s for s in swept if s.settings == (1, 0, 1))
    figures = []
    if case.gain is not None:
        gain = mine / plain.throughput_per_second
        figures.append(at_least(f"{case.name}: throughput over unbatched, same replicas", gain, "×", case.gain))
    figures.append(at_least(f"{case.name}: share of the best of the sweep {which.settings}", mine / best, "", 0.95))
    for p in phases:
        within = p.within_slo_after_seconds(slo_us)
        figures.append(at_most(f"{case.name}: p99 within the SLO after, load {p.name}", within, "s", LIMIT_SECONDS))
    figures.append(at_most(f"{case.name}: failed requests", sum(p.result.failed for p in phases), "requests", 0))
    peak = max(s.replicas for s in watch.samples)
    figures.append(Figure(f"{case.name}: most replicas", peak, "replicas"))
    fallen = [s.replicas for s in watch.samples if s.at_seconds >= phases[-1].started_seconds]
    figures.append(Figure(f"{case.name}: fewest replicas at the last load {phases[-1].name}", min(fallen), "replicas"))
    calm = [s for s in watch.samples if phases[-1].started_seconds + 20 <= s.at_seconds]
    violations = phases[-1].result.percentile_us(0.99, since_seconds=20.0)
    if calm:
        figures.append(at_most(f"{case.name}: p99 while load falls, as share of the SLO", violations / slo_us, "", 1.0))
    delete(cluster, case.name)
    return figures


def delete(cluster: Cluster, name: str) -> None:
    """Delete and wait until its pods are gone."""
    cluster.kubectl("delete", "inferenceservice", name, "--ignore-not-found")

    def gone() -> bool:
        label = f"throughline.io/inferenceservice={name}"
        return not cluster.kubectl("get", "pods,deployments", "-l", label, "-o", "name").stdout.strip()

    until(f"{name} to be gone", gone, seconds=120)
    time.sleep(2.0)
