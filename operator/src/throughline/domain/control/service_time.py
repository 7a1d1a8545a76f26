"""Estimate how long one execution takes: a `ServiceTimeModel`.

The observations are the rows of Triton's `batch_stats`: executions and compute time by batch size, cumulative per
pod. Their growth between two samples goes into sums that decay with time, normalised to the node's usual speed, and the
model is the weighted least-squares line through the means of these sums, in segments where they say so.
"""

from __future__ import annotations

import math
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from throughline.api.status import ServiceTime
from throughline.domain.control import warmup
from throughline.domain.control.counters import Seen, growth, restarted
from throughline.domain.control.service_time_model import ServiceTimeModel, chord
from throughline.domain.control.speed import Sample, Speed

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from throughline.domain.control.warmup import Rows
    from throughline.domain.observed import PodView

    Sums = Mapping[tuple[int, int], "BatchTimeSum"]  # by (instances, batch size)

HALF_LIFE_SECONDS = 240.0
# What the present settings do not show decays more slowly, or it would be tried again and again.
UNSEEN_HALF_LIFE_SECONDS = 3600.0
# Where executions on some number of instances take longer than was learned by more than this share and chance, in two
# samples in a row, and the node's speed does not explain it (another replica on the same cores, instances that overlap
# more often), what was before says little.
CHANGE_POINT = 0.2
CHANGE_POINT_HALF_LIFE_SECONDS = 5.0
# Below this many executions a row's mean is too noisy to be believed.
MIN_EXECUTIONS = 10.0
# One row cannot outweigh all others however often it was seen: the line must fit small and large batches alike.
MAX_WEIGHT = 300.0
# One line for all is one too few where the line of the small batches is this far from it at their largest.
SEGMENT_DIFFERS = 0.12
SEGMENT_LIMITS = (2, 4, 8, 16, 32, 64, 128)
# With one batch size seen, the split of s(b) into α and βb is unknown; half and half makes a first larger batch
# worth trying without promising too much.
PRIOR_ALPHA_SHARE = 0.5
MAX_CONTENTION = 2.0


class BatchTimeSum(NamedTuple):
    executions: float
    compute_us: float

    @property
    def mean_us(self) -> float:
        return self.compute_us / self.executions


_NOTHING: Mapping[Any, Any] = MappingProxyType({})


class ServiceTimeEstimator(NamedTuple):
    """What has been observed, with decay. The times in `totals` are at speed 1. `slower`: the numbers of instances
    on which executions took longer than known, beyond what `speed` explains, in the last sample.
    """

    totals: Sums = _NOTHING
    seen: Mapping[str, Seen] = _NOTHING
    updated_seconds: float = 0.0
    slower: frozenset[int] = frozenset()
    warm_up_seconds: float | None = None  # what the last load that was seen cost in slow executions
    speed: Speed = Speed()


def _samples(estimator: ServiceTimeEstimator, grown: Sums, seconds: float) -> dict[int, Sample]:
    """By instances, what has come of batch sizes that are known."""
    work = sum(total.compute_us for total in grown.values()) / max(seconds, 1e-6)
    samples: dict[int, Sample] = {}
    for key, total in grown.items():
        old = estimator.totals.get(key)
        if old is not None and old.executions >= MIN_EXECUTIONS:
            n, took_us, known_us, _ = samples.get(key[0], (0.0, 0.0, 0.0, 0.0))
            known_us += total.executions * old.mean_us
            samples[key[0]] = Sample(n + total.executions, took_us + total.compute_us, known_us, work)
    return samples


def _common(samples: Mapping[int, Sample]) -> Sample | None:
    """What all numbers of instances have in common: a slowed node slows them all, the least of them no more."""
    enough = [s for s in samples.values() if s.executions >= MIN_EXECUTIONS]
    return min(enough, key=lambda s: s.ratio) if enough else None


def _slower(samples: Mapping[int, Sample], slowdown: float) -> frozenset[int]:
    """`ServiceTimeEstimator.slower` of this sample. Only what takes longer: to be late in learning that is what costs
    the SLO, and executions that seldom meet another take less than those that will again.
    """
    return frozenset(
        k for k, s in samples.items() if s.ratio > (1.0 + CHANGE_POINT + 2.0 / math.sqrt(s.executions)) * slowdown
    )


