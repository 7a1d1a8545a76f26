"""A column of each of Arrow's types, in each place where a suite names a column: it is read, or refused by name."""

from __future__ import annotations

import contextlib
import decimal
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from throughline.api.evaluationsuite import EvaluationSuiteSpec
from throughline.evaluator import rows, tensors
from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.quality.report import check_quality
from throughline.evaluator.scoring import score
from throughline.evaluator.scoring.slices import partition
from throughline.evaluator.storage import plain
from throughline.evaluator.texts import encode, keys, texts

from tests.evaluator.suites import suite
from tests.evaluator.sums import ROWS, run, write_case, write_suite

if TYPE_CHECKING:
    from pathlib import Path

ID = uuid.UUID("6f1c1b0e-0f53-4e2b-8a55-0d3b6a0f7c11")
HALF = decimal.Decimal("1.5")
# Arrow's own two intervals, which its Python library can neither make nor read.
UNMADE = {pa.lib.Type_INTERVAL_MONTHS, pa.lib.Type_INTERVAL_DAY_TIME}


def times(type_: pa.DataType, count: int) -> pa.Array:
    return pa.array([count, None], pa.int32() if type_.bit_width == 32 else pa.int64()).cast(type_)


def under(type_: Any, storage: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(type_, storage)


class Metres(pa.ExtensionType):
    """A type of somebody's own."""

    def __init__(self) -> None:
        super().__init__(pa.float64(), "tests.metres")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, _storage: pa.DataType, _serialized: bytes) -> Metres:
        return cls()


INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
TEXTS = [pa.string(), pa.large_string(), pa.string_view()]
BYTES = [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(2)]
LISTS = [pa.list_(pa.int64()), pa.large_list(pa.int64()), pa.list_view(pa.int64()), pa.large_list_view(pa.int64())]
DECIMALS = [pa.decimal32(5, 1), pa.decimal64(9, 1), pa.decimal128(9, 1), pa.decimal256(40, 1)]
DAYS = 86_400_000
TIMES = {
    "date32": (pa.date32(), 1), "date64": (pa.date64(), DAYS), "time32": (pa.time32("s"), 1),
    "time64": (pa.time64("us"), 1), "nanoseconds of a day": (pa.time64("ns"), 1), "time": (pa.timestamp("us"), 1),
    "nanoseconds": (pa.timestamp("ns"), 1), "zone": (pa.timestamp("us", "Europe/Dublin"), 1),
    "no such zone": (pa.timestamp("us", "Mars/X"), 1), "beyond the calendar": (pa.timestamp("s"), 2**50),
    "duration": (pa.duration("us"), 1), "duration ns": (pa.duration("ns"), 1),
}  # fmt: skip
PLAIN: dict[str, pa.Array] = {
    "null": pa.nulls(2), "bool": pa.array([True, None]),
    **{str(t): pa.array([1, None], t) for t in INTEGERS},
    **{str(t): pa.array([1.5, None], t) for t in (pa.float16(), pa.float32(), pa.float64())},
    **{str(t): pa.array([HALF, None], t) for t in DECIMALS},
    **{str(t): pa.array(["ab", None], t) for t in TEXTS},
    **{str(t): pa.array([b"ab", None], t) for t in BYTES},
    **{name: times(type_, count) for name, (type_, count) in TIMES.items()},
    "interval": pa.array([pa.MonthDayNano([1, 1, 1]), None]),
    **{str(t): pa.array([[1], None], t) for t in LISTS},
    "fixed-size list": pa.array([[1], None], pa.list_(pa.int64(), 1)),
    "struct": pa.array([{"a": 1}, None]), "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
    "sparse union": pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [pa.array([1, None])]),
    "dense union": pa.UnionArray.from_dense(
        pa.array([0, 0], pa.int8()), pa.array([0, 1], pa.int32()), [pa.array([1, None])]
    ),
    "uuid": under(pa.uuid(), pa.array([ID.bytes, None], pa.binary(16))),
    "json": under(pa.json_(), pa.array(['"a"', None])), "bool8": under(pa.bool8(), pa.array([1, None], pa.int8())),
    "opaque": under(pa.opaque(pa.int64(), "a", "b"), pa.array([1, None])),
    "tensor": under(pa.fixed_shape_tensor(pa.int64(), [1]), pa.array([[1], None], pa.list_(pa.int64(), 1))),
    "one's own": under(Metres(), pa.array([1.5, None])),
}  # fmt: skip


def encoded(name: str, array: pa.Array) -> dict[str, pa.Array]:
    found = {name: array}
    if not pa.types.is_null(array.type):
        found[f"dictionary of {name}"] = pa.DictionaryArray.from_arrays(pa.array([0, None]), array)
    ends = pa.array([1, 2], pa.int32())
    with contextlib.suppress(pa.ArrowException):  # not each can be made
        found[f"run-end encoded {name}"] = pa.RunEndEncodedArray.from_arrays(ends, array)
    return found


EVERY = {name: array for one, made in PLAIN.items() for name, array in encoded(one, made).items()}


def test_no_type_of_arrow_is_left_out() -> None:
    made = {array.type.id for array in EVERY.values()}
    known = {getattr(pa.lib, name) for name in dir(pa.lib) if name.startswith("Type_")}
    assert known - made == UNMADE


def whole(array: pa.Array) -> pa.Array:
    """Both rows with the first value: neither a label nor a group may be missing."""
    try:
        return pa.concat_arrays([array.slice(0, 1)] * 2)
    except pa.ArrowException:
        return array.slice(0, 1)


