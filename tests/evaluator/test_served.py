"""A suite that does not fit the model is told before the first row, field by field."""

from __future__ import annotations

from typing import Any

import pytest
from throughline.api.evaluationsuite import EvaluationSuiteSpec
from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.served import Served, Tensor, batch_rows, check

from tests.evaluator.suites import suite

X, Y = Tensor("x", "FP32", (-1, 2)), Tensor("probabilities", "FP32", (-1, 2))


def served(*, inputs: tuple[Tensor, ...] = (X,), outputs: tuple[Tensor, ...] = (Y,), most: int | None = 8) -> Served:
    return Served("m", "1", inputs, outputs, most)


def spec(**entry: Any) -> EvaluationSuiteSpec:
    wire = suite(["a", "b"], ["0", "1"], "label").to_wire()
    wire["inputs"][0] |= entry
    return EvaluationSuiteSpec.model_validate(wire)


def test_what_fits() -> None:
    check(spec(), served())
    check(spec(), served(inputs=(Tensor("x", "FP32", (-1, -1)), Tensor("o", "FP32", (-1,), optional=True))))
    check(spec(), served(outputs=(Tensor("probabilities", "FP32", (-1, 1)),)))
    check(spec(columns=["a"], scalar=True), served(inputs=(Tensor("x", "FP32", (-1,)),)))


@pytest.mark.parametrize(
    ("entry", "model", "said"),
    [
        ({"tensor": "X"}, served(), r"spec.inputs\[X\].tensor: the model has no such input; did you mean 'x'"),
        ({"datatype": "FP64"}, served(), "datatype is FP64, and the model takes FP32; write that"),
        ({"columns": ["a"]}, served(), r"columns has 1 entries, and the model takes 2"),
        ({"columns": ["a"], "scalar": True}, served(), r"scalar gives shape \[rows\]"),
        ({"columns": ["a"]}, served(inputs=(Tensor("x", "FP32", (-1,)),)), "set scalar: true"),
        ({}, served(inputs=(Tensor("x", "FP32", (-1, 2, 2)),)), "serve it flat"),
        ({}, served(inputs=(Tensor("x", "FP32", (4, 2)),)), "first dimension is not the rows"),
        ({}, served(inputs=(X, Tensor("mask", "BOOL", (-1, 4)))), "also needs mask"),
        ({}, served(outputs=(Tensor("scores", "FP32", (-1, 2)),)), "no output 'probabilities'; it has 'scores'"),
        ({}, served(outputs=(Tensor("probabilities", "FP32", (-1, 3)),)), "spec.task.classes names 2"),
        ({}, served(outputs=(Tensor("probabilities", "BYTES", (-1, 2)),)), "needs numbers"),
    ],
)
def test_what_does_not_fit(entry: dict[str, Any], model: Served, said: str) -> None:
    with pytest.raises(EvaluationInputError, match=said):
        check(spec(**entry), model)


def test_rows_per_request() -> None:
    assert batch_rows(served(), None) == 8
    assert batch_rows(served(), 3) == 3
    with pytest.raises(EvaluationInputError, match="more than model 'm' takes"):
        batch_rows(served(), 9)
    assert batch_rows(served(most=0), None) == 64
    assert batch_rows(served(inputs=(Tensor("x", "FP32", (1, 2)),), most=0), None) == 1
    assert batch_rows(served(most=None), None) == 1
    assert batch_rows(served(most=None), 16) == 16
