"""Where the demand is going: what comes now, how sure that is, and what is to be expected when a new replica is ready.

Everything is read from the samples, the mean arrivals between one reading of the servers' own counters and the next.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from throughline.domain.control.tuning import (
    CLEAR,
    MAX_DISPERSION,
    MEMORY_SECONDS,
    MOST_GROWTH,
    MOST_GROWTH_AGAIN,
    SAME,
    SAMPLE_INTERVAL_SECONDS,
    SAMPLES,
    SIGMAS,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

SAMPLES_KEPT = 64
_AT = itemgetter(0)


class ArrivalSample(NamedTuple):
    """Arrivals (items per second) over the `seconds` before `at_seconds` (Unix time), made by `follow`.

    `sum_*`: over this sample and all before it, so that what many samples say is a difference of two.
    """

    at_seconds: float
    seconds: float
    per_second: float
    level_samples: int = 1  # how many samples, with this one, have come since the last jump
    sum_seconds: float = 0.0
    sum_items: float = 0.0
    # Of the squared differences from the last sample that are no jumps, in variances of Poisson's per unit of the mean.
    sum_squares: float = 0.0
    sum_pairs: int = 0

    @property
    def jumped(self) -> bool:
        """Whether it is of another level than the one before; also of the very first."""
        return self.level_samples == 1


class Forecast(NamedTuple):
    """Items per second. `ahead`: with what can still come before a replica ordered now is ready."""

    now: float
    ahead: float

    def at_least(self, ahead: float) -> Forecast:
        """With what is known from elsewhere to come."""
        return self._replace(ahead=max(self.ahead, ahead))


def follow(before: ArrivalSample | None, at_seconds: float, seconds: float, per_second: float) -> ArrivalSample:
    """The sample after `before`, linked to it."""
    if before is None:
        return ArrivalSample(at_seconds, seconds, per_second, 1, seconds, per_second * seconds)
    _, old_seconds, old_per_second, level_samples, sum_seconds, sum_items, sum_squares, sum_pairs = before
    both, items = old_seconds + seconds, per_second * seconds
    mean = (old_per_second * old_seconds + items) / both
    square = (per_second - old_per_second) ** 2
    # (1/a + 1/b)·mean is the variance of the difference of two Poisson rates.
    sigma_square = mean * both / (old_seconds * seconds)
    if square > 4.0 * SIGMAS * SIGMAS * sigma_square and square > (SAME * old_per_second) ** 2:
        return ArrivalSample(
            at_seconds, seconds, per_second, 1, sum_seconds + seconds, sum_items + items, sum_squares, sum_pairs
        )
    return ArrivalSample(
        at_seconds, seconds, per_second, level_samples + 1, sum_seconds + seconds, sum_items + items,
        sum_squares + square * old_seconds * seconds / both, sum_pairs + 1,
    )  # fmt: skip


def dispersion(samples: Sequence[ArrivalSample], before: float = 0.0, begin: int = 0) -> float:
    """Variance over mean of the arrivals in a sample, from differences of neighbours of one level, so that neither a
    trend nor a jump is taken for variability; 1 is Poisson's, and the least. Whole; and
    as `before` while it is near that. Of the samples from number `begin` on: a slice would touch all of them.
    """
    if len(samples) - begin <= 2 * SAMPLES:
        return 1.0
    first, last = samples[begin], samples[-1]
    pairs = last.sum_pairs - first.sum_pairs
    mean, _ = _mean(first, last)
    if pairs < 2 * SAMPLES or mean <= 0:
        return 1.0
    measured = min(MAX_DISPERSION, max(1.0, (last.sum_squares - first.sum_squares) / pairs / mean))
    return before if before and abs(measured - before) < max(1.0, CLEAR * before) else float(round(measured))


def _mean(first: ArrivalSample, last: ArrivalSample) -> tuple[float, float]:
    """(items per second, seconds) of the samples from the first to the last."""
    _, first_seconds, first_per_second, _, before_seconds, before_items, _, _ = first
    seconds = last.sum_seconds - before_seconds + first_seconds
    return (last.sum_items - before_items + first_per_second * first_seconds) / seconds, seconds


def _moves(samples: Sequence[ArrivalSample]) -> bool:
    """Whether there may be a trend: by sums, without a walk over the samples."""
    first, last, third = samples[0], samples[-1], len(samples) // 3
    pairs = last.sum_pairs - first.sum_pairs
    if pairs < 2 * SAMPLES - 1:
        return True
    early, early_seconds = _mean(first, samples[third - 1])
    late, late_seconds = _mean(samples[-third], last)
    per_second = (last.sum_squares - first.sum_squares) / pairs  # variance of a rate, times its seconds
    variance = per_second * (1.0 / early_seconds + 1.0 / late_seconds)
    return (late - early) ** 2 > SIGMAS * SIGMAS * variance


def _slope(samples: Sequence[ArrivalSample]) -> float:
    """Items per second, per second, where it is beyond doubt; else 0. Least squares over the samples' middles."""
    n = len(samples)
    if n < 2 * SAMPLES or not _moves(samples):
        return 0.0
    at, rate = samples[-1].at_seconds, samples[-1].per_second  # sums of small numbers lose nothing
    st = sr = stt = str_ = srr = 0.0
    for sample in samples:
        t, r = sample[0] - sample[1] / 2 - at, sample[2] - rate
        st += t
        sr += r
        stt += t * t
        str_ += t * r
        srr += r * r
    spread = stt - st * st / n
    slope = (str_ - st * sr / n) / spread
    residual = max(0.0, srr - sr * sr / n - slope * slope * spread) / (n - 2)
    return slope if abs(slope) > 2.0 * SIGMAS * math.sqrt(residual / spread) else 0.0