def in_role(role: str, values: Any) -> Any:
    """What the evaluator does with a column `odd` in that role."""
    wire: dict[str, Any] = suite(["x"], ["1.5", "ab"], "y", intervals={"resamples": 100}).to_wire()
    with_missing = role in ("id", "slice", "quality", "rule") or role.startswith("expression")
    array = values if with_missing else whole(values)
    table = pa.table({"x": [1.0, 2.0][: len(array)], "y": ["ab", "1.5"][: len(array)], "odd": array})
    output: Any = np.array([[1, 0], [0, 1]], dtype=np.float32)[: len(array)]
    match role:
        case "label":
            wire["dataset"]["labelColumn"] = "odd"
        case "id":
            wire["dataset"]["idColumn"] = "odd"
        case "group" | "relevance":
            wire["task"] = {"type": "Ranking", "groupColumn": "odd" if role == "group" else "x"}
            wire["dataset"]["labelColumn"] = "x" if role == "group" else "odd"
            wire |= {"output": {"tensor": "s", "kind": "Score"}, "metrics": [{"name": "ndcgAtK"}]}
            output = output[:, 0]
        case "slice":
            wire["slices"] = [{"name": "s", "column": "odd"}]
        case "quality":
            wire["quality"] = {"duplicates": {"ceiling": "1"}}
            wire["inputs"][0]["columns"] = ["odd"]
        case "rule":
            wire["quality"] = {"columns": [{"name": "odd", "type": "Text", "values": ["ab"]}]}
        case _ if role.startswith("expression"):
            wire["slices"] = [{"name": "s", "expression": role.removeprefix("expression ")}]
        case datatype:
            wire["inputs"] = [{"tensor": "x", "columns": ["odd"], "datatype": datatype}]
    return EvaluationSuiteSpec.model_validate(wire), table, output


EXPRESSIONS = [f"expression {one}" for one in ("odd == 'ab'", "odd > 1", "odd is None", "odd + 1 > 2", "not odd")]
ROLES = ["label", "id", "group", "relevance", "slice", "quality", "rule", "FP32", "BF16", "INT64", "BOOL", "BYTES"]


@pytest.mark.parametrize("role", [*ROLES, *EXPRESSIONS])
def test_a_column_of_each_type_is_read_or_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    outcomes, wrong = {}, []
    path = tmp_path / "rows.arrow"
    path.write_bytes(b"as Arrow has it")  # which cannot write each of the types down
    for name, array in EVERY.items():
        spec, table, output = in_role(role, array)
        monkeypatch.setattr(rows, "_read", lambda *_, given=table: (given.to_batches(), given.schema))
        try:
            read = rows.read(spec, str(path), scratch=tmp_path).table
            if spec.quality is not None:
                check_quality(spec, read)
            partition(spec.slices, read)
            if role == "id":
                keys(read["odd"], "column odd")
            tensors.build(spec.inputs, read)
            if role in ("label", "group", "relevance"):
                score(spec, read, output)
            outcomes[name] = "read"
        except EvaluationInputError as error:
            outcomes[name] = "refused"
            if "odd" not in str(error) and "spec.dataset.labelColumn: " not in str(error):
                wrong.append(f"{name}: {error}")
        except Exception as error:  # noqa: BLE001 - which is what must not be
            wrong.append(f"{name}: {type(error).__name__}: {error}")
    assert wrong == []
    assert "read" in outcomes.values()


def column(name: str) -> pa.ChunkedArray:
    return pa.chunked_array([EVERY[name]])


@pytest.mark.parametrize("how", ["", "dictionary of ", "run-end encoded "])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("uuid", str(ID)), ("json", '"a"'), ("bool8", "true"), ("opaque", "1"), ("one's own", "1.5"),
        ("decimal32(5, 1)", "1.5"), ("decimal64(9, 1)", "1.5"), ("string_view", "ab"), ("binary_view", "ab"),
        ("halffloat", "1.5"), ("date32", "1970-01-02"),
    ],
)  # fmt: skip
def test_what_is_wrapped_has_the_text_of_what_it_holds(name: str, text: str, how: str) -> None:
    if how + name in EVERY:
        assert texts(column(how + name), "odd") == [text, None]


def test_runs_of_a_part_of_a_column() -> None:
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3, 7], pa.int32()), pa.array(["a", None, "b"]))
    assert plain(pa.chunked_array([runs.slice(1, 4), runs.slice(6)])).to_pylist() == ["a", None, "b", "b", "b"]
    assert plain(pa.chunked_array([], pa.uuid())).type == pa.string()


def test_a_zone_that_nobody_knows_is_named() -> None:
    with pytest.raises(EvaluationInputError, match=r"odd is timestamp\[us, tz=Mars/X\] and has a value that cannot be"):
        encode(column("no such zone"), "odd")


def test_uuids_of_a_parquet_file_are_slices_by_their_text(tmp_path: Path) -> None:
    write_case(tmp_path)
    table = parquet.read_table(tmp_path / "rows.parquet")
    ids = under(pa.uuid(), pa.array([ID.bytes] * ROWS, pa.binary(16)))
    parquet.write_table(table.append_column("tenant", ids), tmp_path / "rows.parquet", store_schema=False)
    write_suite(tmp_path, slices=[{"name": "tenant", "column": "tenant"}])
    assert run(tmp_path) == 0
    assert str(ID) in (tmp_path / "out/result.json").read_text()
