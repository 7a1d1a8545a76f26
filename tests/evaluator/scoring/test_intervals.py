"""What the intervals promise, by simulation: how often they hold the truth, and how often a gap is claimed falsely."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from throughline.evaluator.scoring import score
from throughline.evaluator.scoring.bootstrap import AUROC_LEAST, Auroc, Scopes
from throughline.evaluator.scoring.gaps import largest_gap
from throughline.evaluator.scoring.intervals import interval
from throughline.evaluator.scoring.values import Curve, Value

from tests.evaluator.scoring.suites import classification

SLICES, ROWS, RATE, ALPHA = 6, 300, 0.8, 0.05


def slices_and_resamples(
    random: np.random.Generator, rates: np.ndarray, resamples: int = 300
) -> tuple[np.ndarray, np.ndarray]:
    """A rate per slice, and what the bootstrap of its rows makes of it: a binomial of the observed rate."""
    found = random.binomial(ROWS, rates) / ROWS
    return found, random.binomial(ROWS, found[:, None], (len(rates), resamples)) / ROWS


def too_many(trials: int, share: float) -> int:
    """More than this happens once in ten thousand."""
    return int(stats.binom.ppf(0.9999, trials, share))


def test_without_a_gap_none_is_claimed_more_often_than_declared() -> None:
    random = np.random.default_rng(1)
    claimed = naive = 0
    simulations = 1000
    for _ in range(simulations):
        values, resampled = slices_and_resamples(random, np.full(SLICES, RATE))
        claimed += largest_gap(values, resampled, np.zeros(SLICES), ALPHA).low > 0
        # What the interval of the pair with the largest gap says, taken as if it had been chosen beforehand.
        ends = np.quantile(resampled[values.argmax()] - resampled[values.argmin()], [ALPHA / 2, 1 - ALPHA / 2])
        naive += ends[0] > 0
    assert claimed <= too_many(simulations, ALPHA / 2)
    assert naive > 4 * ALPHA * simulations  # so the correction is needed, and this test can tell


def test_a_gap_at_the_bound_is_passed_no_more_often_than_declared() -> None:
    random = np.random.default_rng(2)
    rates = np.array([RATE, RATE - 0.1, *[RATE - 0.05] * (SLICES - 2)])
    simulations = 600
    passed = refused = 0
    for _ in range(simulations):
        values, resampled = slices_and_resamples(random, rates)
        gap = largest_gap(values, resampled, np.zeros(SLICES), ALPHA)
        passed += gap.high < 0.1
        refused += gap.low > 0.1
        assert gap.low <= gap.value <= gap.high
    assert passed <= too_many(simulations, ALPHA / 2)
    assert refused <= too_many(simulations, ALPHA / 2)


def test_a_large_gap_is_found() -> None:
    random = np.random.default_rng(3)
    found = [
        largest_gap(*slices_and_resamples(random, np.array([RATE, RATE - 0.2, RATE])), np.zeros(3), ALPHA)
        for _ in range(50)
    ]
    assert all(gap.low > 0.02 and gap.below == 1 for gap in found)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Through the whole of `score`: a classifier that is right with a known probability."""
    random = np.random.default_rng(4)
    held, simulations = 0, 120
    for seed in range(simulations):
        y = random.integers(0, 2, 300)
        label = np.where(random.random(300) < RATE, y, 1 - y)
        p = np.stack([1.0 - label, label], axis=1) * 0.8 + 0.1
        spec = classification(2, ["accuracy"], intervals={"resamples": 200, "seed": seed})
        (estimate,) = score(spec, pa.table({"y": y}), p).metrics
        held += estimate.low <= RATE <= estimate.high
    assert too_many(simulations, 0.05) >= simulations - held
    assert held < simulations


def test_a_share_of_one_is_not_certain() -> None:
    found = interval("accuracy", Value(1.0, 50, 50), np.ones(100), 0.05)
    assert found.low == pytest.approx(stats.binomtest(50, 50).proportion_ci(0.95, "exact").low)
    assert found.high == 1.0
    found = interval("falsePositiveRate", Value(0.0, 90, 50), np.zeros(100), 0.05)
    assert found.high == pytest.approx(stats.binomtest(0, 50).proportion_ci(0.95, "exact").high)
    assert interval("meanAbsoluteError", Value(0.0, 50, 50), np.zeros(100), 0.05).low is None
    bounded = interval("logLoss", Value(0.1, 50, 50, worst=16.0), np.full(100, 0.1), 0.05)
    share = stats.binomtest(50, 50).proportion_ci(0.95, "exact").low  # of rows like those seen, at least
    assert (bounded.low, bounded.high) == pytest.approx((0.1 * share, 0.1 * share + 16.0 * (1 - share)))


def test_a_perfect_slice_has_room_for_error_in_a_gap() -> None:
    values = np.array([1.0, 0.96])
    resampled = np.array([np.ones(200), np.random.default_rng(0).normal(0.96, 0.005, 200)])
    bare = largest_gap(values, resampled, np.zeros(2), 0.05)
    careful = largest_gap(values, resampled, np.array([0.03, 0.0]), 0.05)
    assert bare.low > 0.02
    assert careful.low == 0.0
    assert careful.high > bare.high


def test_a_class_that_resamples_miss_leaves_no_interval() -> None:
    y = np.array([1] + [0] * 99)
    p = np.tile([0.6, 0.4], (100, 1))
    (recall,) = score(classification(2, ["recall"], "1"), pa.table({"y": y}), p).metrics
    assert (recall.value, recall.low) == (0.0, None)
    assert "of the resamples" in recall.reason


def test_the_same_seed_gives_the_same_intervals_and_another_does_not() -> None:
    y = np.random.default_rng(0).integers(0, 2, 200)
    p = np.random.default_rng(1).dirichlet([1, 1], 200)
    one, again, other = (
        score(classification(2, ["brier"], intervals={"resamples": 100, "seed": seed}), pa.table({"y": y}), p).metrics[
            0
        ]
        for seed in (1, 1, 2)
    )
    assert one == again
    assert (one.value, one.low) != (other.value, other.low)


def test_auroc_of_many_rows_takes_fewer_resamples_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("throughline.evaluator.scoring.bootstrap.AUROC_VISITS", 100 * 250)
    y = np.random.default_rng(0).integers(0, 2, 100)
    p = np.random.default_rng(1).dirichlet([1, 1], 100)
    assert Auroc([Curve(y == 1, p[:, 1])], Scopes(100, ()), 1000).resamples == 250
    assert Auroc([Curve(y == 1, p[:, 1])] * 9, Scopes(100, ()), 1000).resamples == AUROC_LEAST
    result = score(classification(2, ["auroc"], intervals={"resamples": 1000}), pa.table({"y": y}), p)
    assert result.notes == ["auroc: 250 of the 1000 resamples, since each orders 100 rows anew."]
    assert result.metrics[0].low < result.metrics[0].value < result.metrics[0].high
