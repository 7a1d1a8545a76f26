from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from throughline.evaluator.scoring import ScoringError, score

from tests.evaluator.scoring.suites import suite

RANKING = ["ndcgAtK", "meanReciprocalRank", "recallAtK"]
QUERY = {"type": "Ranking", "groupColumn": "q", "k": 3}


def rank(y: list[float], q: list[Any], output: list[float], task: dict[str, Any] = QUERY, **more: Any) -> Any:
    table = pa.table({"y": y, "q": q, **more.pop("columns", {})})
    return score(suite(task, "Score", RANKING, **more), table, np.array(output, dtype=np.float64))


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), ties=st.booleans())
def test_ndcg_is_scikit_learns(seed: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    y, s = random.integers(0, 4, (6, 5)).astype(float), random.normal(size=(6, 5))
    y[:, 0] = 1  # something relevant in every group
    s = np.round(s) if ties else s
    mixed = random.permutation(30)
    q = np.repeat([f"q{i}" for i in range(6)], 5)[mixed]
    result = rank(y.ravel()[mixed], q, s.ravel()[mixed], intervals={"resamples": 100})
    each = [sk.ndcg_score(y[[i]], s[[i]], k=3) for i in range(6)]
    assert result.metrics[0].value == pytest.approx(np.mean(each), abs=1e-15)
    assert (result.rows, result.groups, result.metrics[0].rows) == (30, 6, 6)


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_reciprocal_rank_of_one_relevant_row_is_scikit_learns(seed: int) -> None:
    random = np.random.default_rng(seed)
    y, s = np.eye(5)[random.integers(0, 5, 6)], np.round(random.normal(size=(6, 5)), 1)
    result = rank(y.ravel(), np.repeat(range(6), 5), s.ravel(), intervals={"resamples": 100})
    assert result.metrics[1].value == pytest.approx(sk.label_ranking_average_precision_score(y, s))


def test_recall_counts_the_first_places() -> None:
    result = rank([1, 1, 0, 1, 0], ["a"] * 5, [5, 4, 3, 2, 1])
    assert [m.value for m in result.metrics[1:]] == [1.0, pytest.approx(2 / 3)]


def test_equal_scores_earn_nothing_by_the_order_of_rows() -> None:
    result = rank([1, 0, 0, 0], ["a"] * 4, [1, 1, 1, 1])
    assert [m.value for m in result.metrics[1:]] == [0.25, 0.0]


def test_groups_that_say_nothing_are_left_out_and_counted() -> None:
    result = rank([1, 0, 0, 0, 1], ["a", "a", "b", "b", "c"], [2, 1, 2, 1, 1])
    assert [(m.value, m.rows) for m in result.metrics] == [(1.0, 1), (1.0, 2), (1.0, 2)]
    assert result.notes == [
        "1 of 3 groups have no relevant row and are left out of the means.",
        "1 groups of one row are left out of ndcgAtK: there is no order in them.",
    ]
    none = rank([0, 0], ["a", "a"], [2, 1])
    assert [(m.value, m.reason) for m in none.metrics] == [(None, "no group has a relevant row")] * 3


def test_slices_are_of_whole_groups() -> None:
    columns = {"lang": ["en", "en", "de", "de"]}
    slices = [{"name": "lang", "column": "lang"}]
    result = rank([1, 0, 0, 1], ["a", "a", "b", "b"], [2, 1, 2, 1], columns=columns, slices=slices)
    found = {s.value: (s.rows, s.groups, s.metrics[1].value) for s in result.slices}
    assert found == {"en": (2, 1, 1.0), "de": (2, 1, 0.5)}
    with pytest.raises(ScoringError, match="row 3 is in another slice than the first row of its group"):
        rank(
            [1, 0, 0, 1], ["a", "a", "b", "b"], [2, 1, 2, 1], columns={"lang": ["en", "en", "de", "en"]}, slices=slices
        )


def test_relevance_below_zero_is_refused() -> None:
    with pytest.raises(ScoringError, match="row 1 has a relevance below 0"):
        rank([1, -1], ["a", "a"], [2, 1])


def custom(entry: str, **more: Any) -> Any:
    task = {"type": "Custom", "entryPoint": f"tests.evaluator.scoring.{entry}", "parameters": {"cost": "0.5"}}
    return suite(task, "Score", more.pop("metrics", ["profit", "median"]), **more)


GAIN = pa.table({"gain": np.random.default_rng(0).normal(2, 1, 200), "g": ["a", "b"] * 100})


def test_a_scorer_of_rows_has_intervals_and_one_of_numbers_has_none() -> None:
    output = np.linspace(0, 1, 200)
    slices = [{"name": "g", "column": "g"}]
    gap = [{"metric": "profit", "slice": "g", "ceiling": "9"}]
    bounds = [{"name": "profit", "floor": "0.1"}, {"name": "median", "ceiling": "9"}]
    result = score(custom("custom_scorers:profit", slices=slices, gaps=gap, metrics=bounds), GAIN, output)
    each = np.where(output > 0.5, GAIN["gain"].to_numpy(), 0) - 0.5
    profit, median = result.metrics
    assert profit.value == pytest.approx(each.mean())
    assert profit.low < profit.value < profit.high
    spread = each.std() / np.sqrt(200)
    assert (profit.high - profit.low) / (2 * 1.96 * spread) == pytest.approx(1, abs=0.25)
    assert (median.value, median.low) == (np.median(each), None)
    assert [s.metrics[1].value for s in result.slices] == [np.median(each[::2]), np.median(each[1::2])]
    assert [r.outcome for r in result.verdict.reasons] == ["Passed", "Unknown", "Passed"]
    assert "one score per row" in result.verdict.reasons[1].message


def test_a_scorer_may_give_an_interval_of_its_own() -> None:
    bounds = [{"name": "profit", "floor": "0.1"}]
    result = score(
        custom("custom_scorers:own", metrics=bounds, slices=[{"name": "g", "column": "g"}]), GAIN, np.ones(200)
    )
    (profit,) = result.metrics
    assert (profit.value, profit.low, profit.high, profit.reason) == (2.0, 1.0, 3.0, None)
    assert [(s.metrics[0].low, s.metrics[0].high) for s in result.slices] == [(1.0, 3.0), (1.0, 3.0)]
    assert result.verdict.outcome == "Passed"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("custom_scorers:outside", "profit 4.0 with the interval .* in which it does not lie"),
        ("custom_scorers:failing", "the scorer failed: KeyError: 'gain'"),
        ("custom_scorers:short", r"profit of shape \(2,\); there are 200 rows"),
        ("custom_scorers:text", "'much' for profit; return a number"),
        ("custom_scorers:partial", "returned no profit; it returned median"),
        ("custom_scorers:NOT_A_FUNCTION", "is no function"),
        ("custom_scorers:none", "cannot be loaded"),
        ("no_such_module:score", "cannot be loaded.*install its package"),
    ],
)
def test_a_wrong_scorer_is_named(entry: str, message: str) -> None:
    with pytest.raises(ScoringError, match=message) as error:
        score(custom(entry), GAIN, np.zeros(200))
    assert error.value.field == "spec.task.entryPoint"
