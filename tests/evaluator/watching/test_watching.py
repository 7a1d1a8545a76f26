"""Looks at stored samples: one outcome, told as an evaluation tells it, and nothing judged twice."""

from __future__ import annotations

import base64
import gzip
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from throughline import exits
from throughline.api.driftresult import DriftResult
from throughline.domain.evaluation.attempt import RESULT_LINE, Words
from throughline.evaluator import job
from throughline.evaluator.sampling.rows import Keys
from throughline.evaluator.sampling.store import Store, batch_name
from throughline.evaluator.watching import cli

from tests.evaluator.sampling.written import GOVERNANCE, SALT, sampling

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = ["no", "yes"]
SOURCE = {"source": {"configMap": {"name": "rows", "key": "rows.parquet"}}, "governance": GOVERNANCE}


@dataclass
class Bed:
    """Samples, a baseline, labels, and the command over them."""

    root: Path
    log: Path
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))
    known: list[tuple[str, str]] = field(default_factory=list)  # (key, the model's answer) of every stored row

    def __post_init__(self) -> None:
        self.store = Store(self.root / "storage", retention_minutes=10_000, most_bytes=2**30)
        self.at = time.time() - 3600
        self.declared: dict[str, Any] = {
            "sampling": sampling(retentionMinutes=10_000).to_wire(),
            "drift": {"baseline": SOURCE, "policy": {"windowRows": 500, "minimumRows": 200}},
        }
        parquet.write_table(self.table(2000).append_column("never sampled", pa.array([0] * 2000)), self.root / "base")
        (self.root / "base").rename(self.root / "rows.parquet")

    def table(self, rows: int, shift: float = 0.0) -> pa.Table:
        age = self.rng.normal(40 + shift, 10, rows)
        yes = 1 / (1 + np.exp(-(age - 40) / 5))
        return pa.table(
            {
                "age": age,
                "P.0": 1 - yes,
                "P.1": yes,
                "truth": [CLASSES[int(one)] for one in self.rng.random(rows) < yes],
            }
        )

    def sample(self, rows: int, shift: float = 0.0) -> None:
        table = self.table(rows, shift).drop_columns(["truth"])
        keys = [f"k{len(self.known) + place}" for place in range(rows)]
        answers = [CLASSES[int(p > 0.5)] for p in table["P.1"].to_pylist()]
        self.known += list(zip(keys, answers, strict=True))
        fixed = {
            "sample.time": pa.array([datetime.fromtimestamp(self.at, UTC)] * rows, pa.timestamp("ms", tz="UTC")),
            "sample.key": [Keys(SALT).hashed(key) for key in keys],
            "sample.item": pa.array([0] * rows, pa.int32()),
        }
        self.store.write(batch_name(self.at, "pod"), pa.table({**fixed, **{n: table[n] for n in table.column_names}}))
        self.at += 60

    def look(self, *more: str) -> int:
        (self.root / "monitoring.json").write_text(json.dumps(self.declared))
        self.log.write_text("")
        return cli.main(
            [
                *("--monitoring", str(self.root / "monitoring.json"), "--storage", str(self.root / "storage")),
                *("--state", str(self.root / "state.json"), "--output", str(self.root / "out")),
                *("--data", str(self.root / "rows.parquet"), "--labels", str(self.root / "labels.csv"), *more),
            ]
        )

    def result(self) -> DriftResult:
        return DriftResult.model_validate_json((self.root / "out" / "result.json").read_bytes())

    def words(self) -> Words:
        found = Words.parse(self.log.read_text())
        assert found is not None
        return found


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    monkeypatch.setattr(job, "TERMINATION_LOG", tmp_path / "log")
    monkeypatch.setenv("THROUGHLINE_SALT", SALT.decode())
    return Bed(tmp_path, tmp_path / "log")


def test_a_window_like_the_baseline_passes_and_says_what_it_cannot_see(
    bed: Bed, capsys: pytest.CaptureFixture[str]
) -> None:
    bed.sample(600)
    assert bed.look("--job") == 0
    found, words = bed.result(), bed.words()
    assert (words.exit_code, words.outcome, words.rows) == (0, "Passed", 500)
    assert "concept drift" in words.message
    assert (len(found.windows), found.waiting_rows, found.left_out) == (1, 100, ["truth", "never sampled"])
    last = capsys.readouterr().out.splitlines()[-1]
    told = gzip.decompress(base64.b64decode(last.removeprefix(RESULT_LINE)))
    assert told == (bed.root / "out" / "result.json").read_bytes()
    assert words.result_digest is not None


def test_a_window_that_has_moved_fails(bed: Bed) -> None:
    bed.sample(500, shift=8)
    assert bed.look() == 1
    assert bed.words().outcome == "Failed"
    assert "age (KolmogorovSmirnov" in bed.words().message
    assert bed.look("--job") == 0


