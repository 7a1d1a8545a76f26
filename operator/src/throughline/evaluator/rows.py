"""The rows of a data set: Parquet, CSV or Arrow, as one table with the columns that the suite needs."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, ipc, parquet

from throughline.api.evaluationdataset import DatasetFormat
from throughline.api.evaluationmetrics import TaskType
from throughline.evaluator import columntypes, source
from throughline.evaluator.columntypes import TextColumns
from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.storage import stored
from throughline.evaluator.texts import require_simple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from throughline.api.evaluationdataset import Dataset
    from throughline.api.evaluationsuite import EvaluationSuiteSpec

BATCH_ROWS = 2**16
SHOWN = 8  # columns named in a message
_SUFFIXES = {
    ".parquet": DatasetFormat.PARQUET, ".pq": DatasetFormat.PARQUET, ".csv": DatasetFormat.CSV,
    ".arrow": DatasetFormat.ARROW, ".feather": DatasetFormat.ARROW, ".ipc": DatasetFormat.ARROW,
    ".arrows": DatasetFormat.ARROW,
}  # fmt: skip
_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\x00": "xz"}
_LONGEST_REASON = 200  # characters of a reader's own message, which may quote the file
_FILE_MAGIC = b"ARROW1"  # of Arrow's file format; the stream format has none


@dataclass(frozen=True, slots=True)
class Rows:
    """A data set that was read whole. `table` keeps the order of the file."""

    table: pa.Table
    digest: str
    name: str
    size_bytes: int = 0  # of the file


def read(suite: EvaluationSuiteSpec, location: str, *, scratch: Path) -> Rows:
    """All of the suite's data set, at `location`; what the suite needs of it is checked.

    Raises:
        EvaluationInputError: as source.opened, or the file is no table, has no rows, or lacks a column of the suite
            (near matches are named), or a label is missing.
        NotEvaluatedError: the store does not answer.
    """
    text_columns = columntypes.of_suite(suite)
    found = load(suite.dataset, location, suite.task.type, scratch=scratch, text_columns=text_columns)
    _check(found.table, suite, found.name)
    return found


def load(
    dataset: Dataset,
    location: str,
    task: TaskType,
    *,
    scratch: Path,
    text_columns: TextColumns = TextColumns(),  # noqa: B008 - frozen
) -> Rows:
    """A data set as it is; raises as `read` does for what is no table."""
    endpoint = source.endpoint(dataset.source, location)
    with source.opened(location, expected=dataset.digest, scratch=scratch, endpoint=endpoint) as opened:
        _refuse_packed(opened)
        form = dataset.format or _SUFFIXES.get(opened.suffix)
        if form is None:
            raise EvaluationInputError(
                f"{opened.name}: its suffix does not tell the format; set spec.dataset.format to "
                f"{', '.join(DatasetFormat)}"
            )
        try:
            table = stored(pa.Table.from_batches(*_read(opened.file, form, _text_columns(dataset, task, text_columns))))
        except (pa.ArrowException, OSError, UnicodeDecodeError, EOFError) as error:
            raise EvaluationInputError(
                f"{opened.name} is not readable as {form}: {_first_line(error)}. Write it anew, or correct "
                "spec.dataset.format"
            ) from error
        return Rows(table, opened.digest, opened.name, opened.size_bytes)


def needed(suite: EvaluationSuiteSpec) -> Mapping[str, str]:
    """Column → the field of the suite that names it first. Expressions are checked where they are evaluated."""
    found: dict[str, str] = {}
    for tensor in suite.inputs:
        for column in tensor.columns:
            found.setdefault(column, f"spec.inputs[{tensor.tensor}].columns")
    single: Sequence[tuple[str | None, str]] = (
        (suite.dataset.label_column, "spec.dataset.labelColumn"),
        (suite.dataset.id_column, "spec.dataset.idColumn"),
        (suite.task.group_column, "spec.task.groupColumn"),
        *((s.column, f"spec.slices[{s.name}].column") for s in suite.slices),
    )
    for name, field in single:
        if name is not None:
            found.setdefault(name, field)
    return found


def _read(file: BinaryIO, form: DatasetFormat, text_columns: TextColumns) -> tuple[list[pa.RecordBatch], pa.Schema]:
    if form is DatasetFormat.PARQUET:
        parquet_file = parquet.ParquetFile(file)
        return list(parquet_file.iter_batches(BATCH_ROWS)), parquet_file.schema_arrow
    if form is DatasetFormat.CSV:
        # Not csv.open_csv: that takes each column's type from the first block, and fails at a later 1.5 after ones.
        types = dict.fromkeys(text_columns.keys | text_columns.others, pa.string())
        table = csv.read_csv(file, convert_options=csv.ConvertOptions(column_types=types))
        for index, name in enumerate(table.column_names):
            if name in text_columns.keys:
                table = table.set_column(index, name, _without_empty(table.column(index)))
        return table.to_batches(BATCH_ROWS), table.schema
    is_file = file.read(len(_FILE_MAGIC)) == _FILE_MAGIC
    file.seek(0)
    if is_file:
        reader = ipc.open_file(file)
        return [reader.get_batch(i) for i in range(reader.num_record_batches)], reader.schema
    stream = ipc.open_stream(file)
    return list(stream), stream.schema


def _refuse_packed(opened: source.Opened) -> None:
    first = opened.file.read(max(map(len, _PACKED)))
    opened.file.seek(0)
    packed = next((name for magic, name in _PACKED.items() if first.startswith(magic)), None)
    if packed is not None:
        raise EvaluationInputError(
            f"{opened.name} is a {packed} file; unpack it, and name what was in it (Parquet compresses by itself)"
        )


def _text_columns(dataset: Dataset, task: TaskType, more: TextColumns) -> TextColumns:
    """Ids and classes stay as they are written: "01" is not the class "1"."""
    label = dataset.label_column if task is TaskType.CLASSIFICATION else None
    own = {name for name in (label, dataset.id_column) if name is not None}
    return TextColumns(more.keys | (own - (more.numbers - {label})), more.others)


def _without_empty(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)


def _check(table: pa.Table, suite: EvaluationSuiteSpec, name: str) -> None:
    names = table.column_names
    for column, field in needed(suite).items():
        count = names.count(column)
        if count == 0:
            raise EvaluationInputError(f"{name} has no column {column!r}, which {field} names{nearest(column, names)}")
        if count > 1:
            raise EvaluationInputError(
                f"{name} has {count} columns {column!r}, which {field} names; rename all but one"
            )
    if table.num_rows == 0:
        raise EvaluationInputError(f"{name} has no rows; an evaluation needs some")
    for column, field in columntypes.key_fields(suite).items():
        require_simple(table.schema.field(column).type, f"{name}: column {column!r} ({field})")
    label = suite.dataset.label_column
    if label is not None:
        _check_labels(table.column(label), label, name)


def _check_labels(column: pa.ChunkedArray, label: str, name: str) -> None:
    missing = column.is_null(nan_is_null=True)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        missing = pc.or_(missing, pc.fill_null(pc.equal(column, ""), fill_value=False))
    count = pc.sum(missing).as_py()
    if count:
        first = pc.index(missing, value=True).as_py()
        raise EvaluationInputError(
            f"{name}: {count} of {len(column)} rows have no label (spec.dataset.labelColumn {label!r}; the first is "
            f"row {first}, counted from 0); label them or take them out"
        )


def nearest(wanted: str, names: Sequence[str]) -> str:
    """What may have been meant, for the end of a message."""
    close = difflib.get_close_matches(wanted, names, n=2, cutoff=0.6)
    close = close or [name for name in names if name.lower() == wanted.lower()]
    if close:
        return f"; did you mean {' or '.join(map(repr, close))}?"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"; it has {', '.join(map(repr, names[:SHOWN]))}{more}" if names else "; it has no columns"


def _first_line(error: BaseException) -> str:
    line = str(error).strip().partition("\n")[0].rstrip(". ") or type(error).__name__
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}…"
