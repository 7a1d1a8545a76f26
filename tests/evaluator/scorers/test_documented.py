"""The scorer that docs/scorers.md shows, run as it stands there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from throughline.evaluator.scorers import scores

PAGE = Path(__file__).resolve().parents[3] / "docs" / "scorers.md"
ROWS = (
    {"sum": 100, "repaid": 1, "prediction": 0.2},
    {"sum": 200, "repaid": 0, "prediction": 0.4},
    {"sum": 100, "repaid": 1, "prediction": 0.9},
    {"sum": 100, "repaid": 1, "prediction": None},
)


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
def test_the_script_of_the_page_scores(tmp_path: Path) -> None:
    script = re.search(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert script is not None
    request = {"parameters": {"cut": "0.5"}, "prediction": {"column": "prediction"}, "labelColumn": "repaid"}
    (tmp_path / "request.json").write_text(json.dumps(request))
    (tmp_path / "predictions.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    environment = {
        "THROUGHLINE_PREDICTIONS": str(tmp_path),
        "THROUGHLINE_SCORES": str(tmp_path),
        "PATH": "/usr/bin:/bin",
    }
    subprocess.run(["/bin/sh", "-c", script[1]], env=environment, check=True)
    found = scores.read(tmp_path / "scores.json", ["profit"], len(ROWS))
    assert found.scored.point("profit", np.arange(len(ROWS))).value == pytest.approx((5 - 200 + 0) / 3)
