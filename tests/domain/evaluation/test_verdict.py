from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from throughline.api.base import Outcome
from throughline.api.evaluationresult import Check, Estimate, EvaluationResult, GapResult
from throughline.domain.evaluation.verdict import judge, rows_needed

from tests.evaluator.suites import suite

ORDER = [Outcome.FAILED, Outcome.UNKNOWN, Outcome.PASSED]
shares = st.floats(0, 1, allow_nan=False)
intervals = st.lists(shares, min_size=3, max_size=3).map(sorted)


def spec(metrics: list[dict[str, Any]], gaps: list[dict[str, Any]] | None = None) -> Any:
    more = {"slices": [{"name": "race", "column": "r"}], "gaps": gaps} if gaps else {}
    task = {"type": "Classification", "classes": ["0", "1"], "positiveClass": "1"}
    return suite(["x"], ["0", "1"], "y", task=task, metrics=metrics, **more)


def result(metrics: list[Estimate], gaps: list[GapResult] | None = None) -> EvaluationResult:
    return EvaluationResult(rows=1000, confidence_percent=95, resamples=1000, seed=1, metrics=metrics, gaps=gaps or [])


def estimate(ends: list[float], metric: str = "accuracy") -> Estimate:
    return Estimate(metric=metric, low=ends[0], value=ends[1], high=ends[2], rows=1000)


def floor(bound: str, ends: list[float]) -> Outcome:
    return judge(spec([{"name": "accuracy", "floor": bound}]), result([estimate(ends)])).outcome


@pytest.mark.parametrize(
    ("ends", "outcome", "said"),
    [
        ([0.8, 0.82, 0.84], Outcome.PASSED, "accuracy 0.82 [0.8, 0.84] keeps the floor 0.8"),
        ([0.7, 0.75, 0.7999], Outcome.FAILED, "is below the floor 0.8; improve the model"),
        ([0.78, 0.82, 0.86], Outcome.UNKNOWN, "spans the floor 0.8"),
    ],
)
def test_a_floor_is_judged_on_the_interval(ends: list[float], outcome: Outcome, said: str) -> None:
    (reason,) = judge(spec([{"name": "accuracy", "floor": "0.80"}]), result([estimate(ends)])).reasons
    assert (reason.check, reason.outcome) == (Check.FLOOR, outcome)
    assert said in reason.message


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [
        ([0.01, 0.03, 0.05], Outcome.PASSED),
        ([0.051, 0.06, 0.07], Outcome.FAILED),
        ([0.04, 0.05, 0.06], Outcome.UNKNOWN),
    ],
)
def test_a_ceiling_is_judged_on_the_interval(ends: list[float], outcome: Outcome) -> None:
    metrics = [estimate(ends, "expectedCalibrationError")]
    verdict = judge(spec([{"name": "expectedCalibrationError", "ceiling": "0.05"}]), result(metrics))
    assert verdict.outcome == outcome


def test_how_many_more_rows_are_needed() -> None:
    """Half the distance takes four times the rows."""
    assert rows_needed(1000, 0.82, 0.78, 0.86, 0.80) == pytest.approx(4000, abs=1)
    assert rows_needed(1000, 0.82, 0.80, 0.84, 0.80) == pytest.approx(1000, abs=1)
    assert rows_needed(1000, 0.80, 0.78, 0.82, 0.80) is None
    assert rows_needed(1000, 1e-200, -0.1, 0.1, 0.0) is None
    verdict = judge(spec([{"name": "accuracy", "floor": "0.80"}]), result([estimate([0.78, 0.82, 0.86])]))
    assert "more rows would tell" in verdict.reasons[0].message


