"""Traffic as the user's own Prometheus remembers it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from throughline.adapters.history import HistoryError, rate_series, request_rate_query, step_seconds
from throughline.domain.formatting import plain
from throughline.simulate.traces import WARMUP_SECONDS, WARMUP_SHARE
from throughline.simulate.traffic import poisson_arrivals
from throughline.simulate.types import Traffic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.adapters.history import RangeQuery
    from throughline.adapters.prometheus_access import Access


@dataclass(frozen=True, slots=True)
class History:
    """Traffic, and for how long of it nothing was recorded; there the rate before holds on."""

    traffic: Traffic
    gap_seconds: float


def from_prometheus(
    access: Access,
    *,
    model: str,
    namespace: str,
    since_seconds: float,
    now_seconds: float,
    query: str | None = None,
    rate_per_second: float | None = None,
    seed: int = 1,
    client: RangeQuery | None = None,
) -> History:
    """The requests of the last `since_seconds` of a model, or of any query for requests per second."""
    step = step_seconds(since_seconds)
    samples = rate_series(
        access,
        query or request_rate_query(model, namespace, step),
        start_seconds=now_seconds - since_seconds,
        end_seconds=now_seconds,
        step=step,
        client=client,
    )
    return from_rates(samples, step, name=f"history of {model}", rate_per_second=rate_per_second, seed=seed)


def from_rates(
    samples: Sequence[tuple[float, float]],
    step: float,
    *,
    name: str,
    rate_per_second: float | None = None,
    seed: int = 1,
) -> History:
    """Poisson arrivals at (time, requests per second), each holding until the next; `rate_per_second`: scaled to it.

    Only the rate is remembered, so what was burstier than Poisson within a step is gone.
    """
    times = np.array([time - samples[0][0] for time, _ in samples], dtype=np.float64)
    rates = np.array([rate for _, rate in samples], dtype=np.float64)
    edges = np.append(times, times[-1] + step)
    duration = float(edges[-1])
    mean = float(rates @ np.diff(edges)) / duration
    if mean <= 0.0:
        raise HistoryError("there were no requests in this time: give a longer --since, or another --query")
    factor = 1.0 if rate_per_second is None else rate_per_second / mean
    arrivals = poisson_arrivals(edges, rates * factor, np.random.default_rng(seed))
    gap = float(np.maximum(np.diff(times) - step, 0.0).sum())
    label = name if math.isclose(factor, 1.0) else f"{name} ×{plain(factor, 3)}"
    return History(Traffic(label, duration, arrivals, min(WARMUP_SECONDS, WARMUP_SHARE * duration)), gap)