def _decayed(
    estimator: ServiceTimeEstimator, grown: Sums, seconds: float, changed: frozenset[int]
) -> dict[tuple[int, int], BatchTimeSum]:
    """The sums, decayed over `seconds`: fast where new executions may show something else, slowly elsewhere, and at
    once on as many instances as `changed` names.
    """
    largest: dict[int, int] = {}
    for instances, batch in grown:
        largest[instances] = max(batch, largest.get(instances, 0))
    shown, hidden = 0.5 ** (seconds / HALF_LIFE_SECONDS), 0.5 ** (seconds / UNSEEN_HALF_LIFE_SECONDS)
    over = 0.5 ** (seconds / CHANGE_POINT_HALF_LIFE_SECONDS)
    totals = {}
    for key, (executions, compute_us) in estimator.totals.items():
        decay = over if key[0] in changed else shown if key[1] <= largest.get(key[0], 0) else hidden
        if executions * decay >= 1.0:
            totals[key] = BatchTimeSum(executions * decay, compute_us * decay)
    return totals


def _warm_up(
    estimator: ServiceTimeEstimator, before: Seen | None, observation: Seen, grown: Rows
) -> warmup.WarmUp | warmup.Warm | None:
    """The pod's warm-up after this observation, or its end; None: it is warm, so its executions may be learned."""
    executions = sum(row.executions for row in observation.statistics)
    same = before is not None and before.settings == observation.settings and bool(before.statistics)
    if before is None or not same or restarted(before, observation):
        # Rows that fewer executions have grown than there are were there before the change: an instance was added.
        in_place = before is not None and bool(before.statistics) and not restarted(before, observation)
        began = -math.inf if before is None else before.at_seconds
        return warmup.begin(
            grown, observation.at_seconds, began, executions=executions if in_place else 0, whole_load=not in_place
        )
    if before.warm_up is None:
        return None
    return warmup.follow(
        before.warm_up, grown, _expected(estimator, observation), executions, observation.settings.instances,
        observation.at_seconds, observation.at_seconds - before.at_seconds,
    )  # fmt: skip


def _expected(estimator: ServiceTimeEstimator, observation: Seen) -> dict[int, tuple[float, float]]:
    """(executions, compute µs) by batch size, as far as they are known on as many instances; where nothing is, at most
    in proportion to what is on others. Sizes beyond are on the line, where several tell of it.
    """
    groups, instances = _by_instances(estimator), observation.settings.instances
    known = {k: {b: t for b, t in rows.items() if t.executions >= MIN_EXECUTIONS} for k, rows in groups.items()}
    base = min((k for k, rows in known.items() if rows), key=lambda k: (k != instances, k), default=None)
    if base is None:
        return {}
    rows, longer = known[base], max(1.0, instances / base) * estimator.speed.slowdown
    found = {b: (t.executions, longer * t.compute_us) for b, t in rows.items()}
    if (line := _fit(rows, 0.0)) is not None and line.spread > 0.0:
        for b in {row.batch_size for row in observation.statistics}:
            if not min(rows) <= b <= max(rows):
                found[b] = (MIN_EXECUTIONS, MIN_EXECUTIONS * longer * line.at(b))
    return found


def _unasked(before: Seen, pod: PodView, now_seconds: float) -> Seen:
    """A pod that has reported nothing now. Where it was loaded meanwhile, its next report is not used."""
    if pod.settings is None or pod.settings == before.settings:
        return before
    begun = warmup.begin((), now_seconds, before.at_seconds, executions=0, whole_load=True)
    return Seen(pod.settings, (), before.at_seconds, None, begun)


