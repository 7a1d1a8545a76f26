"""A scorer of the user's own: `spec.task.entryPoint`, a Python function of this contract.

    def score(table: pyarrow.Table, output: numpy.ndarray, parameters: Mapping[str, str])
        -> Mapping[str, float | Sequence[float] | Mapping[str, float]]

`table` holds the rows with all their columns, `output` [rows, …] what the model returned for them, in the same order;
`parameters` is spec.task.parameters. It returns every metric that the suite names, in one of three ways: as one score
per row (its mean is the metric, NaN leaves a row out, and intervals are made by bootstrap); as {"value", "low",
"high"}, an interval of the scorer's own; or as one number (there is no interval: a bound on such a metric stays
Unknown). For the last two it is called once more for every slice. It must not depend on anything else: the same rows
must score the same.

A scorer in a container (docs/scorers.md) gives the same three in a file, but cannot be called again.
"""

from __future__ import annotations

import importlib
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from throughline.evaluator.scoring.errors import ScoringError
from throughline.evaluator.scoring.means import Means
from throughline.evaluator.scoring.values import Block, Curve, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from throughline.evaluator.scoring.values import Floats, Places

    Scorer = Callable[[pa.Table, np.ndarray[Any, Any], Mapping[str, str]], Mapping[str, Any]]

ENTRY_POINT = "spec.task.entryPoint"
ONE_FOR_ALL = "the scorer gave one number for all rows; let it give one per row, and every slice has its own"


@dataclass(frozen=True, slots=True)
class Number:
    """A metric of several rows at once; `ends` of its interval, where the scorer gave one."""

    value: float
    ends: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Custom:
    """What the scorer said of all rows, and how to ask it about some; None: it cannot be asked again."""

    call: Callable[[Places | None], Mapping[str, Any]] | None
    rows: Means
    numbers: Mapping[str, Number]

    @property
    def units(self) -> int:
        return self.rows.units

    def point(self, metric: str, units: Places) -> Value:
        if metric in self.rows.scores:
            return self.rows.point(metric, units)
        if not len(units):
            return Value(None, 0, 0, "there are no rows")
        number = self.numbers[metric]
        if len(units) != self.units:
            if self.call is None:
                return Value(None, len(units), len(units), ONE_FOR_ALL)
            number = number_of(self.call(units).get(metric), metric, ENTRY_POINT)
        if not np.isfinite(number.value):
            return Value(None, len(units), len(units), f"the scorer returned {number.value}")
        return Value(number.value, len(units), len(units), ends=number.ends)

    def blocks(self, metrics: Sequence[str]) -> Mapping[str, Block]:
        return self.rows.blocks([metric for metric in metrics if metric in self.rows.scores])

    def from_sums(self, metric: str, sums: Mapping[str, Floats]) -> Floats:
        return self.rows.from_sums(metric, sums)

    def curves(self) -> Sequence[Curve]:
        return ()


def load(entry_point: str) -> Scorer:
    """The function that package.module:function names."""
    module, _, name = entry_point.partition(":")
    try:
        found = operator.attrgetter(name)(importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise ScoringError(ENTRY_POINT, f"{entry_point} cannot be loaded: {error}; install its package") from error
    if not callable(found):
        raise ScoringError(ENTRY_POINT, f"{entry_point} is no function")
    scorer: Scorer = found
    return scorer


def scored(
    scorer: Scorer,
    table: pa.Table,
    output: np.ndarray[Any, Any],
    parameters: Mapping[str, str],
    metrics: Sequence[str],
) -> Custom:
    """Ask the scorer about all rows.

    Raises:
        ScoringError: It fails, leaves out a metric, or returns something that is neither a number nor one per row.
    """

    def call(units: Places | None) -> Mapping[str, Any]:
        rows, returned = (table, output) if units is None else (table.take(units), output[units])
        try:
            found = scorer(rows, returned, parameters)
        except Exception as error:  # whatever the user's code may raise, it is told with its place
            raise ScoringError(ENTRY_POINT, f"the scorer failed: {type(error).__name__}: {error}") from error
        if not isinstance(found, Mapping):
            raise ScoringError(ENTRY_POINT, f"the scorer returned {type(found).__name__}, not a map of metrics")
        return found

    found = call(None)
    missing = [metric for metric in metrics if metric not in found]
    if missing:
        raise ScoringError(
            ENTRY_POINT, f"the scorer returned no {', '.join(missing)}; it returned {', '.join(found) or 'nothing'}"
        )
    per_row: dict[str, Floats] = {}
    numbers: dict[str, Number] = {}
    for metric in metrics:
        if np.ndim(found[metric]) == 0:
            numbers[metric] = number_of(found[metric], metric, ENTRY_POINT)
            continue
        scores = np.asarray(found[metric], dtype=np.float64)
        if scores.shape != (table.num_rows,):
            raise ScoringError(
                ENTRY_POINT, f"the scorer returned {metric} of shape {scores.shape}; there are {table.num_rows} rows"
            )
        if np.isinf(scores).any():
            raise ScoringError(ENTRY_POINT, f"the scorer returned an infinite {metric} for some rows")
        per_row[metric] = scores
    return Custom(call, Means(table.num_rows, per_row, "the scorer gave no row a score"), numbers)


def number_of(given: Any, metric: str, field: str) -> Number:
    """One number, or {"value", "low", "high"}.

    Raises:
        ScoringError: it is neither.
    """
    if not isinstance(given, Mapping):
        return Number(_float(given, metric, field))
    if set(given) != {"value", "low", "high"}:
        raise ScoringError(
            field,
            f"the scorer returned {metric} with {', '.join(map(str, given))[:80] or 'nothing'}; a number with an "
            "interval has value, low and high, and nothing else",
        )
    value, low, high = (_float(given[end], f"{metric}.{end}", field) for end in ("value", "low", "high"))
    if not low <= value <= high:  # also where one is NaN
        raise ScoringError(
            field, f"the scorer returned {metric} {value} with the interval [{low}, {high}], in which it does not lie"
        )
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ScoringError(field, f"the scorer returned an infinite interval of {metric}; leave low and high out")
    return Number(value, (low, high))


def _float(given: Any, metric: str, field: str) -> float:
    try:
        return float(given)
    except (TypeError, ValueError, OverflowError) as error:
        raise ScoringError(
            field, f"the scorer returned {repr(given)[:80]} for {metric}; return a number, or one per row"
        ) from error
