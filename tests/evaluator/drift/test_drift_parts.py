"""The parts of drift: distances against what they are by definition, windows, joins, the holdout."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from throughline.api.base import Outcome
from throughline.api.drift import DriftColumn, DriftPolicy
from throughline.evaluator.drift.labels import holdout_gap, join_labels, labelled_windows
from throughline.evaluator.drift.statistics import chi_squared, holm, population_stability_index
from throughline.evaluator.drift.window import WindowCursor, cut_windows, judge_window
from throughline.evaluator.errors import EvaluationInputError


def test_holm_is_the_worked_example():
    # Holm 1979 on p = .01, .04, .03, .005: factors 4 to 1 in rising order, never falling.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_psi_is_its_formula_and_finite_for_empty_bins():
    a, b = np.array([600, 400]), np.array([300, 700])
    assert population_stability_index(a, b) == pytest.approx(0.3 * np.log(2) + 0.3 * np.log(7 / 4), rel=0.01)
    assert population_stability_index(a, a) == 0
    assert np.isfinite(population_stability_index(np.array([10, 0]), np.array([0, 10])))


def test_rare_categories_are_put_together():
    old, new = np.array([5000, 4000, *[1] * 30]), np.array([500, 400, *[0] * 30])
    assert chi_squared(old, new).p_value > 0.05
    assert chi_squared(np.array([100]), np.array([50])).p_value == 1
    assert chi_squared(np.array([500, 500, 0]), np.array([250, 250, 100])).p_value < 1e-6


def test_a_remainder_waits_and_what_retention_removed_is_counted():
    policy = DriftPolicy(window_rows=100, minimum_rows=50)
    first = cut_windows(WindowCursor(), stored_from=0, stored_to=201, policy=policy)
    assert (first.windows, first.lost_rows) == ([(0, 100), (100, 200)], 0)
    saved = WindowCursor.model_validate_json(first.cursor.model_dump_json(by_alias=True))
    assert cut_windows(saved, stored_from=0, stored_to=299, policy=policy).windows == []
    assert cut_windows(saved, stored_from=0, stored_to=300, policy=policy).windows == [(200, 300)]
    late = cut_windows(saved, stored_from=250, stored_to=400, policy=policy)
    assert (late.windows, late.lost_rows, late.cursor.next_row) == ([(250, 350)], 50, 350)


def joined(labels, since=0):
    predictions = pa.table({"id": ["a", "b", "c", "d"], "said": ["1", "0", "1", "1"]})
    table = pa.table({"id": [i for i, _ in labels], "label": pa.array([v for _, v in labels], pa.int64())})
    columns = {"id_column": "id", "prediction_column": "said", "label_column": "label"}
    return join_labels(predictions, table, **columns, since=since)


def test_labels_join_by_id_and_a_job_goes_on():
    labels = [("b", 1), ("a", 1), ("x", 1), ("a", 1), ("b", 0), ("c", 1)]
    result = joined(labels)
    assert (result.ids, result.right.tolist()) == (["b", "a", "c"], [False, True, True])
    assert (result.unmatched, result.repeated, result.conflicting, result.unlabelled) == (1, 1, 1, 1)
    first, second = joined(labels[:3]), joined(labels, since=3)
    assert [*first.ids, *second.ids] == result.ids
    assert (second.unmatched, second.repeated, second.conflicting) == (0, 1, 1)
    with pytest.raises(EvaluationInputError, match=r"labels.label: row 0 is null"):
        joined([("a", None)])


def test_true_accuracy_by_window():
    right = np.array([True] * 90 + [False] * 10 + [True] * 50)
    windows = labelled_windows(right, window_rows=100, first_row=1000)
    assert [(w.first, w.end, w.accuracy) for w in windows] == [(1000, 1100, 0.9)]
    assert windows[0].low == pytest.approx(0.8256, abs=1e-4)  # Wilson's interval of 90 in 100
    assert windows[0].high == pytest.approx(0.9448, abs=1e-4)


def test_the_holdout_gap():
    rng = np.random.default_rng(0)
    same = holdout_gap(rng.random(20_000) < 0.8, rng.random(2000) < 0.8, minimum_rows=500)
    assert same.outcome is Outcome.PASSED
    loop = holdout_gap(rng.random(20_000) < 0.9, rng.random(2000) < 0.8, minimum_rows=500)
    assert loop.outcome is Outcome.FAILED
    assert loop.low < 0.1 < loop.high
    few = holdout_gap(rng.random(20_000) < 0.9, rng.random(30) < 0.8, minimum_rows=500)
    assert (few.outcome, few.gap) == (Outcome.UNKNOWN, None)
    # Newcombe 1998, table II, (a) 56/70 − 48/80 by method 10: 0.0524 to 0.3339.
    check = holdout_gap(np.arange(70) < 56, np.arange(80) < 48, minimum_rows=1)
    assert (check.low, check.high) == pytest.approx((0.0524, 0.3339), abs=1e-4)


def drifting(rows, **more):
    rng = np.random.default_rng(3)
    return pa.table({"age": rng.normal(0, 1, rows), "city": rng.choice(["a", "b"], rows), **more})


SMALL = DriftPolicy(window_rows=300, minimum_rows=100)
UNTYPED, NUMBERS, NAN = pa.nulls(300), pa.nulls(300, pa.float64()), pa.array([float("nan")] * 300)


@pytest.mark.parametrize("baseline", [UNTYPED, NUMBERS, NAN], ids=["untyped", "numbers", "NaN"])
@pytest.mark.parametrize("window", [UNTYPED, NUMBERS, NAN], ids=["untyped", "numbers", "NaN"])
@pytest.mark.parametrize(
    "declared", [[], [DriftColumn(name="age"), DriftColumn(name="city"), DriftColumn(name="void")]]
)
def test_a_column_without_values_on_both_sides_is_unknown_and_the_others_are_judged(baseline, window, declared):
    policy = SMALL.model_copy(update={"columns": declared})
    report = judge_window(policy, drifting(300, void=baseline), drifting(300, void=window))
    assert report.outcome is Outcome.PASSED
    assert report.unknown_columns == ["void"]
    assert "not judged: void has no value in the baseline and none in the window" in report.message
    assert {finding.column for finding in report.findings} == {"age", "city", None}
    shifted = drifting(300, void=window)
    shifted = shifted.set_column(0, "age", pa.array(shifted["age"].to_numpy() + 3))
    assert judge_window(policy, drifting(300, void=baseline), shifted).outcome is Outcome.FAILED


def test_values_that_stop_coming_are_drift_whatever_the_type_of_nothing_is():
    for nothing in (UNTYPED, NUMBERS):
        report = judge_window(SMALL, drifting(300, n=np.arange(300.0)), drifting(300, n=nothing))
        assert report.outcome is Outcome.FAILED
        assert "n (MissingValues" in report.message


def test_only_empty_columns_are_unknown():
    nothing = pa.table({"void": UNTYPED})
    report = judge_window(SMALL, nothing, nothing)
    assert (report.outcome, report.unknown_columns) == (Outcome.UNKNOWN, ["void"])


def test_a_column_that_cannot_be_compared_is_unknown_where_nobody_declared_it():
    days = pa.array([0] * 300, pa.date32())
    report = judge_window(SMALL, drifting(300, day=days), drifting(300, day=days))
    assert (report.outcome, report.unknown_columns) == (Outcome.PASSED, ["day"])
    assert "day is date32[day] in the baseline, which cannot be compared" in report.message


def test_huge_and_infinite_numbers_are_compared():
    huge = pa.array([2**60 + place for place in range(300)], pa.int64())
    endless = pa.array([float("inf"), -float("inf"), 1.0] * 100)
    report = judge_window(SMALL, drifting(300, huge=huge, endless=endless), drifting(300, huge=huge, endless=endless))
    assert report.outcome is Outcome.PASSED
