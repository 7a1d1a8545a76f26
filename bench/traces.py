"""The decision core against every other autoscaler, on the same traffic, in virtual time."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from throughline.api.inferenceservice import InferenceServiceSpec
from throughline.api.servingpool import ServingPoolSpec
from throughline.simulate.arena import ALLOWED_VIOLATIONS, UNBATCHED, first_replicas, hindsight, run_contenders
from throughline.simulate.autopilot import Autopilot
from throughline.simulate.loadtest import hand_tuned
from throughline.simulate.run import run_autopilot
from throughline.simulate.world import changes

from bench.cases import HOUR, generated, recorded
from e2e.report import OUT, Figure, at_most

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from throughline.simulate.run import Case, Result
    from throughline.simulate.types import Environment

MAX_INSTANCES = 2
STEADY = ("poisson", "diurnal")
CONVERGED_SECONDS = HOUR


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


@dataclass(frozen=True, slots=True)
class Row:
    """One trace, all contenders."""

    trace: str
    ours: Result
    unbatched: Sequence[Result]
    tuned: Sequence[Result]
    floor: Result

    def best(self, results: Sequence[Result]) -> Result:
        """The cheapest of those that keep the SLO (1 % may be late), or break it no more often than we do; where there
        is none, the one that breaks it least.
        """
        able = [r for r in results if r.violations <= max(ALLOWED_VIOLATIONS, self.ours.violations)]
        return min(able, key=lambda r: r.cost) if able else min(results, key=lambda r: r.violations)

    def named(self, name: str) -> Result:
        return next(r for r in (*self.unbatched, *self.tuned) if r.contender == name)


def one(c: Case) -> Row:
    """Ours from nothing: unbatched, nothing learned. The others are set up from a load test."""
    tuned = hand_tuned(c.truth, c.slo_us, MAX_INSTANCES)
    pilot = Autopilot(spec(c.slo_us, c.environment.pool_replicas), pool(c.environment))
    ours = run_autopilot(c, pilot, UNBATCHED, replicas=first_replicas(c, tuned))
    return Row(
        c.traffic.name, ours, run_contenders(c, UNBATCHED, ""), run_contenders(c, tuned, ", tuned"),
        hindsight(c, MAX_INSTANCES),
    )  # fmt: skip


def figures(row: Row) -> list[Figure]:
    """The promises, for one trace."""
    ours, unbatched, tuned = row.ours, row.best(row.unbatched), row.best(row.tuned)
    found = [
        at_most(f"{row.trace}: cost over {unbatched.contender}, unbatched", ours.cost / unbatched.cost, "×", 0.60),
        at_most(f"{row.trace}: cost over {tuned.contender}", ours.cost / tuned.cost, "×", 0.85),
    ]
    if row.trace in STEADY:
        found.append(at_most(f"{row.trace}: cost over constant by hindsight", ours.cost / row.floor.cost, "×", 1.25))
    if row.trace == "poisson":
        late = changes(ours.moments, CONVERGED_SECONDS)
        found.append(at_most(f"{row.trace}: changes once it has converged", late, "", 0))
    if row.trace == "flash crowd":
        for name in ("KPA, tuned", "KPA"):
            share = ours.violations / row.named(name).violations
            found.append(at_most(f"{row.trace}: violations over those of {name}", share, "×", 0.5))
    return found


def markdown(rows: Sequence[Row]) -> str:
    """The table of docs/simulator.md: cost, and the share of requests that were too late or lost."""
    head = (
        "| traffic | Throughline | constant, by hindsight | cheapest unbatched | cheapest with batching tuned by hand |"
    )
    lines = [head, "|" + "---|" * 5]
    for row in rows:
        cells = [f"{row.ours.cost:.1f}, {row.ours.violations:.2%}", f"{row.floor.cost:.1f}, {row.floor.violations:.2%}"]
        cells += [
            f"{best.contender.removesuffix(', tuned')} {best.cost:.1f}, {best.violations:.2%} "
            f"(**{row.ours.cost / best.cost:.2f}×**)"
            for best in (row.best(row.unbatched), row.best(row.tuned))
        ]
        lines.append(f"| {row.trace} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def run(progress: Callable[[str], None], folder: Path | None) -> list[Figure]:
    """All traffic on all cores; the table goes to out/traces.md."""
    cases = generated() + (recorded(folder) if folder else [])
    rows, found = [], []
    with ProcessPoolExecutor() as workers:
        for row in workers.map(one, cases):
            rows.append(row)
            found += figures(row)
            progress(f"{row.trace}: cost {row.ours.cost:.1f}, violations {row.ours.violations:.2%}")
    OUT.mkdir(exist_ok=True)
    (OUT / "traces.md").write_text(markdown(rows) + "\n")
    return found
