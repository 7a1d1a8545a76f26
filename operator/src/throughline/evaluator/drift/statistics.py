"""Distances and tests between a reference sample and a window, and the correction for making many of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Values = NDArray[np.float64]

BINS = 10  # of the population stability index: deciles of the reference, as in credit scoring, where it comes from
SMALLEST_EXPECTED = 5.0  # Cochran 1954: below this the χ² distribution is no good approximation


@dataclass(frozen=True, slots=True)
class Tested:
    """A statistic and the probability of one at least as large without drift."""

    statistic: float
    p_value: float


def kolmogorov_smirnov(reference: Values, window: Values) -> Tested:
    """Two-sample test of [n] and [m] values without NaN. Ties (whole years, counts) make it cautious, never hasty."""
    result = stats.ks_2samp(reference, window, method="asymp")
    return Tested(float(result.statistic), float(result.pvalue))


def chi_squared(reference: NDArray[np.int64], window: NDArray[np.int64]) -> Tested:
    """Test of homogeneity of counts [categories], rare categories put together until each cell expects 5.

    Nothing to compare (one category in all) is no evidence of drift: statistic 0, p-value 1.
    """
    table = _pooled(np.stack([reference, window]).astype(np.float64))
    if table.shape[1] < 2:
        return Tested(0.0, 1.0)
    result = stats.chi2_contingency(table, correction=False)
    return Tested(float(result.statistic), float(result.pvalue))


def _pooled(table: Values) -> Values:
    """Columns of [2, categories] merged, rarest first, until every cell expects SMALLEST_EXPECTED at least."""
    table = table[:, table.sum(axis=0) > 0]
    order = np.argsort(table.sum(axis=0), kind="stable")
    table = table[:, order]
    share = table.sum(axis=1).min() / max(table.sum(), 1.0)
    while table.shape[1] > 1 and table[:, 0].sum() * share < SMALLEST_EXPECTED:
        merged = table[:, 0] + table[:, 1]
        rest = table[:, 2:]
        at = int(np.searchsorted(rest.sum(axis=0), merged.sum()))
        table = np.insert(rest, at, merged, axis=1)
    return table


def population_stability_index(reference: NDArray[np.int64], window: NDArray[np.int64]) -> float:
    """Σ (w − r) ln(w / r) over the shares of counts [bins] (Siddiqi 2006, "Credit Risk Scorecards"; it is Jeffreys'
    symmetric Kullback–Leibler divergence). Half a count is added to each bin, so that an empty one gives no infinity.
    """
    occupied = (reference + window) > 0
    r, w = reference[occupied] + 0.5, window[occupied] + 0.5
    r, w = r / r.sum(), w / w.sum()
    return float(np.sum((w - r) * np.log(w / r)))


def binned(reference: Values, window: Values) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Counts of [n] and [m] values in the deciles of the reference, and last the NaNs."""
    known = reference[~np.isnan(reference)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1], method="inverted_cdf"))

    def counts(values: Values) -> NDArray[np.int64]:
        missing = np.isnan(values)
        places = np.searchsorted(edges, values[~missing], side="left")
        return np.append(np.bincount(places, minlength=len(edges) + 1), missing.sum())

    return counts(reference), counts(window)


def counted(*codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Counts of each side's categories, given as places from 0 (`category_codes`); null (-1) is one, counted first."""
    size = max(int(side.max(initial=-1)) for side in codes) + 2
    return tuple(np.bincount(side + 1, minlength=size) for side in codes)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values (Holm 1979, "A simple sequentially rejective multiple test procedure").

    The chance of one or more false alarms among all tests stays at most the level at which these are compared,
    whatever the dependence between the tests. Features of one row are dependent in ways nobody knows, and what was
    declared is false alarms per window, so this and not Benjamini–Hochberg, which bounds the share of false ones among
    the alarms and so lets more of them through once one column really drifts.
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values, dtype=np.float64)[order] * factors))
    out = np.empty(len(p_values))
    out[order] = adjusted
    return [float(value) for value in out]
