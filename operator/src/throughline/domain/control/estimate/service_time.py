"""Estimate how long executions take: what the servers' counters show, as sums that decay with time.

The observations are the rows of Triton's `batch_stats`: executions and compute time by batch size, cumulative per
pod. Their growth between two samples goes into the sums, normalised to the node's usual speed; what is executed while a
pod warms up does not. `service_time_fit` makes the model of them.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from throughline.domain.control.estimate import warmup
from throughline.domain.control.estimate.service_time_fit import BatchTimeSum, add, by_instances, fit, joined
from throughline.domain.control.estimate.speed import Sample, Speed
from throughline.domain.control.observe.counters import Seen, growth, restarted
from throughline.domain.control.tuning import (
    CLEAR,
    HOUR_SECONDS,
    MEMORY_SECONDS,
    MIN_COUNT,
    RESPONSE_SECONDS,
    SAME,
    SIGMAS,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Mapping

    from throughline.domain.control.estimate.service_time_fit import Sums
    from throughline.domain.control.estimate.warmup import Rows, WarmUp
    from throughline.domain.observed import PodView


_NOTHING: Mapping[Any, Any] = MappingProxyType({})


class Tracked(NamedTuple):
    """The last observation of one pod's statistics that was learned from."""

    seen: Seen
    warm_up: WarmUp | None = None  # that goes on
    warm_since: float = -math.inf  # when the last one had ended


class Doubts(NamedTuple):
    """Samples that took longer than known, beyond what the node's speed explains, and are not in the sums yet: the next
    sample confirms or clears them.
    """

    rows: Mapping[int, Mapping[int, BatchTimeSum]] = _NOTHING  # by number of instances and batch size
    at_seconds: float = -math.inf  # of the last that was added


class ServiceTimeEstimator(NamedTuple):
    """What has been observed, with decay. The times in `totals` are at speed 1."""

    totals: Sums = _NOTHING
    pods: Mapping[str, Tracked] = _NOTHING  # by uid
    updated_seconds: float = 0.0
    doubts: Doubts = Doubts()
    warm_up_seconds: float | None = None  # what the last load that was seen cost in slow executions
    speed: Speed = Speed()


def _samples(estimator: ServiceTimeEstimator, grown: Sums, seconds: float) -> dict[int, Sample]:
    """By instances, what has come of batch sizes that are known."""
    work = sum(total.compute_us for total in grown.values()) / max(seconds, 1e-6)
    samples: dict[int, Sample] = {}
    for key, total in grown.items():
        old = estimator.totals.get(key)
        if old is not None and old.executions >= MIN_COUNT:
            n, took_us, known_us, _ = samples.get(key[0], (0.0, 0.0, 0.0, 0.0))
            known_us += total.executions * old.mean_us
            samples[key[0]] = Sample(n + total.executions, took_us + total.compute_us, known_us, work)
    return samples


def _common(samples: Mapping[int, Sample]) -> Sample | None:
    """What all numbers of instances have in common: a slowed node slows them all, the least of them no more."""
    enough = [s for s in samples.values() if s.executions >= MIN_COUNT]
    return min(enough, key=lambda s: s.ratio) if enough else None


def _longer(sample: Sample | None, share: float, slowdown: float) -> bool:
    """Whether the executions took longer than known by that share and chance, and the node's speed does not explain it:
    another replica came on the same cores, instances overlap more often, or the model costs more now.
    """
    return sample is not None and sample.ratio > (1.0 + share + SIGMAS / math.sqrt(sample.executions)) * slowdown


def _decayed(estimator: ServiceTimeEstimator, grown: Sums, seconds: float) -> dict[tuple[int, int], BatchTimeSum]:
    """The sums, decayed over `seconds`: fast where new executions may show something else, slowly elsewhere."""
    largest: dict[int, int] = {}
    for instances, batch in grown:
        largest[instances] = max(batch, largest.get(instances, 0))
    shown, hidden = 0.5 ** (seconds / MEMORY_SECONDS), 0.5 ** (seconds / HOUR_SECONDS)
    totals = {}
    for key, (executions, compute_us) in estimator.totals.items():
        decay = shown if key[1] <= largest.get(key[0], 0) else hidden
        if executions * decay >= 1.0:
            totals[key] = BatchTimeSum(executions * decay, compute_us * decay)
    return totals