@pytest.mark.parametrize(
    ("found", "outcome", "said"),
    [
        ({"value": 0.03, "low": 0.0, "high": 0.05}, Outcome.PASSED, "within 0.05"),
        ({"value": 0.09, "low": 0.06, "high": 0.12}, Outcome.FAILED, "improve the model for race 2"),
        ({"value": 0.04, "low": 0.01, "high": 0.07}, Outcome.UNKNOWN, "more rows in the smallest slice"),
        ({"value": 0.06, "low": 0.03, "high": 0.09}, Outcome.UNKNOWN, "may or may not be above 0.05"),
        ({"reason": "1 of the slices has 500 rows"}, Outcome.UNKNOWN, "1 of the slices has 500 rows"),
    ],
)
def test_a_gap_names_its_slices(found: dict[str, Any], outcome: Outcome, said: str) -> None:
    gap = GapResult(metric="truePositiveRate", slice="race", best="1", worst="2", left_out=["9"], **found)
    gap = gap.model_copy(update={"smallest_rows": 500})
    suite_ = spec([{"name": "accuracy"}], [{"metric": "truePositiveRate", "slice": "race", "ceiling": "0.05"}])
    (reason,) = judge(suite_, result([], [gap])).reasons
    assert (reason.check, reason.slice, reason.outcome) == (Check.GAP, "race", outcome)
    assert said in reason.message
    if gap.value is not None:
        assert "not judged: 9" in reason.message


@pytest.mark.parametrize(
    "metrics",
    [
        [],
        [Estimate(metric="accuracy", rows=10, reason="no row is of class 1")],
        [Estimate(metric="accuracy", value=0.99, rows=10, reason="the scorer returned one number")],
    ],
)
def test_what_was_not_measured_does_not_pass(metrics: list[Estimate]) -> None:
    verdict = judge(spec([{"name": "accuracy", "floor": "0.1"}]), result(metrics))
    assert verdict.outcome == Outcome.UNKNOWN
    assert (metrics[0].reason if metrics else "not measured") in verdict.reasons[0].message


def test_a_suite_without_a_bound_passes_nothing() -> None:
    assert judge(spec([{"name": "accuracy"}]), result([estimate([0.9, 0.9, 0.9])])).outcome == Outcome.UNKNOWN


@given(ends=intervals, low=st.integers(0, 100), high=st.integers(0, 100))
def test_a_higher_floor_is_never_easier(ends: list[float], low: int, high: int) -> None:
    assume(low <= high)
    assert ORDER.index(floor(f"{low * 10}m", ends)) >= ORDER.index(floor(f"{high * 10}m", ends))


@given(ends=intervals, shift=st.floats(0, 0.2), bound=st.integers(0, 100))
def test_a_better_model_never_fares_worse(ends: list[float], shift: float, bound: int) -> None:
    better = [end + shift for end in ends]
    assert ORDER.index(floor(f"{bound * 10}m", better)) >= ORDER.index(floor(f"{bound * 10}m", ends))


@given(ends=intervals, bound=st.integers(0, 100), wider=st.floats(0, 0.3))
def test_less_certainty_never_turns_fail_into_pass_or_pass_into_fail(
    ends: list[float], bound: int, wider: float
) -> None:
    sure, unsure = floor(f"{bound * 10}m", ends), floor(f"{bound * 10}m", [ends[0] - wider, ends[1], ends[2] + wider])
    assert unsure in {sure, Outcome.UNKNOWN}


@given(st.lists(st.tuples(intervals, st.integers(0, 100)), min_size=1, max_size=4))
def test_the_whole_is_as_bad_as_its_worst_part(parts: list[tuple[list[float], int]]) -> None:
    names = ["accuracy", "f1", "recall", "precision"]
    metrics = [{"name": name, "floor": f"{bound * 10}m"} for name, (_, bound) in zip(names, parts, strict=False)]
    estimates = [estimate(ends, name) for name, (ends, _) in zip(names, parts, strict=False)]
    verdict = judge(spec(metrics), result(estimates))
    assert verdict.outcome == min((r.outcome for r in verdict.reasons), key=ORDER.index)
    assert all(r.message for r in verdict.reasons)
