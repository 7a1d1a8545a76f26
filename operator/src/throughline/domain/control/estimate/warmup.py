"""Executions that are slow because a model was just loaded: the estimator ignores them, and their cost is measured.

The warm-up of a pod begins when its counters are reset (a load, a new container), when an instance is added, and when
a pod is seen for the first time. It ends when a sample of its executions takes no longer than they are known to take;
or, where that is not known or no longer true, when the model has been executed often enough and two samples in a row
agree. The sample in which a warm-up begins is never believed: it holds the first executions, and the probe.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from throughline.domain.control.tuning import CLEAR, MAX_WARM_UP_SECONDS, MIN_COUNT, SIGMAS, WARM_EXECUTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    Rows = tuple[tuple[int, float, float], ...]  # (batch size, executions, compute µs), by batch size


class WarmUp(NamedTuple):
    """A pod's executions since the load, none of which is believed yet."""

    since_seconds: float
    executions: int  # on the counters when it began
    whole_load: bool  # not an instance that was added
    last_seconds: float  # when the last sample began
    last: Rows = ()
    pending: Rows = ()  # not yet a sample
    pending_seconds: float = 0.0  # when that began
    skipped: Rows = ()  # all that was not believed
    busy_seconds: float = 0.0

    def under_way(self, now_seconds: float) -> bool:
        return now_seconds - self.since_seconds < MAX_WARM_UP_SECONDS


class Warm(NamedTuple):
    """The end of a warm-up."""

    rows: Rows  # to be learned
    since_seconds: float
    cost_seconds: float | None  # that its executions took beyond what they take now, by instance; None: no load


def sample(grown: Sequence[tuple[int, float, float]]) -> Rows:
    return tuple(sorted(grown))


def _joined(a: Rows, b: Rows) -> Rows:
    found = {size: (n, us) for size, n, us in a}
    for size, n, us in b:
        seen, took = found.get(size, (0.0, 0.0))
        found[size] = (seen + n, took + us)
    return tuple((size, n, us) for size, (n, us) in sorted(found.items()))


def _executions(rows: Rows) -> float:
    return sum(n for _, n, _ in rows)


def _mean_us(rows: Rows, batch: int) -> float:
    """Of an execution of that size: between the nearest sizes, beyond them as the nearest."""
    below = max((r for r in rows if r[0] <= batch), default=rows[0])
    above = min((r for r in rows if r[0] >= batch), default=rows[-1])
    low, high = below[2] / below[1], above[2] / above[1]
    if above[0] <= below[0]:
        return low
    return low + (high - low) * (batch - below[0]) / (above[0] - below[0])


def _ratio(rows: Rows, known: Rows) -> float:
    """How many times as long as the known ones these executions took."""
    return sum(us for _, _, us in rows) / sum(n * _mean_us(known, size) for size, n, _ in rows)


def _chance(executions: float) -> float:
    return CLEAR + SIGMAS / math.sqrt(executions)


def _no_longer(rows: Rows, known: Rows) -> bool:
    """Whether the executions take no longer than known, where most of them are of known sizes."""
    if not known or not rows:
        return False
    inside = tuple(r for r in rows if known[0][0] <= r[0] <= known[-1][0])
    executions = _executions(inside)
    if executions < max(MIN_COUNT, _executions(rows) / 2):
        return False
    return _ratio(inside, known) <= 1.0 + _chance(executions)


def _agree(rows: Rows, last: Rows) -> bool:
    executions = min(_executions(rows), _executions(last))
    return executions >= MIN_COUNT and abs(_ratio(rows, last) - 1.0) <= _chance(executions)


def begin(rows: Rows, now_seconds: float, began_seconds: float, *, executions: int, whole_load: bool) -> WarmUp:
    """`rows`: the sample in which it begins. `executions`: on the counters, of before."""
    young = _executions(rows) < WARM_EXECUTIONS or math.isfinite(began_seconds)
    return WarmUp(
        now_seconds, executions, whole_load, began_seconds, rows, pending_seconds=now_seconds,
        skipped=rows if young else (),
    )  # fmt: skip


def follow(
    phase: WarmUp, rows: Rows, known: Rows, executions: int, instances: int, now_seconds: float, seconds: float,
) -> WarmUp | Warm:  # fmt: skip
    """The warm-up with the rows of one more observation. `known`: of executions that were learned, or are expected;
    `executions`: on the counters now; `seconds`: since the observation before.
    """
    if not rows:
        return phase
    pending = _joined(phase.pending, rows)
    phase = phase._replace(pending=pending, busy_seconds=phase.busy_seconds + seconds)
    over = phase.busy_seconds >= MAX_WARM_UP_SECONDS
    if _executions(pending) < MIN_COUNT and not over:
        return phase
    enough = executions - phase.executions >= WARM_EXECUTIONS
    agree = enough and _agree(pending, phase.last)
    if agree or over or _no_longer(pending, known):
        since = phase.last_seconds if agree or _no_longer(phase.last, known) else phase.pending_seconds
        return Warm(pending, since, _cost_seconds(phase, pending, instances) if phase.whole_load else None)
    return phase._replace(
        last=pending, last_seconds=phase.pending_seconds, pending=(), pending_seconds=now_seconds,
        skipped=_joined(phase.skipped, pending),
    )  # fmt: skip


def _cost_seconds(phase: WarmUp, now: Rows, instances: int) -> float:
    lost_us = sum(us - n * _mean_us(now, size) for size, n, us in phase.skipped)
    return max(0.0, lost_us / 1e6 / max(1, instances))
