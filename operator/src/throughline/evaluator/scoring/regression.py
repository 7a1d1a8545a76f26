"""Metrics of a regression; points are scikit-learn's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn import metrics as sk

from throughline.evaluator.scoring.values import Block, Curve, Value, ratio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from throughline.evaluator.scoring.values import Floats, Places


@dataclass(frozen=True, slots=True)
class Regressed:
    """True and predicted values."""

    true: Floats  # [rows]
    predicted: Floats  # [rows]

    @property
    def units(self) -> int:
        return len(self.true)

    def point(self, metric: str, units: Places) -> Value:
        true, predicted = self.true[units], self.predicted[units]
        if not len(units):
            return Value(None, 0, 0, "there are no rows")
        match metric:
            case "meanAbsoluteError":
                value = sk.mean_absolute_error(true, predicted)
            case "rootMeanSquaredError":
                value = sk.root_mean_squared_error(true, predicted)
            case "meanAbsolutePercentageError":
                zeros = int(np.count_nonzero(true == 0))
                if zeros:
                    return Value(
                        None,
                        len(units),
                        len(units),
                        f"{zeros} rows have the true value 0, which has no percentage; bound meanAbsoluteError instead",
                    )
                value = sk.mean_absolute_percentage_error(true, predicted)
            case "r2":
                if len(np.unique(true)) < 2:
                    reason = "all rows have the same true value; add rows that differ"
                    return Value(None, len(units), len(units), reason)
                value = sk.r2_score(true, predicted)
            case _:
                raise ValueError(f"{metric} is no metric of a regression")
        return Value(float(value), len(units), len(units))

    def blocks(self, metrics: Sequence[str]) -> Mapping[str, Block]:
        error = self.predicted - self.true
        # Around the mean, or the difference of large squares would lose the digits that matter.
        centred = self.true - (self.true.mean() if self.units else 0.0)
        sums: dict[str, Floats | None] = {"rows": None}
        if "meanAbsoluteError" in metrics:
            sums["absolute"] = np.abs(error)
        if "rootMeanSquaredError" in metrics or "r2" in metrics:
            sums["squared"] = error**2
        if "meanAbsolutePercentageError" in metrics:
            sums["relative"] = np.abs(error) / np.maximum(np.abs(self.true), np.finfo(np.float64).eps)
        if "r2" in metrics:
            sums |= {"true": centred, "trueSquared": centred**2}
        cells = np.zeros(self.units, dtype=np.intp)
        return {name: Block(1, cells, values) for name, values in sums.items()}

    def from_sums(self, metric: str, sums: Mapping[str, Floats]) -> Floats:
        rows = sums["rows"][:, 0]
        match metric:
            case "meanAbsoluteError":
                return ratio(sums["absolute"][:, 0], rows)
            case "rootMeanSquaredError":
                root: Floats = np.sqrt(ratio(sums["squared"][:, 0], rows))
                return root
            case "meanAbsolutePercentageError":
                return ratio(sums["relative"][:, 0], rows)
            case "r2":
                spread = sums["trueSquared"][:, 0] - ratio(sums["true"][:, 0] ** 2, rows)
                return 1 - ratio(sums["squared"][:, 0], spread)
        raise ValueError(f"{metric} is no metric of a regression")

    def curves(self) -> Sequence[Curve]:
        return ()
