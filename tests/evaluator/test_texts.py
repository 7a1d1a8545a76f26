"""Ids, keys, groups, slices and classes are text, with one spelling whatever source they come from."""

from __future__ import annotations

import decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from throughline.api.evaluationsuite import EvaluationSuiteSpec, Input
from throughline.evaluator import cli, columntypes, rows, tensors
from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.quality.report import check_quality
from throughline.evaluator.scoring import score
from throughline.evaluator.scoring.slices import partition
from throughline.evaluator.texts import Classes, encode, keys, text_of, texts

from tests.evaluator.fake_triton import COLUMNS
from tests.evaluator.suites import suite
from tests.evaluator.sums import run, write_case, write_suite

if TYPE_CHECKING:
    from pathlib import Path

AS_WRITTEN = [
    ["00042", "42"], ["12345678901234567890", "12345678901234567891"], ["+4930123456", "+4930123457"],
    ["1e5", "100000"], ["true", "True"], ["2025-11-01", "2025-11-02"],
]  # fmt: skip
SLICED = {"slices": [{"name": "zip", "column": "zip"}], "metrics": [{"name": "accuracy"}]}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"), (np.bool_(False), "false"), (3, "3"), (3.0, "3"), (np.float32(0.1), "0.1"), (0.1, "0.1"),
        (np.int64(2**63 - 1), "9223372036854775807"), (decimal.Decimal("7.00"), "7"), (b"caf\xc3\xa9", "café"),
        ("00042", "00042"), (b"\xff", "\\xff"), (1e16, "10000000000000000"), (1e300, "1e+300"),
    ],
)  # fmt: skip
def test_the_text_of_a_value(value: Any, text: str) -> None:
    assert text_of(value) == text


def test_a_half_or_single_precision_number_has_the_text_of_its_own_precision() -> None:
    for type_ in (pa.float16(), pa.float32(), pa.float64()):
        column = pa.chunked_array([pa.array(np.array([0.5, 2, np.nan], dtype=type_.to_pandas_dtype()), type_)])
        assert texts(column, "x") == ["0.5", "2", None]
    assert texts(pa.chunked_array([pa.array([0.1], pa.float32())]), "x") == ["0.1"]


def read(tmp_path: Path, text: str, spec: EvaluationSuiteSpec) -> pa.Table:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    return rows.read(spec, str(path), scratch=tmp_path).table


@pytest.mark.parametrize("written", AS_WRITTEN, ids=[one[0] for one in AS_WRITTEN])
def test_ids_and_slices_of_a_csv_file_are_as_written(tmp_path: Path, written: list[str]) -> None:
    wire = suite(["x"], ["0", "1"], "y", **SLICED).to_wire()
    wire["dataset"]["idColumn"] = "id"
    lines = "".join(f"{i},{one},{one},0\n" for i, one in enumerate(written))
    table = read(tmp_path, f"x,id,zip,y\n{lines}", EvaluationSuiteSpec.model_validate(wire))
    assert table["id"].to_pylist() == written
    assert table["zip"].to_pylist() == written
    (part,) = partition(EvaluationSuiteSpec.model_validate(wire).slices, table)
    assert sorted(part.values) == sorted(written), "no two ids become one"


def test_the_groups_of_a_ranking_are_text(tmp_path: Path) -> None:
    wire = suite(["x"], ["0", "1"], "y").to_wire()
    wire["task"] = {"type": "Ranking", "groupColumn": "query"}
    wire |= {"output": {"tensor": "s", "kind": "Score"}, "metrics": [{"name": "ndcgAtK"}], "minimumSliceSize": 1}
    spec = EvaluationSuiteSpec.model_validate(wire)
    table = read(tmp_path, "x,query,y\n1,01,1\n2,01,0\n3,1,0\n4,1,1\n", spec)
    assert score(spec, table, np.array([2.0, 1.0, 2.0, 1.0], dtype=np.float32)).groups == 2


def test_an_empty_cell_of_a_key_is_missing_and_of_a_text_input_is_an_empty_text(tmp_path: Path) -> None:
    wire = suite(["x"], ["0", "1"], "y", **SLICED).to_wire()
    wire["inputs"].append({"tensor": "t", "columns": ["words"], "datatype": "BYTES"})
    spec = EvaluationSuiteSpec.model_validate(wire)
    table = read(tmp_path, "x,zip,words,y\n1,,12,0\n2,007,,1\n", spec)
    assert table["zip"].to_pylist() == [None, "007"]
    assert tensors.build(spec.inputs, table)["t"].tolist() == [[b"12"], [b""]], "digits are text here, too"


