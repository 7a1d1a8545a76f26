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

from throughline.domain.control.estimate.season import BIN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

# Bandwidths of the Gaussian kernel, in logarithms: of the level, and of the rise since `RISE_BINS` before.
LEVEL_BANDWIDTH = 0.2
RISE_BANDWIDTH = 0.3
RISE_BINS = 2
# A level that was this much above all of the past is new: the past says nothing of what follows. It bounds, too, what
# is provided for by the past alone. Bins are means over half a minute, and peaks within them are so much higher.
NEW_LEVEL = 1.1
# Demand below this share of the highest is none: its logarithm would say more than it does.
NOTHING = 1e-3
_GROWTH = itemgetter(0)


def highest(bins: Sequence[float]) -> float:
    """Most that the past makes believable, items per second; infinite without a past. `bins`: complete ones."""
    return NEW_LEVEL * max(bins) if len(bins) > RISE_BINS else math.inf


def exceeded(
    bins: Sequence[float], per_second: float, ahead_seconds: float, *, chance: float, discounted: float
) -> float:
    """The demand, items per second, that is exceeded within `ahead_seconds` with that chance; `per_second` and more.

    `bins`: complete bins of the past, oldest first. `discounted`: how many events of the past are not believed, from 0
    (each counts) to 1 (one event is no pattern).
    """
    most = highest(bins)
    steps = max(1, math.ceil(ahead_seconds / BIN_SECONDS))
    if len(bins) <= RISE_BINS + steps or most <= NEW_LEVEL * NEW_LEVEL * per_second:
        return per_second  # it has hardly ever been more
    least = NOTHING * most
    logs = [math.log(max(x, least)) for x in bins]
    level = math.log(max(per_second, least))
    rise = level - logs[-RISE_BINS]
    # Neighbouring bins see the same event: each event counts once for every two of them.
    share = 2.0 / max(2, steps)
    sample: list[tuple[float, float]] = []
    weight = 0.0
    for i in range(RISE_BINS, len(logs) - steps):
        x = (logs[i] - level) / LEVEL_BANDWIDTH
        y = (logs[i] - logs[i - RISE_BINS] - rise) / RISE_BANDWIDTH
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
