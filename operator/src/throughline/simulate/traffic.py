"""Arrivals to simulate: steady, daily, sudden, bursty, drifting, leaking; the same seed gives the same arrivals.

All are Poisson processes, given their intensity (where there are bursts or jumps, it is itself random). Rates are in
requests per second, times in seconds from the start of the simulation.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from throughline.simulate.types import Event, Traffic

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DAYS_PER_WEEK = 7
WEDNESDAY, SATURDAY = 2, 5  # days count from Monday, where each simulation starts
HOURS_PER_DAY = 24.0


def poisson_arrivals(edges_seconds: Floats, rates: Floats, rng: np.random.Generator) -> Floats:
    """Sorted arrivals of a Poisson process whose intensity is `rates[i]` between `edges_seconds[i]` and the next edge.

    Given its number in a piece, each arrival is uniform in the piece (Lewis & Shedler 1979), so this is exact.
    """
    widths = np.diff(edges_seconds)
    counts = rng.poisson(rates * widths)
    times = np.repeat(edges_seconds[:-1], counts)
    times += np.repeat(widths, counts) * rng.random(times.size)
    times.sort()
    return times


def _seconds(duration_seconds: float) -> tuple[Floats, Floats]:
    """Edges and middles of pieces of one second, the last one shorter where the duration is no whole number."""
    edges = np.append(np.arange(0.0, duration_seconds, 1.0), duration_seconds)
    return edges, (edges[:-1] + edges[1:]) / 2.0


def poisson(rate: float, duration_seconds: float, *, seed: int, name: str = "poisson") -> Traffic:
    """The same intensity all the time."""
    edges = np.array([0.0, duration_seconds])
    arrivals = poisson_arrivals(edges, np.array([rate]), np.random.default_rng(seed))
    return Traffic(name, duration_seconds, arrivals)


def diurnal(
    mean_rate: float,
    duration_seconds: float,
    *,
    seed: int,
    day_seconds: float = 86_400.0,
    peak_hour: float = 14.0,
    swing: float = 0.7,
    weekend: float = 0.6,
) -> Traffic:
    """A sine over the day, 1 ± `swing` times the day's mean, and at the weekend `weekend` times a weekday.

    The rate is scaled so that `mean_rate` is the mean over the whole duration. `day_seconds` compresses the day.
    """
    edges, middles = _seconds(duration_seconds)
    rates = _scaled(_weekly(middles, day_seconds, peak_hour, swing, weekend), edges, mean_rate)
    return Traffic("diurnal", duration_seconds, poisson_arrivals(edges, rates, np.random.default_rng(seed)))


def _weekly(middles: Floats, day_seconds: float, peak_hour: float, swing: float, weekend: float) -> Floats:
    """The rate at these times, where a weekday's mean is 1."""
    hours = middles % day_seconds / day_seconds * HOURS_PER_DAY
    shape = 1.0 + swing * np.cos((hours - peak_hour) / HOURS_PER_DAY * 2.0 * math.pi)
    shape[middles // day_seconds % DAYS_PER_WEEK >= SATURDAY] *= weekend
    return shape


def _scaled(shape: Floats, edges_seconds: Floats, mean_rate: float) -> Floats:
    """`shape`, one value a piece, times what makes `mean_rate` its mean over the whole duration."""
    requests = mean_rate * float(edges_seconds[-1])
    return shape * (requests / float(shape @ np.diff(edges_seconds)))


def holiday(
    mean_rate: float,
    duration_seconds: float,
    *,
    seed: int,
    day_seconds: float = 86_400.0,
    peak_hour: float = 14.0,
    swing: float = 0.7,
    weekend: float = 0.6,
    holiday_day: int = DAYS_PER_WEEK + WEDNESDAY,
    holiday_share: float = 0.4,
) -> Traffic:
    """The days and weeks of `diurnal`, with one weekday of `holiday_share` of its traffic. Days count from 0, a Monday:
    unless said, the holiday is in the second week, when a week has been seen.
    """
    edges, middles = _seconds(duration_seconds)
    shape = _weekly(middles, day_seconds, peak_hour, swing, weekend)
    shape[middles // day_seconds == holiday_day] *= holiday_share
    rates = _scaled(shape, edges, mean_rate)
    return Traffic("holiday", duration_seconds, poisson_arrivals(edges, rates, np.random.default_rng(seed)))


def level_jumps(
    mean_rate: float,
    duration_seconds: float,
    *,
    seed: int,
    hold_seconds: float = 30.0,
    tail_index: float = 1.5,
    span: float = 10.0,
) -> Traffic:
    """A rate that jumps each `hold_seconds` to another level, which the level before says nothing of.

    Levels are heavy-tailed: bounded Pareto, with density ~ x^-(`tail_index` + 1) from the lowest to `span` times it
    (Harchol-Balter, Crovella & Murta 1999, doi 10.1006/jpdc.1999.1577). So that runs compare, the levels of every seed
    are the quantiles (i + 1/2)/n, scaled to `mean_rate`, and the seed draws their order alone.
    """
    rng = np.random.default_rng(seed)
    edges = np.append(np.arange(0.0, duration_seconds, hold_seconds), duration_seconds)
    count = edges.size - 1
    quantiles = (np.arange(count) + 0.5) / count
    levels = (1.0 - quantiles * (1.0 - span**-tail_index)) ** (-1.0 / tail_index)
    rates = _scaled(rng.permutation(levels), edges, mean_rate)
    return Traffic("level jumps", duration_seconds, poisson_arrivals(edges, rates, rng))


def flash_crowd(
    base_rate: float,
    duration_seconds: float,
    *,
    seed: int,
    at_seconds: float = 1800.0,
    factor: float = 10.0,
    rise_seconds: float = 30.0,
    hold_seconds: float = 300.0,
    decay_seconds: float = 300.0,
) -> Traffic:
    """`base_rate`, from `at_seconds` linearly to `factor` times it, held, then back exponentially (time constant)."""
    edges, middles = _seconds(duration_seconds)
    rise = np.clip((middles - at_seconds) / rise_seconds, 0.0, 1.0)
    decay = np.exp(-np.maximum(middles - (at_seconds + rise_seconds + hold_seconds), 0.0) / decay_seconds)
    rates = base_rate * (1.0 + (factor - 1.0) * rise * decay)
    return Traffic("flash crowd", duration_seconds, poisson_arrivals(edges, rates, np.random.default_rng(seed)))


def bursty(
    mean_rate: float,
    duration_seconds: float,
    *,
    seed: int,
    factor: float = 4.0,
    quiet_seconds: float = 60.0,
    burst_seconds: float = 15.0,
) -> Traffic:
    """Two-state Markov-modulated Poisson process (MMPP-2): bursts have `factor` times the intensity of quiet times.

    Sojourns are exponential with the given means; `mean_rate` is the long-run mean (Fischer & Meier-Hellstern 1993).
    """
    rng = np.random.default_rng(seed)
    edges, bursts = _sojourns(duration_seconds, quiet_seconds, burst_seconds, rng)
    quiet_rate = mean_rate * (quiet_seconds + burst_seconds) / (quiet_seconds + factor * burst_seconds)
    rates = np.where(bursts, quiet_rate * factor, quiet_rate)
    return Traffic("bursty", duration_seconds, poisson_arrivals(edges, rates, rng))


def _sojourns(
    duration_seconds: float, quiet_seconds: float, burst_seconds: float, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.bool_]]:
    """Edges of quiet times and bursts in turn, and which are bursts; exponential, with these means."""
    burst = bool(rng.random() < burst_seconds / (quiet_seconds + burst_seconds))  # the stationary chance to begin so
    edges, bursts = [0.0], []
    while edges[-1] < duration_seconds:
        bursts.append(burst)
        edges.append(edges[-1] + rng.exponential(burst_seconds if burst else quiet_seconds))
        burst = not burst
    edges[-1] = duration_seconds
    return np.array(edges), np.array(bursts)


def correlated_bursts(
    mean_rate: float,
    duration_seconds: float,
    *,
    seed: int,
    pool_replicas: int,
    left_replicas: int,
    neighbours: int = 3,
    factor: float = 4.0,
    quiet_seconds: float = 900.0,
    burst_seconds: float = 300.0,
    react_seconds: tuple[float, float] = (15.0, 45.0),
    release_seconds: float = 300.0,
) -> Traffic:
    """`bursty`, by a cause that all services of the pool have in common: its neighbours burst at the same times.

    Each of the `neighbours` then holds `factor` times its replicas of quiet times; when all do, they leave room for
    `left_replicas` of this service. Its running replicas stay, new ones wait for room. A neighbour takes its share
    after a time drawn evenly from `react_seconds` (its autoscaler sees the burst in a scrape or two), and gives it back
    `release_seconds` after the end (the HPA's default stabilization window).
    """
    rng = np.random.default_rng(seed)
    edges, bursts = _sojourns(duration_seconds, quiet_seconds, burst_seconds, rng)
    quiet_rate = mean_rate * (quiet_seconds + burst_seconds) / (quiet_seconds + factor * burst_seconds)
    rates = np.where(bursts, quiet_rate * factor, quiet_rate)
    arrivals = poisson_arrivals(edges, rates, rng)
    takes = edges[:-1][bursts, None] + rng.uniform(*react_seconds, (int(bursts.sum()), neighbours))
    gives = edges[1:][bursts] + release_seconds
    times = np.unique(np.concatenate(([0.0], takes.ravel(), gives)))
    # Which neighbours hold their share of a burst, by (burst, neighbour, time): one that bursts again holds on.
    holding = (takes[:, :, None] <= times) & (times < gives[:, None, None])
    held = holding.any(axis=0).sum(axis=0)
    share = (pool_replicas - left_replicas) / neighbours
    room = np.rint(pool_replicas - share * (held + (neighbours - held) / factor))
    events = tuple(Event(at, "room", value) for at, value in zip(times.tolist(), room.tolist(), strict=True))
    return Traffic("correlated bursts", duration_seconds, arrivals, events=events)


def slow_ramp(
    start_rate: float, end_rate: float, duration_seconds: float, *, seed: int, name: str = "slow ramp"
) -> Traffic:
    """A straight line from one rate to the other."""
    edges, middles = _seconds(duration_seconds)
    rates = start_rate + (end_rate - start_rate) * middles / duration_seconds
    return Traffic(name, duration_seconds, poisson_arrivals(edges, rates, np.random.default_rng(seed)))


def on_off(
    on_rate: float,
    duration_seconds: float,
    *,
    seed: int,
    on_seconds: float = 600.0,
    off_seconds: float = 600.0,
    off_share: float = 0.02,
) -> Traffic:
    """In turn `on_rate` and `off_share` of it, as batch jobs make; begins on."""
    cycles = math.ceil(duration_seconds / (on_seconds + off_seconds))
    starts = np.arange(cycles) * (on_seconds + off_seconds)
    edges = np.append(np.column_stack((starts, starts + on_seconds)).ravel(), np.inf)
    rates = np.tile([on_rate, on_rate * off_share], cycles)
    arrivals = poisson_arrivals(np.minimum(edges, duration_seconds), rates, np.random.default_rng(seed))
    return Traffic("on-off", duration_seconds, arrivals)


def cost_drift(
    rate: float, duration_seconds: float, *, seed: int, final_factor: float = 1.6, steps: int = 12
) -> Traffic:
    """Steady, while in the middle half of the time the model becomes `final_factor` times dearer, in equal steps."""
    first_seconds = duration_seconds / 4.0
    step_seconds = duration_seconds / 2.0 / steps
    events = tuple(
        Event(first_seconds + i * step_seconds, "cost", 1.0 + (final_factor - 1.0) * (i + 1) / steps)
        for i in range(steps)
    )
    return replace(poisson(rate, duration_seconds, seed=seed, name="cost drift"), events=events)


def deploy(
    rate: float, duration_seconds: float, *, seed: int, at_seconds: float = 3600.0, item_factor: float = 2.0
) -> Traffic:
    """Steady; from one moment on the cost of an item, β, is `item_factor` times the first one on all replicas, and α is
    as before: a deploy of the clients, whose items are larger now. The operator is not told of it.
    """
    events = (Event(at_seconds, "item cost", item_factor),)
    return replace(poisson(rate, duration_seconds, seed=seed, name="deploy"), events=events)


def leak(rate: float, duration_seconds: float, *, seed: int, per_hour: float = 0.2) -> Traffic:
    """Steady, while each loaded model gets slower linearly, by `per_hour` of its first cost in each hour since its
    load. A reload or a new replica begins again, so replicas that were started at other times differ.
    """
    return replace(poisson(rate, duration_seconds, seed=seed, name="leak"), events=(Event(0.0, "leak", per_hour),))


def node_loss(
    rate: float,
    duration_seconds: float,
    *,
    seed: int,
    pool_replicas: int,
    left_replicas: int,
    lost_seconds: float = 1800.0,
    back_seconds: float = 3600.0,
) -> Traffic:
    """Steady, while a node dies and comes back: between two times the pool holds `left_replicas`, and at the first the
    share of the replicas that was on the node is gone.
    """
    share = 1.0 - left_replicas / pool_replicas
    events = (
        Event(lost_seconds, "pool", left_replicas),
        Event(lost_seconds, "node", share),
        Event(back_seconds, "pool", pool_replicas),
    )
    return replace(poisson(rate, duration_seconds, seed=seed, name="node loss"), events=events)


def metrics_gap(
    start_rate: float,
    duration_seconds: float,
    *,
    seed: int,
    growth: float = 0.3,
    gap_at_seconds: float = 1800.0,
    gap_seconds: float = 600.0,
) -> Traffic:
    """A slow rise by the share `growth` over the whole time; for `gap_seconds` no scrape succeeds."""
    traffic = slow_ramp(start_rate, start_rate * (1.0 + growth), duration_seconds, seed=seed, name="metrics gap")
    return replace(traffic, events=(Event(gap_at_seconds, "metrics", gap_seconds),))