def test_the_newest_window_decides_and_none_is_judged_twice(bed: Bed) -> None:
    bed.sample(500, shift=8)
    bed.sample(700)
    assert bed.look() == 0
    assert [w.report.outcome for w in bed.result().windows] == ["Failed", "Passed"]
    assert "1 earlier window of this check had drifted" in bed.result().message
    bed.sample(200)
    assert bed.look() == 0
    assert (bed.result().windows, bed.result().waiting_rows) == ([], 400)
    assert "400 rows wait for a full window; the last one: no drift" in bed.result().message
    bed.sample(100, shift=30)
    assert bed.look() == 1
    (window,) = bed.result().windows
    assert window.report.window_rows == 500


def test_rows_that_go_before_they_are_judged_are_counted(bed: Bed) -> None:
    bed.sample(300)
    bed.look()
    assert bed.result().outcome == "Unknown"
    for path in bed.store.files():
        path.unlink()
    bed.sample(100)
    bed.look()
    assert (bed.result().lost_rows, bed.result().waiting_rows) == (300, 100)


def test_a_look_that_was_not_told_is_made_again(bed: Bed) -> None:
    bed.sample(500)
    with mock.patch.object(cli, "_save", side_effect=KeyboardInterrupt):
        assert bed.look() == exits.INTERRUPTED
    first = bed.result()
    assert bed.look() == 0
    assert bed.result() == first


def test_accuracy_is_estimated_where_the_baseline_has_labels(bed: Bed) -> None:
    bed.declared["drift"]["baseline"] = {**SOURCE, "labelColumn": "truth"}
    bed.declared["predictions"] = {"columns": ["P.0", "P.1"], "classes": CLASSES, "accuracyFloor": "0.99"}
    bed.sample(500)
    assert bed.look() == 1
    estimate = bed.result().accuracy
    assert estimate is not None
    assert (estimate.outcome, estimate.rows) == ("Failed", 500)
    assert estimate.value == pytest.approx(0.8, abs=0.05)
    tests = {finding.column for finding in bed.result().windows[0].report.findings}
    assert {"prediction.class", "prediction.confidence"} <= tests


def write_labels(bed: Bed, wrong: float) -> None:
    """A label for each stored row; a share of those since the last call differs from the model's answer."""
    path = bed.root / "labels.csv"
    before = path.read_text().splitlines() if path.exists() else ["customer,fraud"]
    for key, answer in bed.known[len(before) - 1 :]:
        truth = answer if bed.rng.random() >= wrong else CLASSES[1 - CLASSES.index(answer)]
        before.append(f"{key},{truth}")
    path.write_text("\n".join(before) + "\n")


def test_late_labels_see_what_the_features_do_not(bed: Bed) -> None:
    bed.declared["predictions"] = {"columns": ["P.0", "P.1"], "classes": CLASSES}
    bed.declared["labels"] = {
        "dataset": {**SOURCE, "idColumn": "customer", "labelColumn": "fraud", "format": "CSV"},
        "windowRows": 400,
    }
    bed.sample(1000)
    write_labels(bed, wrong=0.1)
    assert bed.look() == 0
    labels = bed.result().labels
    assert labels is not None
    assert (labels.joined, labels.unmatched, labels.unlabelled, len(labels.windows)) == (1000, 0, 0, 2)
    assert labels.windows[0].accuracy == pytest.approx(0.9, abs=0.05)
    assert "concept drift" not in bed.words().message
    bed.sample(1000)
    write_labels(bed, wrong=0.5)
    assert bed.look() == 1
    labels = bed.result().labels
    assert labels is not None
    assert (labels.joined, labels.windows[0].first, len(labels.windows)) == (1000, 800, 3)
    assert bed.words().message.startswith("the error rate rose from ")
    assert bed.result().windows[-1].report.outcome == "Passed"


IDS = [
    ["00042", "00043"], ["12345678901234567890", "12345678901234567891"], ["+4930123456", "+4930123457"],
    ["1e5", "2e5"], ["true", "false"], ["7.0", "8.0"], ["2025-11-01", "2025-11-02"], ["42", "x"],
]  # fmt: skip


def with_ids(bed: Bed, ids: list[str], said: pa.Array) -> None:
    """Stored samples of one request each, with the model's class in column C, and a check of their labels."""
    fixed = {
        "sample.time": pa.array([datetime.fromtimestamp(bed.at, UTC)] * len(ids), pa.timestamp("ms", tz="UTC")),
        "sample.key": [Keys(SALT).hashed(key) for key in ids],
        "sample.item": pa.array([0] * len(ids), pa.int32()),
    }
    bed.store.write(batch_name(bed.at, "pod"), pa.table({**fixed, "C": said}))
    bed.declared["predictions"] = {"columns": ["C"]}
    bed.declared["labels"] = {"dataset": {**SOURCE, "idColumn": "id", "labelColumn": "y", "format": "CSV"}}
    del bed.declared["drift"]


