"""What the servers' own counters say between two observations: executions by batch size, arrivals and queues.

They are cumulative, by pod; a reload resets them.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from throughline.domain.observed import BatchStatistic, LiveQueue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from throughline.api.batching import BatchSettings
    from throughline.domain.observed import PodView

# So many pods of a service are asked for their statistics at each observation; their peers are taken to be like them.
STATISTICS_PODS = 32


class Seen(NamedTuple):
    """The last observation of one pod's statistics."""

    settings: BatchSettings
    statistics: tuple[BatchStatistic, ...]
    at_seconds: float = 0.0
    queue: LiveQueue | None = None


_NOTHING: Mapping[Any, Any] = MappingProxyType({})


class Counted(NamedTuple):
    """The last observation of the counters, by pod uid."""

    seen: Mapping[str, Seen] = _NOTHING
    updated_seconds: float = 0.0


def restarted(before: Seen, after: Seen) -> bool:
    """Whether a load, or a new container, has reset the counters: one has fallen, or is gone."""
    now = {row.batch_size: row.executions for row in after.statistics}
    return any(now.get(old.batch_size, -1) < old.executions for old in before.statistics)


def growth(before: Seen | None, after: Seen) -> list[tuple[int, float, float]]:
    """(batch size, executions, compute µs) that came between two observations of one pod.

    A reload resets the counters; an instance count changed in place does not, and then it is unknown which part
    belongs to which count, so nothing is taken.
    """
    rows = after.statistics
    pairs = _paired(before.statistics if before else (), rows)
    reset = before is not None and restarted(before, after)
    if before and before.settings != after.settings and not reset:
        return []
    if pairs is None or reset:
        pairs = [(row, _NONE) for row in rows]
    grown = []
    for row, old in pairs:
        executions, compute_ns = row.executions - old.executions, row.compute_ns - old.compute_ns
        if executions > 0 and compute_ns > 0:
            grown.append((row.batch_size, float(executions), compute_ns / 1000))
    return grown


_NONE = BatchStatistic(0, 0, 0)


def _paired(
    before: Sequence[BatchStatistic], after: Sequence[BatchStatistic]
) -> Sequence[tuple[BatchStatistic, BatchStatistic]] | None:
    """(row, the row of that batch size before) of each row; None where rows are gone and none is left."""
    if len(before) == len(after):
        pairs = list(zip(after, before, strict=True))
        if all(row.batch_size == old.batch_size for row, old in pairs):
            return pairs  # most often
    if before and not after:
        return None
    known = {row.batch_size: row for row in before}
    return [(row, known.get(row.batch_size, _NONE)) for row in after]


_EMPTY = LiveQueue(0, 0)


def _items(before: Sequence[BatchStatistic], after: Sequence[BatchStatistic]) -> int | None:
    """Items executed between two observations of one pod; None where the counters were reset since."""
    pairs = _paired(before, after)
    if pairs is None or len(after) < len(before):
        return None
    items = 0
    for row, old in pairs:
        grown = row.executions - old.executions
        if grown < 0:
            return None
        items += row.batch_size * grown
    return items


class Failed(NamedTuple):
    """Requests of one pod that failed and that were answered, in so many seconds."""

    failed: float
    answered: float
    seconds: float

    @property
    def share(self) -> float:
        return self.failed / (self.failed + self.answered) if self.failed > 0.0 else 0.0


def failed_since(counted: Counted, pods: Sequence[PodView], now_seconds: float) -> Mapping[str, Failed]:
    """What failed since the last observation, by uid of the pods that were asked then and now; executions that failed
    may stand among the answered ones.
    """
    found: dict[str, Failed] = {}
    for pod in pods:
        before, after = counted.seen.get(pod.uid), pod.queue
        if after is None or before is None or before.queue is None or before.at_seconds != counted.updated_seconds:
            continue
        failed = after.failed - before.queue.failed
        failed = after.failed if failed < 0 else failed  # the server has restarted
        items = _items(before.statistics, pod.batch_statistics)
        if items is None:  # a reload has reset the counters
            items = sum(row.batch_size * row.executions for row in pod.batch_statistics)
        if failed > 0:
            found[pod.uid] = Failed(failed, max(0, items - failed), now_seconds - before.at_seconds)
    return found


class Since(NamedTuple):
    """What came to all pods between two samples. `queued`: requests by which the queues grew, and those that were given
    up in them; None where the servers did not say.
    """

    executed_items: float
    queued: float | None


def queued_since(before: LiveQueue | None, after: LiveQueue | None) -> int | None:
    """`Since.queued` of one pod."""
    if after is None or before is None or after.cancelled < before.cancelled:
        return None
    return after.pending - before.pending + after.cancelled - before.cancelled


def since_last_sample(counted: Counted, pods: Sequence[PodView], seconds: float) -> Since | None:
    """What the pods' own counters say of the `seconds` since the last sample, from those that were asked then and now;
    None where there is none such.

    Pods that were not asked are taken to have served as their metrics say, relative to the others; those without
    metrics as much as the mean. A reload resets the counters, and a pod that has become ready since began at zero.
    """
    rates = {p.uid: p.metrics.success_rate for p in pods if p.metrics is not None}
    usual = sum(rates.values()) / len(rates) if rates else 1.0
    items = asked = queued = 0.0
    reported = True
    for pod in pods:
        before = counted.seen.get(pod.uid)
        if before is not None and before.at_seconds != counted.updated_seconds:
            continue  # it was not among those asked at the last sample: what it did since then is unknown
        # A server that says how long its queue is, and of no execution, has executed nothing.
        answered = bool(pod.batch_statistics) or pod.queue is not None
        if pod.settings is None or not answered or (before is None and pod.ready_seconds > seconds):
            continue
        if before is not None and before.settings != pod.settings:
            continue
        grown = _items(before.statistics if before is not None else (), pod.batch_statistics)
        if grown is None:
            continue
        items += grown
        asked += rates.get(pod.uid, usual)
        more = queued_since(_EMPTY if before is None else before.queue, pod.queue)
        reported = reported and more is not None
        queued += more or 0
    if asked <= 0:
        return None
    share = asked / sum(rates.get(p.uid, usual) for p in pods)
    return Since(items / share, queued / share if reported else None)
