"""Intervals of shares and of their differences."""

from __future__ import annotations

from math import sqrt

from scipy import stats


def wilson(hits: int, rows: int, confidence_percent: int) -> tuple[float, float]:
    """Wilson's score interval of a share (1927)."""
    interval = stats.binomtest(hits, rows).proportion_ci(confidence_percent / 100, method="wilson")
    return float(interval.low), float(interval.high)


def newcombe(hits: int, rows: int, other_hits: int, other_rows: int, confidence_percent: int) -> tuple[float, float]:
    """Interval of hits/rows − otherHits/otherRows of independent rows (Newcombe 1998, method 10)."""
    p, q = hits / rows, other_hits / other_rows
    (low_p, high_p), (low_q, high_q) = (
        wilson(hits, rows, confidence_percent),
        wilson(other_hits, other_rows, confidence_percent),
    )
    return (
        p - q - sqrt((p - low_p) ** 2 + (high_q - q) ** 2),
        p - q + sqrt((high_p - p) ** 2 + (q - low_q) ** 2),
    )
