"""Periodic demand: batch jobs every twenty minutes, a shift that begins on the hour.

A service's own past is kept in bins, and a period is believed when the past, moved by it, is nearly the past. What came
one period ago is then what a replica ordered now will meet. Periods of days are not learned: over the minute that a
replica takes to start they move next to nothing (docs/decisions/0014-season.md).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from operator import itemgetter
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from throughline.domain.control.tuning import BIN_SECONDS, CLEAR, SAME, SHORTEST_BINS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.domain.control.estimate.forecast import ArrivalSample

# Four hours: periods up to two of them.
BINS_KEPT = 480
_AT = itemgetter(0)


class Season(NamedTuple):
    """`bins`: mean arrivals per second, oldest first; the newest is number `newest` since 1970 and still being filled
    (`filled_seconds` of it). `period_bins` None: nothing repeats, as far as is known.
    """

    bins: tuple[float, ...] = ()
    newest: int = 0
    filled_seconds: float = 0.0
    period_bins: int | None = None
    judged: int = 0
    seen_seconds: float = 0.0


def learn(season: Season, samples: Sequence[ArrivalSample]) -> Season:
    """With the samples that came since the newest that it has seen."""
    for sample in samples[bisect_right(samples, season.seen_seconds, key=_AT) :]:
        season = observe(season, sample.at_seconds, sample.seconds, sample.per_second)
    return season


def observe(season: Season, at_seconds: float, seconds: float, per_second: float) -> Season:
    """With the arrivals of the `seconds` before `at_seconds`. A gap in the samples restarts the past."""
    number = int(at_seconds // BIN_SECONDS)
    missed = number - season.newest
    if not season.bins or missed < 0 or (missed - 1) * BIN_SECONDS > seconds:
        return Season((per_second,), number, seconds, judged=number, seen_seconds=at_seconds)
    if missed == 0:
        total = season.filled_seconds + seconds
        mean = (season.bins[-1] * season.filled_seconds + per_second * seconds) / total
        return season._replace(bins=(*season.bins[:-1], mean), filled_seconds=total, seen_seconds=at_seconds)
    bins = (*season.bins, *(missed * (per_second,)))[-BINS_KEPT:]
    season = season._replace(
        bins=bins, newest=number, filled_seconds=min(seconds, at_seconds % BIN_SECONDS), seen_seconds=at_seconds
    )
    if number - season.judged < SHORTEST_BINS:
        return season
    return season._replace(period_bins=period_bins(bins[:-1]), judged=number)


def period_bins(bins: tuple[float, ...]) -> int | None:
    """The period, seen at least twice; None where there is none beyond doubt."""
    if len(bins) < 2 * SHORTEST_BINS:
        return None
    mean = fmean(bins)
    variance = fmean((x - mean) ** 2 for x in bins)
    if mean <= 0 or variance < (CLEAR * mean) ** 2:
        return None
    lags = range(SHORTEST_BINS, len(bins) // 2 + 1)
    left = [_unexplained(bins, lag, variance) for lag in lags]
    if min(left) > CLEAR:
        return None
    # Multiples of a period explain as well as itself, but for chance, and for edges in the middle of a bin.
    good_enough = min(left) + SAME
    for before, here, after, lag in zip([math.inf, *left], left, [*left[1:], math.inf], lags, strict=False):
        if here <= good_enough and before >= here <= after:
            # Slow change explains itself at every short lag; what repeats is another thing half a period away.
            return lag if _unexplained(bins, lag // 2, variance) > 2.0 * CLEAR else None
    return None


def _unexplained(bins: tuple[float, ...], lag: int, variance: float) -> float:
    """Mean square of the difference between the bins and themselves `lag` earlier, over what chance would make it."""
    pairs = zip(bins[lag:], bins, strict=False)
    return sum((x - y) ** 2 for x, y in pairs) / (len(bins) - lag) / (2.0 * variance)


def expected(season: Season, now_seconds: float, ahead_seconds: float) -> float | None:
    """The most that came, one period ago, from this time of it until `ahead_seconds` later; None without a period."""
    if season.period_bins is None:
        return None
    oldest = season.newest - len(season.bins) + 1
    first = int(now_seconds // BIN_SECONDS) - season.period_bins - oldest
    last = first + int(ahead_seconds // BIN_SECONDS) + 1
    return max(season.bins[max(0, first) : last + 1], default=None)
