"""A case as a planning problem: its arrivals and its events, by time bins.

Known are the requests of each bin, when the model slows, and when the pool loses or gets replicas. Within a bin the
arrivals are taken as Poisson, and each replica as the mean of all: requests are spread over the replicas at random, and
a queue stays with its replica. New replicas come without a queue, which is left out, to the planner's disadvantage.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from throughline.simulate.planning import Problem
from throughline.simulate.transient import bin_table
from throughline.simulate.types import COST_KINDS, truth_after

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from throughline.api.batching import BatchSettings
    from throughline.simulate.run import Case
    from throughline.simulate.types import Truth

    Floats = NDArray[np.float64]
    Counts = NDArray[np.int64]

SHORTEST_BIN_SECONDS = 1.0
BIN_SLOS = 2.0  # a bin in SLOs: shorter than most changes of the load, longer than a request
MAX_BINS = 15_000  # what a plan holds in memory grows with them
# The warm-up counts little, not nothing: a schedule that no account sees would be any.
WARMUP_WEIGHT = 0.01
# Replicas so idle in the busiest bin are never too few, so more of them are not looked at.
IDLE_UTILIZATION = 0.3
LEAK_STEP = 0.05  # of the first cost: a leak is followed in such steps, as each cost needs a table
_CHUNK = 256  # bins


def bin_length(case: Case) -> float:
    """Seconds."""
    return max(SHORTEST_BIN_SECONDS, BIN_SLOS * case.slo_us / 1e6, case.traffic.duration_seconds / MAX_BINS)


def lead_seconds(case: Case) -> float:
    """From the order of a replica until it serves."""
    return case.environment.pod_start_seconds + case.environment.model_load_seconds


def foresee(case: Case, settings: BatchSettings) -> Problem:
    """The case with these settings on all replicas. Raises ValueError for an event of a kind that it does not know."""
    width, lead = bin_length(case), lead_seconds(case)
    bins = math.ceil(case.traffic.duration_seconds / width)
    starts = np.arange(bins, dtype=np.float64) * width
    requests = np.bincount(np.minimum((case.traffic.arrivals / width).astype(np.int64), bins - 1), minlength=bins)
    truths = [truth_at(case, at + width / 2) for at in starts]
    tables = {
        truth: bin_table(truth, settings, case.slo_us, width, case.environment.timeout_seconds) for truth in set(truths)
    }
    peak = np.array([tables[truth].peak_per_second for truth in truths])
    left = 1.0 - max((e.value for e in case.traffic.events if e.kind == "node"), default=0.0)
    enough = math.ceil(float((requests / width / peak).max()) / IDLE_UTILIZATION / max(left, 0.1))
    counts = np.arange(1, max(1, min(case.environment.pool_replicas, enough)) + 1)
    serving = surviving(case, starts, counts)
    weight = np.where(starts < case.traffic.warmup_seconds, WARMUP_WEIGHT, 1.0)
    waits = next(iter(tables.values())).waits_seconds.size
    late, after = (np.empty((bins, counts.size, waits), dtype=np.float32) for _ in range(2))
    for truth, chunk in _chunks(truths):
        with np.errstate(divide="ignore", invalid="ignore"):
            load = requests[chunk, None] / width / peak[chunk, None] / serving[chunk]
        share, after[chunk] = tables[truth].at(np.nan_to_num(load, posinf=np.inf))
        share[serving[chunk] == 0] = 1.0
        late[chunk] = share * (requests * weight)[chunk, None, None]
    most, grow_to = limits(case, starts)
    counted = np.clip(starts - case.traffic.warmup_seconds, 0.0, lead)
    return Problem(late, after, width * weight, counted + WARMUP_WEIGHT * (lead - counted), most, grow_to)


def _chunks(truths: Sequence[Truth]) -> list[tuple[Truth, slice]]:
    """Runs of bins with the same truth, cut to what temporary arrays may hold."""
    found = []
    for truth, run in groupby(range(len(truths)), key=lambda t: truths[t]):
        whole = list(run)
        found += [(truth, slice(whole[i], min(whole[i] + _CHUNK, whole[-1] + 1))) for i in range(0, len(whole), _CHUNK)]
    return found


def truth_at(case: Case, at_seconds: float) -> Truth:
    """The model's cost at a time. A leak is that of a replica as old as the leak: none is renewed to cure it."""
    events = [e for e in sorted(case.traffic.events, key=lambda e: e.at_seconds) if e.at_seconds <= at_seconds]
    leak = 1.0
    for event in events:
        if event.kind == "leak":
            leak = 1.0 + event.value * (at_seconds - event.at_seconds) / 3600.0
        elif event.kind not in COST_KINDS | {"metrics", "pool", "room", "node"}:
            raise ValueError(f"cannot plan for an event of kind {event.kind!r}")
    leak = math.ceil(leak / LEAK_STEP - 1e-9) * LEAK_STEP if leak > 1.0 else leak
    truth = truth_after(case.truth, events)
    return replace(truth, factor=truth.factor * leak)


def surviving(case: Case, starts: Floats, counts: Counts) -> Floats:
    """(T, N): how many of so many replicas serve in each bin. A node's are gone until new ones have started."""
    serving = np.repeat(counts[None, :].astype(float), starts.size, axis=0)
    width, lead = bin_length(case), lead_seconds(case)
    for event in case.traffic.events:
        if event.kind == "node":
            hit = (starts + width > event.at_seconds) & (starts < event.at_seconds + lead)
            serving[hit] -= np.ceil(event.value * serving[hit])
    return serving


def limits(case: Case, starts: Floats) -> tuple[Counts, Counts]:
    """(T), (T): how many replicas may serve in a bin, and to how many an increase at its start may go.

    A pool that shrinks ("pool") kills what is above it, so what serves then must be no more. Room that others take
    ("room") only keeps new ones from coming; they need it from their order on.
    """
    width, lead = bin_length(case), lead_seconds(case)
    whole = case.environment.pool_replicas
    events = sorted((e for e in case.traffic.events if e.kind in {"pool", "room"}), key=lambda e: e.at_seconds)
    most = np.full(starts.size, whole, dtype=np.int64)
    grow_to = most.copy()
    held = whole
    for i, event in enumerate(events):
        until = events[i + 1].at_seconds if i + 1 < len(events) else math.inf
        held = max(0, int(event.value))
        if event.kind == "pool":
            hit = (starts + width > event.at_seconds) & (starts <= event.at_seconds)
            most[hit] = np.minimum(most[hit], max(1, held))
        # Of the time between the order and the first request, any moment without room is too much.
        wanting = (starts >= event.at_seconds) & (starts - lead < until)
        grow_to[wanting] = np.minimum(grow_to[wanting], held)
    return most, grow_to
