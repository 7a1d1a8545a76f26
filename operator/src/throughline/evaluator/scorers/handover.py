"""What a scorer's container is given, in one directory (docs/scorers.md), and what the verdict needs beside that.

request.json is written last: where it is, everything is. evaluation.json is not the scorer's business; nothing in this
directory can be written by a scorer in a pod, so what is read back is what was written.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from pydantic import ValidationError

from throughline.api.dataquality import QualityReport
from throughline.api.evaluationtask import PredictionsFormat
from throughline.evaluator.errors import EvaluationInputError, NotEvaluatedError
from throughline.evaluator.report.files import as_json, replace
from throughline.evaluator.storage import values
from throughline.lineage import canonical
from throughline.lineage.digest import FileDigest, Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from throughline.api.evaluationsuite import EvaluationSuiteSpec
    from throughline.evaluator.rows import Rows
    from throughline.evaluator.suitefile import Suite

FORMAT = "throughline.io/predictions/v1"
REQUEST, FACTS = "request.json", "evaluation.json"
PARQUET, JSON_LINES, SCORES = "predictions.parquet", "predictions.jsonl", "scores.json"
COLUMN = "prediction"
AGAIN = "write the predictions anew with --predictions-out"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the verdict tells beside the scores."""

    suite_digest: str
    dataset_digest: str
    dataset_size_bytes: int
    model: str
    model_digest: str | None
    quality: QualityReport | None
    files: Manifest | None  # of the model
    statistics: Mapping[str, Any]
    batch_rows: int | None = None  # these two are not in what 0.1.0 wrote
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Handed:
    """What was handed over, read back."""

    facts: Facts
    table: pa.Table  # the rows, and the predictions as their last column


def write(directory: Path, suite: Suite, rows: Rows, output: np.ndarray[Any, Any], facts: Facts) -> None:
    """Everything for the scorer of the suite.

    Raises:
        EvaluationInputError: the rows cannot be written as Parquet.
        NotEvaluatedError: the directory cannot be written.
    """
    spec = suite.spec
    name = COLUMN
    while name in rows.table.column_names:
        name += "_"
    twice = next((c for c in rows.table.column_names if rows.table.column_names.count(c) > 1), None)
    if twice is not None:
        raise EvaluationInputError(f"{rows.name} has two columns {twice!r}; rename one, so that a scorer can tell them")
    table = rows.table.append_column(name, _column(output))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / REQUEST).unlink(missing_ok=True)
        parquet.write_table(table, directory / PARQUET)
        names = [PARQUET]
        if spec.task.scorer is not None and spec.task.scorer.format is PredictionsFormat.JSON_LINES:
            _write_lines(table, directory / JSON_LINES)
            names.append(JSON_LINES)
        wire = {
            **asdict(facts),
            "quality": None if facts.quality is None else facts.quality.to_wire(),
            "files": None if facts.files is None else facts.files.to_wire()["files"],
            "predictions": _digest(directory / PARQUET),
        }
        replace(directory / FACTS, as_json(wire))
        replace(directory / REQUEST, as_json(_request(suite.name, spec, table, output, names)))
    except (pa.ArrowException, TypeError) as error:
        raise EvaluationInputError(
            f"{rows.name} cannot be handed to the scorer as Parquet: {error}; take out the column, or convert it"
        ) from error
    except OSError as error:
        raise NotEvaluatedError(
            f"{directory} cannot be written: {error.strerror}; name another --predictions-out"
        ) from error


def _request(
    name: str, spec: EvaluationSuiteSpec, table: pa.Table, output: np.ndarray[Any, Any], files: Sequence[str]
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "suite": name,
        "rows": table.num_rows,
        "files": list(files),
        "columns": [{"name": field.name, "type": str(field.type)} for field in table.schema],
        "prediction": {
            "column": table.column_names[-1],
            "tensor": spec.output.tensor,
            "kind": str(spec.output.kind),
            "shape": list(output.shape[1:]),
        },
        "labelColumn": spec.dataset.label_column,
        "idColumn": spec.dataset.id_column,
        "metrics": list(spec.metric_names()),
        "confidencePercent": spec.intervals.confidence_percent,
        "parameters": dict(spec.task.parameters),
        "scores": SCORES,
    }


def _column(output: np.ndarray[Any, Any]) -> pa.Array:
    """One value per row as it is, several as a list."""
    flat = np.ascontiguousarray(output).reshape(-1)
    if flat.dtype == np.object_:
        try:
            values = pa.array([value.decode() for value in flat], pa.string())
        except UnicodeDecodeError:
            values = pa.array(flat.tolist(), pa.binary())
    else:
        values = pa.array(flat.astype(np.float32) if flat.dtype == np.float16 else flat)
    each = output.size // len(output)
    return values if each == 1 else pa.FixedSizeListArray.from_arrays(values, each)


def _write_lines(table: pa.Table, path: Path) -> None:
    part, names = path.with_name(f".{path.name}.part"), table.column_names
    with part.open("w", encoding="utf-8") as file:
        for batch in table.to_batches(1024):
            columns = [values(column, f"column {name!r}") for name, column in zip(names, batch.columns, strict=True)]
            rows = (dict(zip(names, map(_plain, row), strict=True)) for row in zip(*columns, strict=True))
            file.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    part.replace(path)


def _plain(value: Any) -> Any:
    """As JSON has it: what is no number is null, what JSON has no form for is text."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="backslashreplace")
    return value if value is None or isinstance(value, str | int) else str(value)


def read(directory: Path, suite: Suite) -> Handed:
    """What was written for this very suite.

    Raises:
        EvaluationInputError: it is not whole, or is for another suite.
    """
    try:
        json.loads((directory / REQUEST).read_text(encoding="utf-8"))
        wire = json.loads((directory / FACTS).read_text(encoding="utf-8"))
        if wire.pop("predictions") != _digest(directory / PARQUET):
            raise EvaluationInputError(f"--predictions {directory}: {PARQUET} was changed; {AGAIN}")
        quality, files = wire.pop("quality"), wire.pop("files")
        facts = Facts(
            **wire,
            quality=None if quality is None else QualityReport.model_validate(quality),
            files=None if files is None else _manifest(files),
        )
        table = parquet.read_table(directory / PARQUET)
    except OSError as error:
        where = error.filename or directory
        raise EvaluationInputError(f"--predictions {where}: {error.strerror or error}; {AGAIN}") from error
    except (ValueError, TypeError, KeyError, AttributeError, ValidationError, pa.ArrowException) as error:
        if isinstance(error, EvaluationInputError):
            raise
        raise EvaluationInputError(
            f"--predictions {directory} is not what was written there: {error}; {AGAIN}"
        ) from error
    if facts.suite_digest != suite.digest:
        raise EvaluationInputError(
            f"--predictions {directory} is of a suite with digest {facts.suite_digest}, and --suite has "
            f"{suite.digest}; {AGAIN}"
        )
    return Handed(facts, table)


def _manifest(files: Mapping[str, Any]) -> Manifest:
    return Manifest({path: FileDigest(one["sha256"], one["sizeBytes"]) for path, one in files.items()})


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return canonical.PREFIX + hashlib.file_digest(file, "sha256").hexdigest()