def _learned(
    estimator: ServiceTimeEstimator, grown: Sums, now_seconds: float, samples: Mapping[int, Sample], slowdown: float
) -> tuple[dict[tuple[int, int], BatchTimeSum], Doubts]:
    """(`totals`, `doubts`) with what was executed. A sample that took longer waits for the next. Where that took
    clearly longer, too, it takes the place of what was known, and the sample before, which may be of both, is dropped.
    To be late in this costs the SLO; what takes less is averaged in.
    """
    totals = _decayed(estimator, grown, max(0.0, now_seconds - estimator.updated_seconds))
    groups, doubts = by_instances(grown), estimator.doubts
    over = now_seconds - doubts.at_seconds > RESPONSE_SECONDS
    known = {k: rows for k, rows in doubts.rows.items() if not over and (k in groups or not groups)}
    for instances in doubts.rows.keys() - known.keys():  # nothing has confirmed them
        _add(totals, instances, doubts.rows[instances])
    left = {k: rows for k, rows in known.items() if k not in groups}
    for instances, rows in groups.items():
        sample, before = samples.get(instances), known.get(instances)
        new: Mapping[int, BatchTimeSum] = {b: BatchTimeSum(n, us / slowdown) for b, (n, us) in rows.items()}
        if before is None:
            if _longer(sample, SAME, slowdown):
                left[instances] = new
                continue
        elif sum(n for n, _ in new.values()) < MIN_COUNT:
            left[instances] = joined(before, new)
            continue
        elif sample is not None and _longer(sample, CLEAR, slowdown):
            _slow_down(totals, instances, new, sample.ratio / slowdown, groups)
        else:
            new = joined(before, new)
        _add(totals, instances, new)
    return totals, Doubts(left, now_seconds if left.keys() - known.keys() else doubts.at_seconds)


def _slow_down(
    totals: dict[tuple[int, int], BatchTimeSum], instances: int, new: Mapping[int, BatchTimeSum], longer: float,
    groups: Collection[int],
) -> None:  # fmt: skip
    """Forget what was known of the batch sizes that `new` tells enough of; all others have become slower by as much. On
    one instance, which contends with none, it is the model that costs more: so they have on several that executed
    nothing now.
    """
    for key, total in list(totals.items()):
        told = new.get(key[1])
        if key[0] == instances and told is not None and told.executions >= MIN_COUNT:
            del totals[key]
        elif key[0] == instances or (instances == 1 and key[0] not in groups):
            totals[key] = total.times(longer)


def _add(totals: dict[tuple[int, int], BatchTimeSum], instances: int, rows: Mapping[int, BatchTimeSum]) -> None:
    for batch, total in rows.items():
        add(totals, (instances, batch), *total)


def _warm_up(
    estimator: ServiceTimeEstimator, tracked: Tracked | None, observation: Seen, grown: Rows
) -> warmup.WarmUp | warmup.Warm | None:
    """The pod's warm-up after this observation, or its end; None: it is warm, so its executions may be learned."""
    executions = sum(row.executions for row in observation.statistics)
    before = None if tracked is None else tracked.seen
    if tracked is None or before is None or not before.statistics or restarted(before, observation):
        began = -math.inf if before is None else before.at_seconds
        return warmup.begin(grown, observation.at_seconds, began, executions=0, whole_load=True)
    if before.settings != observation.settings:  # and the counters go on: an instance was added
        return warmup.begin(grown, observation.at_seconds, before.at_seconds, executions=executions, whole_load=False)
    if tracked.warm_up is None:
        return None
    return warmup.follow(
        tracked.warm_up, grown, _expected(estimator, observation), executions, observation.settings.instances,
        observation.at_seconds, observation.at_seconds - before.at_seconds,
    )  # fmt: skip


