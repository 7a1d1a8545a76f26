"""What the runs of a trace say: one figure per promise, over all seeds, and the table of docs/simulator.md."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from throughline.simulate.arena import ALLOWED_VIOLATIONS
from throughline.simulate.world import changes

from e2e.report import Figure, over_seeds, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from throughline.simulate.run import Result

    from bench.beside import Outcome

STEADY = ("poisson", "diurnal")
CONVERGED_SECONDS = 3600.0
OVER_CLAIRVOYANT = 1.3  # cost, at most
OVER_BEFORE = 1.01  # cost, at most, where the build of before kept the SLO
OFF_BUDGET_POINTS = 0.3  # mean distance of the late share from the allowed one, at most
# Where nobody can keep the SLO: late requests over those of the contender that has the fewest.
SHARE_OF_BEST = 0.5


@dataclass(frozen=True, slots=True)
class Row:
    """One trace and seed, all contenders. `varies`: its demand does. `before`: another build of the product."""

    trace: str
    seed: int
    varies: bool
    ours: Result
    unbatched: Sequence[Result]
    tuned: Sequence[Result]
    floor: Result
    clairvoyant: Result
    before: Outcome | None = None

    def best(self, results: Sequence[Result]) -> Result:
        """The cheapest of those that keep the SLO (1 % may be late), or break it no more often than we do; where there
        is none, the one that breaks it least.
        """
        able = [r for r in results if r.violations <= max(ALLOWED_VIOLATIONS, self.ours.violations)]
        return min(able, key=lambda r: r.cost) if able else min(results, key=lambda r: r.violations)

    def named(self, name: str) -> Result:
        return next(r for r in (*self.unbatched, *self.tuned) if r.contender == name)

    @property
    def can_keep(self) -> bool:
        """Whether somebody who knows the trace keeps the SLO."""
        return self.clairvoyant.violations <= ALLOWED_VIOLATIONS

    @property
    def allowed(self) -> float:
        """Share of late or lost requests: what the SLO allows; where nobody can keep it, half of what the best
        contender has, if that is more.
        """
        if self.can_keep:
            return ALLOWED_VIOLATIONS
        least = min(r.violations for r in (*self.unbatched, *self.tuned))
        return max(ALLOWED_VIOLATIONS, SHARE_OF_BEST * least)


def figures(rows: Sequence[Row]) -> list[Figure]:
    """The promises, for one trace; a row is a seed. A goal is met where the median of the seeds meets it."""
    trace = rows[0].trace

    def over(other: Callable[[Row], float]) -> list[float]:
        return [row.ours.cost / other(row) for row in rows]

    found = [
        over_seeds(f"{trace}: cost over the cheapest unbatched", over(lambda r: r.best(r.unbatched).cost), "×", 0.60),
        over_seeds(f"{trace}: cost over the cheapest tuned by hand", over(lambda r: r.best(r.tuned).cost), "×", 0.85),
        over_seeds(f"{trace}: cost over the clairvoyant", over(lambda r: r.clairvoyant.cost), "×", OVER_CLAIRVOYANT),
        late(rows),
    ]
    if any(row.before is not None for row in rows):
        found.append(over_before(rows))
    if trace in STEADY:
        ratios = over(lambda r: r.floor.cost)
        found.append(over_seeds(f"{trace}: cost over constant by hindsight", ratios, "×", 1.25))
    if trace == "poisson":
        late_changes = [float(changes(row.ours.moments, CONVERGED_SECONDS)) for row in rows]
        found.append(over_seeds(f"{trace}: changes once it has converged", late_changes, "", 0))
    if trace == "flash crowd":
        for name in ("KPA, tuned", "KPA"):
            shares = [_ratio(row.ours.violations, row.named(name).violations) for row in rows]
            found.append(over_seeds(f"{trace}: violations over those of {name}", shares, "×", 0.5))
    return found


def late(rows: Sequence[Row]) -> Figure:
    """The share of requests that were late or lost, in per cent, against what is allowed."""
    unable = sum(not row.can_keep for row in rows)
    goal = 100.0 * median(row.allowed for row in rows)
    figure = over_seeds(f"{rows[0].trace}: late or lost", [100.0 * r.ours.violations for r in rows], "%", goal)
    if not unable:
        return figure
    verdict = "yes" if figure.met else "NO"
    return replace(figure, note=f"{verdict}; the clairvoyant cannot keep the SLO in {unable} of {len(rows)}")


def over_before(rows: Sequence[Row]) -> Figure:
    """Cost over the build of before, among the seeds in which that one kept the SLO; none: no goal."""
    known = [(row.ours.cost / row.before.cost, row.before.violations) for row in rows if row.before is not None]
    name = f"{rows[0].trace}: cost over the build of before"
    kept = [ratio for ratio, violations in known if violations <= ALLOWED_VIOLATIONS]
    if kept:
        return over_seeds(name, kept, "×", OVER_BEFORE)
    broke = median(violations for _, violations in known)
    return over_seeds(name, [ratio for ratio, _ in known], "×", None, f"that one broke the SLO: {broke:.2%}")


def off_budget(rows: Sequence[Row]) -> list[Figure]:
    """How far the late share is from the allowed one, in the mean over the traces whose demand varies, by seed."""
    varying = [row for row in rows if row.varies]
    by_seed: dict[int, list[float]] = {}
    for row in varying:
        by_seed.setdefault(row.seed, []).append(100.0 * abs(row.ours.violations - ALLOWED_VIOLATIONS))
    if not by_seed:
        return []
    traces = len({row.trace for row in varying})
    means = [sum(distances) / len(distances) for distances in by_seed.values()]
    name = f"late share off the budget, mean over {traces} traces whose demand varies"
    return [over_seeds(name, means, "points", OFF_BUDGET_POINTS)]


def _ratio(value: float, other: float) -> float:
    if other:
        return value / other
    return float("inf") if value else 0.0


def markdown(by_trace: Sequence[Sequence[Row]]) -> str:
    """The table of docs/simulator.md: cost, and the share of requests that was late or lost; a median over the seeds
    each, with the spread of what is the product's.
    """
    beside = any(row.before is not None for rows in by_trace for row in rows)
    head = [
        "traffic", "Throughline", "clairvoyant", "constant, by hindsight", "cheapest unbatched",
        "cheapest with batching tuned by hand", *(["the build of before"] if beside else []),
    ]  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for rows in by_trace:
        ours = spread([r.ours.cost for r in rows], ".1f"), spread([r.ours.violations for r in rows], ".2%")
        cells = [
            rows[0].trace,
            ", ".join(ours),
            _against(rows, [r.clairvoyant for r in rows]),
            _against(rows, [r.floor for r in rows]),
        ]
        for results in ([r.best(r.unbatched) for r in rows], [r.best(r.tuned) for r in rows]):
            most = Counter(r.contender.removesuffix(", tuned") for r in results).most_common(1)[0][0]
            cells.append(f"{most} {_against(rows, results)}")
        if beside:
            known = [r.before for r in rows if r.before is not None]
            cells.append(_against(rows, known) if len(known) == len(rows) else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _against(rows: Sequence[Row], others: Sequence[Result] | Sequence[Outcome]) -> str:
    """Cost and late share of others, and what the product's cost is of theirs, seed by seed."""
    ratios = [row.ours.cost / other.cost for row, other in zip(rows, others, strict=True)]
    cost, share = median(o.cost for o in others), median(o.violations for o in others)
    return f"{cost:.1f}, {share:.2%} (**{spread(ratios, '.2f')}×**)"
