"""Metrics that are the mean of one score per unit: those of a ranking per group, and of a custom scorer per row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from throughline.evaluator.scoring.values import Block, Curve, Value, ratio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from throughline.evaluator.scoring.values import Floats, Places


@dataclass(frozen=True, slots=True)
class Means:
    """Scores of each unit by metric; NaN for a unit that says nothing about the metric."""

    units: int
    scores: Mapping[str, Floats]  # metric → [units]
    undefined: str = "no unit has a score"
    notes: Sequence[str] = field(default=())

    def point(self, metric: str, units: Places) -> Value:
        scores = self.scores[metric][units]
        scores = scores[~np.isnan(scores)]
        if not len(scores):
            return Value(None, 0, 0, self.undefined)
        return Value(float(np.average(scores)), len(scores), len(scores))

    def blocks(self, metrics: Sequence[str]) -> Mapping[str, Block]:
        cells = np.zeros(self.units, dtype=np.intp)
        blocks = {}
        for metric in metrics:
            known = ~np.isnan(self.scores[metric])
            blocks[f"count {metric}"] = Block(1, cells, known.astype(np.float64))
            blocks[f"sum {metric}"] = Block(1, cells, np.where(known, self.scores[metric], 0.0))
        return blocks

    def from_sums(self, metric: str, sums: Mapping[str, Floats]) -> Floats:
        return ratio(sums[f"sum {metric}"][:, 0], sums[f"count {metric}"][:, 0])

    def curves(self) -> Sequence[Curve]:
        return ()
