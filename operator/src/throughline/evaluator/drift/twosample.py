"""Classifier two-sample test: can a classifier tell the window from the reference? (Lopez-Paz and Oquab 2017,
"Revisiting classifier two-sample tests".) It sees shifts of many columns together that no single one shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MOST_ROWS = 4000  # of each side: beyond that the test costs time and finds what is too small to matter
MOST_CATEGORIES = 254  # of one column, which the classifier takes; the rarer ones are one category
TREES = 30
LEAVES = 15


@dataclass(frozen=True, slots=True)
class TwoSample:
    """Area under the curve on rows the classifier did not see; 0.5: it cannot tell them apart."""

    auc: float
    p_value: float
    reference_rows: int
    window_rows: int


def classifier_two_sample(
    reference: NDArray[np.float64], window: NDArray[np.float64], *, categorical: Sequence[bool], seed: int
) -> TwoSample:
    """Trains on half of each side, asks the other half.

    The classifier is fixed before it sees the held-out rows, so without drift its scores of both sides come from one
    distribution and the area under the curve is a Mann–Whitney statistic, whose one-sided p-value is used: it has the
    right level whatever the classifier (DeLong's variance is that of an area which differs from a half).

    Args:
        reference: [n, columns]; categories as places from 0 (see `encoded`); NaN is missing.
        window: [m, columns], likewise.
        categorical: [columns].
        seed: Of the rows taken and of the classifier.
    """
    rng = np.random.default_rng(seed)
    size = min(len(reference), len(window), MOST_ROWS)
    sides = [side[rng.permutation(len(side))[:size]] for side in (reference, window)]
    half = size // 2
    train, label = np.concatenate([side[:half] for side in sides]), np.repeat([0, 1], half)
    model = HistGradientBoostingClassifier(
        max_iter=TREES,
        max_leaf_nodes=LEAVES,
        categorical_features=np.asarray(categorical),
        early_stopping=False,
        random_state=seed,
    )
    # One thread: so few rows gain nothing from more, and threads that wait for a busy core made this 50 times slower.
    with threadpool_limits(1):
        model.fit(train, label)
        old, new = (model.predict_proba(side[half:])[:, 1] for side in sides)
    result = stats.mannwhitneyu(new, old, alternative="greater", method="asymptotic")
    return TwoSample(float(result.statistic) / (len(old) * len(new)), float(result.pvalue), size, size)


def as_categories(codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Places from 0, most frequent first, as the classifier takes them: null (-1) is NaN, what is beyond its limit is
    one category.
    """
    return np.where(codes < 0, np.nan, np.minimum(codes, MOST_CATEGORIES - 1))
