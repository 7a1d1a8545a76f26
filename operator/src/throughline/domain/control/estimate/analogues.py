"""What followed when demand was as it is now: the part of the forecast that no trend and no period shows.

Bursts, jobs and level jumps come without a sign, but not without a past. The method of analogues (E. N. Lorenz, 1969)
takes the past states that are like the present one as a sample of what comes next: states are like each other when
their level and their last rise are, and what counts of each is the most that came in the time that a replica takes to
start. The quantile of that sample is the demand that is exceeded with a given chance.
"""

from __future__ import annotations

import math
from operator import itemgetter
from typing import TYPE_CHECKING

from throughline.domain.control.tuning import BIN_SECONDS, CLEAR, SAME

if TYPE_CHECKING:
    from collections.abc import Sequence

# Demand below this share of the highest is none: its logarithm would say more than it does.
NOTHING = 1e-3
_GROWTH = itemgetter(0)


def highest(bins: Sequence[float]) -> float:
    """Most that the past makes believable, items per second; infinite without a past. `bins`: complete ones."""
    return (1.0 + SAME) * max(bins) if len(bins) > 2 else math.inf


def exceeded(
    bins: Sequence[float], per_second: float, ahead_seconds: float, *, chance: float, discounted: float
) -> float:
    """The demand, items per second, that is exceeded within `ahead_seconds` with that chance; `per_second` and more.

    `bins`: complete bins of the past, oldest first. `discounted`: how many events of the past are not believed, from 0
    (each counts) to 1 (one event is no pattern).
    """
    most = highest(bins)
    steps = max(1, math.ceil(ahead_seconds / BIN_SECONDS))
    if len(bins) <= 2 * steps or most <= (1.0 + SAME) ** 2 * per_second:
        return per_second  # it has hardly ever been more
    least = NOTHING * most
    logs = [math.log(max(x, least)) for x in bins]
    level = math.log(max(per_second, least))
    rise = level - logs[-steps]
    # Neighbouring bins see the same event: each event counts once for every two of them.
    share = 2.0 / max(2, steps)
    sample: list[tuple[float, float]] = []
    weight = 0.0
    for i in range(steps, len(logs) - steps):  # a Gaussian kernel of the distance in level and rise
        x = (logs[i] - level) / CLEAR
        y = (logs[i] - logs[i - steps] - rise) / CLEAR
        alike = share * math.exp(-0.5 * (x * x + y * y))
        weight += alike
        sample.append((max(logs[i + 1 : i + 1 + steps]) - logs[i], alike))
    left = chance * weight + 2.0 * discounted
    growth = 0.0
    for growth, alike in sorted(sample, key=_GROWTH, reverse=True):  # noqa: B007 - where it stops is the result
        left -= alike
        if left < 0.0:
            break
    else:
        return per_second
    return min(most, per_second * math.exp(max(0.0, growth)))
