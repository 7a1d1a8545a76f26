"""Columns of a table as arrays, and arrays as columns again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyarrow import csv

from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.storage import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


SHOWN_VALUE = 40  # characters of a value in a message
_PIECE = 4096


def is_number(type_: pa.DataType) -> bool:
    """Whether the column holds numbers. Booleans and decimals are none here: noise has no meaning for the former, and
    tensors do not carry the latter.
    """
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_))


def is_text(type_: pa.DataType) -> bool:
    """Whether the column holds text, dictionary-encoded or not."""
    value = type_.value_type if pa.types.is_dictionary(type_) else type_
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value))


def require(table: pa.Table, columns: Sequence[str], field: str) -> None:
    """Raises EvaluationInputError when the table lacks one of the columns; `field` says where it was named."""
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise EvaluationInputError(
            f"{field}: the data has no column {', '.join(missing)}; it has {', '.join(table.column_names)}"
        )


def matrix(table: pa.Table, columns: Sequence[str]) -> NDArray[np.float64]:
    """[rows, columns] of number columns; null is NaN.

    Raises:
        EvaluationInputError: a column holds no numbers, or integers that floating-point numbers do not.
    """
    return np.column_stack([floats(table[name], f"column {name!r}") for name in columns])


def floats(column: pa.ChunkedArray, where: str) -> NDArray[np.float64]:
    """One number column; raises as `matrix`, beginning with `where`."""
    column = plain(column)
    try:
        numbers: NDArray[np.float64] = column.cast(pa.float64()).to_numpy().astype(np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        if pa.types.is_integer(column.type):
            raise EvaluationInputError(
                f"{where} is {column.type} and has integers beyond ±2^53, which floating-point numbers do not hold; "
                "scale them, or take the column out"
            ) from None
        raise EvaluationInputError(f"{where} is {column.type}; numbers are needed{not_a_number(column)}") from None
    return numbers


def shown(value: object) -> str:
    """A value of the data for a message: bounded, and nothing in it that a terminal would obey."""
    text = repr(value)
    return text if len(text) <= SHOWN_VALUE else f"{text[: SHOWN_VALUE - 1]}…"


def not_a_number(column: pa.ChunkedArray) -> str:
    """For the end of a message: the first text that is no number, and its row counted from 1; nothing where the column
    is no text, or all of it numbers. What a CSV file may write for a missing number is none of them.
    """
    if not is_text(column.type):
        return ""
    missing = frozenset(csv.ConvertOptions().null_values)
    for start in range(0, len(column), _PIECE):
        piece = column.slice(start, _PIECE)
        if _are_numbers(piece):
            continue
        for place, value in enumerate(piece):
            if value.is_valid and value.as_py() not in missing and not _are_numbers(value):
                return f" (the first value that is no number is {shown(value.as_py())}, in row {start + place + 1})"
    return ""


def _are_numbers(texts: pa.ChunkedArray | pa.Scalar) -> bool:
    try:
        texts.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def with_matrix(table: pa.Table, columns: Sequence[str], values: NDArray[np.float64]) -> pa.Table:
    """The table with `values` [rows, columns] in those columns, in their own types: integers are rounded, as only such
    a row could reach the model. NaN becomes null.
    """
    for index, name in enumerate(columns):
        type_ = table.schema.field(name).type
        new = values[:, index]
        if pa.types.is_integer(type_):
            new = np.rint(new)
        array = pa.array(new, type=pa.float64(), mask=np.isnan(new)).cast(type_, safe=False)
        table = table.set_column(table.column_names.index(name), pa.field(name, type_), array)
    return table


def category_codes(*columns: pa.ChunkedArray) -> tuple[NDArray[np.int64], ...]:
    """Each column's values as places from 0, the same place for the same value in all of them; null is -1.
    The most frequent value over all columns is 0, the next 1, ….
    """
    chunks = [chunk for column in columns for chunk in plain(column).chunks]
    encoded = pa.chunked_array(chunks, plain(columns[0]).type).combine_chunks().dictionary_encode()
    places = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    counts = np.bincount(places[places >= 0], minlength=len(encoded.dictionary))
    rank = np.empty(len(counts) + 1, dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    rank[-1] = -1  # where place -1 points
    ends = np.cumsum([len(column) for column in columns])[:-1]
    return tuple(np.split(rank[places], ends))