def _executed(
    estimator: ServiceTimeEstimator, pods: Iterable[PodView], now_seconds: float, failing: Container[str]
) -> tuple[dict[str, Seen], dict[tuple[int, int], BatchTimeSum], float | None]:
    """The pods' observations, what warm ones have executed since the last, and what the last load cost."""
    seen: dict[str, Seen] = {}
    grown: dict[tuple[int, int], BatchTimeSum] = {}
    cost = estimator.warm_up_seconds
    for pod in pods:
        before = estimator.seen.get(pod.uid)
        if pod.settings is None or not pod.batch_statistics:
            if before is not None:
                seen[pod.uid] = _unasked(before, pod, now_seconds)
            continue
        observation = Seen(pod.settings, pod.batch_statistics, now_seconds, pod.queue)
        rows = () if pod.uid in failing else warmup.sample(growth(before, observation))
        phase = _warm_up(estimator, before, observation, rows)
        if isinstance(phase, warmup.WarmUp):
            seen[pod.uid] = observation._replace(warm_up=phase)
            continue
        since = before.warm_since if before is not None else -math.inf
        if phase is not None:
            rows, since = phase.rows, phase.since_seconds
            cost = cost if phase.cost_seconds is None else phase.cost_seconds
        seen[pod.uid] = observation._replace(warm_since=since)
        for batch, executions, compute_us in rows:
            key = (pod.settings.instances, batch)
            n, took_us = grown.get(key, (0.0, 0.0))
            grown[key] = BatchTimeSum(n + executions, took_us + compute_us)
    return seen, grown, cost


def observe(
    estimator: ServiceTimeEstimator, pods: Iterable[PodView], now_seconds: float, failing: Container[str] = ()
) -> ServiceTimeEstimator:
    """Add what warm pods, but for `failing` ones (uids), have executed since; a pod's first sample is its start."""
    seen, grown, cost = _executed(estimator, pods, now_seconds, failing)
    seconds = max(0.0, now_seconds - estimator.updated_seconds)
    speed, slowdown = _speed(estimator, seen, now_seconds), 1.0
    samples = _samples(estimator, grown, seconds)
    common = _common(samples)
    if common is not None:
        speed = speed.after(common, seconds, now_seconds)
    if speed.slowed:
        slowdown = max(1.0, common.ratio) if common is not None else speed.slowdown
    slower = _slower(samples, slowdown)
    totals = _decayed(estimator, grown, seconds, slower & estimator.slower)
    for key, total in grown.items():
        executions, compute_us = totals.get(key, (0.0, 0.0))
        totals[key] = BatchTimeSum(executions + total.executions, compute_us + total.compute_us / slowdown)
    if common is not None and speed.lasting(now_seconds):
        totals = {key: BatchTimeSum(n, us * speed.slowdown) for key, (n, us) in totals.items()}
        speed = speed.absorbed()
    return ServiceTimeEstimator(totals, seen, now_seconds, slower, cost, speed)


def _speed(estimator: ServiceTimeEstimator, seen: Mapping[str, Seen], now_seconds: float) -> Speed:
    """The speed before this observation, with when the last pod has come."""
    come = bool(estimator.seen) and not seen.keys() <= estimator.seen.keys()
    return estimator.speed._replace(pod_seconds=now_seconds) if come else estimator.speed


class _Line(NamedTuple):
    alpha_us: float
    beta_us: float
    spread: float  # weighted variance of the batch sizes behind it; 0: β is a guess

    def at(self, batch: int) -> float:
        return self.alpha_us + self.beta_us * batch


def _line(
    weight: float, batch: float, mean: float, batch_square: float, batch_mean: float, slope_share: float
) -> _Line | None:
    """Weighted least squares α, β ≥ 0 from the weighted sums; with one batch size β is `slope_share` of s(1)."""
    if weight == 0.0:
        return None
    mean_b, mean_s = batch / weight, mean / weight
    spread = batch_square - batch * mean_b
    if spread < 0.05 * weight:  # in effect one batch size
        whole = mean_s / (1.0 - slope_share + slope_share * mean_b)  # s(1)
        return _Line(whole * (1.0 - slope_share), whole * slope_share, 0.0)
    beta = (batch_mean - batch * mean_s) / spread
    beta = min(max(0.0, beta), mean_s / mean_b)  # α ≥ 0
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
    return sorted(batch for batch in rows if seen[_octave(batch)] >= MIN_EXECUTIONS)


def _lines(
    rows: Mapping[int, BatchTimeSum], sizes: Sequence[int], limits: Sequence[float], slope_share: float
) -> list[_Line | None]:
    """The lines through the means of the `sizes` up to each limit; ends with the one that holds them all."""
    found: list[_Line | None] = []
    weight = wb = ws = wbb = wbs = 0.0
    i, n = 0, len(sizes)
    for limit in limits:
        while i < n and sizes[i] <= limit:
            b = sizes[i]
            executions, compute_us = rows[b]
            i += 1
            w, s = min(executions, MAX_WEIGHT), compute_us / executions
            weight += w
            wb += w * b
            ws += w * s
            wbb += w * b * b
            wbs += w * b * s
        found.append(_line(weight, wb, ws, wbb, wbs, slope_share))
        if i == n:
            break
    return found


