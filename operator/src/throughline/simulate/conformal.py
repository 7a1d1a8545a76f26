"""Adaptive conformal inference (ACI): an upper bound on top of any forecast, with the miss rate that is asked for.

Source: I. Gibbs and E. Candès, "Adaptive Conformal Inference Under Distribution Shift", NeurIPS 2021, arXiv:2106.00170.
The nonconformity score of a forecast is y_t − ŷ_t. It is one-sided, because excess capacity violates nothing. The bound
is ŷ_t plus the 1 − α_t conformal quantile of the past scores, and

    α_{t+1} = α_t + γ·(α − err_t),   err_t = 1 if y_t exceeded its bound, else 0.

Thus the share of misses tends to α on any series (proposition 4.1), exchangeable or not.

Where we differ: the paper's bound is infinite where n scores are too few for the quantile (α_t < 1/(n + 1)); no pool
is, so ours adds the largest score. The target α may change between steps: α_t is the target plus the sum of ACI's
corrections, which equals the paper's α_t while the target is constant. An outcome that is known h steps after its
forecast corrects α_t from then on.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

STEP_SIZE = 0.005  # γ per outcome, as in the paper's experiments


class AdaptiveConformal:
    """The margin between a forecast and its upper bound, in the unit of the series."""

    def __init__(self, *, window: int, step_size: float = STEP_SIZE) -> None:
        """`window`: how many of the newest scores count."""
        self._scores: deque[float] = deque(maxlen=window)
        self._step_size = step_size
        self._correction = 0.0

    def alpha(self, target: float) -> float:
        """α_t, the level that makes the long-run miss rate `target`; from −γ to 1 + γ (lemma 4.1)."""
        return target + self._correction

    def margin(self, target: float) -> float | None:
        """The 1 − α_t conformal quantile of the scores; None without scores."""
        n = len(self._scores)
        if not n:
            return None
        rank = math.ceil((n + 1) * (1.0 - self.alpha(target)))
        index = min(max(rank, 1), n) - 1
        return float(np.partition(np.array(self._scores), index)[index])

    def observe(self, score: float, *, missed: bool, target: float) -> None:
        """Take in an outcome: its score, and whether it exceeded the bound that was given for `target`."""
        self._scores.append(score)
        correction = self._correction + self._step_size * (target - float(missed))
        low, high = -self._step_size - target, 1.0 + self._step_size - target
        self._correction = min(max(correction, low), high)
