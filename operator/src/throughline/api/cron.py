"""Cron expressions exactly as a CronJob of Kubernetes reads them: github.com/robfig/cron v3, its standard parser.

Kubernetes' API server and CronJob controller use that parser; this module accepts and refuses the same text and finds
the same minutes, hours and days. Decision 0031 says why it is not a library's grammar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

MAX_LENGTH = 100
EXAMPLE = 'write minute, hour, day of month, month, day of week, as in "0 8 * * 1-5", or @daily'
_SPACE = "[\t\n\r ]"
_MAX_DIGITS = 18  # of a step: more are no 64-bit integer
_DAYS_IN_MONTH = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MAX_NANOSECONDS = 2**63 - 1
_UNIT_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,  # micro sign
    "μs": 10**3,  # Greek mu
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_EVERY = "@every "
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class CronError(ValueError):
    """What is wrong with the expression."""


@dataclass(frozen=True, slots=True)
class Every:
    """Starts that are this many seconds apart, counted from 1970-01-01T00:00:00Z."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Times:
    """Starts by the calendar, as cronsim takes them: every field a `*`, `*/STEP` or a list of numbers."""

    expression: str


@dataclass(frozen=True, slots=True)
class _Kind:
    """One of the five fields: its name, its bounds, its names of numbers, and its numbers as a regular expression."""

    name: str
    least: int
    most: int
    number: str
    names: tuple[str, ...] = ()

    def value(self, text: str) -> int:
        if text.lower() in self.names:
            return self.names.index(text.lower()) + self.least
        if not re.fullmatch(r"\+?[0-9]+", text):
            raise CronError(f"{text!r} is no {self.name}")
        return int(text)

    @property
    def pattern(self) -> str:
        """What the field may be; the order of a range's ends is not seen."""
        names = "".join("|" + "".join(f"[{c.upper()}{c}]" for c in name) for name in self.names)
        value = rf"(\+?0*({self.number}){names})"
        step = rf"(/\+?0*[1-9][0-9]{{0,{_MAX_DIGITS - 1}}})?"
        item = rf"([*?](-[^,/\t\n\r ]*)?|{value}(-{value})?){step}"
        return rf",*{item}(,+{item})*,*"


_KINDS = (
    _Kind("minute", 0, 59, "[0-5]?[0-9]"),
    _Kind("hour", 0, 23, "1?[0-9]|2[0-3]"),
    _Kind("day of month", 1, 31, "[1-9]|[12][0-9]|3[01]"),
    _Kind("month", 1, 12, "[1-9]|1[0-2]", _MONTHS),
    _Kind("day of week", 0, 6, "[0-6]", _WEEKDAYS),
)
_DURATIONS = r"[-+]?(0|(([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))+)"
# For the CRD: all but the order of a range's ends, the greatest step and duration, and whether there is such a day.
PATTERN = (
    rf"^({'|'.join(_DESCRIPTORS)}|{_EVERY}{_DURATIONS}|"
    rf"{_SPACE}*{f'{_SPACE}+'.join(kind.pattern for kind in _KINDS)}{_SPACE}*)$"
)


@dataclass(frozen=True, slots=True)
class _Field:
    """The numbers that one field names. `wild`: it has a `*` or `?` without a step, which the days' rule asks for."""

    numbers: frozenset[int]
    wild: bool
    text: str

    @property
    def days(self) -> str:
        return "*" if self.wild else _listed(self.numbers)


def problem(text: str) -> str | None:
    """What is wrong with the expression and how it is written, in words; None when it is right."""
    try:
        parse(text)
    except CronError as error:
        return f'"{text}": {error}; {EXAMPLE}'
    return None


@lru_cache(maxsize=4096)
def parse(text: str) -> Every | Times:
    """The expression; CronError where a CronJob would refuse it, or where it would never start."""
    if "TZ" in text:
        raise CronError("a time zone has its own field, timeZone; remove TZ from the expression")
    if text.startswith(_EVERY):
        return Every(_seconds(text.removeprefix(_EVERY)))
    if text.startswith("@"):
        if text not in _DESCRIPTORS:
            raise CronError(f"{text} is unknown; known are {', '.join(_DESCRIPTORS)} and @every DURATION")
        text = _DESCRIPTORS[text]
    parts = re.findall(r"[^\t\n\r ]+", text)
    if len(parts) != len(_KINDS):
        raise CronError(f"it must have 5 fields and has {len(parts)}")
    minute, hour, day, month, weekday = (_field(part, kind) for part, kind in zip(parts, _KINDS, strict=True))
    # Where both days are restricted, either may match; a field without any restriction leaves it to the other.
    if weekday.wild and min(day.numbers) > max(_DAYS_IN_MONTH[number] for number in month.numbers):
        raise CronError("it never starts: none of its months has such a day")
    return Times(f"{minute.text} {hour.text} {day.days} {_listed(month.numbers)} {weekday.days}")


def _field(text: str, kind: _Kind) -> _Field:
    items = [_item(item, kind) for item in text.split(",") if item]
    if not items:
        raise CronError(f"it never starts: {text!r} names no {kind.name}")
    numbers = frozenset(number for item in items for number in item.numbers)
    return _Field(numbers, any(item.wild for item in items), ",".join(item.text for item in items))


def _item(text: str, kind: _Kind) -> _Field:
    span, *steps = text.split("/")
    if len(steps) > 1:
        raise CronError(f"{text!r} has more than one '/'")
    step = _step(steps[0], text) if steps else 1
    first, *rest = span.split("-")
    if first in {"*", "?"}:  # what follows a '-' is not read
        numbers = frozenset(range(kind.least, kind.most + 1, step))
        return _Field(numbers, step == 1, "*" if step == 1 else f"*/{step}")
    if len(rest) > 1:
        raise CronError(f"{text!r} has more than one '-'")
    start = kind.value(first)
    end = kind.value(rest[0]) if rest else kind.most if steps else start
    for number in (start, end):
        if not kind.least <= number <= kind.most:
            raise CronError(f"{kind.name} {number} is not from {kind.least} to {kind.most}{_sunday(number, kind)}")
    if start > end:
        raise CronError(f"{text!r} ends before it begins")
    numbers = frozenset(range(start, end + 1, step))
    return _Field(numbers, wild=False, text=_listed(numbers))


def _sunday(number: int, kind: _Kind) -> str:
    return "; a CronJob writes Sunday as 0" if kind is _KINDS[-1] and number == kind.most + 1 else ""


def _step(text: str, item: str) -> int:
    if not re.fullmatch(r"\+?[0-9]+", text) or not 0 < int(text) < 2**63:
        raise CronError(f"the step of {item!r} must be a whole number from 1")
    return int(text)


def _listed(numbers: frozenset[int]) -> str:
    return ",".join(str(number) for number in sorted(numbers))


def _seconds(text: str) -> int:
    """A duration of Go: 1h30m, 90s, 1.5h; at least a second, in whole seconds."""
    sign, digits = (text[:1], text[1:]) if text[:1] in {"-", "+"} else ("", text)
    parts = _DURATION.findall(digits)
    if digits != "0" and (not parts or "".join(number + unit for number, unit in parts) != digits):
        raise CronError(f"{text!r} is no duration; write it as in @every 1h30m")
    nanoseconds = sum(int(_fraction(number) * _UNIT_NANOSECONDS[unit]) for number, unit in parts)
    if nanoseconds > _MAX_NANOSECONDS:
        raise CronError(f"{text} is too long")
    return 1 if sign == "-" else max(1, nanoseconds // 10**9)


def _fraction(number: str) -> Fraction:
    return Fraction(f"0{number}0" if "." in number else number)
