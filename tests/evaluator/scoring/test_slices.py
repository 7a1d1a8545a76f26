from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from throughline.api.evaluationsuite import Slice
from throughline.evaluator.scoring import ScoringError, score
from throughline.evaluator.scoring.expressions import evaluate
from throughline.evaluator.scoring.slices import MISSING, partition

from tests.evaluator.scoring.suites import classification

TABLE = pa.table(
    {
        "age": [10, 20, 30, None],
        "pay": [1.5, 0.0, float("nan"), 4.0],
        "sex": pa.array(["f", "m", "f", None]).dictionary_encode(),
        "two words": [1, 2, 3, 4],
        "day": [dt.date(2020, 1, 1)] * 4,
        "ok": [True, False, None, True],
    }
)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("age < 25", [True, True, False, None]),
        ("10 < age <= 30", [False, True, True, None]),
        ("age < 25 and sex == 'f'", [True, False, False, None]),
        ("age < 25 or two_is_not_a_column < 1", "no column 'two_is_not_a_column'"),
        ("age < 15 or sex == 'f'", [True, False, True, None]),
        ("not age < 25", [False, False, True, None]),
        ("sex in ('m', 'x')", [False, True, False, None]),
        ("sex not in ['m']", [True, False, True, None]),
        ("age is None", [False, False, False, True]),
        ("pay is not None", [True, True, False, True]),
        ("age is None or age > 25", [False, False, True, True]),
        ("age * 2 + 1 > 40.5", [False, True, True, None]),
        ("-age < -15", [False, True, True, None]),
        ("age / pay > 5", [True, None, False, None]),
        ('column("two words") >= 3', [False, False, True, True]),
        ("ok", [True, False, None, True]),
        ("ok == True", [True, False, None, True]),
    ],
)
def test_expressions(expression: str, expected: Any) -> None:
    if isinstance(expected, str):
        with pytest.raises(ScoringError, match=expected):
            evaluate(expression, TABLE)
    else:
        assert evaluate(expression, TABLE).to_pylist() == expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("__import__('os').system('x')", "only columns.*found Call"),
        ("age.__class__", "found Attribute"),
        ("[a for a in age]", "found ListComp"),
        ("(lambda: 1)()", "found Call"),
        ("age ** 999999", "found BinOp"),
        ("f'{age}'", "found JoinedStr"),
        ("age < ", "cannot be read"),
        ("1 < 2", "names no column"),
        ("age + 1", "is of type int64, not true or false"),
        ("sex < 3", "cannot be evaluated .sex is dictionary"),
        ("age == None", "use 'is None'"),
        ("age is 3", "use =="),
        ("age in 3", "needs a list"),
        ("aeg < 3", r"no column 'aeg'; there are age, pay.* in 'aeg'"),
        ("age < 99999999999999999999", "too large"),
        ("not " * 60 + "ok", "nested deeper"),
        ("day < 3", "day is date32"),
    ],
)
def test_what_is_no_expression_is_refused(expression: str, message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        evaluate(expression, TABLE)


@settings(max_examples=200)
@given(st.text(alphabet="age pysx<>=!()[],.'\"+-*/0123andortiNl:_{}%@", max_size=30))
def test_any_text_is_answered_or_refused(text: str) -> None:
    try:
        assert len(evaluate(text, TABLE)) == TABLE.num_rows
    except ScoringError as error:
        refused = error.field
    else:
        refused = "expression"
    assert refused == "expression"


def test_one_slice_per_value_and_one_for_what_is_missing() -> None:
    (sex, pay) = partition([Slice(name="s", column="sex"), Slice(name="p", column="pay")], TABLE)
    assert sex.values == ("f", "m", MISSING)
    assert sex.codes.tolist() == [0, 1, 0, 2]
    assert pay.values == ("0", "1.5", "4", MISSING)
    assert pay.codes.tolist() == [1, 0, 3, 2]


def test_rows_of_which_an_expression_is_open_are_on_neither_side() -> None:
    (young,) = partition([Slice(name="y", expression="age < 25")], TABLE)
    assert young.codes.tolist() == [0, 0, 1, -1]


def test_a_column_of_many_values_is_no_slice() -> None:
    with pytest.raises(ScoringError, match="2000 values, more than 1000; slice by an expression, such as id < 25"):
        partition([Slice(name="i", column="id")], pa.table({"id": range(2000)}))


def test_small_slices_are_shown_and_not_judged() -> None:
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 300)
    group = np.array(["a"] * 140 + ["b"] * 140 + ["tiny"] * 20)
    right = np.where(group == "tiny", 1 - y, y)
    p = np.stack([1.0 - right, right], axis=1) * 0.8 + 0.1
    gap = [{"metric": "accuracy", "slice": "g", "ceiling": "0.1"}]
    table = pa.table({"y": y, "g": group})
    slices = [{"name": "g", "column": "g"}]
    for least, left_out, outcome in (
        (50, ["tiny"], "Passed"),
        (20, [], "Failed"),
        (150, ["a", "b", "tiny"], "Unknown"),
    ):
        result = score(classification(2, ["accuracy"], slices=slices, gaps=gap, minimumSliceSize=least), table, p)
        assert [s.too_small for s in result.slices] == [least > 140, least > 140, least > 20]
        assert [s.metrics[0].value for s in result.slices] == [1.0, 1.0, 0.0]
        assert result.gaps[0].left_out == left_out
        assert result.verdict.outcome == outcome, least