@pytest.mark.parametrize(
    ("expression", "column"),
    [("zip == '00042'", ["00042", "42"]), ("zip < 50", [42, 42]), ("zip in ('42', 'x')", ["00042", "42"])],
)
def test_an_expression_says_whether_a_column_is_text(tmp_path: Path, expression: str, column: list[Any]) -> None:
    spec = suite(["x"], ["0", "1"], "y", slices=[{"name": "s", "expression": expression}])
    table = read(tmp_path, "x,zip,y\n1,00042,0\n2,42,1\n", spec)
    assert table["zip"].to_pylist() == column


def test_a_column_of_which_the_suite_says_that_it_is_a_number_is_one(tmp_path: Path) -> None:
    spec = suite(["x"], ["0", "1"], "y", slices=[{"name": "x", "column": "x"}])
    assert read(tmp_path, "x,y\n01,0\n2,1\n", spec)["x"].to_pylist() == [1, 2]
    rule = {"columns": [{"name": "code", "type": "Text"}, {"name": "n", "type": "Integer"}]}
    spec = suite(["x"], ["0", "1"], "y", quality=rule, slices=[{"name": "n", "column": "n"}])
    table = read(tmp_path, "x,code,n,y\n1,007,1,0\n2,008,2,1\n", spec)
    assert (table["code"].to_pylist(), table["n"].to_pylist()) == (["007", "008"], [1, 2])
    assert check_quality(spec, table).outcome == "Passed"


def test_integers_that_floating_point_does_not_hold_are_refused_by_column() -> None:
    for datatype in ("FP32", "FP64"):
        table = pa.table({"ok": [1], "serial": pa.array([2**53 + 1], pa.int64())})
        given = Input.model_validate({"tensor": "x", "columns": ["ok", "serial"], "datatype": datatype})
        with pytest.raises(
            EvaluationInputError, match=r"column 'serial' \(spec.inputs\[x\]\) is int64 and has integers"
        ):
            tensors.build([given], table)


NESTED = {
    "list": pa.array([[1]] * 400, pa.list_(pa.int64())),
    "struct": pa.array([{"a": 1}] * 400, pa.struct([("a", pa.int64())])),
    "map": pa.array([[("a", 1)]] * 400, pa.map_(pa.string(), pa.int64())),
}


@pytest.mark.parametrize("kind", NESTED)
@pytest.mark.parametrize("use", ["label", "slice", "id", "input", "expression"])
def test_a_list_or_struct_is_unusable_input_by_its_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, use: str
) -> None:
    write_case(tmp_path)
    table = parquet.read_table(tmp_path / "rows.parquet").append_column("odd", NESTED[kind])
    source = {"pvc": {"claimName": "c", "path": "rows.parquet"}}
    inputs = [f"x{i}" for i in range(COLUMNS)]
    if use == "label":
        table = table.drop_columns(["label"]).rename_columns(
            [*table.drop_columns(["label", "odd"]).column_names, "label"]
        )
    if use == "input":
        inputs[0] = "odd"
    parquet.write_table(table, tmp_path / "rows.parquet")
    more: dict[str, Any] = {"inputs": [{"tensor": "X", "columns": inputs, "datatype": "FP32"}]}
    if use == "slice":
        more["slices"] = [{"name": "s", "column": "odd"}]
    if use == "expression":
        more["slices"] = [{"name": "s", "expression": "odd == 1"}]
    if use == "id":
        governance = suite(["a"], ["0", "1"], "y").dataset.governance.to_wire()
        more["dataset"] = {"source": source, "labelColumn": "label", "idColumn": "odd", "governance": governance}
    write_suite(tmp_path, **more)
    assert run(tmp_path) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert ("label" if use == "label" else "odd") in err


