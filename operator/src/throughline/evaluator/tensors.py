"""Columns as the input tensors that a suite declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from ml_dtypes import bfloat16, finfo

from throughline.api.evaluationsuite import InputDataType
from throughline.evaluator.columns import floats, not_a_number
from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.storage import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from throughline.api.evaluationsuite import Input

FLOATS: dict[InputDataType, Any] = {
    InputDataType.BF16: bfloat16,
    InputDataType.FP16: np.float16,
    InputDataType.FP32: np.float32,
    InputDataType.FP64: np.float64,
}
_INTEGERS = {
    InputDataType.BOOL: pa.bool_(), InputDataType.UINT8: pa.uint8(), InputDataType.UINT16: pa.uint16(),
    InputDataType.UINT32: pa.uint32(), InputDataType.UINT64: pa.uint64(), InputDataType.INT8: pa.int8(),
    InputDataType.INT16: pa.int16(), InputDataType.INT32: pa.int32(), InputDataType.INT64: pa.int64(),
}  # fmt: skip


def build(inputs: Sequence[Input], table: pa.Table) -> Mapping[str, NDArray[np.generic]]:
    """Tensor name → array of [rows, columns], or [rows] where the input is scalar; C-contiguous, so that any run of
    rows is a view. A single column that has the tensor's type already, in one chunk, is not copied.

    A missing number becomes NaN in a floating-point tensor, which is what the model would be given in production.

    Raises:
        EvaluationInputError: a column's type cannot become the datatype, a value does not fit it, or one is
            missing where the datatype has no NaN.
    """
    return {tensor.tensor: _tensor(tensor, table) for tensor in inputs}


def _tensor(tensor: Input, table: pa.Table) -> NDArray[np.generic]:
    arrays = [_column(tensor, name, table.column(name)) for name in tensor.columns]
    if tensor.scalar:
        return arrays[0]
    if len(arrays) == 1:
        return arrays[0].reshape(-1, 1)
    # Filled column by column: a stack of casted copies would need the memory twice.
    stacked = np.empty((table.num_rows, len(arrays)), dtype=arrays[0].dtype)
    for place, array in enumerate(arrays):
        stacked[:, place] = array
    return stacked


def _column(tensor: Input, name: str, column: pa.ChunkedArray) -> NDArray[np.generic]:
    where = f"column {name!r} (spec.inputs[{tensor.tensor}])"
    column = plain(column)
    if tensor.datatype is InputDataType.BYTES:
        return _texts(where, column)
    if not _is_number(column.type):
        raise EvaluationInputError(
            f"{where} is {column.type} and cannot become {tensor.datatype}{not_a_number(column)}; take another column, "
            "convert it in the data set, or correct the datatype"
        )
    if tensor.datatype in FLOATS:
        return _floats(where, tensor.datatype, column)
    if column.null_count:
        raise EvaluationInputError(
            f"{where} has {column.null_count} missing values, and {tensor.datatype} has no NaN; fill them in the data "
            "set, or take those rows out"
        )
    try:
        return _numpy(column.cast(_INTEGERS[tensor.datatype]))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise EvaluationInputError(
            f"{where} is {column.type} and has values that are no {tensor.datatype}: {error}"
        ) from None


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind))


def _floats(where: str, datatype: InputDataType, column: pa.ChunkedArray) -> NDArray[np.generic]:
    wanted = FLOATS[datatype]
    # Missing ones are NaN.
    array = _numpy(column) if pa.types.is_floating(column.type) else floats(column, where)
    if array.dtype == wanted:
        return array
    with np.errstate(over="ignore"):
        converted = array.astype(wanted)
    endless = np.isinf(converted.astype(np.float64))
    beyond = int(np.count_nonzero(endless) - np.count_nonzero(np.isinf(array)))
    if beyond:
        largest = float(finfo(wanted).max)  # type: ignore[no-untyped-call]
        raise EvaluationInputError(
            f"{where} has {beyond} values beyond the range of {datatype} (±{largest:g}); scale them, "
            "or take a wider datatype"
        )
    return converted


def _texts(where: str, column: pa.ChunkedArray) -> NDArray[np.generic]:
    types = pa.types
    if types.is_string(column.type) or types.is_large_string(column.type):
        column = column.cast(pa.large_binary())
    elif not (types.is_binary(column.type) or types.is_large_binary(column.type)):
        raise EvaluationInputError(
            f"{where} is {column.type}, and BYTES takes text or bytes; convert it in the data set"
        )
    if column.null_count:
        raise EvaluationInputError(f"{where} has {column.null_count} missing texts; fill them in the data set")
    return np.asarray(column.to_numpy(), dtype=np.object_)


def _numpy(column: pa.ChunkedArray) -> NDArray[np.generic]:
    if column.num_chunks == 1 and not column.null_count and not pa.types.is_boolean(column.type):
        array: NDArray[np.generic] = column.chunk(0).to_numpy(zero_copy_only=True)
        return array
    joined: NDArray[np.generic] = column.to_numpy()
    return joined
