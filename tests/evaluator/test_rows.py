"""Data sets as they come: three formats, local and by URL, and everything that can be wrong with one."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, feather, ipc, parquet
from throughline.api.evaluationdataset import DatasetSource
from throughline.api.evaluationsuite import EvaluationSuiteSpec, Input
from throughline.evaluator import rows, source, tensors
from throughline.evaluator.errors import EvaluationInputError, NotEvaluatedError

from tests.evaluator.suites import suite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TABLE = pa.table({"age": [1, 2, 3], "income": [0.5, None, 2.5], "label": ["01", "1", "01"]})


def spec(**dataset: Any) -> EvaluationSuiteSpec:
    wire = suite(["age", "income"], ["01", "1"], "label").to_wire()
    wire["dataset"] |= dataset
    return EvaluationSuiteSpec.model_validate(wire)


def write(path: Path, table: pa.Table = TABLE) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
    elif path.suffix == ".csv":
        csv.write_csv(table, path)
    elif path.suffix == ".feather":
        feather.write_feather(table, path)
    else:
        with ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table)
    return path


@pytest.mark.parametrize("suffix", ["parquet", "csv", "feather", "arrows"])
def test_each_format_gives_the_rows_and_the_digest(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"rows.{suffix}")
    found = rows.read(spec(), str(path), scratch=tmp_path)
    assert found.table.to_pydict() == TABLE.to_pydict()
    assert found.digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_a_csv_whose_type_shows_late(tmp_path: Path) -> None:
    """Whole numbers for megabytes, then a fraction."""
    path = tmp_path / "rows.csv"
    path.write_text("age,income,label\n" + "1,1,1\n" * 400_000 + "1,1.5,01\n")
    table = rows.read(spec(), str(path), scratch=tmp_path).table
    assert table["income"][-1].as_py() == 1.5
    assert table["label"][-1].as_py() == "01"


def error(tmp_path: Path, path: Path | str, the_suite: EvaluationSuiteSpec | None = None) -> str:
    with pytest.raises(EvaluationInputError) as caught:
        rows.read(the_suite or spec(), str(path), scratch=tmp_path)
    return str(caught.value)


def test_an_absent_file_tells_what_is_there(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv")
    assert f"there is no such file ({tmp_path} has rows.csv)" in error(tmp_path, tmp_path / "row.csv")
    assert "nor the directory" in error(tmp_path, tmp_path / "no" / "rows.csv")
    assert "is a directory" in error(tmp_path, tmp_path)


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv"])
def test_an_unreadable_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    path.write_bytes(b"a,b\n1,2,3\n\xff\xfe" if suffix == "csv" else b"ARROW1 not really, and no footer" * 9)
    assert "is not readable as" in error(tmp_path, path)


def test_a_truncated_parquet_file(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    assert "is not readable as Parquet" in error(tmp_path, path)


def test_empty_in_three_ways(tmp_path: Path) -> None:
    nothing = tmp_path / "rows.csv"
    nothing.write_bytes(b"")
    assert "is empty (0 bytes)" in error(tmp_path, nothing)
    nothing.write_text("age,income,label\n")
    assert "has no rows" in error(tmp_path, nothing)
    assert "has no rows" in error(tmp_path, write(tmp_path / "rows.parquet", TABLE.slice(0, 0)))


def test_an_absent_column_is_named_with_what_it_may_be(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.parquet", TABLE.rename_columns(["Age", "incomes", "label"]))
    assert "has no column 'age', which spec.inputs[x].columns names; did you mean 'Age'?" in error(tmp_path, path)
    path = write(tmp_path / "rows.parquet", TABLE.select(["age", "income"]))
    assert "'label', which spec.dataset.labelColumn names; it has 'age', 'income'" in error(tmp_path, path)


def test_a_column_that_stands_twice(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("age,income,age,label\n1,2,3,1\n")
    assert "has 2 columns 'age'" in error(tmp_path, path)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_missing_label(tmp_path: Path, suffix: str) -> None:
    table = TABLE.set_column(2, "label", pa.array(["1", None, "01"]))
    assert "1 of 3 rows have no label (spec.dataset.labelColumn 'label'; the first is row 1" in error(
        tmp_path, write(tmp_path / f"rows.{suffix}", table)
    )


def test_another_content_than_that_of_the_digest(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv")
    right = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    rows.read(spec(digest=right), str(path), scratch=tmp_path)
    path.write_bytes(path.read_bytes() + b"4,4,1\n")
    assert f"but spec.dataset.digest is {right}" in error(tmp_path, path, spec(digest=right))


def test_a_file_that_changes_meanwhile(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv")
    with pytest.raises(EvaluationInputError, match="changed while it was read"):  # noqa: SIM117
        with source.opened(str(path), expected=None, scratch=tmp_path):
            path.write_bytes(path.read_bytes() + b"4,4,1\n")


def test_where_things_are_mounted(tmp_path: Path) -> None:
    pvc = DatasetSource.model_validate({"pvc": {"claimName": "c", "path": "a/rows.csv"}})
    config_map = DatasetSource.model_validate({"configMap": {"name": "c", "key": "rows.csv"}})
    assert source.locate(pvc, tmp_path) == str(tmp_path / "a/rows.csv")
    assert source.locate(config_map, tmp_path) == str(tmp_path / "rows.csv")


def test_a_store_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    assert error(tmp_path, "s3://b/rows.csv") == "s3:// needs the package s3fs; pip install s3fs"


@pytest.mark.parametrize("url", ["ftp://h/rows.csv", "zip::http://h/rows.zip", "github://o:r@/rows.csv"])
def test_other_protocols_are_refused(tmp_path: Path, url: str) -> None:
    assert "is not supported" in error(tmp_path, url)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            if "forbidden" in self.path or "broken" in self.path:
                self.send_error(403 if "forbidden" in self.path else 500)
            else:
                super().do_GET()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_url_is_fetched_and_nothing_is_left(tmp_path: Path, web: str) -> None:
    write(tmp_path / "rows.parquet")
    (tmp_path / "scratch").mkdir()
    found = rows.read(spec(), f"{web}/rows.parquet", scratch=tmp_path / "scratch")
    assert found.table.num_rows == 3
    assert list((tmp_path / "scratch").iterdir()) == []
    assert "there is no such file" in error(tmp_path, f"{web}/row.parquet")
    with pytest.raises(NotEvaluatedError, match="could not be fetched"):
        rows.read(spec(), f"{web}/broken.csv", scratch=tmp_path)
    with pytest.raises(NotEvaluatedError, match="could not be fetched"):
        rows.read(spec(), "http://127.0.0.1:9/rows.csv", scratch=tmp_path)


def tensor(datatype: str, *columns: str, **more: Any) -> Input:
    return Input.model_validate({"tensor": "x", "columns": list(columns), "datatype": datatype, **more})


def test_columns_side_by_side() -> None:
    built = tensors.build([tensor("FP32", "age", "income")], TABLE)["x"]
    assert (built.dtype, built.shape) == (np.float32, (3, 2))
    np.testing.assert_array_equal(built, np.array([[1, 0.5], [2, np.nan], [3, 2.5]], np.float32))
    assert tensors.build([tensor("INT64", "age", scalar=True)], TABLE)["x"].shape == (3,)
    assert tensors.build([tensor("INT8", "age")], TABLE)["x"].dtype == np.int8
    assert tensors.build([tensor("BYTES", "label")], TABLE)["x"].tolist() == [[b"01"], [b"1"], [b"01"]]


def test_a_column_of_the_right_type_is_not_copied() -> None:
    column = pa.array(np.arange(5, dtype=np.float32))
    built = tensors.build([tensor("FP32", "a")], pa.table({"a": column}))["x"]
    assert np.shares_memory(built, column.to_numpy(zero_copy_only=True))


@pytest.mark.parametrize("cell", ["-", "0,1", "10%", "0.1\0", "x" * 99 + "\x1b[2J"])
def test_the_first_value_that_is_no_number_is_named_with_its_row(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f'age,income,label\n1,NA,1\n2,0.5,01\n"{cell}",1,1\noh,1,1\n')
    table = rows.read(spec(), str(path), scratch=tmp_path).table
    with pytest.raises(EvaluationInputError) as caught:
        tensors.build([tensor("FP32", "income", "age")], table)
    said = str(caught.value)
    first = repr(cell) if len(cell) < 40 else f"'{'x' * 38}…"
    assert f"is string and cannot become FP32 (the first value that is no number is {first}, in row 3)" in said
    assert said.isprintable()


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz"])
def test_a_compressed_file_is_called_so(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b"age,income,label\n1,2,1\n"))
    assert f"{name} is a gzip file; unpack it" in error(tmp_path, tmp_path / name)


@pytest.mark.parametrize(
    ("datatype", "values", "said"),
    [
        ("FP32", ["a", "b"], "is string and cannot become FP32"),
        ("INT64", [1.0, None], "has 1 missing values, and INT64 has no NaN"),
        ("INT64", [1.0, 1.5], "has values that are no INT64"),
        ("UINT8", [1, 300], "has values that are no UINT8"),
        ("FP16", [1.0, 1e6], "1 values beyond the range of FP16"),
        ("FP32", [1.0, 1e300], "1 values beyond the range of FP32"),
        ("BYTES", [1, 2], "BYTES takes text or bytes"),
        ("BYTES", ["a", None], "has 1 missing texts"),
    ],
)
def test_what_cannot_become_the_tensor(datatype: str, values: list[Any], said: str) -> None:
    with pytest.raises(EvaluationInputError, match=said) as caught:
        tensors.build([tensor(datatype, "col")], pa.table({"col": values}))
    assert "column 'col' (spec.inputs[x])" in str(caught.value)
