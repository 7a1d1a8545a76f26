"""Traffic from a CSV file: recorded arrivals, or a recorded series of rates."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from throughline.domain.formatting import plain
from throughline.simulate.columns import LONGEST_DAYS, moment, number, time_column
from throughline.simulate.rates import rate_column
from throughline.simulate.traffic import poisson_arrivals
from throughline.simulate.types import Traffic

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from throughline.simulate.rates import RateColumn

    Floats = NDArray[np.float64]

SERIES = ["seconds", "requests_per_second"]
JITTER_SECONDS = 0.5
WARMUP_SECONDS = 600.0
WARMUP_SHARE = 0.25  # of a recording; short ones would have nothing left to count
MAX_REQUESTS = 200_000_000  # 16 bytes each
METRIC_COLUMNS = ("metric_name", "metric", "__name__")
# First bytes of what is no UTF-8 text, what that is, and what to do.
_OTHER_FORMATS = (
    (b"\x1f\x8b", "compressed with gzip: gunzip it"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unzstd it"),
    (b"BZh", "compressed with bzip2: bunzip2 it"),
    (b"\xfd7zXZ", "compressed with xz: unxz it"),
    (b"PK\x03\x04", "a zip archive or a workbook (.xlsx): unzip it, or save the sheet as CSV"),
    (b"PAR1", "a Parquet file: save it as CSV"),
    (b"\xff\xfe", "UTF-16 text: iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "UTF-16 text: iconv -f UTF-16 -t UTF-8"),
)


@dataclass(frozen=True, slots=True)
class Recording:
    """The traffic, and what of the file was taken for it."""

    traffic: Traffic
    taken: str
    gap_seconds: float = 0.0  # in which no rate was recorded; the one before was held


def read(
    path: str | Path,
    *,
    column: str | None = None,
    unit: str | None = None,
    rates: str | None = None,
    rate_unit: str | None = None,
    rate_per_second: float | None = None,
    name: str | None = None,
    seed: int = 1,
) -> Recording:
    """Traffic as the file tells it, its time counted from the first entry; `rate_per_second` scales it to that mean.

    Each row is an arrival, or a rate that holds until the next row's time (the last for as long as the middle step),
    with Poisson arrivals: `columns` and `rates` tell which, and which column and unit. `column`, `unit`, `rates` and
    `rate_unit` say so instead.

    To scale arrivals by k, each is repeated ⌊k⌋ or ⌈k⌉ times, k on average, each copy moved by up to ± half a second:
    the shape of the intensity, and with it all burstiness above one second, stays; below one second the copies smooth
    it. The Traffic's name says the factor.

    Raises:
        ValueError: the file cannot be taken for traffic, or there is more of it than can be simulated.
    """
    path = Path(path)
    if rate_per_second is not None and not 0.0 < rate_per_second < math.inf:
        raise ValueError(f"rate_per_second is {rate_per_second}; give a number above 0")
    rng = np.random.default_rng(seed)
    header, rows = _read(path)
    _one_metric(path, header, rows)
    if header == SERIES:
        column, rates = column or SERIES[0], rates or SERIES[1]
    time = time_column(path, header, rows, column, unit)
    _bounded(path, float(time.seconds.max()), 0.0, f"column {time}")
    series = rate_column(path, header, rows, time, rates, rate_unit)
    if series is None:
        duration, arrivals, factor = _from_times(path, time.seconds, rate_per_second, rng)
        taken, gap = f"each line is an arrival, at {time}", 0.0
    else:
        known = _held(path, series, time.seconds)
        duration, arrivals, factor = _from_series(path, *known[:2], rate_per_second, rng)
        taken, gap = f"{series}, from {time} on", known[2]
    own = {*time.indices, *([series.index] if series is not None else [])}
    ignored = [name for index, name in enumerate(header) if index not in own]
    told = f"{path.name}: {'; not used: '.join([taken, *([', '.join(ignored)] if ignored else [])])}"
    label = (name or path.stem) + ("" if rate_per_second is None else f" ×{plain(factor, 3)}")
    return Recording(Traffic(label, duration, arrivals, min(WARMUP_SECONDS, WARMUP_SHARE * duration)), told, gap)


def from_csv(
    path: str | Path,
    *,
    column: str | None = None,
    rate_per_second: float | None = None,
    name: str | None = None,
    seed: int = 1,
) -> Traffic:
    """As `read`, the traffic alone."""
    return read(path, column=column, rate_per_second=rate_per_second, name=name, seed=seed).traffic


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header, and the rows that are not blank with their line numbers."""
    with path.open("rb") as opened:
        start = opened.read(8)
    for mark, what in _OTHER_FORMATS:
        if start.startswith(mark):
            raise ValueError(f"{path}: is {what}; a trace is CSV in UTF-8")
    with path.open(newline="", encoding="utf-8-sig") as file:
        first = file.readline()
        file.seek(0)
        delimiter = max(",;\t", key=first.count)
        reader = csv.reader(file, delimiter=delimiter)
        lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    if not lines:
        raise ValueError(f"{path}: empty; it needs a header line and a line per arrival or rate")
    header = lines[0][1]
    if any(number(cell) is not None or moment(cell) is not None for cell in header):
        raise ValueError(f"{path}, line {lines[0][0]}: no header but data; put a line with the columns' names first")
    if len(lines) < 3:
        raise ValueError(f"{path}: {len(lines) - 1} rows of data; at least two are needed to tell a rate")
    return header, lines[1:]


