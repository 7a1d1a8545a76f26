"""The command as the container of a Job: when the Job tries again, what its log and its last words tell, and whose
files the digest is of."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from throughline.evaluator import cli, job
from throughline.lineage.digest import FileDigest, Manifest, model_manifest

from tests.evaluator.fake_triton import Behaviour
from tests.evaluator.sums import ROWS, result, run, write_case, write_suite

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"model.py": b"import os", "labels.txt": b"a"}

OTHER = "sha256:" + "0" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_case(tmp_path)
    for name, content in FILES.items():
        (tmp_path / "model/1").mkdir(parents=True, exist_ok=True)
        (tmp_path / "model/1" / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    log = folder / "termination-log"
    log.touch()
    monkeypatch.setattr(job, "TERMINATION_LOG", log)
    return log


def mounted(folder: Path) -> Path:
    """The same files as the kubelet mounts them from a ConfigMap."""
    version = folder / "mounted/1"
    version.mkdir(parents=True)
    (folder / "model/1").rename(version / "..2026_01_01")
    (version / "..data").symlink_to("..2026_01_01")
    for name in FILES:
        (version / name).symlink_to(f"..data/{name}")
    return version.parent


def said(log: Path) -> dict[str, Any]:
    return dict(json.loads(log.read_text()))


@pytest.mark.parametrize(
    ("floor", "more", "plain", "in_job"),
    [
        ("0.5", [], 0, 0),
        ("0.99", [], 1, 0),
        ("0.5", ["--data", "/nonexistent"], 2, 0),
        ("0.5", ["--concurrency", "many"], 2, 0),
        ("0.5", ["--nosuch"], 2, 0),
        ("0.5", ["--model", "nosuch"], 3, 3),
    ],
)
def test_a_job_tries_again_only_where_that_may_help(
    folder: Path, log: Path, floor: str, more: list[str], plain: int, in_job: int
) -> None:
    write_suite(folder, floor=floor)
    assert run(folder, None, *more) == plain
    assert run(folder, None, *more, "--job") == in_job
    assert said(log)["exitCode"] == plain


def test_help_says_what_a_job_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help", "--job"])
    assert ended.value.code == 0
    assert "in a Job: the exit code is 0 for every outcome" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("trouble", "code"), [(RuntimeError("a bug"), 70), (KeyboardInterrupt(), 130)])
def test_what_nobody_expected_is_no_success(
    folder: Path, monkeypatch: pytest.MonkeyPatch, trouble: BaseException, code: int
) -> None:
    def fail(*_: object) -> None:
        raise trouble

    monkeypatch.setattr(cli, "evaluate", fail)
    assert run(folder, None, "--job") == code


@pytest.mark.parametrize(("floor", "outcome"), [("0.5", "Passed"), ("0.99", "Failed")])
def test_the_result_is_the_last_line_of_the_log(
    folder: Path, log: Path, capsys: pytest.CaptureFixture[str], floor: str, outcome: str
) -> None:
    write_suite(folder, floor=floor)
    assert run(folder, None, "--job") == 0
    out = capsys.readouterr().out
    report, _, line = out.removesuffix("\n").rpartition("\n")
    assert f"{report}\n" == (folder / "out/report.txt").read_text()
    prefix, _, coded = line.partition("throughline-result: ")
    assert prefix == ""
    packed = base64.b64decode(coded, validate=True)
    content = gzip.decompress(packed)
    assert content == (folder / "out/result.json").read_bytes()
    assert packed[4:8] == bytes(4)  # no time, so that the same result is the same line
    told = said(log)
    assert told["resultDigest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert (told["outcome"], told["rows"]) == (outcome, ROWS)
    assert "artifact" not in told


def test_nothing_follows_the_result_where_the_last_words_cannot_be_written(
    folder: Path, log: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("sys.stderr", sys.stdout)  # as in a pod's log
        patched.setattr(type(log), "write_text", full)
        assert run(folder, None, "--job") == 0
    lines = capfd.readouterr().out.splitlines()
    assert "No space left on device" in lines[-2]
    assert lines[-1].startswith("throughline-result: ")


def test_without_the_flag_there_is_no_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder) == 0
    assert "throughline-result" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "message", ["x" * 100_000, "\N{GRINNING FACE}" * 5000, "\x00" * 5000], ids=["long", "wide", "escaped"]
)
def test_only_the_message_of_the_last_words_is_cut(log: Path, message: str) -> None:
    files = Manifest({f"1/{i}": FileDigest("0" * 64, 2**50) for i in range(9999)})
    job.last_words(1, "Failed", message, job.Known(artifact=files, rows=10**12, result=b"{}"))
    assert 2048 < log.stat().st_size <= 4096
    told = said(log)
    assert message.startswith(told.pop("message").removesuffix("…"))
    assert told == {
        "exitCode": 1,
        "outcome": "Failed",
        "rows": 10**12,
        "resultDigest": f"sha256:{hashlib.sha256(b'{}').hexdigest()}",
        "artifact": {"digest": files.digest, "files": 9999, "sizeBytes": 9999 * 2**50},
    }


@pytest.mark.parametrize("version", ["1", ""])
def test_the_models_files_are_in_the_result_and_the_last_words(folder: Path, log: Path, version: str) -> None:
    (folder / "model/2").mkdir()
    (folder / "model/2/model.py").write_bytes(b"another")
    manifest = model_manifest(folder / "model", version=int(version) if version else None)
    assert run(folder, None, "--model-directory", str(folder / "model"), "--version", version, "--job") == 0
    assert result(folder)["modelDigest"] == manifest.digest
    files = {"digest": manifest.digest, "files": len(manifest.files), "sizeBytes": manifest.size_bytes}
    assert said(log)["artifact"] == files


def test_a_mounted_config_map_has_the_digest_of_the_same_files_on_a_claim(folder: Path, log: Path) -> None:
    plain = model_manifest(folder / "model", version=1).digest
    where = mounted(folder)
    assert run(folder, None, "--model-directory", str(where), "--version", "1", "--model-digest", plain) == 0
    assert result(folder)["modelDigest"] == plain
    assert said(log)["artifact"] == {"digest": plain, "files": 2, "sizeBytes": sum(map(len, FILES.values()))}


def test_the_files_are_told_where_the_model_could_not_be_asked(folder: Path, log: Path) -> None:
    assert run(folder, None, "--model-directory", str(folder / "model"), "--job", "--model", "nosuch") == 3
    told = said(log)
    assert told["artifact"]["digest"] == model_manifest(folder / "model").digest
    assert (told["exitCode"], told["outcome"], told["rows"]) == (3, None, 0)
    assert "resultDigest" not in told


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--model-directory", "model", "--version", "3"], "--model-directory model: model/3: is no folder"),
        (["--model-directory", "nosuch"], "--model-directory nosuch: nosuch: No such file"),
        (["--model-directory", "model", "--model-digest", OTHER], f"--model-digest is {OTHER}, but the files in"),
    ],
)
def test_files_that_are_not_those_meant_are_told_before_the_first_row(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], more: list[str], reason: str
) -> None:
    monkeypatch.chdir(folder)
    behaviour = Behaviour()
    assert run(folder, behaviour, *more) == 2
    told = capsys.readouterr()
    assert (told.out, behaviour.rows) == ("", [])
    assert told.err.startswith(f"throughline-evaluate: {reason}")
    if "--model-digest" in more:
        assert model_manifest(folder / "model").digest in told.err