@pytest.mark.parametrize("ids", IDS, ids=[one[0] for one in IDS])
def test_late_labels_join_by_the_text_of_the_id(bed: Bed, ids: list[str]) -> None:
    """A column of which every cell reads as a number, a boolean or a date: CSV has no types."""
    with_ids(bed, ids, pa.array(["a"] * len(ids)))
    (bed.root / "labels.csv").write_text("id,y\n" + "".join(f"{one},a\n" for one in ids))
    assert bed.look() == 0, bed.words().message
    labels = bed.result().labels
    assert labels is not None
    assert (labels.joined, labels.unmatched, labels.repeated, labels.unlabelled) == (len(ids), 0, 0, 0)


@pytest.mark.parametrize("written", ["true", "True", "TRUE", "1"])
@pytest.mark.parametrize("said", [pa.array([True] * 60), pa.array([1] * 60), pa.array(["True"] * 60)])
def test_late_labels_of_booleans_are_right_in_each_spelling(bed: Bed, written: str, said: pa.Array) -> None:
    ids = [f"k{place}" for place in range(60)]
    with_ids(bed, ids, said)
    bed.declared["labels"]["windowRows"] = 60
    (bed.root / "labels.csv").write_text("id,y\n" + "".join(f"{one},{written}\n" for one in ids))
    assert bed.look() == 0, bed.words().message
    labels = bed.result().labels
    assert labels is not None
    assert labels.windows[0].accuracy == 1.0


def test_a_label_without_a_value_is_named_and_not_taken_for_an_error(bed: Bed) -> None:
    with_ids(bed, ["a", "b"], pa.array(["x", "x"]))
    (bed.root / "labels.csv").write_text("id,y\na,x\nb,\n")
    assert bed.look() == 2
    assert "labels.label: row 1 is null" in bed.words().message


def test_a_text_column_of_a_csv_baseline_is_compared_as_text(bed: Bed) -> None:
    """Sampled are texts of digits; CSV has no types."""
    codes = [f"{place % 4:03d}" for place in range(600)]
    bed.sample(0)
    fixed = {
        "sample.time": pa.array([datetime.fromtimestamp(bed.at, UTC)] * 600, pa.timestamp("ms", tz="UTC")),
        "sample.key": [Keys(SALT).hashed(str(place)) for place in range(600)],
        "sample.item": pa.array([0] * 600, pa.int32()),
    }
    bed.store.write(batch_name(bed.at, "pod"), pa.table({**fixed, "code": codes}))
    (bed.root / "rows.csv").write_text("code\n" + "\n".join(codes) + "\n")
    bed.declared["drift"]["baseline"] = SOURCE
    assert bed.look("--data", str(bed.root / "rows.csv")) == 0, bed.words().message
    (window,) = bed.result().windows
    assert {finding.test for finding in window.report.findings if finding.column == "code"} == {"ChiSquared"}


def test_the_share_held_out_is_compared(bed: Bed) -> None:
    bed.declared["predictions"] = {"columns": ["P.0", "P.1"], "classes": CLASSES}
    bed.declared["labels"] = {
        "dataset": {**SOURCE, "idColumn": "customer", "labelColumn": "fraud", "format": "CSV"},
        "holdout": {"column": "age", "value": "no such row"},
    }
    bed.sample(500)
    write_labels(bed, wrong=0.1)
    bed.look()
    gap = bed.result().holdout
    assert gap is not None
    assert (gap.outcome, gap.rest_rows, gap.holdout_rows) == ("Unknown", 500, 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"drift": {"baseline": SOURCE, "policy": {"columns": [{"name": "height"}]}}}, "height"),
        ({"drift": {}}, "drift.baseline"),
        (
            {"predictions": {"columns": ["Q"]}, "labels": {"dataset": {**SOURCE, "idColumn": "a", "labelColumn": "b"}}},
            "Q",
        ),
    ],
)
def test_bad_input_is_named_and_not_tried_again(bed: Bed, change: dict[str, Any], words: str) -> None:
    bed.declared |= change
    bed.sample(500)
    write_labels(bed, wrong=0)
    assert bed.look() == 2
    assert words in bed.words().message
    assert bed.look("--job") == 0


def test_a_store_that_cannot_be_read_may_be_tried_again(bed: Bed) -> None:
    bed.sample(500)
    with mock.patch.object(Store, "files", side_effect=OSError(5, "Input/output error", "/storage")):
        assert bed.look("--job") == 3
    assert "Input/output error" in bed.words().message


def test_a_replica_that_is_not_sampled_is_told(bed: Bed) -> None:
    bed.store.note("pod-7", {"time": 0, "tracing": "ServerTooOld", "counts": {"dropped.noKey": 3, "stored": 1}})
    bed.sample(500)
    bed.look()
    assert "1 replica not sampled" in bed.words().message
    (said,) = bed.result().samplers
    assert (said.pod, said.stored, said.dropped) == ("pod-7", 1, 3)
