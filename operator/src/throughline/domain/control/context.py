"""One decision's input, prepared once: what is measured, what was learned, what is in force."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from throughline.api.status import ControlStatus, ServiceTime
from throughline.domain import quantities
from throughline.domain.control.choose import Problem, clamp, lower_bounds
from throughline.domain.control.demand import Demand, measure
from throughline.domain.control.memory import LoopMemory
from throughline.domain.control.queueing import mean_batch, p99_us
from throughline.domain.control.service_time import Curve, estimate, observe
from throughline.domain.control.text import unix_seconds
from throughline.domain.control.watch import SETTLE_SECONDS

if TYPE_CHECKING:
    from throughline.api.inferenceservice import BatchSettings
    from throughline.domain.observed import ServiceView

# Triton's latency summary covers this long, so a p99 is of the present settings only when they are older.
SUMMARY_SECONDS = 60.0
UNLOADED_SECONDS = 45.0
# Batches of at least so many, and so many times what a stream would make: small ones come of any burst.
MIN_TELLING_BATCH = 16.0
TOGETHER = 3.0
WAITING_LOOKS = 3
MIN_REQUESTS_JUDGED = 100.0
ERROR_BOUNDS = (0.4, 4.0)
# What was learned is written down again only when it has moved by more than this.
LEARNED_NOISE = 0.08
ERROR_NOISE = 0.15
SMOOTHING = 0.3
ARRIVALS_KEPT = 20
# Curves nearer than this are one to the choice, which makes its predictions reusable.
GRID = 0.02
DEMAND_GRID = 0.04
IN_FLIGHT_GRID = 0.25


@dataclass(frozen=True, slots=True)
class Context:
    view: ServiceView
    memory: LoopMemory
    control: ControlStatus
    demand: Demand | None
    curve: Curve | None
    problem: Problem | None
    settings: BatchSettings  # in force, within the bounds
    slo_us: float
    max_replicas: int  # of spec and pool
    price_per_hour: float

    @property
    def now(self) -> float:
        return self.view.now_seconds

    @property
    def observe_seconds(self) -> float:
        """How long after a change the measurements are of what is now."""
        return self.view.metrics_window_seconds + SETTLE_SECONDS

    @property
    def settled(self) -> bool:
        """Every serving pod was seen to have the settings in force."""
        return bool(self.view.serving) and all(p.settings == self.settings for p in self.view.serving)

    @property
    def slow(self) -> bool:
        """The SLO is missed now: by the summary once it is of the present, or by requests that take too long."""
        d = self.demand
        if d is None:
            return False
        if d.overloaded:
            return True
        return d.p99_us is not None and d.p99_us > self.slo_us and self.steady

    @property
    def steady(self) -> bool:
        """Nothing has been changed for as long as the latency summary looks back."""
        since = self.memory.settings_since
        # The calm is seen by means over the metrics window, so its first requests lie that much before the summary's.
        return since is not None and self.now - since[1] >= SUMMARY_SECONDS + self.observe_seconds

    @property
    def unloaded(self) -> tuple[str, ...]:
        """Pods that the load has not reached for longer than connections take to be renewed a few times."""
        return tuple(n for n, since in self.memory.unloaded_since.items() if self.now - since >= UNLOADED_SECONDS)

    def seconds_since(self, timestamp: str | None) -> float:
        return math.inf if timestamp is None else self.now - unix_seconds(timestamp)


def _grid(value: float, step: float = GRID) -> float:
    return math.exp(round(math.log(value) / step) * step) if value > 0 else 0.0


def rounded(curve: Curve) -> Curve:
    return Curve(_grid(curve.alpha_us), _grid(curve.beta_us), round(curve.contention, 1))


def dispersion(memory: LoopMemory, window_seconds: float) -> float:
    """Variance over mean of the arrivals in a window, from the looks at the metrics; at least Poisson's 1."""
    counts = [a * window_seconds for a in memory.arrivals]
    if len(counts) < ARRIVALS_KEPT // 2:
        return 1.0
    mean = sum(counts) / len(counts)
    if mean <= 0:
        return 1.0
    # Differences of neighbours, so that a trend is not taken for variability.
    variance = sum((b - a) ** 2 for a, b in pairwise(counts)) / (2 * (len(counts) - 1))
    return float(min(8.0, max(1.0, round(variance / mean))))


def _look_seconds(view: ServiceView) -> float:
    """When Prometheus was asked for what is seen here."""
    return view.metrics_time_seconds if view.metrics_time_seconds is not None else view.now_seconds


def _remember(view: ServiceView, memory: LoopMemory, demand: Demand | None, settings: BatchSettings) -> LoopMemory:
    key = f"{settings}|{view.replicas}|{len(view.serving)}"
    # An overloaded pod's latency tells how long it has been overloaded, nothing of the settings.
    calm = demand is not None and not demand.overloaded
    in_force = calm and bool(view.serving) and all(p.settings == settings for p in view.serving)
    since = memory.settings_since
    if not in_force:
        since = None
    elif since is None or since[0] != key:
        since = (key, view.now_seconds)
    memory = replace(
        memory,
        learner=observe(memory.learner, view.serving, view.now_seconds),
        model_hash=view.model_hash,
        settings_since=since,
        since_seconds=view.now_seconds if memory.since_seconds is None else memory.since_seconds,
    )
    if demand is None:
        return memory
    if _look_seconds(view) == memory.metrics_time_seconds:
        return memory  # woken by something else: the same look twice is no second observation
    unloaded = {name: memory.unloaded_since.get(name, view.now_seconds) for name in demand.unloaded}
    per_replica = demand.in_flight / max(1, len(view.serving))
    smooth = (
        per_replica if memory.in_flight is None else memory.in_flight + SMOOTHING * (per_replica - memory.in_flight)
    )
    return replace(
        memory,
        metrics_time_seconds=_look_seconds(view),
        unloaded_since=unloaded,
        in_flight=smooth,
        arrivals=(*memory.arrivals, demand.arrivals_per_second)[-ARRIVALS_KEPT:],
    )