def _recent(samples: Sequence[ArrivalSample]) -> tuple[float, float, float]:
    """(items per second, seconds, standard error) of the last third; infinite error where too few samples tell it."""
    first, last = samples[0], samples[-1]
    pairs = last.sum_pairs - first.sum_pairs
    recent, seconds = _mean(samples[-(len(samples) // 3)], last)
    if pairs < 2 * SAMPLES - 1:
        return recent, seconds, math.inf
    return recent, seconds, math.sqrt((last.sum_squares - first.sum_squares) / pairs / seconds)


def _within(samples: Sequence[ArrivalSample], seconds: float, begin: int = 0) -> int:
    """The number of the first, from `begin` on, that is not older than so long before the newest."""
    bound = samples[-1].at_seconds - seconds
    # With a sample every ten seconds it is this one: two are read instead of half a dozen, all out of the caches.
    guess = len(samples) - int(seconds / SAMPLE_INTERVAL_SECONDS)
    if guess > begin and samples[guess - 1][0] <= bound < samples[guess][0]:
        return guess
    return begin if samples[begin][0] > bound else bisect_right(samples, bound, begin, key=_AT)


def forecast(samples: Sequence[ArrivalSample], ahead_seconds: float, believable: float = math.inf) -> Forecast:
    """What comes now and in `ahead_seconds`. Raises ValueError without a sample. `believable`: items per second, the
    most by the past: a jump is taken to go on above that only where it is above it already.
    """
    if not samples:
        raise ValueError("no sample")
    newest = samples[-1]
    if newest.jumped and len(samples) > 1 and newest.per_second > samples[-2].per_second:
        # It has just begun to grow, and goes on as it went from the sample before to this one.
        growth = (newest.per_second - samples[-2].per_second) / newest.seconds * ahead_seconds
        lately = samples[_within(samples, SAMPLES * SAMPLE_INTERVAL_SECONDS) :]
        jumps = sum(b.jumped and b.per_second > a.per_second for a, b in pairwise(lately))
        limit = (MOST_GROWTH_AGAIN if jumps > 1 else MOST_GROWTH) * newest.per_second
        if newest.per_second <= believable:
            limit = min(limit, believable)
        return Forecast(newest.per_second, min(newest.per_second + growth, limit))
    begin = max(0, len(samples) - newest.level_samples)
    mean, seconds = _mean(samples[_within(samples, MEMORY_SECONDS, begin)], newest)
    lately = samples[_within(samples, MEMORY_SECONDS, begin) :]
    slope = _slope(lately)
    # The mean is of the middle of its window.
    now = max(0.0, mean + slope * seconds / 2)
    if slope:
        recent, recent_seconds, error = _recent(lately)
        behind = now - slope * recent_seconds / 2 - recent
        if behind * slope > 0.0 and abs(behind) > SIGMAS * error:
            # A step too small to be a jump: arrivals are stationary again, and never reached the end of the trend.
            now, mean, seconds, slope = recent, recent, recent_seconds, 0.0
        elif slope < 0.0:
            now = max(now, recent - SIGMAS * error)  # what falls on is less in a moment; what does not is in use
    # Few samples are no reason to ask for more.
    sure = SIGMAS * math.sqrt(dispersion(samples, begin=begin) * max(0.0, mean) / max(seconds, MEMORY_SECONDS))
    return Forecast(now, min(now + max(0.0, slope) * ahead_seconds, MOST_GROWTH * max(now, mean)) + sure)
