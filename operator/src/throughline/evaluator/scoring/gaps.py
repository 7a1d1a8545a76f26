"""The largest difference of a metric between any two slices, with an interval that knows it was picked as the largest.

With no true gap, the largest of many differences is still above zero, the more so the more slices there are. So:

- the lower end is that of simultaneous intervals of all pairs, from the bootstrap distribution of the largest
  studentised difference (max-T; Romano and Wolf, "Exact and Approximate Stepdown Methods for Multiple Hypothesis
  Testing", JASA 100, 2005): with no gap above a bound, one is claimed with at most half the declared error;
- the upper end is the largest of the upper ends of each pair on its own: that no gap exceeds a bound is claimed only
  when it is true of every pair, which needs no correction (intersection-union test; Berger, Technometrics 24, 1982).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from throughline.evaluator.scoring.values import Floats


@dataclass(frozen=True, slots=True)
class LargestGap:
    """The gap, its interval, and the two slices (places) between which it is."""

    value: float
    low: float
    high: float
    above: int
    below: int


def largest_gap(values: Floats, resampled: Floats, hidden: Floats, alpha: float) -> LargestGap:
    """The largest absolute difference between any two of at least two slices.

    Args:
        values: The metric of each slice, [slices].
        resampled: The metric of each slice in the same resamples, [slices, resamples], without NaN.
        hidden: Standard error of each slice that its resamples do not show, [slices].
        alpha: 1 − the level of the interval.
    """
    largest = np.zeros(resampled.shape[1])
    differences, errors, upper = [], [], []
    normal = stats.norm.ppf(1 - alpha / 2)
    for one in range(len(values) - 1):
        difference = values[one] - values[one + 1 :]
        each = resampled[one] - resampled[one + 1 :]
        shown = each.std(axis=1, ddof=1)
        scaled = np.divide(
            np.abs(each - difference[:, None]), shown[:, None], out=np.zeros_like(each), where=shown[:, None] > 0
        )
        np.maximum(largest, scaled.max(axis=0), out=largest)
        ends = np.quantile(each, [alpha / 2, 1 - alpha / 2], axis=1)
        widened = np.hypot(ends - difference, normal * np.hypot(hidden[one], hidden[one + 1 :]))
        upper.append(np.maximum(widened[1] + difference, widened[0] - difference))
        differences.append(np.abs(difference))
        errors.append(np.sqrt(shown**2 + hidden[one] ** 2 + hidden[one + 1 :] ** 2))
    # Never less than for a single pair of the normal distribution: pairs without any spread tell nothing of theirs.
    critical = max(np.quantile(largest, 1 - alpha / 2), stats.norm.ppf(1 - alpha / 4))
    lower = np.concatenate(differences) - critical * np.concatenate(errors)
    above, below = int(values.argmax()), int(values.argmin())
    value = float(values[above] - values[below])
    high = max(value, float(np.concatenate(upper).max()))
    return LargestGap(value, float(np.clip(lower.max(), 0, value)), high, above, below)
