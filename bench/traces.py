"""The decision core against every other autoscaler, on the same traffic, in virtual time."""

from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
from throughline.api.inferenceservice import InferenceServiceSpec
from throughline.api.servingpool import ServingPoolSpec
from throughline.simulate.arena import ALLOWED_VIOLATIONS, UNBATCHED, first_replicas, hindsight, run_contenders
from throughline.simulate.autopilot import Autopilot
from throughline.simulate.clairvoyant import clairvoyant
from throughline.simulate.foreseen import truth_at
from throughline.simulate.loadtest import hand_tuned
from throughline.simulate.run import run_autopilot

from bench.beside import run_build
from bench.cases import generated, recorded
from bench.regret import Row, figures, markdown, off_budget
from e2e.report import OUT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from throughline.simulate.run import Case
    from throughline.simulate.types import Environment

    from e2e.report import Figure

MAX_INSTANCES = 2
SEEDS = 5
STEADY_VARIATION = 0.05  # coefficient of variation by the minute; a rise by a third over the whole time has 0.08


def spec(slo_us: float, pool_replicas: int, **more: Any) -> InferenceServiceSpec:
    """What a user writes: model, SLO, pool, and how many replicas and instances there may be."""
    return InferenceServiceSpec.model_validate(
        {
            "model": {"storage": {"uri": "pvc://models/m"}, "backend": "python"},
            "slo": {"latencyP99Milliseconds": round(slo_us / 1000)},
            "placement": {"pools": [{"name": "pool"}]},
            "scaling": {"minReplicas": 1, "maxReplicas": pool_replicas},
            "batching": {"instances": {"min": 1, "max": MAX_INSTANCES}},
            **more,
        }
    )


def pool(environment: Environment) -> ServingPoolSpec:
    return ServingPoolSpec.model_validate(
        {"nodeSelector": {"a": "b"}, "costPerHour": f"{environment.price_per_hour:g}"}
    )


def demand_varies(c: Case) -> bool:
    """Whether the work of a minute varies, beyond what a Poisson process does, by more than `STEADY_VARIATION`."""
    first, last = math.ceil(c.traffic.warmup_seconds / 60), int(c.traffic.duration_seconds / 60)
    if last - first < 2:
        return False
    requests = np.bincount((c.traffic.arrivals / 60).astype(np.int64), minlength=last)[first:last]
    cost = np.array([truth_at(c, 60.0 * minute + 30.0).service_us(1, 1) for minute in range(first, last)])
    work = requests * cost / cost[0]
    mean = float(work.mean())
    return mean > 0.0 and float(work.var()) / mean**2 - 1.0 / float(requests.mean()) > STEADY_VARIATION**2


def one(c: Case, before: Path | None = None) -> Row:
    """Ours from nothing: unbatched, nothing learned. The others are set up from a load test. `before`: the folder of
    another build.
    """
    tuned = hand_tuned(c.truth, c.slo_us, MAX_INSTANCES)
    pilot = Autopilot(spec(c.slo_us, c.environment.pool_replicas), pool(c.environment))
    first = first_replicas(c, tuned)
    floor = hindsight(c, MAX_INSTANCES)
    return Row(
        c.traffic.name, c.seed, demand_varies(c),
        ours=run_autopilot(c, pilot, UNBATCHED, replicas=first),
        unbatched=run_contenders(c, UNBATCHED, ""), tuned=run_contenders(c, tuned, ", tuned"), floor=floor,
        clairvoyant=clairvoyant(c, tuned, ALLOWED_VIOLATIONS, others=[floor]),
        before=None if before is None else run_build(before, c, pilot, UNBATCHED, first),
    )  # fmt: skip


class UnknownTraceError(ValueError):
    """No trace is called so; with the names that there are."""


def chosen(cases: Sequence[Case], only: Sequence[str]) -> list[Case]:
    """Those whose name is one of `only`, or begins with one; all for none. A recorded name ends in its factor.

    Raises:
        UnknownTraceError: one of `only` is the beginning of no name.
    """
    names = [c.traffic.name for c in cases]
    for wanted in only:
        if not any(name.startswith(wanted) for name in names):
            raise UnknownTraceError(f"no trace is called {wanted!r}; there are {', '.join(names)}")
    return [c for c, name in zip(cases, names, strict=True) if not only or name.startswith(tuple(only))]


def cases_of(seed: int, folder: Path | None, only: Sequence[str]) -> list[Case]:
    """A seed draws the arrivals, the noise and the places. A recorded trace has one sequence of arrivals, so its seeds
    differ in the last two alone.
    """
    found = chosen(generated(seed) + (recorded(folder) if folder else []), only)
    return [replace(c, seed=seed) for c in found]


def run(
    progress: Callable[[str], None],
    folder: Path | None,
    *,
    seeds: int = SEEDS,
    only: Sequence[str] = (),
    before: Path | None = None,
) -> list[Figure]:
    """All traffic on all cores, `seeds` times; the table goes to out/traces.md. `before`: the folder of another build.

    Raises:
        UnknownTraceError: one of `only` is the beginning of no trace's name.
    """
    by_trace: dict[str, list[Row]] = {}
    with ProcessPoolExecutor() as workers:
        for seed in range(1, seeds + 1):  # one after the other: the arrivals of all would not fit in memory
            cases = cases_of(seed, folder, only)
            for row in workers.map(one, cases, repeat(before)):
                by_trace.setdefault(row.trace, []).append(row)
                cost, best = (
                    f"cost {row.ours.cost:.1f}",
                    f"{row.ours.cost / row.clairvoyant.cost:.2f} of the clairvoyant",
                )
                progress(f"{row.trace}, seed {seed}: {cost}, {best}, violations {row.ours.violations:.2%}")
    OUT.mkdir(exist_ok=True)
    (OUT / "traces.md").write_text(markdown(list(by_trace.values())) + "\n")
    found = [figure for rows in by_trace.values() for figure in figures(rows)]
    return found + off_budget([row for rows in by_trace.values() for row in rows])
