"""The command against a server that speaks Triton's protocol: exit codes, files, kills, and what is said."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from pydantic import ValidationError
from throughline.api.evaluationresult import EvaluationResult
from throughline.cli import main as throughline
from throughline.evaluator import cli, job

from tests.evaluator.fake_triton import COLUMNS, Behaviour, serving
from tests.evaluator.suites import GOVERNANCE
from tests.evaluator.sums import HOSTILE, PROBED, ROWS, arguments, result, run, write_case, write_suite

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_case(tmp_path)
    return tmp_path


def test_passed_and_reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    behaviour = Behaviour()
    assert run(folder, behaviour) == 0
    found = result(folder)
    table = parquet.read_table(folder / "rows.parquet")
    x = np.column_stack([table[f"x{i}"].to_numpy() for i in range(COLUMNS)])
    right = (x.sum(axis=1) > 0.5) == (table["label"].to_numpy() == "yes")
    assert found["metrics"][0]["value"] == pytest.approx(right.mean())
    assert (found["suite"], found["model"], found["rows"]) == ("sums", "sum/10", ROWS)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", found["datasetDigest"])
    assert sum(behaviour.rows) == ROWS + PROBED
    assert max(behaviour.rows) == 8
    out = capsys.readouterr().out
    assert "sums on sum/10: PASSED" in out
    assert out == (folder / "out/report.txt").read_text()
    assert list((folder / "out/.work").iterdir()) == []


def test_the_result_can_be_signed_and_verified(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder) == 0
    (folder / "model/1").mkdir(parents=True)
    (folder / "model/1/model.onnx").write_bytes(b"weights")
    parts = [
        "--suite",
        folder / "suite.yaml",
        "--data",
        folder / "rows.parquet",
        "--result",
        folder / "out/result.json",
    ]
    parts = ["--model", folder / "model", *parts]
    statement = folder / "statement.json"
    for command in (
        ["keys", "generate", folder / "a.key"],
        ["sign", *parts, "-k", folder / "a.key", "--out", statement],
        ["verify", "--statement", statement, "-k", folder / "a.pub", *parts],
    ):
        assert throughline([str(part) for part in command]) == 0, capsys.readouterr().err
    assert "verdict Passed, 8 rows per request" in capsys.readouterr().out
    changed = result(folder) | {"batchRows": 4}
    (folder / "out/result.json").write_text(json.dumps(changed))
    assert (
        throughline([str(part) for part in ["verify", "--statement", statement, "-k", folder / "a.pub", *parts]]) == 1
    )


def test_a_failed_gate_is_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_suite(folder, floor="0.99")
    assert run(folder) == 1
    assert result(folder)["verdict"]["outcome"] == "Failed"
    assert "FAILED   accuracy" in capsys.readouterr().out


def test_the_page_needs_nothing_else_and_escapes_data(folder: Path) -> None:
    assert run(folder) == 0
    page = (folder / "out/report.html").read_text()
    assert HOSTILE not in page
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 2  # in the table and in the picture
    assert "group = $a_$" in page  # in the picture, and not read as a formula
    links = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", page) + re.findall(r"url\(([^)]*)\)", page)
    assert [link for link in links if not link.startswith("#")] == []
    assert "@import" not in page
    assert page.count("<svg") == 4  # calibration, confusion, and two metrics over the slices


def test_the_same_inputs_give_the_same_bytes(folder: Path) -> None:
    files = ("result.json", "report.html", "report.txt")
    seen = []
    with serving(Behaviour()) as url:
        for concurrency in ("1", "8"):
            assert cli.main(arguments(folder, url, "--concurrency", concurrency)) == 0
            seen.append([(folder / "out" / name).read_bytes() for name in files])
    assert seen[0] == seen[1]


def test_json_for_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, None, "-o", "json", "--variant", "same=#sum@2", "--component", "sum:kind=a",
               "--component", "same:kind=b") == 0  # fmt: skip
    printed = json.loads(capsys.readouterr().out)
    assert printed["result"] == result(folder)
    assert printed["variants"]["same"]["model"] == "sum/2"
    (variant,) = printed["comparison"]["variants"]
    assert [d["value"] for d in variant["metrics"]] == [0.0, 0.0]
    assert {e["component"] for e in printed["comparison"]["effects"]} == {"kind"}


def test_trouble_that_passes_is_retried_and_told(folder: Path) -> None:
    assert run(folder, Behaviour(unavailable=5)) == 0
    statistics = json.loads((folder / "out/run.json").read_text())["sum"]
    assert statistics["retried"] == 5
    assert "UNAVAILABLE: draining" in statistics["last_trouble"]


@pytest.mark.parametrize(
    ("behaviour", "more", "code", "said"),
    [
        (Behaviour(refuse=True), [], 3, "the server refused: INVALID_ARGUMENT: unexpected shape"),
        (Behaviour(unavailable=99), ["--attempts", "2"], 3, "failed 2 times"),
        (Behaviour(delay_seconds=2), ["--attempts", "1", "--timeout-seconds", "0.2"], 3, "DEADLINE_EXCEEDED"),
        (None, ["--model", "nosuch"], 3, "unknown model: 'nosuch'"),
        (None, ["--batch-size", "9"], 2, "--batch-size 9 is more than model 'sum' takes (8)"),
        (None, ["--variant", "what"], 2, "--variant what: write NAME=[URL]#MODEL[@N]"),
        (None, ["--variant", "sum=#sum"], 2, "the name stands twice"),
        (None, ["--component", "no:a=b"], 2, "there is no no"),
        (None, ["--data", "/nonexistent/rows.parquet"], 2, "there is no such file"),
        (None, ["--suite", "/nonexistent.yaml"], 2, "No such file"),
        (None, ["--url", "http://h:8000"], 2, "Triton's gRPC port is 8001"),
        (None, ["--url", "grpc://127.0.0.1:9", "--attempts", "1"], 3, "UNAVAILABLE"),
        (None, ["--url", "grpc://127.0.0.1:99999"], 2, "a port is a number from 1 to 65535"),
        (None, ["--url", "grpc://127.0.0.1:0"], 2, "a port is a number from 1 to 65535"),
        (None, ["--ca-file", "/nonexistent.pem"], 2, "--ca-file /nonexistent.pem is for TLS"),
        (None, ["--variant", "a=#sum@0"], 2, "'0' is no version"),
        (None, ["--component", "sum:a=1", "--component", "sum:a=2"], 2, "it was 1 before"),
        (None, ["--training-data", "rows.parquet"], 2, "no spec.trainingDataset"),
        (None, ["--work-dir", "/proc/no"], 3, "name another --work-dir"),
        (None, ["--output", "/proc/no", "--work-dir", "work"], 3, "name another --output"),
    ],
)
def test_what_goes_wrong_is_one_clear_message(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    behaviour: Behaviour | None,
    more: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(folder)
    assert run(folder, behaviour, *more) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.startswith("throughline-evaluate: ")
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert not (folder / "out/result.json").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--model-digest", "x"], "argument --model-digest: 'x' is no digest; write sha256:"),
        (["--model-digest", "sha256:" + "A" * 64], "is no digest"),
        (["--version", "abc"], "argument --version: 'abc' is no version"),
        (["--version", "0"], "'0' is no version"),
        (["--version", "٣"], "is no version"),
        (["--model", ""], "argument --model: is empty"),
        (["--data", ""], "argument --data: is empty"),
        (["--batch-size", "1e3"], "'1e3' is no whole number from 1"),
        (["--concurrency", "10000000"], "is no whole number from 1 to 10000"),
        (["--queue-timeout-milliseconds", "9" * 30], "is no whole number from 1"),
        (["--timeout-seconds", "1e300"], "is no number from above 0 to 86400"),
        (["--timeout-seconds", "nan"], "is no number"),
        (["--max-rows-per-second", "inf"], "is no number above 0"),
    ],
)
def test_an_argument_that_says_nothing_usable_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    behaviour = Behaviour()
    assert run(folder, behaviour, *more) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert behaviour.rows == []


def test_what_the_server_is_asked_with_is_not_given_with_scores(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--suite", "s", "--predictions", "p", "--scores", "s", "--output", "o"]
    assert cli.main([*given, "--model-digest", "sha256:" + "0" * 64, "--variant", "a=#b"]) == 2
    assert "give --variant, --model-digest with --predictions-out" in capsys.readouterr().err


def test_a_result_with_another_digest_than_sha256_is_none(folder: Path) -> None:
    assert run(folder) == 0
    found = result(folder)
    EvaluationResult.model_validate(found)
    with pytest.raises(ValidationError, match="modelDigest"):
        EvaluationResult.model_validate(found | {"modelDigest": "x"})


def test_a_message_that_quotes_data_obeys_no_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "rows.csv").write_bytes(b"x0,x1\n\x1b[2J,1,2,3\n" + b"\x00\x1b" * 500)
    write_suite(folder, dataset={
        "source": {"pvc": {"claimName": "c", "path": "rows.csv"}}, "labelColumn": "label", "governance": GOVERNANCE,
    })  # fmt: skip
    assert run(folder) == 2
    err = capsys.readouterr().err
    assert err.rstrip("\n").isprintable()
    assert len(err) < 1500


def test_a_suite_that_does_not_fit_is_told_before_the_first_row(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [{"tensor": "X", "columns": ["x0", "x1"], "datatype": "FP64"}]
    write_suite(folder, inputs=wrong, slices=[{"name": "s", "expression": "x0 > 0"}])
    behaviour = Behaviour()
    assert run(folder, behaviour) == 2
    said = capsys.readouterr().err
    assert "datatype is FP64" in said
    assert "columns has 2 entries" in said
    assert behaviour.rows == []


def test_wrong_suites_and_expressions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    behaviour = Behaviour()
    write_suite(folder, slices=[{"name": "s", "expression": "nosuch > 0"}])
    assert run(folder, behaviour) == 2
    assert "nosuch" in capsys.readouterr().err
    write_suite(folder, metrics=[{"name": "acuracy"}])
    assert run(folder, behaviour) == 2
    assert "spec.metrics" in capsys.readouterr().err
    (folder / "suite.yaml").write_text("a: [")
    assert run(folder, behaviour) == 2
    assert "is no valid YAML" in capsys.readouterr().err
    assert behaviour.rows == []


def test_a_server_that_keeps_its_configuration(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    behaviour = Behaviour(restricted_config=True)
    assert run(folder, behaviour) == 0
    assert max(behaviour.rows) == 1
    assert "--batch-size" in capsys.readouterr().err
    assert run(folder, Behaviour(restricted_config=True), "--batch-size", "5") == 0


def test_low_priority(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    behaviour = Behaviour(priority_levels=3)
    assert run(folder, behaviour, "--low-priority", "--queue-timeout-milliseconds", "7") == 0
    assert behaviour.parameters[0] == {"priority": 3, "timeout": 7000}
    assert "priority_levels" not in capsys.readouterr().err
    assert run(folder, behaviour := Behaviour(), "--low-priority") == 0
    assert behaviour.parameters[0] == {}
    assert "has no priority_levels" in capsys.readouterr().err


def test_the_rate_is_kept(folder: Path) -> None:
    started = time.monotonic()
    assert run(folder, None, "--max-rows-per-second", "400") == 0
    statistics = json.loads((folder / "out/run.json").read_text())["sum"]
    assert 300 < statistics["rows_per_second"] < 410
    assert time.monotonic() - started > 0.9


def test_the_last_words_of_a_container(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = folder / "termination-log"
    log.touch()
    monkeypatch.setattr(job, "TERMINATION_LOG", log)
    assert run(folder) == 0
    said = json.loads(log.read_text())
    assert (said["exitCode"], said["outcome"]) == (0, "Passed")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", said["resultDigest"])
    assert run(folder, None, "--data", "/no" + "x" * 9000) == 2
    assert len(log.read_text()) <= 4096
    assert json.loads(log.read_text())["exitCode"] == 2


def test_killed_in_the_middle_it_goes_on_to_the_same_result(folder: Path) -> None:
    assert run(folder) == 0
    whole = (folder / "out/result.json").read_bytes()
    (folder / "out/result.json").unlink()
    behaviour = Behaviour(delay_seconds=0.02)
    with serving(behaviour) as url:
        command = [sys.executable, "-m", "throughline.evaluator.cli", *arguments(folder, url, "--concurrency", "2")]
        process = subprocess.Popen(command)
        deadline = time.monotonic() + 60
        while sum(behaviour.rows) < ROWS // 2 and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        time.sleep(0.2)  # the server still answers those that were under way
        asked = sum(behaviour.rows)
        assert not (folder / "out/result.json").exists()
        behaviour.delay_seconds = 0
        assert cli.main(arguments(folder, url)) == 0
    assert (folder / "out/result.json").read_bytes() == whole
    statistics = json.loads((folder / "out/run.json").read_text())["sum"]
    # Those under way at the kill are asked for again, and no others.
    assert asked - 2 * 8 <= statistics["resumed_rows"] <= asked
    assert sum(behaviour.rows) - asked == ROWS + PROBED - statistics["resumed_rows"]
    assert [p.name for p in (folder / "out").iterdir() if p.name.endswith(".part")] == []


def test_answers_to_another_question_are_not_taken(folder: Path) -> None:
    with serving(Behaviour()) as url:
        given = arguments(folder, url, "--work-dir", str(folder / "work"))
        assert cli.main(given) == 0
        kept = folder / "work"
        assert list(kept.iterdir()) == []
        with serving(Behaviour(refuse_after_rows=ROWS // 2)) as broken:
            assert cli.main([broken if a == url else a for a in given]) == 3
        assert len(list(kept.iterdir())) == 1
        behaviour = Behaviour()
        with serving(behaviour) as third:
            assert cli.main([third if a == url else a for a in given]) == 0
        assert sum(behaviour.rows) == ROWS + PROBED


def test_data_quality_and_robustness_are_part_of_the_verdict(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise = {"name": "noise", "type": "GaussianNoise", "strengths": ["0", "0.5"], "seed": 1}
    write_suite(folder, quality={"duplicates": {"ceiling": "0"}}, perturbations=[{**noise, "floor": "0.2"}])
    assert run(folder) == 0
    found = result(folder)
    assert found["quality"]["outcome"] == "Passed"
    clean, noisy = (p["accuracy"] for p in found["robustness"]["perturbations"][0]["points"])
    assert clean == found["metrics"][0]["value"]
    assert noisy < clean
    assert (folder / "out/report.html").read_text().count("<svg") == 5
    write_suite(folder, perturbations=[{**noise, "floor": "0.89"}])
    assert run(folder) == 1
    assert "FAILED   noise: accuracy" in capsys.readouterr().out
    table = parquet.read_table(folder / "rows.parquet")
    parquet.write_table(pa.concat_tables([table, table.slice(0, 40)]), folder / "rows.parquet")
    write_suite(folder, quality={"duplicates": {"ceiling": "0.01"}})
    assert run(folder) == 1
    assert result(folder)["metrics"][0]["value"] > 0.5
    write_suite(
        folder,
        quality={"trainingOverlap": {"ceiling": "0.05"}},
        trainingDataset={
            "source": {"pvc": {"claimName": "t", "path": "rows.parquet"}},
            "labelColumn": "label",
            "governance": GOVERNANCE,
        },
    )
    # The very rows it was trained on.
    assert run(folder, None, "--training-root", str(folder)) == 1
    assert "training" in capsys.readouterr().out


def test_answers_that_depend_on_the_batch_are_noted_and_the_batch_is_in_the_result(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder) == 0
    assert (result(folder)["batchRows"], result(folder)["notes"]) == (8, [])
    scores = {}
    for batch in (1, 4, 8):
        assert run(folder, Behaviour(quantised=True), "--batch-size", str(batch)) in (0, 1)
        found = result(folder)
        assert found["batchRows"] == batch
        scores[batch] = found["metrics"][1]["value"]
        (note,) = found["notes"]
        assert "The answers depend on the batch" in note
        assert f"This result holds for requests of {batch} row" in note
    assert len(set(scores.values())) == 3, "which is why it matters"
    assert "The answers depend on the batch" in capsys.readouterr().out


def test_a_model_that_is_not_deterministic_is_noted_as_that(folder: Path) -> None:
    write_suite(folder, floor="0.0")
    assert run(folder, Behaviour(random=True)) == 0
    (note,) = result(folder)["notes"]
    assert "the model is not deterministic" in note


def test_a_resumed_evaluation_does_not_mix_batches(folder: Path) -> None:
    work = ["--work-dir", str(folder / "work")]
    behaviour = Behaviour(quantised=True, refuse_after_rows=ROWS // 2)
    with serving(behaviour) as url:
        assert cli.main(arguments(folder, url, *work)) == 3
        behaviour.refuse_after_rows = None
        assert cli.main(arguments(folder, url, *work, "--batch-size", "4")) in (0, 1)
        mixed = result(folder)
        assert json.loads((folder / "out/run.json").read_text())["sum"]["resumed_rows"] == 0
    assert run(folder, Behaviour(quantised=True), "--batch-size", "4") in (0, 1)
    assert result(folder) == mixed


def test_a_model_of_bfloat16_is_evaluated(folder: Path) -> None:
    inputs = [{"tensor": "X", "columns": ["x0", "x1", "x2"], "datatype": "BF16"}]
    write_suite(folder, inputs=inputs)
    assert run(folder, Behaviour(datatype="BF16")) == 0
    found = result(folder)
    assert found["metrics"][0]["value"] == pytest.approx(0.9, abs=0.05)
    assert found["notes"] == []
    write_suite(folder, inputs=[{**inputs[0], "datatype": "FP32"}])
    assert run(folder, Behaviour(datatype="BF16")) == 2


@pytest.mark.parametrize("how", ["streams", "none", "cut", "silent"])
def test_rows_are_the_same_by_streams_by_calls_and_over_a_cut(
    folder: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    behaviour = Behaviour(
        streams=how != "none", cut_after=3 if how == "cut" else None, silent_after=3 if how == "silent" else None
    )
    monkeypatch.setattr("throughline.evaluator.streams.MAX_AGE_SECONDS", 0.5)
    assert run(folder, behaviour, "--timeout-seconds", "1") == 0
    plain = Behaviour(streams=False)
    expected = result(folder)
    assert run(folder, plain) == 0
    assert result(folder) == expected
    assert sum(behaviour.rows) == sum(plain.rows)
    assert (behaviour.streamed > 0) == (how != "none")
    assert plain.streamed == 0
