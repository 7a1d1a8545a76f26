"""Against Gibbs and Candès: the update of α, its bounds, and the long-run miss rate."""

import numpy as np
import pytest
from throughline.simulate.conformal import STEP_SIZE, AdaptiveConformal

TARGET = 0.1


def run(series, *, target=TARGET, window=500, step_size=STEP_SIZE):
    """Bound each value of the series by the constant forecast 0. Returns for each whether it was missed."""
    conformal = AdaptiveConformal(window=window, step_size=step_size)
    missed = []
    for value in series:
        margin = conformal.margin(target)
        missed.append(margin is not None and value > margin)
        conformal.observe(value, missed=missed[-1], target=target)
    return np.array(missed)


def test_a_miss_lowers_alpha_and_a_hit_raises_it():
    conformal = AdaptiveConformal(window=10)
    assert conformal.alpha(TARGET) == TARGET
    conformal.observe(1.0, missed=True, target=TARGET)
    assert conformal.alpha(TARGET) == pytest.approx(TARGET - STEP_SIZE * (1.0 - TARGET))
    conformal.observe(1.0, missed=False, target=TARGET)
    assert conformal.alpha(TARGET) == pytest.approx(TARGET - STEP_SIZE * (1.0 - 2.0 * TARGET))


@pytest.mark.parametrize("missed", [True, False])
def test_alpha_stays_within_one_step_of_0_and_1(missed):
    conformal = AdaptiveConformal(window=10)
    for _ in range(5000):
        conformal.observe(1.0, missed=missed, target=TARGET)
    assert conformal.alpha(TARGET) == pytest.approx(-STEP_SIZE if missed else 1.0 + STEP_SIZE)


def test_the_margin_is_the_conformal_quantile():
    conformal = AdaptiveConformal(window=100, step_size=0.0)
    assert conformal.margin(TARGET) is None
    for score in np.random.default_rng(1).permutation(np.arange(1.0, 20.0)):  # 1 to 19
        conformal.observe(score, missed=False, target=TARGET)
    assert conformal.margin(0.1) == 18.0  # the ⌈20 × 0.9⌉-th
    assert conformal.margin(0.11) == 18.0  # the ⌈17.8⌉-th; of 19 × 0.89 it would be the 17th
    assert conformal.margin(0.52) == 10.0  # the ⌈9.6⌉-th
    assert conformal.margin(0.01) == 19.0  # 19 scores cannot tell 1 %: the largest
    assert conformal.margin(1.0) == 1.0


def test_of_the_scores_the_newest_count():
    conformal = AdaptiveConformal(window=5)
    for score in (100.0, *range(5)):
        conformal.observe(float(score), missed=False, target=TARGET)
    assert conformal.margin(0.001) == 4.0


@pytest.mark.parametrize("target", [0.02, 0.1, 0.3])
def test_the_miss_rate_is_the_target_on_an_exchangeable_series(target):
    series = np.random.default_rng(3).normal(0.0, 1.0, 8_000)
    assert run(series, target=target).mean() == pytest.approx(target, abs=0.005)


def test_the_miss_rate_is_the_target_on_a_series_that_drifts_where_a_fixed_quantile_misses():
    growing = np.random.default_rng(4).normal(0.0, np.exp(np.linspace(0.0, 8.0, 8_000)))
    assert run(growing)[1000:].mean() == pytest.approx(TARGET, abs=0.005)
    assert run(growing, step_size=0.0)[1000:].mean() > TARGET + 0.02


def test_a_target_that_moves_is_followed_at_once():
    conformal = AdaptiveConformal(window=100)
    for score in range(99):
        conformal.observe(float(score), missed=False, target=0.0)
    assert conformal.alpha(0.0) == 0.0
    assert conformal.margin(0.05) == 94.0
    assert conformal.margin(0.5) == 49.0
