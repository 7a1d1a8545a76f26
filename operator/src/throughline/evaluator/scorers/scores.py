"""What a scorer's container hands back: scores.json, and the file of scores per row that it may name. Foreign data:
each way in which it can be wrong ends in a message that names the fix.
"""

from __future__ import annotations

import json
import os
import re
import stat
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from throughline.evaluator.columns import is_number
from throughline.evaluator.report.content import named
from throughline.evaluator.rows import nearest
from throughline.evaluator.scoring.custom import Custom, Number, number_of
from throughline.evaluator.scoring.errors import ScoringError
from throughline.evaluator.scoring.means import Means
from throughline.evaluator.scoring.predictions import Predictions
from throughline.evaluator.storage import plain
from throughline.lineage import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from throughline.evaluator.scoring.values import Floats

FIELD = "spec.task.scorer"
METRICS, PER_ROW = "metrics", "perRow"
MAX_SCORES_BYTES = 64 << 20
MAX_ROWS_BYTES = 256 << 20
SHOWN = 8  # names in a note
# O_NOFOLLOW and O_NONBLOCK: a link or a pipe in the place of a file neither misleads nor blocks.
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def read(path: Path, metrics: Sequence[str], rows: int) -> Predictions:
    """The scores of `metrics` in the scorer's file.

    Raises:
        ScoringError: the file is not there, is too large, is no JSON, lacks a metric, or has something else than
            numbers; or so has the file that it names.
    """
    found = _document(path)
    given: Mapping[str, Any] = found.get(METRICS, {})
    columns = _per_row(path.parent, found[PER_ROW], metrics, rows) if PER_ROW in found else {}
    there = [*given, *(name for name in columns if name not in given)]
    for metric in metrics:
        if metric not in there:
            raise _wrong(path.name, f"there is no {metric}, which the suite names{_instead(metric, there)}")
        if metric in given and metric in columns:
            raise _wrong(path.name, f"{metric} is in {METRICS} and in the file of {PER_ROW}; give it once")
    numbers: dict[str, Number] = {}
    per_row = dict(columns)
    for metric in metrics:
        if metric in columns:
            continue
        value = given[metric]
        if isinstance(value, list):
            per_row[metric] = _listed(path.name, metric, value, rows)
        elif value is None:
            numbers[metric] = Number(float("nan"))
        else:
            numbers[metric] = _single(path.name, metric, value)
    more = [named(name) for name in there if name not in metrics]
    notes = [f"The scorer also gave {', '.join(more[:SHOWN])}{' …' if len(more) > SHOWN else ''}."] if more else []
    own = [metric for metric, number in numbers.items() if number.ends is not None]
    if own:
        notes.append(f"The scorer's own intervals are taken of {', '.join(own)}.")
    scored = Custom(
        None, Means(rows, {m: per_row[m] for m in metrics if m in per_row}, "the scorer gave no row a score"), numbers
    )
    return Predictions(scored, None, tuple(notes))


def _instead(metric: str, there: Sequence[str]) -> str:
    return nearest(metric, [named(name) for name in there]) if there else "; there is no metric at all"


def _document(path: Path) -> Mapping[str, Any]:
    """The parsed file, with the keys that it may have."""
    try:
        found = canonical.parse(_content(path, MAX_SCORES_BYTES))
    except canonical.CanonicalError as error:
        raise _wrong(path.name, f"it {error}; write plain JSON, and null where a metric is not defined") from None
    if not isinstance(found, dict) or not found or set(found) - {METRICS, PER_ROW}:
        keys = ", ".join(named(key) for key in list(found)[:SHOWN]) if isinstance(found, dict) else type(found).__name__
        raise _wrong(
            path.name,
            f'it must be {{"{METRICS}": {{NAME: NUMBER}}}}, {PER_ROW} with it or instead, and has {keys or "nothing"}',
        )
    if not isinstance(found.get(METRICS, {}), dict):
        raise _wrong(path.name, f"{METRICS} must be an object of names and numbers")
    return found


def _content(path: Path, most: int) -> bytes:
    with _opened(path, most) as file:
        return bytes(file.read())


