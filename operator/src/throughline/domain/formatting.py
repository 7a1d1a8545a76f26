"""How numbers are written for people: few digits, a unit, never an exponent, and a noun that agrees with its count."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# A shown number is left as it is while the new one is within this share of it.
STICKY_SHARE = 0.15
# Within this share also when rounded to two digits, which moves a number by up to a twentieth.
_SURELY_SAME = 0.08
# From here on numbers have an SI prefix: 9500, 12k, 1.5M.
_PREFIXED_FROM = 10_000.0
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
# A smaller number is not written out.
SMALLEST = 1e-9
# The steps in which a portion is shown: with a live number, the message would be written again at each sample.
_SHARE_STEPS = (0.5, 0.1, 0.01, 0.001, 0.0001)
_NEARLY_ALL = 0.995
# Below this share, two digits of a percentage would feign a precision that no count of requests has.
_SMALLEST_SHARE = 0.0001


def rounded(value: float, digits: int = 2) -> float:
    """To so many significant digits; 0 where the value is not above 0, or not finite."""
    if value <= 0 or not math.isfinite(value):
        return 0.0
    return round(value, digits - 1 - math.floor(math.log10(value)))


def plain(value: float, digits: int = 2) -> str:
    """Significant digits in positional notation: 1440, 0.000097."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "-∞" if value < 0 else "?"
    if 0 < abs(value) < SMALLEST:
        return f"below {SMALLEST:.9f}"
    sign = "-" if value < 0 else ""
    text = f"{Decimal(repr(rounded(abs(value), digits))):f}"
    return sign + (text.rstrip("0").rstrip(".") if "." in text else text)


def number(value: float) -> str:
    """Two digits, with an SI prefix where there would be many zeros: 0.25, 1500, 15k, 2.1M."""
    shown = rounded(value)
    if shown < _PREFIXED_FROM:
        return plain(value)
    scale, prefix = next((s, p) for s, p in _PREFIXES if shown >= s)
    return f"{plain(shown / scale)}{prefix}"


def duration(microseconds: float | None) -> str:
    """Two digits with unit: 850µs, 4.2ms, 12s; `-` when unknown, `∞` for a queue without end."""
    if microseconds is None:
        return "-"
    if not math.isfinite(microseconds):
        return "∞"
    value = rounded(microseconds)
    if value < 1e3:
        return f"{plain(value)}µs"
    return f"{plain(value / 1e3)}ms" if value < 1e6 else f"{plain(value / 1e6)}s"


def rate(per_second: float | None) -> str:
    return "-" if per_second is None else f"{number(per_second)}/s"


def money(amount: float | None) -> str:
    """Four digits, in the unit of the pool's price."""
    return "-" if amount is None else plain(amount, 4)


def share(part: float) -> str:
    """A share of a whole as a percentage: 0.4 %, 12 %, 100 %. What is short of the whole is never written as all."""
    if 0 < part < _SMALLEST_SHARE:
        return f"less than {plain(100 * _SMALLEST_SHARE)} %"
    shown = rounded(100 * part)
    return f"{plain(99 if part < 1 and shown >= 100 else shown)} %"


def portion(share: float) -> str:
    """A share of requests in words that stay the same while it moves a little."""
    if share >= _NEARLY_ALL:
        return "all"
    step = next((s for s in _SHARE_STEPS if share > s), None)
    return "some" if step is None else f"more than {plain(100 * step)} %"


def count(how_many: int, noun: str) -> str:
    """1 replica, 4 replicas."""
    return f"{how_many} {noun}{'' if how_many == 1 else 's'}"


def age(seconds: float) -> str:
    """As kubectl writes ages, in the largest unit that leaves two digits: 45s, 12m, 5h, 3d."""
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * unit:
            return f"{int(seconds // unit)}{name}"
    return f"{max(0, int(seconds))}s"


_NUMBER = re.compile(r"^([0-9.]+)([kMG])?(µs|ms|s|/s)?$")
_SCALES = {"µs": 1.0, "ms": 1e3, "s": 1e6, "k": 1e3, "M": 1e6, "G": 1e9}


@lru_cache(maxsize=4096)
def _value(text: str) -> float | None:
    """What a shown number stands for, in one unit; few are ever shown, as they have two digits."""
    match = _NUMBER.match(text)
    return float(match[1]) * _SCALES.get(match[2], 1.0) * _SCALES.get(match[3], 1.0) if match else None


def sticky(shown: str, value: float | None, write: Callable[[float | None], str]) -> str:
    """`shown`, unless what `write` makes of `value` differs from it by more than noise."""
    old = _value(shown)
    if old is not None and value is not None and abs(old - value) <= _SURELY_SAME * max(old, value):
        return shown  # most often; nothing is written
    fresh = write(value)
    new = _value(fresh)
    if old is None or new is None:
        return fresh
    return shown if abs(old - new) <= STICKY_SHARE * max(old, new) else fresh
