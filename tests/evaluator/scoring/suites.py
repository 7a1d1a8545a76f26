"""Suites and rows for the tests of scoring."""

from __future__ import annotations

from typing import Any

from throughline.api.evaluationsuite import EvaluationSuiteSpec

from tests.evaluator.suites import GOVERNANCE


def suite(task: dict[str, Any], kind: str, metrics: list[str | dict[str, Any]], **more: Any) -> EvaluationSuiteSpec:
    dataset = {"source": {"configMap": {"name": "rows", "key": "rows.csv"}}, "labelColumn": "y"}
    return EvaluationSuiteSpec.model_validate(
        {
            "dataset": {**dataset, "governance": GOVERNANCE},
            "task": task,
            "inputs": [{"tensor": "x", "columns": ["x"], "datatype": "FP32"}],
            "output": {"tensor": "out", "kind": kind},
            "metrics": [{"name": m} if isinstance(m, str) else m for m in metrics],
            "minimumSliceSize": 20,
            "intervals": {"resamples": 200},
            **more,
        }
    )


def classification(classes: int, metrics: list[str | dict[str, Any]], positive: str | None = None, **more: Any) -> Any:
    task = {"type": "Classification", "classes": [str(c) for c in range(classes)]}
    kind = more.pop("kind", "Probabilities")
    return suite(task | ({"positiveClass": positive} if positive else {}), kind, metrics, **more)
