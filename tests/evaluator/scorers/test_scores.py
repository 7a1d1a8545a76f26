"""scores.json and the file beside it: what is taken, and how each mistake is told."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from throughline.evaluator.scorers import scores
from throughline.evaluator.scoring import ScoringError

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 4
ALL = np.arange(ROWS)


def read(folder: Path, content: Any, metrics: tuple[str, ...] = ("profit",)) -> Any:
    file = folder / "scores.json"
    if content is not None:
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    return scores.read(file, metrics, ROWS)


def test_the_three_ways_to_give_a_metric(tmp_path: Path) -> None:
    given = {"one": 2, "own": {"value": 0.5, "low": 0.4, "high": 0.75}, "each": [1, None, 0, 0.5], "none": None}
    found = read(tmp_path, {"metrics": {**given, "seconds": 3.5}}, ("one", "own", "each", "none"))
    values = {metric: found.scored.point(metric, ALL) for metric in given}
    assert {metric: value.value for metric, value in values.items()} == {
        "one": 2.0, "own": 0.5, "each": 0.5, "none": None,
    }  # fmt: skip
    assert (values["own"].ends, values["one"].ends, values["each"].units) == ((0.4, 0.75), None, 3)
    assert found.notes == ("The scorer also gave seconds.", "The scorer's own intervals are taken of own.")
    # A slice: of rows that are scored each by itself there is a value, of one number for all there is none.
    assert found.scored.point("each", ALL[:1]).value == 1.0
    assert "one per row" in found.scored.point("one", ALL[:1]).reason


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_scores_of_many_rows_are_in_a_file_beside_it(tmp_path: Path, suffix: str) -> None:
    name = f"rows.{suffix}"
    if suffix == "csv":
        (tmp_path / name).write_text("profit,who\n1,a\n,b\n3,c\n2,d\n")
    else:
        parquet.write_table(pa.table({"profit": [1, None, 3, 2], "who": list("abcd")}), tmp_path / name)
    found = read(tmp_path, {"metrics": {"cost": 1}, "perRow": name}, ("profit", "cost"))
    assert (found.scored.point("profit", ALL).value, found.scored.point("cost", ALL).value) == (2.0, 1.0)
    assert read(tmp_path, {"perRow": name}).scored.point("profit", ALL).units == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "scores.json: the scorer did not write it"),
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ('{"metrics": {"profit": NaN}}', "has NaN, which is no JSON number; write plain JSON, and null"),
        ('{"metrics": {"profit": Infinity}}', "has Infinity, which is no JSON number"),
        ('{"metrics": {"profit": 1e999}}', "beyond what a double holds"),
        ('{"metrics": {"profit": 1, "profit": 2}}', "has the key 'profit' twice"),
        ("[" * 100_000, "is nested too deeply"),
        ([], "it must be"),
        (3, "it must be"),
        ({}, "it must be"),
        ({"profit": 1}, 'must be {"metrics": {NAME: NUMBER}}, perRow with it or instead, and has profit'),
        ({"metrics": [1]}, "metrics must be an object"),
        ({"metrics": {}}, "there is no profit, which the suite names; there is no metric at all"),
        ({"metrics": {"Profit": 1}}, "there is no profit, which the suite names; did you mean 'Profit'?"),
        ({"metrics": {"profit": "1"}}, 'profit is "1"; write a number'),
        ({"metrics": {"profit": True}}, "profit is true; write a number"),
        ({"metrics": {"profit": {"value": 1}}}, "a number with an interval has value, low and high"),
        ({"metrics": {"profit": {"value": 1, "low": "0", "high": 2}}}, 'profit.low is "0"'),
        ({"metrics": {"profit": {"value": 3, "low": 1, "high": 2}}}, "in which it does not lie"),
        ({"metrics": {"profit": {"value": 3, "low": [1], "high": 2}}}, "profit.low is a list"),
        ({"metrics": {"profit": [1, 2]}}, "profit has 2 entries, and there are 4 rows"),
        ({"metrics": {"profit": [1, 2, "x", 4]}}, 'profit is "x" in row 2; write a number, or null'),
        ({"metrics": {"profit": [1, 2, 3, False]}}, "profit is false in row 3"),
        ({"perRow": "../rows.csv"}, 'perRow: it is "../rows.csv"; name a file beside scores.json'),
        ({"perRow": 3}, "perRow: it is 3"),
        ({"perRow": "none.csv"}, "none.csv: the scorer did not write it"),
        ({"perRow": "rows.txt"}, "rows.txt: its name must end in .parquet or .csv"),
        ({"perRow": "short.csv"}, "short.csv: it has 2 rows, and there are 4"),
        ({"perRow": "text.csv"}, "text.csv: column profit is string; write numbers"),
        ({"perRow": "infinite.csv"}, "infinite.csv: profit is infinite in row 1"),
        ({"perRow": "garbage.parquet"}, "garbage.parquet: it cannot be read"),
        ({"perRow": "short.parquet"}, "short.parquet: it has 2 rows, and there are 4"),
        ({"perRow": "garbage.csv"}, "garbage.csv: "),
        (
            {"metrics": {"profit": 1}, "perRow": "good.csv"},
            "profit is in metrics and in the file of perRow; give it once",
        ),
    ],
)
def test_a_mistake_is_told_with_its_fix(tmp_path: Path, content: Any, said: str) -> None:
    for name, text in {
        "good.csv": "profit\n1\n2\n3\n4\n", "short.csv": "profit\n1\n2\n", "text.csv": "profit\na\nb\nc\nd\n",
        "infinite.csv": "profit\n1\ninf\n3\n4\n", "rows.txt": "profit\n", "garbage.parquet": "PAR1",
        "garbage.csv": "profit\n1,2\n\x00\n",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    parquet.write_table(pa.table({"profit": [1.0, 2.0]}), tmp_path / "short.parquet")
    with pytest.raises(ScoringError) as error:
        read(tmp_path, content)
    assert said in str(error.value)
    assert error.value.field == "spec.task.scorer"


@pytest.mark.parametrize("what", ["link", "pipe", "socket", "folder", "large"])
def test_what_is_no_plain_file_of_a_sane_size_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The scorer's folder is read by the container that has the verdict: it must be led nowhere, nor wait."""
    monkeypatch.setattr(scores, "MAX_SCORES_BYTES", 8)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "scores.json"
    if what == "link":
        (tmp_path / "other").write_text("{}")
        file.symlink_to("other")
    elif what == "pipe":
        os.mkfifo(file)
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("scores.json")
    elif what == "folder":
        file.mkdir()
    else:
        file.write_text(json.dumps({"metrics": {"profit": 1}}))
    with pytest.raises(ScoringError, match=r"plain file|may have 8"):
        read(tmp_path, None)
