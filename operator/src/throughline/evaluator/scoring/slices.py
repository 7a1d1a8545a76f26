"""Which rows belong to which slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from throughline.evaluator.columns import plain
from throughline.evaluator.scoring.errors import ScoringError
from throughline.evaluator.scoring.expressions import evaluate

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from throughline.api.evaluationsuite import Slice

MISSING = "(missing)"
INSIDE, OUTSIDE = "true", "false"
MAX_VALUES = 1000


@dataclass(frozen=True, slots=True)
class Partition:
    """One entry of spec.slices: rows by the value they have."""

    name: str
    values: tuple[str, ...]
    codes: npt.NDArray[np.intp]  # [rows]: place in `values`; -1 for a row that is in none
    is_expression: bool

    def rows(self, index: int) -> npt.NDArray[np.intp]:
        """Rows of the slice `values[index]`."""
        return np.flatnonzero(self.codes == index)


def text_of(value: Any) -> str:
    """How a value of a column or output is written in a suite: true, 3 (also for 3.0), text as it is."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="backslashreplace")
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def encode(column: pa.ChunkedArray) -> tuple[list[Any], npt.NDArray[np.intp]]:
    """Distinct values in order of first appearance, without null, and each row's place among them (null: -1)."""
    column = plain(column)
    encoded = pc.dictionary_encode(column).combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0) if encoded.num_chunks else pa.array([], pa.dictionary(pa.int32(), column.type))
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.intp)
    return encoded.dictionary.to_pylist(), codes


def partition(slices: Sequence[Slice], table: pa.Table) -> tuple[Partition, ...]:
    """The rows of every slice.

    Raises:
        ScoringError: A column is not there, has too many values, or an expression cannot be evaluated.
    """
    return tuple(_by_column(s.name, s.column, table) if s.column else _by_expression(s, table) for s in slices)


def _by_column(name: str, column: str, table: pa.Table) -> Partition:
    field = f"spec.slices[{name}].column"
    if column not in table.column_names:
        raise ScoringError(field, f"there is no column {column!r}; there are {', '.join(table.column_names[:20])}")
    values, codes = encode(table[column])
    if len(values) > MAX_VALUES:
        raise ScoringError(
            field,
            f"{column} has {len(values)} values, more than {MAX_VALUES}; slice by an expression, such as {column} < 25",
        )
    texts = [MISSING if value != value else text_of(value) for value in values]  # noqa: PLR0124 - NaN is missing
    # Two spellings of one value (1 and 1.0) are one slice; missing values are a slice of their own.
    found = {*texts, MISSING} if (codes < 0).any() else set(texts)
    names = sorted(found, key=lambda text: (text == MISSING, _natural(text)))
    place = np.array([names.index(text) for text in [*texts, *([MISSING] if MISSING in found else [])]], dtype=np.intp)
    return Partition(name, tuple(names), place[codes], is_expression=False)


def _by_expression(one: Slice, table: pa.Table) -> Partition:
    inside = evaluate(one.expression or "", table, f"spec.slices[{one.name}].expression")
    codes = pc.if_else(inside, 0, 1)
    codes = pc.fill_null(codes, -1).to_numpy(zero_copy_only=False).astype(np.intp)
    return Partition(one.name, (INSIDE, OUTSIDE), codes, is_expression=True)


def _natural(text: str) -> tuple[int, float, str]:
    """Numbers by size, then text."""
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text