def _one_metric(path: Path, header: list[str], rows: list[tuple[int, list[str]]]) -> None:
    """Raises ValueError for a long table of several metrics, as k6 writes, in which a request has a line of each."""
    for index, name in enumerate(header):
        if name.lower() not in METRIC_COLUMNS:
            continue
        found = sorted({row[index] for _, row in rows if index < len(row)})
        if len(found) > 1:
            keep = next((one for one in found if "req" in one), found[0])
            raise ValueError(
                f"{path}: column {name} names {len(found)} metrics ({', '.join(found[:3])}…), and a request has a line "
                f"of each: keep the header and the lines of one, such as {keep}"
            )


def _bounded(path: Path, duration: float, requests: float, what: str) -> None:
    """Raises ValueError for what would take longer to simulate than anybody waits."""
    if duration > LONGEST_DAYS * 86_400.0:
        raise ValueError(
            f"{path}: {what} spans {duration / 86_400.0:,.3g} days, and {LONGEST_DAYS:g} are the most that is "
            "simulated; say the unit with --unit (s, ms, us, ns, d) if that is not what it is, or cut the file"
        )
    if requests > MAX_REQUESTS:
        raise ValueError(
            f"{path}: {requests / 1e6:,.0f} million requests are too many to hold, up to {MAX_REQUESTS / 1e6:g} "
            "million: cut the file, or lower --rate"
        )


def _from_times(
    path: Path, seconds: Floats, rate_per_second: float | None, rng: np.random.Generator
) -> tuple[float, Floats, float]:
    """Duration, arrivals, factor."""
    arrivals = np.sort(seconds)
    duration = float(arrivals[-1])
    if rate_per_second is None:
        return duration, arrivals, 1.0
    _bounded(path, duration, rate_per_second * duration, "it")
    factor = rate_per_second * duration / arrivals.size
    copies = np.floor(factor + rng.random(arrivals.size)).astype(np.int64)
    moved = np.repeat(arrivals, copies)
    moved += rng.uniform(-JITTER_SECONDS, JITTER_SECONDS, moved.size)
    moved = np.abs(moved)  # what left the recording at an end comes back in by as much
    moved = np.where(moved > duration, 2.0 * duration - moved, moved)
    return duration, np.sort(np.clip(moved, 0.0, duration)), factor


def _held(path: Path, series: RateColumn, times: Floats) -> tuple[Floats, Floats, float]:
    """Edges in order, the rate from each on, and for how long none was recorded: there the one before is held."""
    order = np.argsort(times, kind="stable")
    times = times[order]
    edges = np.append(times, times[-1] + (np.median(np.diff(times)) if len(times) > 1 else 1.0))
    rates = series.per_second(np.diff(edges), order)
    known = np.flatnonzero(~np.isnan(rates))
    if not len(known):
        raise ValueError(f"{path}: column {series.name} has no rate in any line")
    edges, rates = edges[known[0] :] - edges[known[0]], rates[known[0] :]
    missing = np.isnan(rates)
    last = np.maximum.accumulate(np.where(missing, 0, np.arange(len(rates))))
    return edges, rates[last], float(np.diff(edges)[missing].sum())


def _from_series(
    path: Path, edges: Floats, rates: Floats, rate_per_second: float | None, rng: np.random.Generator
) -> tuple[float, Floats, float]:
    """Duration, arrivals, factor."""
    duration = float(edges[-1])
    mean = float(rates @ np.diff(edges)) / duration
    if rate_per_second is not None and mean == 0.0:
        raise ValueError(f"{path}: all rates are 0, which no factor makes {rate_per_second}; leave rate_per_second out")
    factor = 1.0 if rate_per_second is None else rate_per_second / mean
    _bounded(path, duration, mean * factor * duration, "it")
    return duration, poisson_arrivals(edges, rates * factor, rng), factor
