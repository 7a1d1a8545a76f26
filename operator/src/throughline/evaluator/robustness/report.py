"""Accuracy against the strength of each perturbation, and whether its floor holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from throughline.api import quantities
from throughline.api.base import Outcome
from throughline.api.evaluationsuite import OutputKind
from throughline.api.robustness import PerturbationFinding, PerturbationType, RobustnessReport, StrengthPoint
from throughline.evaluator.columns import is_number, is_text, matrix, require, with_matrix
from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.robustness.corruptions import (
    gaussian_blur,
    gaussian_noise,
    missing_fields,
    numbers,
    offset,
    scale,
    typos,
)
from throughline.evaluator.robustness.square import square_attack
from throughline.evaluator.shares import wilson
from throughline.evaluator.texts import Classes, encode, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from throughline.api.evaluationsuite import EvaluationSuiteSpec
    from throughline.api.robustness import Perturbation

    Matrix = NDArray[np.float64]
    Predict = Callable[[pa.Table], NDArray[np.generic]]

DEFAULT_QUERIES = 500
SMALLEST_PROBABILITY = 1e-12  # logarithms below this tell nothing that single precision could have meant


def robustness(suite: EvaluationSuiteSpec, table: pa.Table, predict: Predict) -> RobustnessReport:
    """Runs every perturbation of the suite.

    Args:
        suite: With spec.perturbations.
        table: The rows, unperturbed.
        predict: Table of rows → the model's output, [rows, …] in row order. An attack asks it once per step with the
            rows that still stand.

    Raises:
        EvaluationInputError: A perturbation cannot be done to the columns it names, or the output fits no class.
    """
    if not table.num_rows:
        raise EvaluationInputError("spec.dataset has no rows; a model cannot be judged on it: correct the source")
    model = _Model(suite, predict)
    truth = model.truth(table)
    clean = _point(0.0, model.right(table, truth), suite.intervals.confidence_percent)
    return RobustnessReport(
        clean=clean, perturbations=[_finding(suite, one, table, truth, model) for one in suite.perturbations]
    )


@dataclass(frozen=True, slots=True)
class _Model:
    """The model as a classifier."""

    suite: EvaluationSuiteSpec
    predict: Predict

    def truth(self, table: pa.Table) -> NDArray[np.int64]:
        column = self.suite.dataset.label_column or ""
        require(table, [column], "spec.dataset.labelColumn")
        where = f"spec.dataset.labelColumn {column}"
        found, codes = encode(table[column], where)
        return self._places(found, where)[codes]

    def _places(self, found: Sequence[str], where: str) -> NDArray[np.int64]:
        places = Classes(self.suite.task.classes).places(found)
        unknown = [text for text, place in zip(found, places, strict=True) if place is None]
        if unknown:
            raise EvaluationInputError(
                f"{where}: {unknown[0]!r} is none of spec.task.classes {', '.join(self.suite.task.classes)}; add it or "
                "correct the rows"
            )
        return np.array(places, dtype=np.int64)

    def right(self, table: pa.Table, truth: NDArray[np.int64]) -> NDArray[np.bool_]:
        if self.suite.output.kind is OutputKind.LABEL:
            output = np.asarray(self.predict(table)).reshape(table.num_rows)
            found, inverse = np.unique(output, return_inverse=True)
            texts = [text_of(value) for value in found]
            predicted = self._places(texts, f"output {self.suite.output.tensor}")[inverse]
        else:
            predicted = self.scores(table).argmax(axis=1)
        return np.equal(predicted, truth)

    def scores(self, table: pa.Table) -> Matrix:
        """[rows, classes], logarithms of probabilities or logits."""
        output = np.asarray(self.predict(table), dtype=np.float64)
        classes = len(self.suite.task.classes)
        if output.shape in {(table.num_rows,), (table.num_rows, 1)} and classes == 2:
            output = self._both(output.reshape(-1))
        if output.shape != (table.num_rows, classes):
            raise EvaluationInputError(
                f"output {self.suite.output.tensor}: shape {output.shape} is not [rows, classes] "
                f"= [{table.num_rows}, {classes}]; correct spec.task.classes or spec.output"
            )
        if self.suite.output.kind is OutputKind.PROBABILITIES:
            return np.log(np.maximum(output, SMALLEST_PROBABILITY))
        return output

    def _both(self, one: Matrix) -> Matrix:
        """Two columns from that of the positive (else the second) class."""
        other = 1 - one if self.suite.output.kind is OutputKind.PROBABILITIES else np.zeros_like(one)
        positive = self.suite.task.positive_class or self.suite.task.classes[1]
        pair = [other, one] if positive == self.suite.task.classes[1] else [one, other]
        return np.column_stack(pair)


def _point(
    strength: float, right: NDArray[np.bool_], confidence_percent: int, queries: float | None = None
) -> StrengthPoint:
    hits, rows = int(right.sum()), len(right)
    low, high = wilson(hits, rows, confidence_percent)
    return StrengthPoint(
        strength=strength, accuracy=hits / rows, low=low, high=high, rows=rows, queries_per_row=queries
    )


def _finding(
    suite: EvaluationSuiteSpec, one: Perturbation, table: pa.Table, truth: NDArray[np.int64], model: _Model
) -> PerturbationFinding:
    if table.num_rows > one.max_rows:
        chosen = np.sort(np.random.default_rng(one.seed).permutation(table.num_rows)[: one.max_rows])
        span = table  # bounds and means are those of all rows, not of the sample
        rows, truth = table.take(chosen), truth[chosen]
    else:
        span = rows = table
    columns = _columns(suite, one, table)
    points = []
    for text in one.strengths:
        strength = float(quantities.parse(text))
        if one.type is PerturbationType.SQUARE_ATTACK:
            right, queries = _attack(one, rows, span, columns, strength, truth, model)
            points.append(_point(strength, right, suite.intervals.confidence_percent, queries))
        else:
            corrupted = _corrupt(one, rows, span, columns, strength)
            points.append(_point(strength, model.right(corrupted, truth), suite.intervals.confidence_percent))
    return _judged(one, points, suite.intervals.confidence_percent)


def _judged(one: Perturbation, points: list[StrengthPoint], confidence_percent: int) -> PerturbationFinding:
    """Intervals against the floor, as metrics are judged: certainly missed fails, in doubt is Unknown."""
    floor = float(quantities.parse(one.floor))
    worst = min(points, key=lambda point: point.low)
    if worst.low >= floor:
        outcome, said = Outcome.PASSED, f"is at least {floor:g} at every strength"
    elif any(point.high < floor for point in points):
        worst = min(points, key=lambda point: point.high)
        outcome, said = Outcome.FAILED, f"is below {floor:g}"
    else:
        outcome, said = Outcome.UNKNOWN, f"may be below {floor:g}: the interval holds it; raise maxRows for certainty"
    message = (
        f"accuracy under {one.type} {said}; the worst is {worst.accuracy:.3f} at strength {worst.strength:g} "
        f"({confidence_percent} % interval {worst.low:.3f} to {worst.high:.3f}, {worst.rows} rows)"
    )
    return PerturbationFinding(
        name=one.name, type=one.type, floor=floor, points=points, outcome=outcome, message=message
    )


def _columns(suite: EvaluationSuiteSpec, one: Perturbation, table: pa.Table) -> list[str]:
    field = f"spec.perturbations[{one.name}].columns"
    inputs = list(dict.fromkeys(column for tensor in suite.inputs for column in tensor.columns))
    columns = list(one.columns) or inputs
    require(table, columns, field)
    if one.type is PerturbationType.MISSING_FIELDS:
        return columns
    fits, what = (is_text, "text") if one.type is PerturbationType.TYPOS else (is_number, "numbers")
    wrong = [name for name in columns if not fits(table.schema.field(name).type)]
    if wrong and one.columns:
        raise EvaluationInputError(
            f"{field}: {wrong[0]} is {table.schema.field(wrong[0]).type}, and {one.type} needs {what}; take it out"
        )
    columns = [name for name in columns if name not in wrong]
    if not columns:
        raise EvaluationInputError(f"{field}: no input holds {what}, which {one.type} needs; remove the perturbation")
    size = one.image.height_pixels * one.image.width_pixels * one.image.channels if one.image else len(columns)
    if size != len(columns):
        raise EvaluationInputError(
            f"spec.perturbations[{one.name}].image has {size} values and there are {len(columns)} columns; "
            "correct one of them"
        )
    return columns


def _bounds(one: Perturbation, table: pa.Table, columns: Sequence[str]) -> tuple[Matrix, Matrix]:
    if one.bounds:
        return (
            np.full(len(columns), float(one.bounds.lower)),
            np.full(len(columns), float(one.bounds.upper)),
        )
    values = matrix(table, columns)
    empty = np.flatnonzero(np.isnan(values).all(axis=0))
    if len(empty):
        raise EvaluationInputError(
            f"spec.perturbations[{one.name}].columns: {columns[empty[0]]} has no value in any row; take it out"
        )
    return np.nanmin(values, axis=0), np.nanmax(values, axis=0)


def _corrupt(one: Perturbation, rows: pa.Table, span: pa.Table, columns: Sequence[str], strength: float) -> pa.Table:
    if one.type is PerturbationType.MISSING_FIELDS:
        return missing_fields(rows, columns, strength, fill=one.missing_value, seed=one.seed)
    if one.type is PerturbationType.TYPOS:
        return typos(rows, columns, strength, seed=one.seed)
    values = matrix(rows, columns)
    if one.image and one.type is PerturbationType.GAUSSIAN_BLUR:
        return numbers(rows, columns, gaussian_blur(values, strength, image=one.image))
    lower, upper = _bounds(one, span, columns)
    if one.type is PerturbationType.GAUSSIAN_NOISE:
        new = gaussian_noise(values, strength, lower=lower, upper=upper, seed=one.seed)
    elif one.type is PerturbationType.OFFSET:
        new = offset(values, strength, lower=lower, upper=upper)
    else:
        new = scale(values, strength, mean=np.nanmean(matrix(span, columns), axis=0), lower=lower, upper=upper)
    return numbers(rows, columns, new)


def _attack(
    one: Perturbation,
    rows: pa.Table,
    span: pa.Table,
    columns: Sequence[str],
    strength: float,
    truth: NDArray[np.int64],
    model: _Model,
) -> tuple[NDArray[np.bool_], float]:
    values = matrix(rows, columns)
    if np.isnan(values).any():
        raise EvaluationInputError(
            f"spec.perturbations[{one.name}]: the columns have missing values, which an attack cannot move; "
            "name columns without, or fill them in"
        )
    lower, upper = _bounds(one, span, columns)
    shape = (1, len(columns), 1)
    if one.image:
        shape = (one.image.height_pixels, one.image.width_pixels, one.image.channels)
    attacked = square_attack(
        lambda places, candidates: model.scores(with_matrix(rows.take(places), columns, candidates)),
        values,
        truth,
        radius=strength * (upper - lower),
        lower=lower,
        upper=upper,
        shape=shape,
        queries=one.queries or DEFAULT_QUERIES,
        seed=one.seed,
    )
    return ~attacked.fooled, float(attacked.queries.mean())
