"""Which column of a recording holds the times of arrival, and in what unit: by its name, then by what it holds.

A name that says duration is asked before the order of the values: sorted durations rise, too. Unix times are told apart
by their size (seconds, milliseconds, microseconds, nanoseconds), Excel's dates by theirs and their fractions.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from throughline.simulate import names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Reader = Callable[[str], float | None]
    Rows = Sequence[tuple[int, list[str]]]  # (line, cells)

UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9, "d": 1.0 / 86_400.0}  # in a second
WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds", "d": "days"}
LONGEST_DAYS = 31.0
_EPOCH = (631_152_000.0, 4_102_444_800.0)  # the years 1990 to 2100, as Unix time in seconds
_EXCEL = (32_874.0, 73_051.0)  # the same years, as days since 1899-12-30
_LONGEST_COUNT = 1e9  # seconds from a start of its own, 31 years: what is beyond is a date in another spelling
_UNIT_NAMES = (
    ("ms", re.compile(r"(^|[^a-z])(ms|millis\w*)\W*$")),
    ("us", re.compile(r"(^|[^a-z])(us|µs|micros\w*)\W*$")),
    ("ns", re.compile(r"(^|[^a-z])(ns|nanos\w*)\W*$")),
)
_DATE_ONLY = re.compile(r"\d{4}-\d\d-\d\d")
_TIME_ONLY = re.compile(r"\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")
_DISPLACED = 0.05  # of the rows: mean distance of a row from its place in order; of a shuffled column a third
_SAME_SECONDS = 1.0  # two columns that differ by no more give the same traffic


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """Where the times are, and how they are written."""

    name: str
    indices: tuple[int, ...]  # two: a date, and the time of day
    unit: str | None  # None: timestamps
    epoch: bool
    seconds: Floats  # of each row, in the file's order, from the earliest

    def __str__(self) -> str:
        if self.unit is None:
            return f"{self.name} (timestamps)"
        if self.epoch and self.unit == "d":
            return f"{self.name} (days as Excel counts them)"
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
    """The column named so, else the one that holds the times of arrival; a date and a time of day beside it are one.

    Raises:
        ValueError: there is none, several may be it, it holds durations, a cell is no time, or all times are the same.
    """
    pair = _date_and_time(rows, len(header))
    if named is not None:
        index = place_of(path, header, named)
        if index in pair:
            return _joined(path, header, rows, pair, unit)
        return _read(path, (index,), named, rows, unit, explicit=True)
    numeric = [
        index
        for index in range(len(header))
        if share(rows, index, number) > 0.5 and names.meaning(header[index]).kind is not names.Kind.RATE
    ]
    sole = len(header) == 1
    timelike = [index for index in numeric if names.is_timelike(header[index]) or sole]
    moments: list[tuple[int, ...]] = [
        (index,) for index in range(len(header)) if index not in pair and share(rows, index, _written) > 0.5
    ]
    moments += [pair] if pair else []
    moments += [
        (index,)
        for index in numeric
        if _is_epoch(numbers(rows, index), named=index in timelike)
        or (index in timelike and _is_excel(header[index], numbers(rows, index)))
    ]
    counts = [
        (index,)
        for index in timelike
        if not names.is_duration(header[index]) and _ordered_either_way(numbers(rows, index))
    ]
    found = moments or counts
    if found:
        return _choice(path, header, rows, sorted(found), unit)
    if timelike:
        why = _no_arrivals(header[timelike[0]], numbers(rows, timelike[0]))
        raise ValueError(
            f"{path}: no column holds times of arrival: {why}; there are {list(header)}: --time-column names another"
        )
    for name in header:
        if names.is_timelike(name):
            return _read(path, (header.index(name),), name, rows, unit, explicit=False)
    raise ValueError(f"{path}, line 1: no column holds times; there are {list(header)}: name one with --time-column")


def place_of(path: Path, header: Sequence[str], name: str) -> int:
    if name not in header:
        raise ValueError(f"{path}, line 1: no column {name!r}; there are {list(header)}")
    return list(header).index(name)


def share(rows: Rows, index: int, read: Reader) -> float:
    """Of the rows whose cell can be read so."""
    return sum(index < len(row) and read(row[index]) is not None for _, row in rows) / len(rows)


def numbers(rows: Rows, index: int) -> Floats:
    """Those that are there."""
    found = [value for _, row in rows if index < len(row) and (value := number(row[index])) is not None]
    return np.array(found, dtype=np.float64)


def is_unix_time(values: Floats) -> bool:
    return _epoch_unit(values) is not None


def _choice(
    path: Path, header: Sequence[str], rows: Rows, found: Sequence[tuple[int, ...]], unit: str | None
) -> TimeColumn:
    """Of several, the one whose name says arrival, or any of those that give the same traffic."""

    def read(indices: tuple[int, ...]) -> TimeColumn:
        if len(indices) > 1:
            return _joined(path, header, rows, indices, unit)
        return _read(path, indices, header[indices[0]], rows, unit, explicit=False)

    called = [one for one in found if any(names.is_arrival(header[index]) for index in one)] or found
    if len(called) == 1:
        return read(called[0])
    first, *others = (read(one) for one in called)
    if all(float(np.abs(first.seconds - other.seconds).max()) <= _SAME_SECONDS for other in others):
        return first
    raise ValueError(
        f"{path}: {', '.join(header[index] for one in called for index in one)} may all be the time of arrival: name "
        "one with --time-column"
    )


def _date_and_time(rows: Rows, columns: int) -> tuple[int, ...]:
    """The one column of dates and the one of times of day, as W3C logs have them; else none."""
    dates = [index for index in range(columns) if share(rows, index, _of_form(_DATE_ONLY)) == 1]
    times = [index for index in range(columns) if share(rows, index, _of_form(_TIME_ONLY)) == 1]
    return (dates[0], times[0]) if len(dates) == len(times) == 1 else ()


def _of_form(pattern: re.Pattern[str]) -> Reader:
    return lambda cell: 0.0 if pattern.fullmatch(cell) else None


def _joined(path: Path, header: Sequence[str], rows: Rows, pair: tuple[int, ...], unit: str | None) -> TimeColumn:
    name = " and ".join(header[index] for index in pair)
    joined = [(line, ["T".join(row[index] for index in pair)]) for line, row in rows]
    found = _read(path, (0,), name, joined, unit, explicit=False)
    return TimeColumn(name, pair, found.unit, found.epoch, found.seconds)


def _written(cell: str) -> float | None:
    """A timestamp that is no number: 20251101 may be both."""
    return None if number(cell) is not None else moment(cell)


def _ordered(values: Floats) -> bool:
    """Whether the rows lie about where they would if they were sorted, as the lines of a log do."""
    places = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return float(np.abs(places - np.arange(len(values))).mean()) <= _DISPLACED * len(values)


def _ordered_either_way(values: Floats) -> bool:
    """Newest first, too, as log stores export."""
    return bool((np.diff(values) >= 0).all()) or _ordered(values) or _ordered(values[::-1])


def _is_epoch(values: Floats, *, named: bool) -> bool:
    return is_unix_time(values) and (named or _ordered_either_way(values))


def _epoch_unit(values: Floats) -> str | None:
    """The unit in which these are Unix times of our age; None: they are none."""
    middle = float(np.median(values))
    return next((unit for unit in ("s", "ms", "us", "ns") if _EPOCH[0] <= middle / UNITS[unit] <= _EPOCH[1]), None)


def _is_excel(name: str, values: Floats) -> bool:
    """Days of our age with fractions, no longer than is simulated; seconds would be less than a minute in all."""
    return (
        _named_unit(name) is None
        and bool(((values >= _EXCEL[0]) & (values <= _EXCEL[1])).all())
        and bool((values != np.rint(values)).any())
        and float(np.ptp(values)) <= LONGEST_DAYS
    )


def _named_unit(name: str) -> str | None:
    return next((one for one, pattern in _UNIT_NAMES if pattern.search(names.plain(name))), None)


def _read(
    path: Path, indices: tuple[int, ...], name: str, rows: Rows, unit: str | None, *, explicit: bool
) -> TimeColumn:
    (index,) = indices
    numeric = share(rows, index, number) >= 0.5 or share(rows, index, moment) == 0
    if not numeric:
        if unit is not None:
            raise ValueError(f"{path}: column {name} holds timestamps, which have no unit; leave --unit out")
        seconds = _parsed(path, index, name, rows, timestamps=True)
        return TimeColumn(name, indices, None, epoch=True, seconds=_from_first(path, name, seconds))
    values = _parsed(path, index, name, rows, timestamps=False)
    excel = unit in {None, "d"} and _is_excel(name, values)
    found = "d" if excel else _epoch_unit(values)
    if explicit and found is None and names.is_duration(name) and not _ordered(values):
        why = _no_arrivals(name, values)
        raise ValueError(f"{path}: {why}; name the column with the time of each arrival")
    if unit is None and found is None and float(np.median(values)) > _LONGEST_COUNT:
        raise ValueError(
            f"{path}: column {name} holds numbers such as {values[0]:.0f}, which are no Unix time in any unit; write "
            "ISO 8601, or say the unit with --unit"
        )
    taken = unit or found or _named_unit(name) or "s"
    seconds = _from_first(path, name, (values - values.min()) / UNITS[taken])
    return TimeColumn(name, indices, taken, epoch=found is not None and unit in {None, found}, seconds=seconds)


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


def _no_arrivals(name: str, values: Floats) -> str:
    if not names.is_duration(name) or not _ordered(values):
        return f"column {name} holds {values.min():g} to {values.max():g} in no order, as durations are"
    return (
        f"column {name} holds durations by its name, though they rise (if they are times of arrival: "
        f"--time-column={name})"
    )
