"""One decision's input, prepared once: what is measured, what was learned, what is in force."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from throughline.api.status import ControlStatus, ServiceTime
from throughline.domain import quantities
from throughline.domain.control.choose import Problem, clamp, lower_bounds
from throughline.domain.control.demand import Demand, measure
from throughline.domain.control.forecast import LOOKS_KEPT, Forecast, Look, dispersion, forecast
from throughline.domain.control.memory import LoopMemory
from throughline.domain.control.queueing import mean_batch, p99_us, saturation_per_second
from throughline.domain.control.service_time import Curve, estimate, observe, parts, since_last_look
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
# A stream is not served beyond this share of the saturation throughput; and so many times what one leaves under way at
# its p99 is a queue of callers.
STREAM_UTILIZATION = 0.95
STANDING = 1.25
WAITING_LOOKS = 3
MIN_REQUESTS_JUDGED = 100.0
ERROR_BOUNDS = (0.4, 4.0)
# What was learned is written down again only when it has moved by more than this.
LEARNED_NOISE = 0.08
ERROR_NOISE = 0.15
SMOOTHING = 0.3
# Latency below the first share of the SLO tells nothing of the error near it, above the second all.
RELEVANT_SHARES = (0.4, 0.8)
# Two looks nearer than this are one.
MIN_LOOK_SECONDS = 4.0
# Between two looks at a calm service.
LOOK_SECONDS = 10.0
START_BOUNDS_SECONDS = (5.0, 600.0)
FRESH_SECONDS = 45.0
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
    forecast: Forecast | None = None
    ahead_per_second: float = 0.0  # items per second to provide for

    @property
    def now(self) -> float:
        return self.view.now_seconds

    @property
    def observe_seconds(self) -> float:
        """How long after a change the measurements are of what is now."""
        return self.view.metrics_window_seconds + SETTLE_SECONDS

    @property
    def scaling(self) -> bool:
        """Replicas were ordered so lately that the measurements do not show yet what they do."""
        starting = len(self.view.serving) < (self.view.replicas or 0)
        return starting or self.seconds_since(self.control.last_scale_change) < self.observe_seconds

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
    lines = tuple((limit, _grid(alpha), _grid(beta)) for limit, alpha, beta in curve.parts)
    return Curve(_grid(curve.alpha_us), _grid(curve.beta_us), round(curve.contention, 1), lines)


def _look_seconds(view: ServiceView) -> float:
    """When Prometheus was asked for what is seen here."""
    return view.metrics_time_seconds if view.metrics_time_seconds is not None else view.now_seconds


def _queue(view: ServiceView, memory: LoopMemory, demand: Demand) -> tuple[float, float, float]:
    """(time of the newest scrape, requests waiting, growth per second since the scrape before)."""
    measured = [m for p in view.serving if (m := p.metrics) is not None]
    scraped = _look_seconds(view) - min((m.age_seconds for m in measured), default=0.0)
    before, waiting = memory.queue_seen, sum(m.pending for m in measured)
    if before is None:
        return scraped, waiting, sum(m.pending_growth_rate for m in measured) if demand.saturated else 0.0
    if scraped - before[0] < MIN_LOOK_SECONDS:
        return before
    # Only a saturated server's queue says something of the arrivals; a short one comes and goes.
    return scraped, waiting, (waiting - before[1]) / (scraped - before[0]) if demand.saturated else 0.0


def _fresh(view: ServiceView) -> bool:
    """Pods have come so lately that what is served is a backlog, too."""
    return len(view.serving) > 1 and any(p.ready_seconds < FRESH_SECONDS for p in view.serving)


def _looked(view: ServiceView, memory: LoopMemory, demand: Demand) -> LoopMemory:
    """Add what has come since the last look: what the servers' own counters say was served, and what the queue grew."""
    seconds = view.now_seconds - memory.learner.updated_seconds
    since = since_last_look(memory.learner, view.serving, seconds) if memory.learner.updated_seconds else None
    queue = _queue(view, memory, demand)
    memory = replace(memory, queue_seen=queue)
    if since is None:
        recent = memory.looks and view.now_seconds - memory.looks[-1].at_seconds < SUMMARY_SECONDS
        if recent or _look_seconds(view) == memory.metrics_time_seconds:
            return memory
        arrivals, seconds = demand.arrivals_per_second, view.metrics_window_seconds
    elif seconds < MIN_LOOK_SECONDS:
        return memory
    else:
        if since.queued is not None:
            unserved = since.queued / seconds
        else:
            # Where pods have just come, what the scrapes say of the queue is of before, and is being served now.
            unserved = 0.0 if _fresh(view) else queue[2] + demand.cancelled_per_second
        arrivals = max(0.0, since.executed_items / seconds + unserved * demand.items_per_request)
    look = Look(view.now_seconds, seconds, arrivals)
    return replace(memory, looks=(*memory.looks, look)[-LOOKS_KEPT:])


