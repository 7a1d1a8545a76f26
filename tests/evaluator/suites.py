"""Suites for the evaluator's tests."""

from __future__ import annotations

from typing import Any

from throughline.api.evaluationsuite import EvaluationSuiteSpec

GOVERNANCE = {
    "owner": "tests",
    "purpose": "tests",
    "legalBasis": "NotPersonalData",
    "regions": ["eu-west-1"],
    "retentionDays": 1,
}


def suite(columns: list[str], classes: list[str], label: str, **more: Any) -> EvaluationSuiteSpec:
    """A suite of one FP32 input and probabilities; `more` are further fields of the spec, in the wire form."""
    dataset = {"source": {"configMap": {"name": "rows", "key": "rows.csv"}}, "labelColumn": label}
    return EvaluationSuiteSpec.model_validate(
        {
            "dataset": {**dataset, "governance": GOVERNANCE},
            "task": {"type": "Classification", "classes": classes},
            "inputs": [{"tensor": "x", "columns": columns, "datatype": "FP32"}],
            "output": {"tensor": "probabilities", "kind": "Probabilities"},
            "metrics": [{"name": "accuracy"}],
            **more,
        }
    )