def _corrected(context: Context, known: ServiceTime, disp: float, since_last_seconds: float) -> int:
    """Measured over predicted p99, smoothed over as long as the summary looks back; permille."""
    view, demand, settings = context.view, context.demand, context.settings
    if demand is None:
        return known.error_permille
    if demand.p99_us is None or demand.overloaded or not view.serving:
        return known.error_permille
    if demand.requests_per_second * SUMMARY_SECONDS < MIN_REQUESTS_JUDGED:
        return known.error_permille
    busiest = demand.arrivals_per_second / len(view.serving) * demand.skew
    predicted = p99_us(Curve.of(known), settings, busiest, disp)
    ratio = min(max(demand.p99_us / predicted, ERROR_BOUNDS[0]), ERROR_BOUNDS[1])
    error = known.error_permille / 1000
    gain = min(1.0, since_last_seconds / SUMMARY_SECONDS)
    return round(1000 * (error + gain * (ratio - error)))


def _callers_wait(view: ServiceView, demand: Demand, curve: Curve, settings: BatchSettings) -> bool:
    """Whether the load is of callers who wait for their answers: the servers are busy and yet no queue grows, or
    batches are larger than a stream of that rate would make them, since answered callers come back together.
    """
    if demand.saturated and demand.still:
        return True
    if demand.mean_batch is None or demand.mean_batch < MIN_TELLING_BATCH or not view.serving:
        return False
    stream = mean_batch(curve, settings, demand.served_per_second / len(view.serving))
    return demand.mean_batch > TOGETHER * stream


def _differs(a: int, b: int, noise: float) -> bool:
    return abs(a - b) > noise * max(a, b, 1)


def kept(old: ServiceTime | None, new: ServiceTime | None) -> ServiceTime | None:
    """What to persist: the old line while the new one says the same."""
    if old is None or new is None:
        return new
    same_curve = not any(
        _differs(getattr(old, f), getattr(new, f), LEARNED_NOISE) for f in ("alpha_microseconds", "beta_microseconds")
    )
    if (
        same_curve
        and abs(old.contention_permille - new.contention_permille) <= 100
        and not _differs(old.error_permille, new.error_permille, ERROR_NOISE)
        and old.largest_batch == new.largest_batch
    ):
        return old
    return new


def prepare(view: ServiceView, memory: LoopMemory) -> tuple[Context, ServiceTime | None]:
    """The context of the decision, and what is known of the service time now."""
    control = view.status.control
    pool_name = view.pool.name if view.pool else control.pool
    if memory.model_hash != view.model_hash:
        memory = LoopMemory()
    if control.model_hash != view.model_hash or control.pool != pool_name:
        # Another model or other hardware: what was learned does not hold, what is in force still does.
        control = ControlStatus(pool=pool_name, model_hash=view.model_hash)
    batching = view.spec.batching
    if batching.mode == "Fixed" and batching.fixed is not None:
        settings = batching.fixed
    else:
        settings = clamp(view.settings or view.status.batch.settings or lower_bounds(batching), batching)
    slo_us = view.spec.slo.latency_p99_milliseconds * 1000.0
    demand = None if view.metrics_unavailable else measure(view, slo_us)
    since_last = _look_seconds(view) - (memory.metrics_time_seconds or _look_seconds(view))
    memory = _remember(view, memory, demand, settings)
    # `_remember` may have learned from this look already; the persisted line fills in what it has not seen.
    learned = estimate(memory.learner, memory.known or control.service_time)
    disp = dispersion(memory, view.metrics_window_seconds)
    max_replicas = view.spec.scaling.max_replicas
    if view.pool and view.pool.capacity_replicas is not None:
        max_replicas = min(max_replicas, max(view.pool.capacity_replicas, 1))
    price = float(quantities.parse(view.pool.spec.cost_per_hour)) if view.pool else 0.0
    context = Context(view, memory, control, demand, None, None, settings, slo_us, max_replicas, price)
    if learned is not None and demand is not None and context.steady and context.settled:
        learned = learned.model_copy(update={"error_permille": _corrected(context, learned, disp, since_last)})
    context = replace(context, memory=replace(memory, known=learned))
    if learned is None or demand is None:
        return context, learned
    floor = float(view.spec.slo.throughput_per_second or 0) * demand.items_per_request
    curve = rounded(Curve.of(learned))
    problem = Problem(
        curve=curve,
        slo_us=slo_us,
        demand_per_second=_grid(max(demand.wanted_per_second * demand.skew, floor), DEMAND_GRID),
        in_flight_per_replica=_grid(max(1.0, memory.in_flight or 1.0), IN_FLIGHT_GRID),
        error=_grid(learned.error_permille / 1000),
        dispersion=disp,
        price_per_hour=price,
        max_replicas=max_replicas,
        min_replicas=min(view.spec.scaling.min_replicas, max_replicas),
    )
    looks = context.memory.waiting_looks
    if since_last > 0:
        looks = looks + 1 if _callers_wait(view, demand, curve, settings) else 0
    problem = replace(problem, callers_wait=looks >= WAITING_LOOKS)
    memory = replace(context.memory, waiting_looks=looks)
    return replace(context, curve=curve, problem=problem, memory=memory), learned
