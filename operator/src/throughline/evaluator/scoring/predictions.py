"""From the table and the model's output to predictions that can be scored, with every mismatch named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import expit, softmax

from throughline.api.evaluationmetrics import TaskType
from throughline.api.evaluationsuite import OutputKind
from throughline.evaluator.columns import floats
from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.scoring import custom, ranking
from throughline.evaluator.scoring.classification import Classified
from throughline.evaluator.scoring.errors import ScoringError
from throughline.evaluator.scoring.regression import Regressed
from throughline.evaluator.texts import Classes, encode, text_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from throughline.api.evaluationsuite import EvaluationSuiteSpec
    from throughline.evaluator.scoring.values import Floats, Places, Scored

    Output = np.ndarray[Any, Any]

LABEL = "spec.dataset.labelColumn"
OUTPUT = "spec.output"
SUM_TOLERANCE = 0.01  # of a row of probabilities from 1; half-precision outputs of many classes come close to it
ROUNDED_SUM = 5e-6  # scikit-learn refuses rows whose sum is 1e-5 away from 1


@dataclass(frozen=True, slots=True)
class Predictions:
    """What is scored, and which unit each row belongs to (None: each row is one)."""

    scored: Scored
    unit_of_row: Places | None = None
    notes: tuple[str, ...] = ()


def read(suite: EvaluationSuiteSpec, table: pa.Table, output: Output) -> Predictions:
    """Match output and truth.

    Args:
        suite: What the columns and the output mean.
        table: The rows.
        output: What the model returned, [rows, …], in the order of the rows.

    Raises:
        ScoringError: They do not fit: another number of rows, a label that is no class, a probability outside [0, 1],
            a missing or infinite number.
    """
    output = np.asarray(output)
    if output.ndim == 0 or len(output) != table.num_rows:
        raise ScoringError(OUTPUT, f"the output has shape {output.shape}; there are {table.num_rows} rows")
    if not table.num_rows:
        raise ScoringError("spec.dataset", "there are no rows; nothing can be said of the model")
    task = suite.task
    match task.type:
        case TaskType.CLASSIFICATION:
            return Predictions(_classified(suite, table, output))
        case TaskType.REGRESSION:
            return Predictions(Regressed(_numbers(table, _label(suite), LABEL), _flat(output)))
        case TaskType.RANKING:
            relevance = _numbers(table, _label(suite), LABEL)
            if (relevance < 0).any():
                raise ScoringError(LABEL, f"row {int(np.argmax(relevance < 0))} has a relevance below 0")
            groups = _groups(table, task.group_column or "")
            means = ranking.ranked(relevance, _flat(output), groups, task.k, suite.metric_names())
            return Predictions(means, groups, tuple(means.notes))
        case TaskType.CUSTOM:
            scorer = custom.load(task.entry_point or "")
            scored = custom.scored(scorer, table, output, task.parameters, suite.metric_names())
            return Predictions(scored)


def _label(suite: EvaluationSuiteSpec) -> str:
    return suite.dataset.label_column or ""


def _column(table: pa.Table, name: str, field: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise ScoringError(field, f"there is no column {name!r}; there are {', '.join(table.column_names[:20])}")
    column = table[name]
    if column.null_count:
        first = int(np.argmax(pc.is_null(column).to_numpy()))
        raise ScoringError(field, f"column {name} is missing in {column.null_count} rows, first in row {first}")
    return column


def _numbers(table: pa.Table, name: str, field: str) -> Floats:
    column = _column(table, name, field)
    try:
        numbers: Floats = floats(column, f"column {name}")
    except EvaluationInputError as error:
        raise ScoringError(field, str(error)) from error
    _finite(numbers, field, f"column {name}")
    return numbers


def _finite(numbers: npt.NDArray[np.floating], field: str, what: str) -> None:
    bad = ~np.isfinite(numbers)
    if bad.any():
        rows = bad.any(axis=1) if bad.ndim > 1 else bad
        raise ScoringError(
            field,
            f"{what} is not a finite number in {np.count_nonzero(rows)} rows, first in row {int(np.argmax(rows))}",
        )


def _flat(output: Output) -> Floats:
    """One number per row."""
    if output.size != len(output):
        raise ScoringError(OUTPUT, f"the output has shape {output.shape}; one number per row is needed")
    if output.dtype.kind not in "fiub":
        raise ScoringError(OUTPUT, f"the output is of type {output.dtype}; numbers are needed")
    numbers = output.reshape(len(output)).astype(np.float64)
    _finite(numbers, OUTPUT, "the output")
    return numbers


def _groups(table: pa.Table, name: str) -> Places:
    field = "spec.task.groupColumn"
    texts, codes = encode(_column(table, name, field), f"{field}: {name}")
    # Two values may have one text: then they are one group.
    _, place = np.unique(texts, return_inverse=True)
    first = np.full(len(texts), -1, dtype=np.intp)
    order: dict[int, int] = {}
    for index, one in enumerate(place.tolist()):
        first[index] = order.setdefault(one, len(order))
    groups: Places = first[codes]
    return groups


def _classified(suite: EvaluationSuiteSpec, table: pa.Table, output: Output) -> Classified:
    classes = tuple(suite.task.classes)
    label = _label(suite)
    texts, codes = encode(_column(table, label, LABEL), f"{LABEL}: {label}")
    true = _places(texts, codes, classes, LABEL)
    positive = None if suite.task.positive_class is None else classes.index(suite.task.positive_class)
    if suite.output.kind is OutputKind.LABEL:
        if output.size != len(output):
            raise ScoringError(OUTPUT, f"the output has shape {output.shape}; one label per row is needed")
        found, inverse = np.unique(output.reshape(len(output)), return_inverse=True)
        predicted = _places([text_of(value) for value in found], inverse, classes, OUTPUT)
        return Classified(classes, true, predicted, None, positive, suite.task.calibration_bins)
    logits = suite.output.kind is OutputKind.LOGITS
    probabilities = _probabilities(output, len(classes), 1 if positive is None else positive, logits=logits)
    # Of equal ones the first is taken, as scikit-learn's classifiers do.
    predicted = probabilities.argmax(axis=1).astype(np.intp)
    return Classified(classes, true, predicted, probabilities, positive, suite.task.calibration_bins)


def _places(texts: list[str], codes: Places, classes: tuple[str, ...], field: str) -> Places:
    places = Classes(classes).places(texts)
    unknown = [text for text, place in zip(texts, places, strict=True) if place is None]
    if unknown:
        first = int(np.argmax(codes == texts.index(unknown[0])))
        raise ScoringError(
            field,
            f"{', '.join(map(repr, unknown[:5]))} (first in row {first}) is no class of spec.task.classes "
            f"({', '.join(classes[:10])}); add it or correct the rows",
        )
    return np.array(places, dtype=np.intp)[codes]


def _probabilities(output: Output, classes: int, place: int, *, logits: bool) -> Floats:
    """[rows, classes], in double precision whatever the output's: the same answers must score the same."""
    if output.dtype.kind not in "fiu":
        raise ScoringError(OUTPUT, f"the output is of type {output.dtype}; numbers are needed")
    numbers = output.astype(np.float64).reshape(len(output), -1)
    _finite(numbers, OUTPUT, "the output")
    if numbers.shape[1] == 1 and classes == 2:
        one = expit(numbers[:, 0]) if logits else numbers[:, 0]
        numbers = np.stack([1 - one, one] if place == 1 else [one, 1 - one], axis=1)
    elif logits:
        numbers = softmax(numbers, axis=1)
    if numbers.shape[1] != classes:
        raise ScoringError(
            OUTPUT, f"the output has {numbers.shape[1]} columns; spec.task.classes names {classes} classes"
        )
    outside = ((numbers < 0) | (numbers > 1)).any(axis=1)
    if outside.any():
        raise ScoringError(
            OUTPUT,
            f"row {int(np.argmax(outside))} has a probability outside [0, 1]; if these are logits, "
            "set spec.output.kind to Logits",
        )
    sums = numbers.sum(axis=1)
    off = np.abs(sums - 1) > SUM_TOLERANCE
    if off.any():
        raise ScoringError(
            OUTPUT, f"the probabilities of row {int(np.argmax(off))} add up to {sums[np.argmax(off)]:.3f}, not to 1"
        )
    # What half precision has rounded; a division for less would only tell tied scores apart.
    scaled: Floats = numbers / sums[:, None] if (np.abs(sums - 1) > ROUNDED_SUM).any() else numbers
    return scaled
