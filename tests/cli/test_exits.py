"""Exit codes: one table, and an error that nobody foresaw is never a verdict."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from throughline import cli, entry, exits
from throughline.api.monitoring import Sampling
from throughline.cli import validate
from throughline.evaluator import cli as evaluate
from throughline.evaluator import job
from throughline.evaluator.sampling import cli as sample
from throughline.evaluator.watching import cli as drift
from throughline.lineage import atload

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/exit-codes.md"
SECRET = "the text may quote a person's data"
EVALUATE = ["--suite", "s", "--url", "grpc://h", "--model", "m", "--output", "o"]
DRIFT = ["--monitoring", "m", "--storage", "s", "--state", "t", "--output", "o"]


def test_the_document_has_the_table() -> None:
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", DOCUMENT.read_text(), re.MULTILINE)
    table = {name: code for name, code in vars(exits).items() if isinstance(code, int)}
    assert {name: int(code) for code, name in rows} == table


@pytest.mark.parametrize(
    ("module", "broken", "run"),
    [
        pytest.param(validate, "read_and_check",
                     lambda: cli.main(["validate", "f.yaml"]), id="throughline"),
        pytest.param(evaluate, "_judge", lambda: evaluate.main(EVALUATE), id="throughline-evaluate"),
        pytest.param(evaluate, "_judge", lambda: evaluate.main([*EVALUATE, "--job"]), id="throughline-evaluate --job"),
        pytest.param(drift, "_look", lambda: drift.main([*DRIFT, "--job"]), id="throughline-drift --job"),
        pytest.param(sample, "Sampler", lambda: sample.main(["--storage=.", "--model=m"]), id="throughline-sample"),
        pytest.param(atload, "problem", lambda: atload.main(["--directory=.", "--version=1", "--digest=d"]),
                     id="the check before a server loads a model"),
    ],
)  # fmt: skip
def test_an_unforeseen_error_has_its_own_code(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    module: object,
    broken: str,
    run: Callable[[], int],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError(SECRET)

    words = tmp_path / "termination-log"
    words.touch()
    monkeypatch.setattr(job, "TERMINATION_LOG", words)
    monkeypatch.setattr(atload, "TERMINATION_LOG", words)
    monkeypatch.setattr(Sampling, "model_validate_json", lambda _: None)
    monkeypatch.setattr(module, broken, fail)
    assert run() == exits.UNFORESEEN
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "unforeseen ZeroDivisionError at" in err.splitlines()[-1]
    assert "report this line with the traceback above" in err.splitlines()[-1]
    said = words.read_text()
    assert SECRET not in said, "a condition must not quote a row"
    if module in (evaluate, drift):
        assert json.loads(said) | {"message": ""} == {
            "exitCode": exits.UNFORESEEN, "outcome": None, "message": "", "rows": 0,
        }  # fmt: skip


@pytest.mark.parametrize("start", [entry.evaluate, entry.sample, entry.drift])
def test_a_missing_package_is_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], start: Callable[[], int]
) -> None:
    def absent() -> int:
        raise ModuleNotFoundError("No module named 'pyarrow.parquet'", name="pyarrow.parquet")

    for module in (evaluate, sample, drift):
        monkeypatch.setattr(module, "main", absent)
    assert start() == exits.UNUSABLE
    assert "needs the package pyarrow; pip install 'throughline[evaluator]'" in capsys.readouterr().err


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(drift, "_main", interrupt)
    assert drift.main(DRIFT) == exits.INTERRUPTED
