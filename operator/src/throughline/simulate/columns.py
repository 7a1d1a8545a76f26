"""Which columns of a recording are times and rates, and in what unit: by what they hold, said in words.

A column's name alone misleads: the `request_time` of an access log is a duration. Unix times are told apart by their
size (seconds, milliseconds, microseconds, nanoseconds), durations by having no order, and a dashboard's export by its
even steps in time.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Reader = Callable[[str], float | None]
    Rows = Sequence[tuple[int, list[str]]]  # (line, cells)

UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}  # in a second
WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
NO_RATE = "-"  # as --rate-column: each line is an arrival
_EPOCH = (631_152_000.0, 4_102_444_800.0)  # the years 1990 to 2100, as Unix time in seconds
_LONGEST_COUNT = 1e9  # seconds from a start of its own, 31 years: what is beyond is a date in another spelling
# On names in lower case, with _ before what began with a capital.
_TIMELIKE = re.compile(r"time|date|^ts$|^at$|_at$|arriv|second|offset|^t$")
_DURATION = re.compile(
    r"duration|latency|elapsed|took|taken|delay|(request|response|upstream|processing|service|queue|wait|connect)\w*time"
)
_RATE = re.compile(
    r"(^|[^a-z])i?rates?($|[^a-z])|(per.?|/)s(ec|econd)?s?($|[^a-z])|(^|[^a-z])[rq]ps($|[^a-z])|throughput|requests"
)
_NO_RATE = re.compile(r"(^|[^a-z])(id|status|code|port|bytes?|size|tokens?|user|index|line)s?($|[^a-z])")
_UNIT_NAMES = (
    ("ms", re.compile(r"(^|[^a-z])(ms|millis\w*)\W*$")),
    ("us", re.compile(r"(^|[^a-z])(us|µs|micros\w*)\W*$")),
    ("ns", re.compile(r"(^|[^a-z])(ns|nanos\w*)\W*$")),
)
MISSING = frozenset({"", "null", "nan", "undefined", "none", "n/a", "-"})  # as dashboards write a gap
_DISPLACED = 0.05  # of the rows: mean distance of a row from its place in order; of a shuffled column a third
_EVEN = 0.9  # of the steps are as long as the middle one, in a dashboard's export


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """Where the times are, and how they are written."""

    name: str
    index: int
    unit: str | None  # None: timestamps
    epoch: bool
    seconds: Floats  # of each row, in the file's order, from the earliest

    def __str__(self) -> str:
        if self.unit is None:
            return f"{self.name} (timestamps)"
        return f"{self.name} ({'Unix time in ' if self.epoch else ''}{WORDS[self.unit]})"


def moment(cell: str) -> float | None:
    """Seconds since 1970 of an ISO 8601 timestamp, in UTC where it names no zone. None: it is none."""
    try:
        found = datetime.fromisoformat(cell)  # cuts what is finer than a microsecond
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def number(cell: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def cell_of(path: Path, line: int, row: Sequence[str], index: int, column: str) -> str:
    if index >= len(row):
        raise ValueError(f"{path}, line {line}: no column {column}; the line ends after {len(row)} of them")
    return row[index]


def time_column(path: Path, header: Sequence[str], rows: Rows, named: str | None, unit: str | None) -> TimeColumn:
    """The column named so, else the one that holds times.

    Raises:
        ValueError: there is none, it holds durations, a cell is no time, or all times are the same.
    """
    if named is not None:
        return _read(path, _place(path, header, named), named, rows, unit, explicit=True)
    written = [index for index in range(len(header)) if _share(rows, index, _written) > 0.5]
    if written:
        return _read(path, written[0], header[written[0]], rows, unit, explicit=False)
    numeric = [index for index in range(len(header)) if _share(rows, index, number) > 0.5]
    for index in numeric:
        values = _numbers(rows, index)
        if _epoch_unit(values) is not None and _ordered(values):
            return _read(path, index, header[index], rows, unit, explicit=False)
    timelike = [index for index in numeric if _called(_TIMELIKE, header[index]) or len(header) == 1]
    for index in timelike:
        values = _numbers(rows, index)
        rising = bool((np.diff(values) >= 0).all())
        if rising or (_ordered(values) and not _called(_DURATION, header[index])):
            return _read(path, index, header[index], rows, unit, explicit=False)
    if timelike:
        why = _in_no_order(header[timelike[0]], _numbers(rows, timelike[0]))
        raise ValueError(
            f"{path}: no column holds times of arrival: {why}; there are {list(header)}: --time-column names another"
        )
    for name in header:
        if _called(_TIMELIKE, name):
            return _read(path, header.index(name), name, rows, unit, explicit=False)
    raise ValueError(f"{path}, line 1: no column holds times; there are {list(header)}: name one with --time-column")


def rate_column(
    path: Path, header: Sequence[str], rows: Rows, time: TimeColumn, named: str | None
) -> tuple[str, Floats] | None:
    """The column with requests per second, and the rates (NaN where nothing was recorded); None: lines are arrivals.

    Raises:
        ValueError: several columns may be it, or a cell is no rate.
    """
    if named == NO_RATE:
        return None
    if named is not None:
        return named, _rates(path, rows, _place(path, header, named), named)
    steps = np.diff(time.seconds)
    if len(steps) == 0 or (np.diff(np.sort(time.seconds)) <= 0).any():
        return None  # two lines of one time: they are arrivals
    others = [
        index
        for index, name in enumerate(header)
        if index != time.index
        and not _called(_DURATION, name)
        and not _called(_NO_RATE, name)
        and _share(rows, index, _rate_or_gap) > 0.5
        and _share(rows, index, number) > 0
        and not _counts_up(_numbers(rows, index))
    ]
    middle = float(np.median(np.abs(steps)))
    even = middle >= 1.0 and float(np.mean(np.abs(steps - middle) <= 0.01 * middle)) >= _EVEN
    called = [index for index in others if _called(_RATE, header[index])]
    found = called or (others if even else [])
    if not found:
        return None
    if len(found) > 1:
        raise ValueError(
            f"{path}: {', '.join(header[index] for index in found)} may all be rates: name one with --rate-column, or "
            f"--rate-column={NO_RATE} if each line is an arrival"
        )
    return header[found[0]], _rates(path, rows, found[0], header[found[0]])


def _called(pattern: re.Pattern[str], name: str) -> bool:
    return pattern.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()) is not None


def _place(path: Path, header: Sequence[str], name: str) -> int:
    if name not in header:
        raise ValueError(f"{path}, line 1: no column {name!r}; there are {list(header)}")
    return list(header).index(name)


def _share(rows: Rows, index: int, read: Reader) -> float:
    """Of the rows whose cell can be read so."""
    return sum(index < len(row) and read(row[index]) is not None for _, row in rows) / len(rows)


def _written(cell: str) -> float | None:
    """A timestamp that is no number: 20251101 may be both."""
    return None if number(cell) is not None else moment(cell)


def _numbers(rows: Rows, index: int) -> Floats:
    """Those that are there."""
    found = [value for _, row in rows if index < len(row) and (value := number(row[index])) is not None]
    return np.array(found, dtype=np.float64)


def _rate_or_gap(cell: str) -> float | None:
    return 0.0 if cell.lower() in MISSING else number(cell)


def _ordered(values: Floats) -> bool:
    """Whether the rows lie about where they would if they were sorted, as the lines of a log do."""
    places = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return float(np.abs(places - np.arange(len(values))).mean()) <= _DISPLACED * len(values)


def _counts_up(values: Floats) -> bool:
    """A counter or a number of the line, and no rate."""
    return len(values) > 2 and bool((np.diff(values) > 0).all()) and bool((values == np.rint(values)).all())


def _epoch_unit(values: Floats) -> str | None:
    """The unit in which these are Unix times of our age; None: they are none."""
    middle = float(np.median(values))
    return next((unit for unit, each in UNITS.items() if _EPOCH[0] <= middle / each <= _EPOCH[1]), None)


def _read(path: Path, index: int, name: str, rows: Rows, unit: str | None, *, explicit: bool) -> TimeColumn:
    numeric = _share(rows, index, number) >= 0.5 or _share(rows, index, moment) == 0
    if not numeric:
        if unit is not None:
            raise ValueError(f"{path}: column {name} holds timestamps, which have no unit; leave --unit out")
        seconds = _parsed(path, index, name, rows, timestamps=True)
        return TimeColumn(name, index, None, epoch=True, seconds=_from_first(path, name, seconds))
    values = _parsed(path, index, name, rows, timestamps=False)
    found = _epoch_unit(values)
    if explicit and found is None and _called(_DURATION, name) and not _ordered(values):
        raise ValueError(f"{path}: {_in_no_order(name, values)}; name the column with the time of each arrival")
    if unit is None and found is None and float(np.median(values)) > _LONGEST_COUNT:
        raise ValueError(
            f"{path}: column {name} holds numbers such as {values[0]:.0f}, which are no Unix time in any unit; write "
            "ISO 8601, or say the unit with --unit"
        )
    named = next((one for one, pattern in _UNIT_NAMES if _called(pattern, name)), "s")
    taken = unit or found or named
    seconds = _from_first(path, name, (values - values.min()) / UNITS[taken])
    return TimeColumn(name, index, taken, epoch=found is not None and unit in {None, found}, seconds=seconds)


def _parsed(path: Path, index: int, name: str, rows: Rows, *, timestamps: bool) -> Floats:
    found = np.empty(len(rows))
    for place, (line, row) in enumerate(rows):
        text = cell_of(path, line, row, index, name)
        value = moment(text) if timestamps else number(text)
        if value is None:
            raise ValueError(
                f"{path}, line {line}: {text!r} in column {name} is no time; "
                "write seconds (12.5) or a timestamp (2023-11-16 18:17:03.97)"
            )
        found[place] = value
    return found


def _from_first(path: Path, name: str, seconds: Floats) -> Floats:
    seconds = seconds - seconds.min()
    if seconds.max() == 0.0:
        raise ValueError(f"{path}: all times in column {name} are the same; no rate can be told")
    return seconds


def _rates(path: Path, rows: Rows, index: int, name: str) -> Floats:
    found = np.empty(len(rows))
    for place, (line, row) in enumerate(rows):
        text = cell_of(path, line, row, index, name)
        value = number(text)
        if text.lower() in MISSING:
            found[place] = math.nan
        elif value is None or value < 0.0:
            raise ValueError(f"{path}, line {line}: {text!r} is no rate; write requests per second, 0 or more")
        else:
            found[place] = value
    return found


def _in_no_order(name: str, values: Floats) -> str:
    return f"column {name} holds {values.min():g} to {values.max():g} in no order, as durations are"