def _fit(rows: Mapping[int, BatchTimeSum], slope_share: float) -> _Line | None:
    """The line through the means."""
    return _lines(rows, _believed(rows), (math.inf,), slope_share)[-1]


def _by_instances(estimator: ServiceTimeEstimator) -> dict[int, dict[int, BatchTimeSum]]:
    groups: dict[int, dict[int, BatchTimeSum]] = {}
    for (instances, batch), total in estimator.totals.items():
        groups.setdefault(instances, {})[batch] = total
    return groups


def with_segments(estimator: ServiceTimeEstimator, curve: ServiceTimeModel) -> ServiceTimeModel:
    """The curve with the lines of its smaller batches, where these are known and say something else."""
    groups = _by_instances(estimator)
    if not groups:
        return curve
    base = next(iter(groups))
    if len(groups) > 1:
        most = 0.0
        for k, totals in groups.items():
            weight = 0.0
            for executions, _ in totals.values():
                weight += min(executions, MAX_WEIGHT)
            if weight > most:
                base, most = k, weight
    curve = _bent(curve, groups[base], 1.0 + curve.contention * (base - 1))
    return replace(curve, contended_us=_contended_us(groups, curve)) if len(groups) > 1 else curve


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
        if abs(at_us - line.at(limit)) > SEGMENT_DIFFERS * line.at(limit):
            alpha_us, beta_us = chord(found[0][1] + found[0][2] if found else line.at(1), limit, at_us)
        if found:  # a larger batch takes no less
            alpha_us += max(0.0, found[-1][1] + found[-1][2] * found[-1][0] - alpha_us - beta_us * limit)
        found.append((limit, alpha_us, beta_us))
    segments = tuple((limit, alpha_us / scale, beta_us / scale) for limit, alpha_us, beta_us in found)
    bent = replace(curve, segments=segments, tail_us=tail_us / scale)
    for limit in (*(segment[0] for segment in segments), 2 * largest):
        whole = curve.service_us(limit, 1)
        differs = differs or abs(bent.segment_for(limit).service_us(limit, 1) - whole) > SEGMENT_DIFFERS * whole
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
    weight = wb = ws = wbb = wbs = 0.0
    for b in sizes:
        if limit / 2 <= b <= limit:
            executions, compute_us = rows[b]
            w, s = min(executions, MAX_WEIGHT), compute_us / executions
            weight, wb, ws, wbb, wbs = weight + w, wb + w * b, ws + w * s, wbb + w * b * b, wbs + w * b * s
    mean_b, mean_s = wb / weight, ws / weight
    spread = wbb - wb * mean_b
    slope = max(0.0, (wbs - wb * mean_s) / spread) if spread >= 0.05 * weight else line.beta_us
    return mean_s + slope * (limit - mean_b), slope


def _contended_us(groups: Mapping[int, Mapping[int, BatchTimeSum]], curve: ServiceTimeModel) -> float:
    """`ServiceTimeModel.contended_us`, by the executions on several instances."""
    shared = [(b, t.executions) for k, rows in groups.items() if k > 1 for b, t in rows.items()]
    executions = sum(n for _, n in shared)
    return sum(n * curve.alone_us(b) for b, n in shared) / executions if executions >= MIN_EXECUTIONS else 0.0


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
        if weight < MIN_EXECUTIONS or alone_us <= 0:
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


def estimate(estimator: ServiceTimeEstimator, known: ServiceTime | None) -> ServiceTime | None:
    """The curve that fits what was observed; `known` fills in what was not. None: nothing is known yet."""
    groups = _by_instances(estimator)
    share = 1.0 - PRIOR_ALPHA_SHARE
    if known and known.largest_batch > 1 and known.alpha_microseconds + known.beta_microseconds > 0:
        share = known.beta_microseconds / (known.alpha_microseconds + known.beta_microseconds)
    lines = {k: line for k, rows in groups.items() if (line := _fit(rows, share)) is not None}
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
