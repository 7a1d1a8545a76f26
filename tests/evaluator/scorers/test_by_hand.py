"""A scorer that is a container, by hand: predictions out, the scorer, scores in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pyarrow import parquet
from throughline.evaluator import cli, job
from throughline.lineage.digest import model_manifest

from tests.evaluator.fake_triton import COLUMNS, Behaviour, serving
from tests.evaluator.sums import PROBED, ROWS, result, write_case, write_suite

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = "registry.example/scorer:1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_case(tmp_path)
    suite(tmp_path)
    return tmp_path


def suite(folder: Path, floor: str = "0.5", **more: Any) -> None:
    task = {"type": "Custom", "scorer": {"image": IMAGE, "format": "JSONLines"}, "parameters": {"cut": "0.5"}}
    write_suite(folder, task=task, **{"metrics": [{"name": "right", "floor": floor}], "minimumSliceSize": 20, **more})


def predict(folder: Path, *more: str, behaviour: Behaviour | None = None) -> int:
    with serving(behaviour or Behaviour()) as url:
        return cli.main(
            ["--suite", str(folder / "suite.yaml"), "--url", url, "--model", "sum", "--data-root", str(folder),
             "--predictions-out", str(folder / "handed"), *more]
        )  # fmt: skip


def judge(folder: Path, *more: str) -> int:
    return cli.main(
        ["--suite", str(folder / "suite.yaml"), "--predictions", str(folder / "handed"),
         "--scores", str(folder / "scores.json"), "--output", str(folder / "out"), *more]
    )  # fmt: skip


def score(folder: Path) -> None:
    """As a scorer would: from what was handed over alone."""
    request = json.loads((folder / "handed/request.json").read_text())
    lines = [json.loads(line) for line in (folder / "handed/predictions.jsonl").read_text().splitlines()]
    column, cut = request["prediction"]["column"], float(request["parameters"]["cut"])
    right = [int((line[column][0] > cut) == (line["label"] == "yes")) for line in lines]
    (folder / "scores.json").write_text(json.dumps({"metrics": dict.fromkeys(request["metrics"], right)}))


def test_from_rows_to_a_verdict(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    behaviour = Behaviour()
    assert predict(folder, behaviour=behaviour) == 0
    assert sum(behaviour.rows) == ROWS + PROBED
    assert f"{ROWS} rows and their predictions are in" in capsys.readouterr().out
    score(folder)
    assert judge(folder) == 0
    found = result(folder)
    table = parquet.read_table(folder / "rows.parquet")
    x = np.column_stack([table[f"x{i}"].to_numpy() for i in range(COLUMNS)])
    right = (x.sum(axis=1) > 0.5) == (table["label"].to_numpy() == "yes")
    (metric,) = found["metrics"]
    assert metric["value"] == pytest.approx(right.mean())
    assert metric["low"] < metric["value"] < metric["high"]
    assert (found["suite"], found["model"], found["rows"]) == ("sums", "sum/10", ROWS)
    assert sum(s["rows"] for s in found["slices"]) == ROWS
    assert all(s["metrics"][0]["low"] is not None for s in found["slices"])
    assert found["notes"][0] == f"Scored by {IMAGE}."
    assert "sums on sum/10: PASSED" in capsys.readouterr().out
    assert json.loads((folder / "out/run.json").read_text())["sum"]["rows"] == ROWS
    suite(folder, floor="0.99")
    assert judge(folder) == 2  # of another suite
    assert "write the predictions anew with --predictions-out" in capsys.readouterr().err
    assert predict(folder) == 0
    assert judge(folder) == 1


def test_what_is_handed_over(folder: Path) -> None:
    assert predict(folder) == 0
    request = json.loads((folder / "handed/request.json").read_text())
    table = parquet.read_table(folder / "handed/predictions.parquet")
    assert request["files"] == ["predictions.parquet", "predictions.jsonl"]
    assert [c["name"] for c in request["columns"]] == table.column_names
    assert request["prediction"] == {"column": "prediction", "tensor": "Y", "kind": "Probabilities", "shape": [2]}
    assert (request["rows"], request["metrics"], request["labelColumn"]) == (ROWS, ["right"], "label")
    assert (request["parameters"], request["confidencePercent"]) == ({"cut": "0.5"}, 95)
    rows = parquet.read_table(folder / "rows.parquet")
    assert table.select(rows.column_names).equals(rows)
    y = np.array(table["prediction"].to_pylist())
    assert y.shape == (ROWS, 2)
    # A data set that has such a column already keeps it, and the request names the other.
    parquet.write_table(rows.append_column("prediction", rows["x0"]), folder / "rows.parquet")
    assert predict(folder) == 0
    assert json.loads((folder / "handed/request.json").read_text())["prediction"]["column"] == "prediction_"


def test_one_number_and_an_interval_of_its_own(folder: Path) -> None:
    metrics = [{"name": "own", "floor": "0.5"}, {"name": "one", "floor": "0.5"}]
    suite(folder, metrics=metrics, gaps=[{"metric": "one", "slice": "group", "ceiling": "0.5"}])
    assert predict(folder) == 0
    given = {"own": {"value": 0.7, "low": 0.6, "high": 0.8}, "one": 0.9}
    (folder / "scores.json").write_text(json.dumps({"metrics": given}))
    assert judge(folder) == 1
    own, one, gap = result(folder)["verdict"]["reasons"]
    assert (own["outcome"], own["low"], own["high"]) == ("Passed", 0.6, 0.8)
    assert (one["outcome"], gap["outcome"]) == ("Unknown", "Unknown")
    assert "one number rather than one score per row" in one["message"]


def test_in_a_job_it_tells_what_a_job_tells(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = folder / "termination-log"
    log.touch()
    monkeypatch.setattr(job, "TERMINATION_LOG", log)
    (folder / "model/1").mkdir(parents=True)
    (folder / "model/1/model.onnx").write_bytes(b"weights")
    manifest = model_manifest(folder / "model")
    assert predict(folder, "--job", "--model-directory", str(folder / "model")) == 0
    told = json.loads(log.read_text())
    assert (told["exitCode"], told["rows"], told["artifact"]["digest"]) == (0, ROWS, manifest.digest)
    score(folder)
    capsys.readouterr()
    assert judge(folder, "--job") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines[-2:]] == ["throughline-manifest", "throughline-result"]
    told = json.loads(log.read_text())
    assert (told["outcome"], told["artifact"]["digest"]) == ("Passed", manifest.digest)
    assert result(folder)["modelDigest"] == manifest.digest
    # What is wrong with the scores is the scorer's fault for good, and told; in a Job nothing is tried again.
    (folder / "scores.json").write_text('{"metrics": {"rihgt": 1}}')
    assert (judge(folder), judge(folder, "--job")) == (2, 0)
    told = json.loads(log.read_text())
    assert (told["exitCode"], told["artifact"]["digest"]) == (2, manifest.digest)
    assert "did you mean 'rihgt'?" in told["message"]


@pytest.mark.parametrize(
    ("more", "code"), [(["--data", "/nonexistent"], 2), (["--model", "nosuch"], 3), (["--nosuch"], 2)]
)
def test_no_scorer_begins_where_there_are_no_predictions(folder: Path, more: list[str], code: int) -> None:
    """An exit code of 0 lets the next container begin, so it is never that of bad input, in a Job either."""
    assert predict(folder, *more, "--job") == code
    assert not (folder / "handed/request.json").exists()


@pytest.mark.parametrize("damage", ["request.json", "evaluation.json", "predictions.parquet", "changed", "no JSON"])
def test_predictions_that_are_not_whole_are_not_judged(
    folder: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    assert predict(folder) == 0
    score(folder)
    handed = folder / "handed"
    if damage == "changed":
        parquet.write_table(parquet.read_table(handed / "predictions.parquet").slice(1), handed / "predictions.parquet")
    elif damage == "no JSON":
        (handed / "evaluation.json").write_text("{")
    else:
        (handed / damage).unlink()
    assert judge(folder) == 2
    assert "write the predictions anew with --predictions-out" in capsys.readouterr().err
    assert not (folder / "out/result.json").exists()


def test_predictions_of_0_1_0_are_still_judged(folder: Path) -> None:
    assert predict(folder) == 0
    score(folder)
    facts = json.loads((folder / "handed/evaluation.json").read_text())
    for new in ("batch_rows", "notes"):
        del facts[new]
    (folder / "handed/evaluation.json").write_text(json.dumps(facts))
    assert judge(folder) == 0
    assert "batchRows" not in result(folder)


def test_the_batch_of_handed_over_predictions_is_in_the_result(folder: Path) -> None:
    assert predict(folder, behaviour=Behaviour(quantised=True)) == 0
    score(folder)
    judge(folder)
    assert result(folder)["batchRows"] == 8
    assert any("The answers depend on the batch" in note for note in result(folder)["notes"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--url", "grpc://h:1", "--model", "m", "--output", "out"],
            "run it, and judge what it wrote with --predictions",
        ),
        (["--scores", "s", "--output", "out"], "--predictions and --scores belong together"),
        (["--predictions", "p", "--scores", "s", "--predictions-out", "q"], "give one of them"),
        (["--predictions", "p", "--scores", "s"], "the following arguments are required: --output"),
        (["--predictions-out", "p"], "the following arguments are required: --url, --model"),
        (
            ["--url", "grpc://h:1", "--model", "m", "--predictions-out", "p", "--variant", "a=#b"],
            "each variant by itself",
        ),
    ],
)
def test_what_belongs_together(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert cli.main(["--suite", str(folder / "suite.yaml"), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_other_suites_have_no_scorer(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(folder) == 0
    score(folder)
    write_suite(folder)
    assert predict(folder) == 2
    assert "--predictions-out is for a suite with spec.task.scorer" in capsys.readouterr().err
    assert judge(folder) == 2
    assert "--scores is for a suite with spec.task.scorer" in capsys.readouterr().err
