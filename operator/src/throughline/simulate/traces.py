"""Traffic from a CSV file: recorded arrivals, or a recorded series of rates."""

from __future__ import annotations

import csv
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from throughline.simulate.traffic import poisson_arrivals
from throughline.simulate.types import Traffic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SERIES = ["seconds", "requests_per_second"]
JITTER_SECONDS = 0.5
WARMUP_SECONDS = 600.0
WARMUP_SHARE = 0.25  # of a recording; short ones would have nothing left to count


def from_csv(
    path: str | Path,
    *,
    column: str | None = None,
    rate_per_second: float | None = None,
    name: str | None = None,
    seed: int = 1,
) -> Traffic:
    """Traffic as the file tells it, its time counted from the first entry; `rate_per_second` scales it to that mean.

    With the header `seconds,requests_per_second` each row's rate holds until the next row's time (the last for as long
    as the middle step), and arrivals are Poisson at that rate. Otherwise each row is an arrival, at the time in
    `column` (default: the first whose name holds "time"): ISO 8601, with a space or T, or seconds.

    To scale arrivals by k, each is repeated ⌊k⌋ or ⌈k⌉ times, k on average, each copy moved by up to ± half a second:
    the shape of the intensity, and with it all burstiness above one second, stays; below one second the copies smooth
    it. The Traffic's name says the factor.
    """
    path = Path(path)
    if rate_per_second is not None and not 0.0 < rate_per_second < math.inf:
        raise ValueError(f"rate_per_second is {rate_per_second}; give a number above 0")
    rng = np.random.default_rng(seed)
    header, rows = _read(path)
    if header == SERIES and column is None:
        duration, arrivals, factor = _from_series(path, rows, rate_per_second, rng)
    else:
        duration, arrivals, factor = _from_times(path, header, rows, column, rate_per_second, rng)
    label = (name or path.stem) + ("" if rate_per_second is None else f" ×{factor:.3g}")
    return Traffic(label, duration, arrivals, min(WARMUP_SECONDS, WARMUP_SHARE * duration))


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header, and the rows that are not blank with their line numbers."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    if not lines:
        raise ValueError(f"{path}: empty; it needs a header line and a line per arrival or rate")
    header = lines[0][1]
    if any(_time(cell) is not None for cell in header):
        raise ValueError(f"{path}, line {lines[0][0]}: no header but data; put a line with the columns' names first")
    if len(lines) < 3:
        raise ValueError(f"{path}: {len(lines) - 1} rows of data; at least two are needed to tell a rate")
    return header, lines[1:]


def _time(cell: str) -> float | None:
    """Seconds since some origin; None: no time. A time without zone is taken as UTC, all rows alike."""
    try:
        number = float(cell)
    except ValueError:
        pass
    else:
        return number if math.isfinite(number) else None
    try:
        moment = datetime.fromisoformat(cell)  # cuts what is finer than a microsecond
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _cell(path: Path, line: int, row: Sequence[str], index: int, column: str) -> str:
    if index >= len(row):
        raise ValueError(f"{path}, line {line}: no column {column}; the line ends after {len(row)} of them")
    return row[index]


def _times(path: Path, rows: Sequence[tuple[int, list[str]]], index: int, column: str) -> Floats:
    """Times of the rows, in the file's order, from the earliest."""
    times = np.empty(len(rows))
    for i, (line, row) in enumerate(rows):
        text = _cell(path, line, row, index, column)
        value = _time(text)
        if value is None:
            raise ValueError(
                f"{path}, line {line}: {text!r} in column {column} is no time; "
                "write seconds (12.5) or a timestamp (2023-11-16 18:17:03.97)"
            )
        times[i] = value
    times -= times.min()
    if times.max() == 0.0:
        raise ValueError(f"{path}: all times in column {column} are the same; no rate can be told")
    return times


def _from_times(
    path: Path,
    header: Sequence[str],
    rows: Sequence[tuple[int, list[str]]],
    column: str | None,
    rate_per_second: float | None,
    rng: np.random.Generator,
) -> tuple[float, Floats, float]:
    """Duration, arrivals, factor."""
    if column is None:
        column = next((c for c in header if "time" in c.lower()), header[0] if len(header) == 1 else None)
        if column is None:
            raise ValueError(f"{path}, line 1: no column named like a time; name it: column= one of {list(header)}")
    if column not in header:
        raise ValueError(f"{path}, line 1: no column {column!r}; there are {list(header)}")
    arrivals = np.sort(_times(path, rows, header.index(column), column))
    duration = float(arrivals[-1])
    if rate_per_second is None:
        return duration, arrivals, 1.0
    factor = rate_per_second * duration / arrivals.size
    copies = np.floor(factor + rng.random(arrivals.size)).astype(np.int64)
    moved = np.repeat(arrivals, copies)
    moved += rng.uniform(-JITTER_SECONDS, JITTER_SECONDS, moved.size)
    moved = np.abs(moved)  # what left the recording at an end comes back in by as much
    moved = np.where(moved > duration, 2.0 * duration - moved, moved)
    return duration, np.sort(np.clip(moved, 0.0, duration)), factor


def _from_series(
    path: Path, rows: Sequence[tuple[int, list[str]]], rate_per_second: float | None, rng: np.random.Generator
) -> tuple[float, Floats, float]:
    """Duration, arrivals, factor."""
    times = _times(path, rows, 0, SERIES[0])
    rates = np.empty(times.size)
    for i, (line, row) in enumerate(rows):
        text = _cell(path, line, row, 1, SERIES[1])
        try:
            rates[i] = float(text)
        except ValueError:
            rates[i] = math.nan
        if not 0.0 <= rates[i] < math.inf:
            raise ValueError(f"{path}, line {line}: {text!r} is no rate; write requests per second, 0 or more")
    order = np.argsort(times, kind="stable")
    times, rates = times[order], rates[order]
    edges = np.append(times, times[-1] + np.median(np.diff(times)))
    duration = float(edges[-1])
    mean = float(rates @ np.diff(edges)) / duration
    if rate_per_second is not None and mean == 0.0:
        raise ValueError(f"{path}: all rates are 0, which no factor makes {rate_per_second}; leave rate_per_second out")
    factor = 1.0 if rate_per_second is None else rate_per_second / mean
    return duration, poisson_arrivals(edges, rates * factor, rng), factor
