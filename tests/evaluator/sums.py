"""A model that sums, a suite for it with its rows, and the command against the fake server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from throughline.api.crd import to_yaml
from throughline.evaluator import cli

from tests.evaluator.fake_triton import COLUMNS, Behaviour, serving
from tests.evaluator.suites import GOVERNANCE

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 400
PROBED = 24  # rows that are asked again: those of one request of 8, twice together and then alone
HOSTILE = '<script>alert("x")</script>'


def write_case(folder: Path) -> None:
    """A suite and its rows: the model's probability of "yes" is the sum of a row; nine of ten labels agree with it."""
    rng = np.random.default_rng(5)
    x = rng.random((ROWS, COLUMNS)).astype(np.float32) / COLUMNS
    yes = (x.sum(axis=1) > 0.5) ^ (rng.random(ROWS) < 0.1)
    columns: dict[str, Any] = {f"x{i}": x[:, i] for i in range(COLUMNS)}
    columns |= {"label": np.where(yes, "yes", "no"), "group": np.where(rng.random(ROWS) < 0.5, HOSTILE, "$a_$")}
    parquet.write_table(pa.table(columns), folder / "rows.parquet")
    write_suite(folder)


def write_suite(folder: Path, floor: str = "0.5", **more: Any) -> None:
    spec = {
        "dataset": {
            "source": {"pvc": {"claimName": "c", "path": "rows.parquet"}},
            "labelColumn": "label",
            "governance": GOVERNANCE,
        },
        "task": {"type": "Classification", "classes": ["yes", "no"]},
        "inputs": [{"tensor": "X", "columns": [f"x{i}" for i in range(COLUMNS)], "datatype": "FP32"}],
        "output": {"tensor": "Y", "kind": "Probabilities"},
        "metrics": [{"name": "accuracy", "floor": floor}, {"name": "brier"}],
        "slices": [{"name": "group", "column": "group"}],
        "intervals": {"resamples": 100},
        **more,
    }
    document = {
        "apiVersion": "throughline.io/v1alpha1",
        "kind": "EvaluationSuite",
        "metadata": {"name": "sums"},
        "spec": spec,
    }
    (folder / "suite.yaml").write_text(to_yaml(document))


def arguments(folder: Path, url: str, *more: str) -> list[str]:
    return [
        "--suite", str(folder / "suite.yaml"), "--url", url, "--model", "sum", "--data-root", str(folder),
        "--output", str(folder / "out"), *more,
    ]  # fmt: skip


def run(folder: Path, behaviour: Behaviour | None = None, *more: str) -> int:
    with serving(behaviour or Behaviour()) as url:
        return cli.main(arguments(folder, url, *more))


def result(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "out/result.json").read_text()))
