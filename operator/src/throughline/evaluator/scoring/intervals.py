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
    taken (Clopper and Pearson 1934), over the rows that the share divides by.
    """
    if value.value is None:
        return Interval(None, None)
    known = resampled[~np.isnan(resampled)]
    if len(known) < (1 - UNDEFINED) * len(resampled):
        share = 1 - len(known) / len(resampled)
        return Interval(None, None, f"undefined in {share:.0%} of the resamples: some class has too few rows")
    if np.ptp(known) == 0:
        if metric in SHARES and value.value in {0.0, 1.0}:
            edge = float((alpha / 2) ** (1 / value.trials))
            return Interval(edge, 1.0) if value.value else Interval(0.0, 1 - edge)
        return Interval(None, None, "every resample gave the same value, so there is no telling how sure it is")
    low, high = np.quantile(known, [alpha / 2, 1 - alpha / 2])
    return Interval(float(low), float(high))


def hidden_spread(metric: str, value: Value, resampled: Floats, alpha: float) -> float:
    """The standard error that the resamples of a share of 0 or 1 do not show; 0 where they show it."""
    found = interval(metric, value, resampled, alpha)
    if found.low is None or found.high is None or np.ptp(resampled[~np.isnan(resampled)]):
        return 0.0
    return float((found.high - found.low) / stats.norm.ppf(1 - alpha / 2))
