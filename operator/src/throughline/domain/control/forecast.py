"""Where the demand is going: what comes now, how sure that is, and what is to be expected when a new replica is ready.

Everything is read from the looks, the mean arrivals between one look at the servers' own counters and the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# What is steady is averaged over so long.
LEVEL_SECONDS = 180.0
# A trend is read from so long, and believed when it is this many times its standard error.
TREND_SECONDS = 240.0
TREND_LOOKS = 6
TREND_SURE = 4.0
# Two looks in a row are of two levels, not of one with noise, when they are so many of Poisson's standard deviations
# and this share apart.
JUMP_SIGMAS = 4.0
JUMP_SHARE = 0.12
# Demand is provided for up to so many standard errors of its mean above it.
SURE_SIGMAS = 2.0
# A forecast is never above so many times what was seen; the second where it has jumped up more than once of late, the
# third at the first look that is so many times all that was seen before, which no burst of the usual kind is.
MOST_GROWTH = 1.5
MOST_GROWTH_AGAIN = 2.0
MOST_GROWTH_UNSEEN = 4.0
UNSEEN = 1.5
AGAIN_SECONDS = 30.0
LOOKS_KEPT = 64
MAX_DISPERSION = 8.0


@dataclass(frozen=True, slots=True)
class Look:
    """Arrivals (items per second) over the `seconds` before `at_seconds` (Unix time)."""

    at_seconds: float
    seconds: float
    per_second: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """Items per second. `ahead`: with what can still come before a replica ordered now is ready."""

    now: float
    ahead: float
    surge: bool  # it has just grown beyond all noise


def _mean(looks: Sequence[Look]) -> float:
    seconds = sum(look.seconds for look in looks)
    return sum(look.per_second * look.seconds for look in looks) / seconds if seconds > 0 else 0.0


def _jumps(a: Look, b: Look) -> bool:
    """Whether the demand is another than at the look before."""
    mean = (a.per_second * a.seconds + b.per_second * b.seconds) / (a.seconds + b.seconds)
    sigma = math.sqrt(mean * (1.0 / a.seconds + 1.0 / b.seconds))
    return abs(b.per_second - a.per_second) > max(JUMP_SIGMAS * sigma, JUMP_SHARE * a.per_second)


def _since_jump(looks: Sequence[Look]) -> Sequence[Look]:
    """The looks of the present level."""
    for i in range(len(looks) - 1, 0, -1):
        if _jumps(looks[i - 1], looks[i]):
            return looks[i:]
    return looks


def dispersion(looks: Sequence[Look]) -> float:
    """Variance over mean of the arrivals in a look, from differences of neighbours of one level, so that neither a
    trend nor a jump is taken for variability; 1 is Poisson's, and the least.
    """
    terms = [
        (b.per_second - a.per_second) ** 2 * a.seconds * b.seconds / (a.seconds + b.seconds)
        for a, b in pairwise(looks)
        if not _jumps(a, b)
    ]
    mean = _mean(looks)
    if len(terms) < TREND_LOOKS or mean <= 0:
        return 1.0
    return float(min(MAX_DISPERSION, max(1.0, round(sum(terms) / len(terms) / mean))))


def _slope(looks: Sequence[Look]) -> float:
    """Items per second, per second, where it is beyond doubt; else 0. Least squares over the looks' middles."""
    if len(looks) < TREND_LOOKS:
        return 0.0
    points = [(look.at_seconds - look.seconds / 2, look.per_second) for look in looks]
    mean_t = sum(t for t, _ in points) / len(points)
    mean_r = sum(r for _, r in points) / len(points)
    spread = sum((t - mean_t) ** 2 for t, _ in points)
    slope = sum((t - mean_t) * (r - mean_r) for t, r in points) / spread
    residual = sum((r - mean_r - slope * (t - mean_t)) ** 2 for t, r in points) / (len(points) - 2)
    return slope if abs(slope) > TREND_SURE * math.sqrt(residual / spread) else 0.0


def forecast(looks: Sequence[Look], ahead_seconds: float) -> Forecast:
    """What comes now and in `ahead_seconds`. Raises ValueError without a look."""
    if not looks:
        raise ValueError("no look")
    newest = looks[-1]
    present = _since_jump(looks)
    if len(present) == 1 and len(looks) > 1 and newest.per_second > looks[-2].per_second:
        # It has just begun to grow, and goes on as it went from the look before to this one.
        growth = (newest.per_second - looks[-2].per_second) / newest.seconds * ahead_seconds
        lately = [look for look in looks if look.at_seconds > newest.at_seconds - AGAIN_SECONDS]
        jumps = sum(b.per_second > a.per_second and _jumps(a, b) for a, b in pairwise(lately))
        most = MOST_GROWTH_AGAIN if jumps > 1 else MOST_GROWTH
        highest = max(look.per_second for look in looks[:-1])
        if jumps == 1 and len(looks) > TREND_LOOKS and newest.per_second > UNSEEN * highest:
            most = MOST_GROWTH_UNSEEN
        return Forecast(newest.per_second, min(newest.per_second + growth, most * newest.per_second), True)
    level = [look for look in present if look.at_seconds > newest.at_seconds - LEVEL_SECONDS]
    mean, seconds = _mean(level), sum(look.seconds for look in level)
    slope = _slope([look for look in present if look.at_seconds > newest.at_seconds - TREND_SECONDS])
    # The mean is of the middle of its window.
    now = max(0.0, mean + slope * seconds / 2)
    # Few looks are no reason to ask for more.
    sure = SURE_SIGMAS * math.sqrt(dispersion(present) * mean / max(seconds, LEVEL_SECONDS))
    return Forecast(now, min(now + max(0.0, slope) * ahead_seconds, MOST_GROWTH * max(now, mean)) + sure, False)
