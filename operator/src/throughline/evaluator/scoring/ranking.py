"""Metrics of a ranking, one score per group (query). NDCG is scikit-learn's (Järvelin and Kekäläinen 2002; gains of
tied rows are averaged); ties count against the mean reciprocal rank and recall, so that a model that gives every
row the same score earns nothing by the order of the rows. A row is relevant when its label is above 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata
from sklearn import metrics as sk

from throughline.evaluator.scoring.means import Means

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.evaluator.scoring.values import Floats, Places


def ranked(relevance: Floats, score: Floats, groups: Places, k: int, metrics: Sequence[str]) -> Means:
    """Scores of every group; `groups` [rows] holds the place of each row's group.

    A group without a relevant row says nothing of any metric, and one of a single row nothing of NDCG: they are left
    out of the mean, and counted in the notes.
    """
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(groups[order]) != 0]) if len(groups) else np.array([], dtype=np.intp)
    members = np.split(order, starts[1:]) if len(starts) else []
    scores = {metric: np.full(len(members), np.nan) for metric in metrics}
    irrelevant = single = 0
    for place, rows in enumerate(members):
        truth, predicted = relevance[rows], score[rows]
        relevant = truth > 0
        if not relevant.any():
            irrelevant += 1
            continue
        single += len(rows) == 1
        ranks = rankdata(-predicted, method="max")[relevant]
        for metric in metrics:
            match metric:
                case "ndcgAtK" if len(rows) > 1:
                    scores[metric][place] = sk.ndcg_score(truth[None], predicted[None], k=k)
                case "meanReciprocalRank":
                    scores[metric][place] = 1 / ranks.min()
                case "recallAtK":
                    scores[metric][place] = np.count_nonzero(ranks <= k) / len(ranks)
    notes = []
    if irrelevant:
        notes.append(f"{irrelevant} of {len(members)} groups have no relevant row and are left out of the means.")
    if single and "ndcgAtK" in metrics:
        notes.append(f"{single} groups of one row are left out of ndcgAtK: there is no order in them.")
    return Means(len(members), scores, "no group has a relevant row", notes)