def _opened(path: Path, most: int) -> Any:
    try:
        descriptor = os.open(path, _OPEN_FLAGS)
    except FileNotFoundError:
        raise _wrong(
            path.name, f"the scorer did not write it; it must be in {path.parent} when the scorer ends"
        ) from None
    except OSError as error:
        raise _wrong(
            path.name, f"it cannot be opened ({error.strerror}); write a plain file that others may read"
        ) from None
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode) or about.st_size > most:
        os.close(descriptor)
        if stat.S_ISREG(about.st_mode):
            raise _wrong(
                path.name, f"it has {about.st_size} bytes, and may have {most}; give scores only, not the rows"
            )
        raise _wrong(path.name, "it is no plain file; write one")
    return os.fdopen(descriptor, "rb")


def _single(file: str, metric: str, value: Any) -> Number:
    for name, one in value.items() if isinstance(value, dict) else [(metric, value)]:
        if isinstance(one, bool) or not isinstance(one, int | float):
            where = metric if name == metric else f"{metric}.{named(name)}"
            raise _wrong(
                file, f"{where} is {_shown(one)}; write a number, a list of one per row, or value, low and high"
            )
    return number_of(value, metric, FIELD)


def _listed(file: str, metric: str, values: list[Any], rows: int) -> Floats:
    if len(values) != rows:
        raise _wrong(
            file, f"{metric} has {len(values)} entries, and there are {rows} rows; give one per row, null for none"
        )
    bad = next(
        (i for i, v in enumerate(values) if v is not None and (isinstance(v, bool) or not isinstance(v, int | float))),
        None,
    )
    if bad is not None:
        raise _wrong(file, f"{metric} is {_shown(values[bad])} in row {bad}; write a number, or null for none")
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _per_row(directory: Path, name: Any, metrics: Sequence[str], rows: int) -> dict[str, Floats]:
    """The columns of the file that are metrics of the suite."""
    if not isinstance(name, str) or _FILE_NAME.fullmatch(name) is None:
        raise _wrong(PER_ROW, f"it is {_shown(name)}; name a file beside scores.json, without a directory")
    with _opened(directory / name, MAX_ROWS_BYTES) as file:
        try:
            table = _table(file, name, metrics, rows)
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, ScoringError):
                raise
            raise _wrong(name, f"it cannot be read: {str(error)[:200]}") from None
    if table.num_rows != rows:
        raise _wrong(name, f"it has {table.num_rows} rows, and there are {rows}; write one for each, in their order")
    return {column: _floats(name, column, table[column]) for column in table.column_names}


def _table(file: Any, name: str, metrics: Sequence[str], rows: int) -> pa.Table:
    if name.endswith(".csv"):
        found = csv.read_csv(file)
        wanted = _wanted(name, found.schema, metrics)
        return found.select(wanted)
    if not name.endswith(".parquet"):
        raise _wrong(name, "its name must end in .parquet or .csv")
    source = parquet.ParquetFile(file)
    if source.metadata.num_rows != rows:  # before anything is unpacked
        raise _wrong(
            name, f"it has {source.metadata.num_rows} rows, and there are {rows}; write one for each, in their order"
        )
    return source.read(columns=_wanted(name, source.schema_arrow, metrics))


def _wanted(name: str, schema: pa.Schema, metrics: Sequence[str]) -> list[str]:
    """The columns that are metrics. Others are left alone: what a harness adds for people does no harm."""
    wanted = [column for column in dict.fromkeys(schema.names) if column in metrics]
    for column in wanted:
        if schema.names.count(column) > 1:
            raise _wrong(name, f"it has {schema.names.count(column)} columns {column}; write one")
        type_ = schema.field(column).type
        if not (is_number(type_) or pa.types.is_null(type_)):
            raise _wrong(name, f"column {column} is {type_}; write numbers, and nothing where there is none")
    return wanted


def _floats(name: str, column: str, values: pa.ChunkedArray) -> Floats:
    scores: Floats = plain(values).cast(pa.float64()).to_numpy()
    infinite = np.isinf(scores)
    if infinite.any():
        raise _wrong(
            name, f"{column} is infinite in row {int(np.argmax(infinite))}; leave it empty where there is none"
        )
    return scores


def _shown(value: Any) -> str:
    return named(json.dumps(value)) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"


def _wrong(file: str, message: str) -> ScoringError:
    return ScoringError(FIELD, f"{file}: {message}")
