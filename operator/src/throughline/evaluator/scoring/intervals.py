"""Confidence intervals from resamples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from throughline.evaluator.scoring.values import Floats, Value

# A metric that is undefined in more of the resamples than this has no interval: too few rows of some class.
UNDEFINED = 0.05
# Metrics that are shares: of rows, of pairs, or means of numbers in [0, 1].
SHARES = (
    *("accuracy", "precision", "recall", "f1", "truePositiveRate", "falsePositiveRate", "auroc"),
    *("ndcgAtK", "meanReciprocalRank", "recallAtK"),
)


@dataclass(frozen=True, slots=True)
class Interval:
    """Two-sided; both ends None where there is none, and `reason` says why."""

    low: float | None
    high: float | None
    reason: str | None = None


def interval(metric: str, value: Value, resampled: Floats, alpha: float) -> Interval:
    """The percentile interval of level 1 − alpha (Efron and Tibshirani 1993, chapter 13).

    A share of 0 or 1 is 0 or 1 in every resample, which would give an interval without width. There the exact one is
    taken (Clopper and Pearson 1934), over the rows that the share divides by. The same share of rows unlike those seen,
    each as bad or as good as one can be, bounds a mean of which every row makes the same.
    """
    if value.value is None:
        return Interval(None, None)
    if value.certain:
        return Interval(value.value, value.value)
    known = resampled[~np.isnan(resampled)]
    if len(known) < (1 - UNDEFINED) * len(resampled):
        share = 1 - len(known) / len(resampled)
        return Interval(None, None, f"undefined in {share:.0%} of the resamples: {_seldom(metric)}")
    if constant(known):
        edge = float((alpha / 2) ** (1 / max(value.trials, 1)))  # least share of rows like these
        if metric in SHARES and value.value in {0.0, 1.0}:
            return Interval(edge, 1.0) if value.value else Interval(0.0, 1 - edge)
        if value.worst is not None:
            return Interval(edge * value.value, edge * value.value + (1 - edge) * value.worst)
        return Interval(None, None, "each row gives the same value, so rows unlike these may give any other; add rows")
    low, high = np.quantile(known, [alpha / 2, 1 - alpha / 2])
    return Interval(float(low), float(high))


def constant(resampled: Floats) -> bool:
    """Whether the resamples differ by no more than sums in another order do."""
    return bool(np.ptp(resampled) <= 1e-9 * np.abs(resampled).max(initial=0.0))


def _seldom(metric: str) -> str:
    if metric == "precision":
        return "the model predicts some class too seldom; add rows that it takes for that class"
    return "some class has too few rows; add rows of it"


def hidden_spread(metric: str, value: Value, resampled: Floats, alpha: float) -> float:
    """The standard error that the resamples of a share of 0 or 1 do not show; 0 where they show it."""
    found = interval(metric, value, resampled, alpha)
    if found.low is None or found.high is None or not constant(resampled[~np.isnan(resampled)]):
        return 0.0
    return float((found.high - found.low) / stats.norm.ppf(1 - alpha / 2))
