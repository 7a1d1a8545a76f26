"""Columns by their storage type: what an encoding or an extension type says is kept, its wrapping is taken off."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from throughline.evaluator.errors import EvaluationInputError

if TYPE_CHECKING:
    from collections.abc import Callable


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without dictionary or run-end encoding, views, and extension types: a UUID is text in its canonical
    form, bool8 is boolean, any other extension type is what it is stored as. Lists and structs stay as they are.
    """
    while (taken_off := _wrapping(column.type)) is not None:
        type_, take_off = taken_off
        chunks = [take_off(chunk) for chunk in column.chunks]
        column = pa.chunked_array(chunks, chunks[0].type if chunks else type_)
    return column


def stored(table: pa.Table) -> pa.Table:
    """The table with its columns as `plain` has them, but for dictionaries of plain values, which save memory."""
    for index, field in enumerate(table.schema):
        value = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        # Of null no memory can be saved, and pyarrow 26.0.1 does not carry its dictionaries safely.
        if _wrapping(value) is not None or pa.types.is_null(value):
            column = plain(table.column(index))
            table = table.set_column(index, pa.field(field.name, column.type), column)
    return table


def values(column: pa.ChunkedArray | pa.Array, where: str) -> list[Any]:
    """The values as Python has them.

    Raises:
        EvaluationInputError: beginning with `where`: a time has nanoseconds, is beyond the calendar, or is of a zone
            that nobody knows.
    """
    try:
        found: list[Any] = column.to_pylist()
    except (ValueError, OverflowError, KeyError, pa.ArrowException) as error:
        said = " ".join(str(error).split())[:200]
        raise EvaluationInputError(
            f"{where} is {column.type} and has a value that cannot be read ({type(error).__name__}: {said}); write it "
            "as text, or as a time of microseconds in a known time zone"
        ) from error
    return found


def _wrapping(type_: pa.DataType) -> tuple[pa.DataType, Callable[[Any], pa.Array]] | None:
    """The type under the wrapping, and what takes it off; None: there is none."""
    types = pa.types
    match type_:
        case pa.UuidType():
            return pa.string(), _uuid_texts
        case pa.Bool8Type():
            return pa.bool_(), lambda chunk: chunk.storage.cast(pa.bool_())
        case pa.BaseExtensionType():
            return type_.storage_type, lambda chunk: chunk.storage
        case pa.DictionaryType():
            return type_.value_type, lambda chunk: _joined(chunk.dictionary).take(chunk.indices)
        case pa.RunEndEncodedType():
            return type_.value_type, _run_ends_taken_off
    if types.is_string_view(type_):
        return pa.large_string(), lambda chunk: chunk.cast(pa.large_string())
    if types.is_binary_view(type_):
        return pa.large_binary(), lambda chunk: chunk.cast(pa.large_binary())
    if types.is_decimal32(type_) or types.is_decimal64(type_):
        wide = pa.decimal128(type_.precision, type_.scale)
        return wide, lambda chunk: chunk.cast(wide)
    return None


def _joined(array: pa.Array) -> pa.Array:
    """One array of values, without their own wrapping: not each of those can be taken by place."""
    joined = plain(pa.chunked_array([array])).combine_chunks()
    return joined if isinstance(joined, pa.Array) else joined.chunk(0)


def _run_ends_taken_off(chunk: pa.RunEndEncodedArray) -> pa.Array:
    rows = np.arange(chunk.offset, chunk.offset + len(chunk))
    places = np.searchsorted(chunk.run_ends.to_numpy(), rows, side="right")
    return _joined(chunk.values).take(pa.array(places, pa.int64()))


def _uuid_texts(chunk: pa.Array) -> pa.Array:
    texts = (None if raw is None else str(uuid.UUID(bytes=raw)) for raw in chunk.storage.to_pylist())
    return pa.array(texts, pa.string(), size=len(chunk))