def _expected(estimator: ServiceTimeEstimator, observation: Seen) -> Rows:
    """What executions are expected to take, as far as they are known on as many instances; where nothing is, at most
    in proportion to what is on others. Sizes beyond are on the line, where several tell of it.
    """
    groups, instances = by_instances(estimator.totals), observation.settings.instances
    known = {k: {b: t for b, t in rows.items() if t.executions >= MIN_COUNT} for k, rows in groups.items()}
    base = min((k for k, rows in known.items() if rows), key=lambda k: (k != instances, k), default=None)
    if base is None:
        return ()
    rows, longer = known[base], max(1.0, instances / base) * estimator.speed.slowdown
    found = [(b, t.executions, longer * t.compute_us) for b, t in rows.items()]
    if (line := fit(rows, 0.0)) is not None and line.spread > 0.0:
        beyond = {row.batch_size for row in observation.statistics if not min(rows) <= row.batch_size <= max(rows)}
        found += [(b, MIN_COUNT, MIN_COUNT * longer * line.at(b)) for b in beyond]
    return tuple(sorted(found))


def _unasked(before: Tracked, pod: PodView, now_seconds: float) -> Tracked:
    """A pod that has reported nothing now. Where it was loaded meanwhile, its next report is not used."""
    if pod.settings is None or pod.settings == before.seen.settings:
        return before
    begun = warmup.begin((), now_seconds, before.seen.at_seconds, executions=0, whole_load=True)
    return Tracked(Seen(pod.settings, (), before.seen.at_seconds), begun)


def _executed(
    estimator: ServiceTimeEstimator, pods: Iterable[PodView], now_seconds: float, failing: Container[str]
) -> tuple[dict[str, Tracked], dict[tuple[int, int], BatchTimeSum], float | None]:
    """The pods' observations, what warm ones have executed since the last, and what the last load cost."""
    tracked: dict[str, Tracked] = {}
    grown: dict[tuple[int, int], BatchTimeSum] = {}
    cost = estimator.warm_up_seconds
    for pod in pods:
        before = estimator.pods.get(pod.uid)
        if pod.settings is None or not pod.batch_statistics:
            if before is not None:
                tracked[pod.uid] = _unasked(before, pod, now_seconds)
            continue
        observation = Seen(pod.settings, pod.batch_statistics, now_seconds)
        rows = () if pod.uid in failing else warmup.sample(growth(before and before.seen, observation))
        phase = _warm_up(estimator, before, observation, rows)
        if isinstance(phase, warmup.WarmUp):
            tracked[pod.uid] = Tracked(observation, phase)
            continue
        since = before.warm_since if before is not None else -math.inf
        if phase is not None:
            rows, since = phase.rows, phase.since_seconds
            cost = cost if phase.cost_seconds is None else phase.cost_seconds
        tracked[pod.uid] = Tracked(observation, None, since)
        for batch, executions, compute_us in rows:
            add(grown, (pod.settings.instances, batch), executions, compute_us)
    return tracked, grown, cost


def observe(
    estimator: ServiceTimeEstimator, pods: Iterable[PodView], now_seconds: float, failing: Container[str] = ()
) -> ServiceTimeEstimator:
    """Add what warm pods, but for `failing` ones (uids), have executed since; a pod's first sample is its start."""
    tracked, grown, cost = _executed(estimator, pods, now_seconds, failing)
    seconds = max(0.0, now_seconds - estimator.updated_seconds)
    speed, slowdown = _speed(estimator, tracked, now_seconds), 1.0
    samples = _samples(estimator, grown, seconds)
    common = _common(samples)
    if common is not None:
        speed = speed.after(common, seconds, now_seconds)
    if speed.slowed:
        slowdown = max(1.0, common.ratio) if common is not None else speed.slowdown
    totals, doubts = _learned(estimator, grown, now_seconds, samples, slowdown)
    if common is not None and speed.lasting(now_seconds):
        totals = {key: total.times(speed.slowdown) for key, total in totals.items()}
        speed = speed.absorbed()
    return ServiceTimeEstimator(totals, tracked, now_seconds, doubts, cost, speed)


def _speed(estimator: ServiceTimeEstimator, tracked: Mapping[str, Tracked], now_seconds: float) -> Speed:
    """The speed before this observation, with when the last pod has come."""
    come = bool(estimator.pods) and not tracked.keys() <= estimator.pods.keys()
    return estimator.speed._replace(pod_seconds=now_seconds) if come else estimator.speed
