"""The text of a value: one spelling for suites, data sets, model outputs, samples, late labels and keys.

Ids, keys, groups and classes are text. A CSV file already has their text, which is kept as written (`00042`, `1e5`);
other sources have typed values, which are written here.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.storage import plain, values

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

LARGEST_INTEGER = 2.0**64  # beyond all that a column of integers holds
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_WHOLE = re.compile(r"(?P<digits>-?(?:0|[1-9][0-9]*))\.0+")
_IDS = ("NA", "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64",
        "HALF_FLOAT", "FLOAT", "DOUBLE", "DECIMAL128", "DECIMAL256", "STRING", "LARGE_STRING",
        "BINARY", "LARGE_BINARY", "FIXED_SIZE_BINARY", "DATE32", "DATE64", "TIME32", "TIME64", "TIMESTAMP",
        "DURATION")  # fmt: skip
# Everything else has no text, whatever a later Arrow brings.
_WITH_TEXT = frozenset(getattr(pa.lib, f"Type_{name}") for name in _IDS)


def text_of(value: Any) -> str:
    """True and false, 3 (also for 3.0), text as it is. A float beyond every integer type has its shortest text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="backslashreplace")
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, float | np.floating) and float(value).is_integer() and abs(float(value)) < LARGEST_INTEGER:
        return str(int(value))
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return str(int(value))
    return str(value)


def boolean_of(text: str) -> bool | None:
    """The truth value that the text spells: true, True, TRUE, 1 and their opposites. None: it spells none."""
    return _BOOLEANS.get(text if text in {"0", "1"} else text.lower() if text.isalpha() else "")


def same(text: str, wanted: str, type_: pa.DataType) -> bool:
    """Whether a column's value is the one that a declaration names; of a boolean column in any spelling of it."""
    if pa.types.is_boolean(type_) and boolean_of(wanted) is not None:
        return boolean_of(text) is boolean_of(wanted)
    return text == wanted


class Classes:
    """The classes that a suite or spec.monitoring.predictions declares."""

    def __init__(self, names: Sequence[str]) -> None:
        self._places = {name: place for place, name in enumerate(names)}
        spelled = {boolean_of(name): place for place, name in enumerate(names)}
        self._of_booleans = spelled if len(names) == 2 and set(spelled) == {True, False} else None
        self._numbers = self._of_booleans is not None or all(_WHOLE.fullmatch(f"{name}.0") for name in names)

    def place(self, text: str) -> int | None:
        """Of the class that the text names. Where the classes are the two booleans, any spelling of one names it; where
        they are whole numbers, 1.0 names what 1 does.
        """
        place = self._places.get(text)
        if place is None and self._numbers and (whole := _WHOLE.fullmatch(text)) is not None:
            text = whole["digits"] if whole["digits"] != "-0" else "0"
            place = self._places.get(text)
        if place is None and self._of_booleans is not None and (truth := boolean_of(text)) is not None:
            return self._of_booleans[truth]
        return place

    def places(self, texts: Iterable[str]) -> list[int | None]:
        return [self.place(text) for text in texts]


def booleans_alike(*sides: Iterable[str | None]) -> bool:
    """Whether all texts of all sides spell booleans: then True of one and 1 of another are the same value."""
    return all(text is None or boolean_of(text) is not None for side in sides for text in side)


def as_boolean(text: str | None) -> str | None:
    """The one spelling of a text that spells a boolean."""
    return None if text is None else text_of(boolean_of(text))


def require_simple(type_: pa.DataType, where: str) -> None:
    """Raises EvaluationInputError, beginning with `where`, for lists, structs and what else has no text."""
    value = plain(pa.chunked_array([], type_)).type
    if value.id not in _WITH_TEXT:
        raise EvaluationInputError(
            f"{where} is {value}; text, numbers, booleans and dates can be used here: convert it in the data set"
        )


def encode(column: pa.ChunkedArray, where: str) -> tuple[list[str], npt.NDArray[np.intp]]:
    """Texts of the distinct values in order of first appearance, without missing ones, and each row's place among them
    (null and NaN: -1). Two values may have one text.

    Raises:
        EvaluationInputError: as `require_simple` and `storage.values`.
    """
    column = plain(column)
    require_simple(column.type, where)
    if pa.types.is_null(column.type):
        return [], np.full(len(column), -1, dtype=np.intp)
    encoded = pc.dictionary_encode(column).combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0) if encoded.num_chunks else pa.array([], pa.dictionary(pa.int32(), column.type))
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.intp)
    distinct = encoded.dictionary
    if not pa.types.is_floating(distinct.type):
        return [text_of(value) for value in values(distinct, where)], codes
    # As the column's own type prints it: 0.1 of FP32 is not 0.10000000149011612.
    numbers = distinct.to_numpy(zero_copy_only=False)
    known = ~np.isnan(numbers)
    place = np.full(len(numbers) + 1, -1, dtype=np.intp)
    place[:-1][known] = np.arange(int(known.sum()))
    return [text_of(number) for number in numbers[known]], place[codes]


def texts(column: pa.ChunkedArray, where: str) -> list[str | None]:
    """The text of each row's value; None where it is missing. Raises as `encode`."""
    found, codes = encode(column, where)
    return [None if code < 0 else found[code] for code in codes]


def text_column(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """The column as text. Raises as `encode`."""
    found, codes = encode(column, where)
    indices = pa.array(codes, mask=codes < 0)
    return pa.chunked_array([pa.array(found, pa.string()).take(indices)])


def keys(column: pa.ChunkedArray, where: str) -> list[str | None]:
    """As `texts`, for ids, which must be exact.

    Raises:
        EvaluationInputError: as `encode`; and for floating-point numbers so large that two ids may have become one.
    """
    type_ = plain(column).type
    if pa.types.is_floating(type_):
        exact = 2.0 ** (np.finfo(type_.to_pandas_dtype()).nmant + 1)
        largest = pc.max(pc.abs(plain(column).cast(pa.float64()))).as_py()
        if largest is not None and largest >= exact:
            raise EvaluationInputError(
                f"{where} is {type_} and has numbers of {exact:.0f} or more, where two ids become one; write ids as "
                "text or integers"
            )
    return texts(column, where)
