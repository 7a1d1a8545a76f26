"""Which rows belong to which slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from throughline.evaluator.scoring.errors import ScoringError
from throughline.evaluator.scoring.expressions import evaluate
from throughline.evaluator.texts import encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import pyarrow as pa

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
    texts, codes = encode(table[column], f"{field}: {column}")
    if len(texts) > MAX_VALUES:
        raise ScoringError(
            field,
            f"{column} has {len(texts)} values, more than {MAX_VALUES}; slice by an expression, such as {column} < 25",
        )
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
