"""Which column of a recording holds rates of requests, and per what: by its name, then by what it holds.

Rows evenly spaced in time are samples of a dashboard or a scrape, and no arrivals: where none of their columns can be
taken for requests per second, the table is refused, since as arrivals it would give traffic that never was.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from throughline.simulate import names
from throughline.simulate.columns import cell_of, is_unix_time, number, numbers, place_of, share
from throughline.simulate.names import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from throughline.simulate.columns import Floats, Rows, TimeColumn

NO_RATE = "-"  # as --rate-column: each line is an arrival
PER_ROW = "row"  # as --rate-unit: requests between a row and the next
RATE_UNITS = (*names.PER_SECONDS, PER_ROW)
MISSING = frozenset({"", "null", "nan", "undefined", "none", "n/a", "-"})  # as dashboards write a gap
_EVEN = 0.9  # of the steps are as long as the middle one, in a dashboard's export
_RISES, _FALLS = 0.5, 0.05  # of the steps of a counter: at least, and at most (restarts)
# A number as dashboards show it: 50 req/s, 1.2 K, 1,053.
_SHOWN = re.compile(r"[-+]?(\d+(,\d{3})+|\d+)([.,]\d+)?\s*[a-zµ%/ ]{0,20}", re.IGNORECASE)
_UNSHOWN = "export column {} unformatted (in Grafana: Inspect, Data, Formatted data off)"


@dataclass(frozen=True, slots=True)
class RateColumn:
    """Where the rates are. `seconds`: that they are per; None: per row. `values`: NaN where nothing was recorded."""

    index: int
    name: str
    seconds: float | None
    values: Floats

    def __str__(self) -> str:
        if self.seconds is None:
            return f"{self.name} is requests per row"
        word = next((names.PER_WORDS[unit] for unit, each in names.PER_SECONDS.items() if each == self.seconds), None)
        return f"{self.name} is requests per {word or f'{self.seconds:g} seconds'}"

    def per_second(self, widths: Floats, order: NDArray[np.intp]) -> Floats:
        """In this order of the rows; `widths`: seconds from each of them to the next.

        A gap in evenly spaced rows does not make the interval of the row before it longer.
        """
        values = self.values[order]
        if self.seconds is not None:
            return values / self.seconds
        return values / (np.median(widths) if _are_even(widths) else widths)


def rate_column(
    path: Path, header: Sequence[str], rows: Rows, time: TimeColumn, named: str | None, unit: str | None
) -> RateColumn | None:
    """The column with rates of requests; None: lines are arrivals. `unit`: one of `RATE_UNITS`, stronger than its name.

    Raises:
        ValueError: none or several of an export's columns may be it, its unit is open, or a cell is no rate.
    """
    if named == NO_RATE:
        if unit is not None:
            raise ValueError(f"--rate-column={NO_RATE} says that each line is an arrival; leave --rate-unit out")
        return None
    if named is not None:
        return _column(path, header, rows, place_of(path, header, named), unit)
    others = [index for index in range(len(header)) if index not in time.indices]
    called = _of_kind(header, others, Kind.RATE)
    steps = np.diff(np.sort(time.seconds))
    if len(steps) == 0 or (steps <= 0).any():
        _refuse_same_times(path, header, called, unit)
        return None
    even = float(np.median(steps)) >= 1.0 and _are_even(steps)
    if not called:
        called = [
            index
            for kind in (Kind.COUNT, Kind.COUNTER, Kind.UNKNOWN)
            for index in _of_kind(header, others, kind)
            if (even or names.says_traffic(header[index])) and _may_be_rate(rows, index)
        ]
    if len(called) > 1:
        raise ValueError(
            f"{path}: {', '.join(header[index] for index in sorted(called))} may all be rates: name one with "
            f"--rate-column, or --rate-column={NO_RATE} if each line is an arrival"
        )
    if called:
        _refuse_counter(path, header[called[0]], rows, called[0], unit)
        return _column(path, header, rows, called[0], unit)
    samples = [header[index] for index in _of_kind(header, others, Kind.SAMPLE)]
    if time.epoch and all(names.is_duration(header[index]) for index in others):
        samples += [header[index] for index in others]  # dates: a load test counts from its start
    if unit is not None or (even and samples):
        raise ValueError(
            f"{path}: no column holds rates of requests"
            + (f" ({', '.join(samples)}: by the name none)" if samples else "")
            + f", and the rows are {np.median(steps):g} s apart: name the column with --rate-column, or "
            f"--rate-column={NO_RATE} if each line is an arrival"
        )
    return None


def _of_kind(header: Sequence[str], indices: Sequence[int], kind: Kind) -> list[int]:
    return [index for index in indices if names.meaning(header[index]).kind is kind]


def _refuse_same_times(path: Path, header: Sequence[str], called: Sequence[int], unit: str | None) -> None:
    """Raises ValueError where two lines have one time, as arrivals may, and a name says rates."""
    if called or unit is not None:
        said = f"column {header[called[0]]} holds rates by its name" if called else "--rate-unit says rates"
        raise ValueError(
            f"{path}: {said}, but several rows have the same time: leave one row a time in the file, or "
            f"--rate-column={NO_RATE} if each line is an arrival"
        )


def _are_even(steps: Floats) -> bool:
    middle = float(np.median(steps))
    return float(np.mean(np.abs(steps - middle) <= 0.01 * middle)) >= _EVEN


def _may_be_rate(rows: Rows, index: int) -> bool:
    """Numbers and gaps, as they are or as a dashboard shows them; no second column of times."""
    if share(rows, index, _shown) <= 0.5 or share(rows, index, _gap) == 1:
        return False
    values = numbers(rows, index)
    return not (len(values) and is_unix_time(values))


def _gap(cell: str) -> float | None:
    return 0.0 if cell.lower() in MISSING else None


def _shown(cell: str) -> float | None:
    found = cell.lower() in MISSING or number(cell) is not None or _SHOWN.fullmatch(cell) is not None
    return 0.0 if found else None


def _counts_up(values: Floats) -> bool:
    """Whole numbers that grow and begin again at most at restarts."""
    steps = np.diff(values)
    return (
        len(steps) > 1
        and bool((values == np.rint(values)).all())
        and float(np.mean(steps > 0)) >= _RISES
        and float(np.mean(steps < 0)) <= _FALLS
    )


def _refuse_counter(path: Path, name: str, rows: Rows, index: int, unit: str | None) -> None:
    """Raises ValueError for a column whose name says nothing and whose values only grow."""
    if unit is None and names.meaning(name).kind is Kind.UNKNOWN and _counts_up(numbers(rows, index)):
        raise ValueError(
            f"{path}: column {name} only grows, as a counter or a line number does: export rate({name}[1m]); or say "
            f"--rate-column={name} if it is requests per second, --rate-column={NO_RATE} if each line is an arrival"
        )


def _column(path: Path, header: Sequence[str], rows: Rows, index: int, unit: str | None) -> RateColumn:
    name = header[index]
    said = names.meaning(name)
    if said.kind is Kind.COUNTER and unit in {None, PER_ROW}:
        raise ValueError(
            f"{path}: column {name} is a counter by its name: export rate(…[1m]) of it; or say --rate-unit=s if it is "
            "requests per second"
        )
    if said.kind is Kind.COUNT and unit is None:
        raise ValueError(
            f"{path}: column {name} counts requests, and its name does not say over what time: say --rate-unit="
            f"{PER_ROW} if each row counts those until the next, or --rate-unit=s, min, h or d if it is requests per "
            f"second, minute, hour or day; --rate-column={NO_RATE} if each line is an arrival"
        )
    seconds = said.seconds if unit is None else names.PER_SECONDS.get(unit)
    return RateColumn(index, name, seconds, _values(path, rows, index, name))


def _values(path: Path, rows: Rows, index: int, name: str) -> Floats:
    found = np.empty(len(rows))
    for place, (line, row) in enumerate(rows):
        text = cell_of(path, line, row, index, name)
        value = number(text)
        if text.lower() in MISSING:
            found[place] = math.nan
        elif value is None or value < 0.0:
            shown = value is None and _SHOWN.fullmatch(text) is not None
            advice = _UNSHOWN.format(name) if shown else f"write a number, 0 or more, in column {name}"
            raise ValueError(f"{path}, line {line}: {text!r} is no rate; {advice}")
        else:
            found[place] = value
    return found