def _started(view: ServiceView, memory: LoopMemory) -> LoopMemory:
    """Learn how long replicas take from their order until they serve."""
    lacking = view.replicas is not None and len(view.serving) < view.replicas
    if lacking and memory.ordered_seconds is None:
        return replace(memory, ordered_seconds=view.now_seconds)
    if lacking or memory.ordered_seconds is None:
        return memory
    took = min(max(view.now_seconds - memory.ordered_seconds, START_BOUNDS_SECONDS[0]), START_BOUNDS_SECONDS[1])
    return replace(memory, ordered_seconds=None, start_seconds=(memory.start_seconds + took) / 2)


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
    if demand is not None:
        memory = _looked(view, memory, demand)
    memory = replace(
        _started(view, memory),
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
    return replace(memory, metrics_time_seconds=_look_seconds(view), unloaded_since=unloaded, in_flight=smooth)


def _corrected(context: Context, error: float, curve: Curve, disp: float, since_last_seconds: float) -> float:
    """Measured over predicted p99 of the settings in force, smoothed over as long as the summary looks back."""
    view, demand, settings = context.view, context.demand, context.settings
    if demand is None or demand.p99_us is None or demand.overloaded or not view.serving:
        return error
    if demand.requests_per_second * SUMMARY_SECONDS < MIN_REQUESTS_JUDGED:
        return error
    per_replica = demand.served_per_second / len(view.serving) * demand.skew
    ratio = min(max(demand.p99_us / p99_us(curve, settings, per_replica, disp), ERROR_BOUNDS[0]), ERROR_BOUNDS[1])
    # How far a prediction is off near the SLO is what counts; far below it, it says next to nothing of that.
    low, high = RELEVANT_SHARES
    relevance = min(1.0, max(0.0, (demand.p99_us / context.slo_us - low) / (high - low)))
    gain = relevance * min(1.0, since_last_seconds / SUMMARY_SECONDS)
    return error + gain * (ratio - error)


def _usual_error(memory: LoopMemory, learned: ServiceTime) -> float:
    """What to expect of settings that were never in force: the mean of those that were, else what was written down."""
    if not memory.errors:
        return learned.error_permille / 1000
    return math.exp(sum(math.log(e) for _, e in memory.errors) / len(memory.errors))


def _callers_wait(view: ServiceView, demand: Demand, curve: Curve, settings: BatchSettings) -> bool:
    """Whether the load is of callers who wait for their answers: more is under way than a stream of that rate would
    ever leave waiting, and yet no queue grows; or batches are larger than a stream would make them, since answered
    callers come back together.
    """
    if not view.serving:
        return False
    per_replica = demand.served_per_second / len(view.serving)
    if demand.saturated and demand.still:
        steady = min(per_replica, STREAM_UTILIZATION * saturation_per_second(curve, settings))
        most = per_replica * p99_us(curve, settings, steady) / 1e6
        if demand.in_flight / len(view.serving) > STANDING * most:
            return True
    if demand.mean_batch is None or demand.mean_batch < MIN_TELLING_BATCH:
        return False
    stream = mean_batch(curve, settings, per_replica)
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
    disp = dispersion(memory.looks)
    max_replicas = view.spec.scaling.max_replicas
    if view.pool and view.pool.capacity_replicas is not None:
        max_replicas = min(max_replicas, max(view.pool.capacity_replicas, 1))
    price = float(quantities.parse(view.pool.spec.cost_per_hour)) if view.pool else 0.0
    context = Context(view, memory, control, demand, None, None, settings, slo_us, max_replicas, price)
    if learned is None or demand is None:
        return replace(context, memory=replace(memory, known=learned)), learned
    fitted = parts(memory.learner, Curve.of(learned))
    known_error = memory.error_of(settings)
    error = _usual_error(memory, learned) if known_error is None else known_error
    if context.steady and context.settled:
        corrected = _corrected(context, error, fitted, disp, since_last)
        if corrected != error:  # only what was measured is kept: a guess is no experience
            error = corrected
            memory = memory.with_error(settings, error)
    learned = learned.model_copy(update={"error_permille": round(1000 * error)})
    looks = memory.waiting_looks
    curve = rounded(fitted)
    if since_last > 0:
        looks = looks + 1 if _callers_wait(view, demand, curve, settings) else 0
    memory = replace(memory, known=learned, waiting_looks=looks)
    horizon_seconds = 0.0 if _fresh(view) else memory.start_seconds + LOOK_SECONDS
    seen = forecast(memory.looks, horizon_seconds) if memory.looks else None
    coming = demand.wanted_per_second
    if seen is not None:
        # A backlog, and callers held back by latency, are not in the arrivals. Replicas that were just ordered are for
        # those; what still arrives beyond is measured.
        held_back = max(0.0, demand.wanted_per_second - demand.arrivals_per_second)
        coming = seen.ahead + (0.0 if context.scaling else held_back)
    floor = float(view.spec.slo.throughput_per_second or 0) * demand.items_per_request
    # Pods that have just come, or a queue, make the load look uneven.
    skew = 1.0 if context.scaling or demand.saturated else demand.skew
    ahead = max(coming * skew, floor)
    problem = Problem(
        curve=curve,
        slo_us=slo_us,
        demand_per_second=_grid(ahead, DEMAND_GRID),
        in_flight_per_replica=_grid(max(1.0, memory.in_flight or 1.0), IN_FLIGHT_GRID),
        errors=tuple((s, _grid(e)) for s, e in memory.errors),
        # What makes the present settings slower than predicted is expected of others, too: hope is no reason to move.
        usual_error=_grid(max(error, _usual_error(memory, learned))),
        dispersion=disp,
        price_per_hour=price,
        max_replicas=max_replicas,
        min_replicas=min(view.spec.scaling.min_replicas, max_replicas),
        callers_wait=looks >= WAITING_LOOKS,
    )
    return replace(context, memory=memory, curve=curve, problem=problem, forecast=seen, ahead_per_second=ahead), learned
