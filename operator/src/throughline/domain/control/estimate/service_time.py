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
from throughline.domain.control.estimate.service_time_fit import BatchTimeSum, by_instances, fit
from throughline.domain.control.estimate.speed import Sample, Speed
from throughline.domain.control.observe.counters import Seen, growth, restarted
from throughline.domain.control.tuning import CLEAR, HOUR_SECONDS, MEMORY_SECONDS, MIN_COUNT, SETTLE_SECONDS, SIGMAS

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from throughline.domain.control.estimate.service_time_fit import Sums
    from throughline.domain.control.estimate.warmup import Rows, WarmUp
    from throughline.domain.observed import PodView


_NOTHING: Mapping[Any, Any] = MappingProxyType({})


class Tracked(NamedTuple):
    """The last observation of one pod's statistics that was learned from."""

    seen: Seen
    warm_up: WarmUp | None = None  # that goes on
    warm_since: float = -math.inf  # when the last one had ended


class ServiceTimeEstimator(NamedTuple):
    """What has been observed, with decay. The times in `totals` are at speed 1. `slower`: the numbers of instances
    on which executions took longer than known, beyond what `speed` explains, in the last sample.
    """

    totals: Sums = _NOTHING
    pods: Mapping[str, Tracked] = _NOTHING  # by uid
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
        if old is not None and old.executions >= MIN_COUNT:
            n, took_us, known_us, _ = samples.get(key[0], (0.0, 0.0, 0.0, 0.0))
            known_us += total.executions * old.mean_us
            samples[key[0]] = Sample(n + total.executions, took_us + total.compute_us, known_us, work)
    return samples


def _common(samples: Mapping[int, Sample]) -> Sample | None:
    """What all numbers of instances have in common: a slowed node slows them all, the least of them no more."""
    enough = [s for s in samples.values() if s.executions >= MIN_COUNT]
    return min(enough, key=lambda s: s.ratio) if enough else None


def _slower(samples: Mapping[int, Sample], slowdown: float) -> frozenset[int]:
    """`ServiceTimeEstimator.slower` of this sample: what the node's speed does not explain, such as another replica on
    the same cores, or instances that overlap more often. Only what takes longer: to be late in learning that is what
    costs the SLO, and executions that seldom meet another take less than those that will again.
    """
    return frozenset(
        k for k, s in samples.items() if s.ratio > (1.0 + CLEAR + SIGMAS / math.sqrt(s.executions)) * slowdown
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
    shown, hidden = 0.5 ** (seconds / MEMORY_SECONDS), 0.5 ** (seconds / HOUR_SECONDS)
    over = 0.5 ** (seconds / SETTLE_SECONDS)
    totals = {}
    for key, (executions, compute_us) in estimator.totals.items():
        decay = over if key[0] in changed else shown if key[1] <= largest.get(key[0], 0) else hidden
        if executions * decay >= 1.0:
            totals[key] = BatchTimeSum(executions * decay, compute_us * decay)
    return totals


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
            key = (pod.settings.instances, batch)
            n, took_us = grown.get(key, (0.0, 0.0))
            grown[key] = BatchTimeSum(n + executions, took_us + compute_us)
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
    slower = _slower(samples, slowdown)
    totals = _decayed(estimator, grown, seconds, slower & estimator.slower)
    for key, total in grown.items():
        executions, compute_us = totals.get(key, (0.0, 0.0))
        totals[key] = BatchTimeSum(executions + total.executions, compute_us + total.compute_us / slowdown)
    if common is not None and speed.lasting(now_seconds):
        totals = {key: BatchTimeSum(n, us * speed.slowdown) for key, (n, us) in totals.items()}
        speed = speed.absorbed()
    return ServiceTimeEstimator(totals, tracked, now_seconds, slower, cost, speed)


def _speed(estimator: ServiceTimeEstimator, tracked: Mapping[str, Tracked], now_seconds: float) -> Speed:
    """The speed before this observation, with when the last pod has come."""
    come = bool(estimator.pods) and not tracked.keys() <= estimator.pods.keys()
    return estimator.speed._replace(pod_seconds=now_seconds) if come else estimator.speed
