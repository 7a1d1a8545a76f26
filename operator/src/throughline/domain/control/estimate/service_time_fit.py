"""Fit a `ServiceTimeModel` to the sums of `service_time`: weighted least-squares lines through the means by batch size,
in segments where the means say so, and the contention of instances that share a device.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from throughline.api.status import ServiceTime
from throughline.domain.control.model.service_time_model import ServiceTimeModel, chord
from throughline.domain.control.tuning import MAX_CONTENTION, MAX_WEIGHT, MIN_COUNT, SAME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Sums = Mapping[tuple[int, int], "BatchTimeSum"]  # by (instances, batch size)

# Batch sizes that vary by less (variance) are one, but for a few odd ones.
ONE_SIZE = 0.05
# Up to each of these the small batches may have a line of their own.
SEGMENT_LIMITS = (2, 4, 8, 16, 32, 64, 128)
_Key = TypeVar("_Key", int, "tuple[int, int]")


class BatchTimeSum(NamedTuple):
    executions: float
    compute_us: float

    @property
    def mean_us(self) -> float:
        return self.compute_us / self.executions

    def times(self, factor: float) -> BatchTimeSum:
        """As many executions that take so many times as long."""
        return BatchTimeSum(self.executions, factor * self.compute_us)


class _Line(NamedTuple):
    alpha_us: float
    beta_us: float
    spread: float  # weighted variance of the batch sizes behind it; 0: β is a guess

    def at(self, batch: int) -> float:
        return self.alpha_us + self.beta_us * batch


class _Moments(NamedTuple):
    """Weighted sums over batch sizes b and the means s of their times."""

    weight: float = 0.0
    b: float = 0.0
    s: float = 0.0
    bb: float = 0.0
    bs: float = 0.0

    def plus(self, batch: int, total: BatchTimeSum) -> _Moments:
        w, s = min(total[0], MAX_WEIGHT), total[1] / total[0]
        weight, b, s_sum, bb, bs = self
        return _Moments(weight + w, b + w * batch, s_sum + w * s, bb + w * batch * batch, bs + w * batch * s)

    @property
    def spread(self) -> float:
        """Weighted variance of the batch sizes; 0: in effect one."""
        spread = self.bb - self.b * (self.b / self.weight)
        return spread if spread >= ONE_SIZE * self.weight else 0.0

    @property
    def slope(self) -> float:
        """Of the least-squares line, ≥ 0; where the sizes spread."""
        return max(0.0, (self.bs - self.b * (self.s / self.weight)) / self.spread)


def _line(moments: _Moments, slope_share: float) -> _Line | None:
    """Weighted least squares α, β ≥ 0; with one batch size β is `slope_share` of s(1)."""
    if moments.weight == 0.0:
        return None
    mean_b, mean_s = moments.b / moments.weight, moments.s / moments.weight
    if (spread := moments.spread) == 0.0:
        whole = mean_s / (1.0 - slope_share + slope_share * mean_b)  # s(1)
        return _Line(whole * (1.0 - slope_share), whole * slope_share, 0.0)
    beta = min(moments.slope, mean_s / mean_b)  # α ≥ 0
    return _Line(mean_s - beta * mean_b, beta, spread)


def _octave(batch: int) -> int:
    """Number the ranges 1 | 2 | 3, 4 | 5 … 8 | 9 … 16 and so on."""
    return (batch - 1).bit_length()


def _believed(rows: Mapping[int, BatchTimeSum]) -> list[int]:
    """The batch sizes that were seen often enough, with their neighbours: large batches of many sizes come seldom."""
    seen: dict[int, float] = {}
    for batch, (executions, _) in rows.items():
        octave = _octave(batch)
        seen[octave] = seen.get(octave, 0.0) + executions
    return sorted(batch for batch in rows if seen[_octave(batch)] >= MIN_COUNT)


def _lines(
    rows: Mapping[int, BatchTimeSum], sizes: Sequence[int], limits: Sequence[float], slope_share: float
) -> list[_Line | None]:
    """The lines through the means of the `sizes` up to each limit; ends with the one that holds them all."""
    found: list[_Line | None] = []
    moments = _Moments()
    i, n = 0, len(sizes)
    for limit in limits:
        while i < n and sizes[i] <= limit:
            moments = moments.plus(sizes[i], rows[sizes[i]])
            i += 1
        found.append(_line(moments, slope_share))
        if i == n:
            break
    return found


def fit(rows: Mapping[int, BatchTimeSum], slope_share: float) -> _Line | None:
    """The line through the means."""
    return _lines(rows, _believed(rows), (math.inf,), slope_share)[-1]


def by_instances(totals: Sums) -> dict[int, dict[int, BatchTimeSum]]:
    groups: dict[int, dict[int, BatchTimeSum]] = {}
    for (instances, batch), total in totals.items():
        groups.setdefault(instances, {})[batch] = total
    return groups


def add(sums: dict[_Key, BatchTimeSum], key: _Key, executions: float, compute_us: float) -> None:
    """Add them to the sum of that key, in place."""
    n, us = sums.get(key, (0.0, 0.0))
    sums[key] = BatchTimeSum(n + executions, us + compute_us)


def joined(a: Mapping[int, BatchTimeSum], b: Mapping[int, BatchTimeSum]) -> dict[int, BatchTimeSum]:
    """The sums of both, by batch size."""
    found = dict(a)
    for batch, total in b.items():
        add(found, batch, *total)
    return found


def with_segments(totals: Sums, curve: ServiceTimeModel) -> ServiceTimeModel:
    """The curve with the lines of its smaller batches, where these are known and say something else."""
    groups = by_instances(totals)
    if not groups:
        return curve
    base = next(iter(groups))
    if len(groups) > 1:
        most = 0.0
        for k, rows in groups.items():
            weight = 0.0
            for executions, _ in rows.values():
                weight += min(executions, MAX_WEIGHT)
            if weight > most:
                base, most = k, weight
    curve = _bent(curve, _with_larger(groups, base, curve.contention), 1.0 + curve.contention * (base - 1))
    return replace(curve, contended_us=_contended_us(groups, curve)) if len(groups) > 1 else curve


def _with_larger(
    groups: Mapping[int, Mapping[int, BatchTimeSum]], base: int, contention: float
) -> Mapping[int, BatchTimeSum]:
    """The sums of the base, and of larger batches those of other numbers of instances, as they would be on the base."""
    if len(groups) == 1:
        return groups[base]
    rows, largest = dict(groups[base]), max(groups[base])
    for k, others in groups.items():
        scale = (1.0 + contention * (base - 1)) / (1.0 + contention * (k - 1))
        larger = {batch: total.times(scale) for batch, total in others.items() if batch > largest}
        rows = joined(rows, larger)
    return rows


def _bent(curve: ServiceTimeModel, rows: Mapping[int, BatchTimeSum], scale: float) -> ServiceTimeModel:
    """The curve with `segments` by these batches, whose times are `scale` times those of one instance."""
    sizes = _believed(rows)
    if len(sizes) < 2:
        return curve
    largest = sizes[-1]
    limits = [limit for limit in SEGMENT_LIMITS if limit < largest] + [largest]
    found: list[tuple[int, float, float]] = []
    differs, tail_us = False, 0.0
    for limit, line in zip(limits, _lines(rows, sizes, limits, 0.0), strict=False):
        if line is None or line.spread == 0.0:
            continue
        alpha_us, beta_us = line.alpha_us, line.beta_us
        at_us, tail_us = _end(rows, sizes, limit, line)
        if abs(at_us - line.at(limit)) > SAME * line.at(limit):
            alpha_us, beta_us = chord(found[0][1] + found[0][2] if found else line.at(1), limit, at_us)
        if found:  # a larger batch takes no less
            alpha_us += max(0.0, found[-1][1] + found[-1][2] * found[-1][0] - alpha_us - beta_us * limit)
        found.append((limit, alpha_us, beta_us))
    segments = tuple((limit, alpha_us / scale, beta_us / scale) for limit, alpha_us, beta_us in found)
    bent = replace(curve, segments=segments, tail_us=tail_us / scale)
    for limit in (*(segment[0] for segment in segments), 2 * largest):
        whole = curve.service_us(limit, 1)
        differs = differs or abs(bent.segment_for(limit).service_us(limit, 1) - whole) > SAME * whole
    return bent if differs else curve


def _end(rows: Mapping[int, BatchTimeSum], sizes: Sequence[int], limit: int, line: _Line) -> tuple[float, float]:
    """(time of a batch of `limit`, of each item more) by the batches between half of the limit and it, which know best;
    where none was seen, by the nearest two; where they are of one size, by the line.
    """
    below = max(b for b in sizes if b <= limit)
    if below <= limit / 2:
        above = min(b for b in sizes if b > limit)
        slope = max(0.0, (rows[above].mean_us - rows[below].mean_us) / (above - below))
        return rows[below].mean_us + slope * (limit - below), slope
    moments = _Moments()
    for b in sizes:
        if limit / 2 <= b <= limit:
            moments = moments.plus(b, rows[b])
    slope = moments.slope if moments.spread else line.beta_us
    return moments.s / moments.weight + slope * (limit - moments.b / moments.weight), slope


def _contended_us(groups: Mapping[int, Mapping[int, BatchTimeSum]], curve: ServiceTimeModel) -> float:
    """`ServiceTimeModel.contended_us`, by the executions on several instances."""
    shared = [(b, t.executions) for k, rows in groups.items() if k > 1 for b, t in rows.items()]
    executions = sum(n for _, n in shared)
    return sum(n * curve.alone_us(b) for b, n in shared) / executions if executions >= MIN_COUNT else 0.0


def _contention(groups: Mapping[int, Mapping[int, BatchTimeSum]], base: int, curve: ServiceTimeModel) -> float | None:
    """γ from how much longer the same batches take on other instance counts than on `base`; None: unknown.

    All of them together: a small batch that waited for the device behind a large one took many times as long, and the
    large one next to nothing longer.
    """
    found: list[tuple[float, float]] = []
    for k, rows in groups.items():
        if k == base:
            continue
        alone_us = sum(t.executions * curve.alone_us(b) for b, t in rows.items())
        weight = sum(t.executions for t in rows.values())
        if weight < MIN_COUNT or alone_us <= 0:
            continue
        ratio = sum(t.compute_us for t in rows.values()) / alone_us
        # ratio = (1 + γ(k - 1)) / (1 + γ(base - 1)), solved for γ
        divisor = (k - 1) - ratio * (base - 1)
        if abs(divisor) > 1e-6:
            found.append((weight, (ratio - 1.0) / divisor))
    if not found:
        return None
    mean = sum(w * g for w, g in found) / sum(w for w, _ in found)
    return min(max(0.0, mean), MAX_CONTENTION)


def estimate(totals: Sums, known: ServiceTime | None) -> ServiceTime | None:
    """The curve that fits what was observed; `known` fills in what was not. None: nothing is known yet."""
    groups = by_instances(totals)
    share = 0.5
    if known and known.largest_batch > 1 and known.alpha_microseconds + known.beta_microseconds > 0:
        share = known.beta_microseconds / (known.alpha_microseconds + known.beta_microseconds)
    lines = {k: line for k, rows in groups.items() if (line := fit(rows, share)) is not None}
    if not lines:
        return known
    # On several instances a small batch may wait behind a large one, and then seems as slow: the fewest show the slope.
    base = min(lines, key=lambda k: (lines[k].spread == 0.0, k))
    contention = None
    if len(groups) > 1:
        alone = _bent(ServiceTimeModel(lines[base].alpha_us, lines[base].beta_us), groups[base], 1.0)
        contention = _contention(groups, base, alone)
    if contention is None:
        contention = known.contention_permille / 1000 if known else 0.0
    scale = 1.0 + contention * (base - 1)
    largest, executions = known.largest_batch if known else 0, 0.0
    for rows in groups.values():
        executions += sum(total.executions for total in rows.values())
        largest = max([largest, *_believed(rows)])
    return ServiceTime(
        alpha_microseconds=round(lines[base].alpha_us / scale),
        beta_microseconds=round(lines[base].beta_us / scale),
        contention_permille=round(contention * 1000),
        error_permille=known.error_permille if known else 1000,
        largest_batch=largest,
        executions=round(executions),
    )
