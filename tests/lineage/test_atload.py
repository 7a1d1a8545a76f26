"""A server loads only the files that were judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from throughline.lineage import atload
from throughline.lineage.digest import model_manifest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "model.onnx").write_bytes(b"weights")
    return tmp_path


def check(model: Path, digest: str, version: int = 3) -> int:
    return atload.main([f"--directory={model}", f"--version={version}", f"--digest={digest}"])


def test_the_same_files_pass(model: Path) -> None:
    assert check(model, model_manifest(model, version=3).digest) == 0


def test_other_files_fail_and_it_says_which_digest(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    words = tmp_path_factory.mktemp("dev") / "termination-log"
    words.touch()
    monkeypatch.setattr(atload, "TERMINATION_LOG", words)
    judged = model_manifest(model, version=3).digest
    (model / "3" / "model.onnx").write_bytes(b"weightz")
    assert check(model, judged) == 1
    assert judged in words.read_text()
    assert model_manifest(model, version=3).digest in words.read_text()


def test_files_that_are_not_there_fail(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(model, "sha256:0", version=4) == 1
    assert "no version 4" in capsys.readouterr().err