@pytest.mark.parametrize("classes", [["false", "true"], ["False", "True"], ["0", "1"]])
@pytest.mark.parametrize(
    "labels",
    [
        pa.array([False, True, True]), pa.array(["False", "True", "True"]), pa.array(["false", "TRUE", "true"]),
        pa.array([0, 1, 1]), pa.array([0.0, 1.0, 1.0]), pa.array(["0", "1", "1"]),
    ],
    ids=["bool", "python", "json", "int", "float", "digits"],
)  # fmt: skip
def test_a_boolean_label_has_one_meaning_in_each_spelling(classes: list[str], labels: pa.Array) -> None:
    spec = suite(["x"], classes, "y", quality={"labelBalance": {"floor": "0.3"}}, minimumSliceSize=1)
    table = pa.table({"x": [1.0, 2.0, 3.0], "y": labels})
    output = np.array([[1, 0], [0, 1], [0, 1]], dtype=np.float32)
    assert score(spec, table, output).metrics[0].value == 1.0
    said = suite(["x"], classes, "y", output={"tensor": "c", "kind": "Label"}, minimumSliceSize=1)
    for answers in (
        np.array([False, True, True]),
        np.array([0, 1, 1]),
        np.array([b"False", b"True", b"True"], dtype=object),
    ):
        assert score(said, table, answers).metrics[0].value == 1.0
    assert {one.outcome for one in check_quality(spec, table).findings if one.check == "LabelBalance"} == {"Passed"}


def test_classes_that_are_no_booleans_are_taken_as_they_are() -> None:
    assert Classes(["0", "1", "2"]).places(["1", "true", "2"]) == [1, None, 2]
    assert Classes(["no", "yes"]).places(["true", "yes"]) == [None, 1]
    assert Classes(["1", "0"]).places(["1", "True", "false"]) == [0, 0, 1]


@pytest.mark.parametrize("classes", [["0", "1"], ["2", "0", "1"], ["false", "true"], ["-1", "0", "1"]])
def test_a_whole_number_names_the_same_class_in_csv_and_parquet(tmp_path: Path, classes: list[str]) -> None:
    """pandas writes 1.0 for an integer column that had a gap."""
    spec = suite(["x"], classes, "y")
    (tmp_path / "rows.csv").write_text("x,y\n1,1.0\n2,0.0\n3,-0.0\n")
    parquet.write_table(pa.table({"x": [1.0, 2.0, 3.0], "y": [1.0, 0.0, -0.0]}), tmp_path / "rows.parquet")
    one, zero = (Classes(classes).place(name) for name in ("1", "0"))
    for name in ("rows.csv", "rows.parquet"):
        table = rows.read(spec, str(tmp_path / name), scratch=tmp_path).table
        assert Classes(classes).places(str(text) for text in texts(table["y"], "y")) == [one, zero, zero]


def test_a_number_names_no_class_that_is_text() -> None:
    assert Classes(["1", "other"]).place("1.0") is None
    assert Classes(["01", "1"]).place("1.0") is None
    assert Classes(["1", "2"]).places(["1.5", "01.0", "1.", " 1.0", "1e0"]) == [None] * 5
    assert Classes(["1.0", "2.0"]).place("1.0") == 0


def test_ids_as_floating_point_numbers_are_refused_where_two_become_one() -> None:
    whole = pa.chunked_array([pa.array([42.0, None])])
    assert keys(whole, "idColumn id") == ["42", None]
    with pytest.raises(EvaluationInputError, match="idColumn id is double and has numbers of 9007199254740992 or more"):
        keys(pa.chunked_array([pa.array([2.0**53 + 2])]), "idColumn id")


def test_a_column_without_a_type_or_a_value_is_missing_everywhere() -> None:
    assert encode(pa.chunked_array([pa.nulls(2)]), "x")[1].tolist() == [-1, -1]


def test_training_rows_are_the_same_rows_in_csv_and_parquet(tmp_path: Path) -> None:
    spec = suite(["x"], ["0", "1"], "y", slices=[{"name": "s", "column": "s"}])
    csv.write_csv(pa.table({"x": [1.0, 2.5], "s": ["01", "1"], "y": ["0", "1"]}), tmp_path / "rows.csv")
    found = rows.load(
        spec.dataset, str(tmp_path / "rows.csv"), spec.task.type, scratch=tmp_path,
        text_columns=columntypes.of_suite(spec),
    )  # fmt: skip
    assert found.table["s"].to_pylist() == ["01", "1"]


def test_help_needs_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "70 a fault of this program" in " ".join(capsys.readouterr().out.split())
