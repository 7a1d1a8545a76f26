"""One variant's metrics by scope: the points, and the same in every resample. Variants are resampled together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from throughline.evaluator.scoring.bootstrap import Auroc, Scopes, Sums, run
from throughline.evaluator.scoring.custom import Custom
from throughline.evaluator.scoring.errors import ScoringError
from throughline.evaluator.scoring.intervals import UNDEFINED, hidden_spread, interval
from throughline.evaluator.scoring.slices import Partition, partition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from throughline.api.evaluationsuite import EvaluationSuiteSpec
    from throughline.evaluator.scoring.bootstrap import Job
    from throughline.evaluator.scoring.intervals import Interval
    from throughline.evaluator.scoring.predictions import Predictions
    from throughline.evaluator.scoring.values import Floats, Places, Value

NO_ROW_SCORES = "the scorer returned one number rather than one score per row, so there is no interval"


@dataclass(frozen=True, slots=True)
class Resampled:
    """metric → one value per scope, and [scopes, resamples]. AUROC may have fewer resamples than the others."""

    points: Mapping[str, Sequence[Value]]
    resamples: Mapping[str, Floats]
    alpha: float

    def interval(self, metric: str, scope: int) -> Interval:
        return interval(metric, self.points[metric][scope], self.resamples[metric][scope], self.alpha)

    def ends(self, metric: str, scope: int) -> tuple[float | None, float | None]:
        """Of the interval: of the resamples, or the scorer's own."""
        if metric not in self.resamples:
            return self.points[metric][scope].ends or (None, None)
        found = self.interval(metric, scope)
        return found.low, found.high

    def reason(self, metric: str, scope: int) -> str | None:
        """Why there is no value, or no interval."""
        if metric not in self.resamples:
            point = self.points[metric][scope]
            return point.reason or (NO_ROW_SCORES if point.ends is None else None)
        return self.points[metric][scope].reason or self.interval(metric, scope).reason

    def usable(self, metric: str, scope: int) -> bool:
        """Whether there is a value, and enough resamples have one."""
        if self.points[metric][scope].value is None or metric not in self.resamples:
            return False
        return float(np.isnan(self.resamples[metric][scope]).mean()) <= UNDEFINED

    def hidden(self, metric: str, scope: int) -> float:
        return hidden_spread(metric, self.points[metric][scope], self.resamples[metric][scope], self.alpha)


def scopes_of(suite: EvaluationSuiteSpec, table: pa.Table, unit_of_row: Places | None) -> Scopes:
    """The slices, by unit.

    Raises:
        ScoringError: A slice divides a group of a ranking.
    """
    partitions = partition(suite.slices, table)
    if unit_of_row is None:
        return Scopes(table.num_rows, partitions)
    units = int(unit_of_row.max()) + 1
    first = np.full(units, -1)
    first[unit_of_row[::-1]] = np.arange(len(unit_of_row))[::-1]
    for one in partitions:
        differs = one.codes != one.codes[first][unit_of_row]
        if differs.any():
            raise ScoringError(
                f"spec.slices[{one.name}]",
                f"row {int(np.argmax(differs))} is in another slice than the first row of its group; "
                "a ranking is judged by whole groups, so slice by what a group has in common",
            )
    return Scopes(units, tuple(Partition(p.name, p.values, p.codes[first], p.is_expression) for p in partitions))


def resample(
    suite: EvaluationSuiteSpec, variants: Mapping[str, Predictions], scopes: Scopes
) -> tuple[dict[str, Resampled], list[str]]:
    """All variants on the same resamples, and notes on how that was done."""
    metrics = suite.metric_names()
    options = suite.intervals
    places = scopes.places()
    sums: dict[str, Sums] = {}
    areas: dict[str, Auroc] = {}
    for name, predictions in variants.items():
        scored = predictions.scored
        additive = [m for m in metrics if m != "auroc" and not (isinstance(scored, Custom) and m in scored.numbers)]
        if additive:
            sums[name] = Sums(scored, additive, scopes, options.resamples)
        if "auroc" in metrics and scored.curves():
            areas[name] = Auroc(scored.curves(), scopes, options.resamples)
    jobs: list[Job] = [*sums.values(), *areas.values()]
    if jobs:
        run(jobs, scopes.units, options.resamples, options.seed)
    results = {}
    for name, predictions in variants.items():
        found = dict(sums[name].results) if name in sums else {}
        if name in areas:
            found["auroc"] = areas[name].results[:, : areas[name].resamples]
        points = {m: [predictions.scored.point(m, units) for units in places] for m in metrics}
        results[name] = Resampled(points, found, 1 - options.confidence_percent / 100)
    notes = [
        f"auroc: {area.resamples} of the {options.resamples} resamples, since each orders {scopes.units} rows anew."
        for area in list(areas.values())[:1]
        if area.resamples < options.resamples
    ]
    return results, notes
