"""Judge added replicas as settings are judged: by what is served, and how fast, before they came and with them.

Replicas that share cores, a GPU or a database may serve no more together than fewer did. Where more comes than is
served within the SLO, that is no evidence that a further replica helps, so growth waits until the last change is
judged. Only demand that grows by itself need not wait: more arrives, or more is in flight, than before the change.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from throughline.domain.control.act.state import Growth
from throughline.domain.control.model.queueing import saturation_per_second
from throughline.domain.control.tuning import (
    AGAIN_SECONDS,
    CLEAR,
    HOUR_SECONDS,
    SAME,
    SAMPLE_INTERVAL_SECONDS,
    STATIONARY,
)
from throughline.domain.formatting import count, rate
from throughline.domain.times import unix_seconds

if TYPE_CHECKING:
    from throughline.api.status import Trial
    from throughline.domain.control.act.context import Context
    from throughline.domain.control.observe.demand import Demand


def pressed(ctx: Context) -> bool:
    """Whether replicas would be added for what comes now or for latency, not ahead of what is served well."""
    return ctx.short or ctx.estimates.slo_violated


def awaited(ctx: Context) -> bool:
    """Whether added replicas serve and are not judged yet: meanwhile no other is added, and settings stay, as the
    effects would be confounded. Those that start change nothing yet, and what is ordered besides is for more demand.
    """
    growth = ctx.state.growth
    return growth is not None and not growth.futile and len(ctx.serving) > growth.replicas and pressed(ctx)


def overflows(demand: Demand) -> bool:
    """Whether more arrives than is served, which only open-loop arrivals do for long."""
    return demand.arrivals_per_second > (1.0 + STATIONARY) * demand.served_per_second


def _served(ctx: Context, demand: Demand) -> float:
    """Items per second by the metrics window, or by the last samples, where load has come since the window began: what
    arrives, as far as the servers can serve it.
    """
    if ctx.estimates.forecast is None or ctx.estimates.curve is None:
        return demand.served_per_second
    most = len(ctx.serving) * saturation_per_second(ctx.estimates.curve, ctx.settings)
    return max(demand.served_per_second, min(ctx.estimates.forecast.now, most))


def _more_in_flight(demand: Demand, before: float) -> bool:
    return demand.in_flight > (1.0 + CLEAR) * before


def _rises(ctx: Context) -> bool:
    """Whether more arrives than all that came when the last change of settings had just been made: a sample shows it
    before the metrics window does.
    """
    samples = ctx.estimates.state.samples
    if ctx.control.last_batch_change is None or not samples:
        return False
    changed, newest = unix_seconds(ctx.control.last_batch_change), samples[-1]
    shown = changed + 2 * SAMPLE_INTERVAL_SECONDS
    early = [sample.per_second for sample in samples if changed < sample.at_seconds <= shown]
    if not early or newest.at_seconds - newest.seconds < shown:
        return False
    return newest.per_second > (1.0 + CLEAR) * max(early)


def ordered(ctx: Context, before: Growth | None, replicas: int) -> Growth | None:
    """The growth to judge, when more than `replicas` are ordered now; `before`: what was known of the last. Growth
    ahead of a demand that is served well is not judged: there is nothing that it could make better.
    """
    demand = ctx.demand
    if before is not None and not before.futile:
        return before  # they are judged with those that follow
    if demand is None or not pressed(ctx):
        return None
    pause = AGAIN_SECONDS
    if before is not None:
        pause = min(24 * HOUR_SECONDS, 2.0 * before.pause_seconds)
    return Growth(replicas, _served(ctx, demand), demand.in_flight, demand.mean_us, pause_seconds=pause)


def _judge(ctx: Context, demand: Demand, growth: Growth) -> Growth | None:
    """What is known of the last growth now; None: a further one is allowed."""
    if _more_in_flight(demand, growth.in_flight):
        return None
    if growth.futile:
        return growth
    replicas, serving = ctx.view.replicas or 0, len(ctx.serving)
    gain = min(SAME, CLEAR * (replicas / growth.replicas - 1.0))
    arrivals = demand.arrivals_per_second if ctx.estimates.forecast is None else ctx.estimates.forecast.now
    if max(arrivals, demand.served_per_second) >= (1.0 + gain) * growth.served_per_second:
        return None  # they help, or do not serve yet, and more arrives by itself
    if replicas <= growth.replicas:
        return None  # they are gone before they were judged
    if serving != growth.serving[0]:
        return growth._replace(serving=(serving, ctx.now))
    unused = serving <= growth.replicas or demand.unloaded or demand.failing or demand.faulty_pods
    if unused or ctx.now - growth.serving[1] < ctx.observation.observe_seconds:
        return growth
    faster = (
        demand.mean_us is not None and growth.mean_us is not None and demand.mean_us <= (1.0 - CLEAR) * growth.mean_us
    )
    drains = demand.arrivals_per_second < (1.0 - STATIONARY) * demand.served_per_second  # what waits at the old pods
    if faster or drains or not pressed(ctx):
        return None
    found = (
        f"{count(serving, 'replica')} served {rate(demand.served_per_second)}, and {growth.replicas} "
        f"{rate(growth.served_per_second)} before"
    )
    return growth._replace(retry_seconds=ctx.now + growth.pause_seconds, found=found)


def judged(ctx: Context) -> Context:
    """The context, with what is known of the last growth now."""
    before = ctx.state.growth
    if before is None or ctx.demand is None:
        return ctx
    return replace(ctx, state=ctx.state._replace(growth=_judge(ctx, ctx.demand, before)))


def futile(ctx: Context, replicas: int) -> Growth | None:
    """The growth that is to be given back, of so many replicas."""
    last = ctx.state.growth
    return last if last is not None and last.paused(ctx.now) and replicas > last.replicas else None


def blocked_by(ctx: Context, trial: Trial | None) -> str | None:
    """Why no replica may be added for present arrivals or latency; None: it may."""
    demand, growth = ctx.demand, ctx.state.growth
    if demand is None or not pressed(ctx):
        return None
    if growth is not None and growth.paused(ctx.now):
        return f"more replicas did not help: {growth.found}"
    if awaited(ctx):
        return "the replicas that were added last are still being judged"
    before = ctx.state.changed_in_flight
    # Served better, closed-loop clients send more, but no more of it is in flight.
    more = before is None or _more_in_flight(demand, before) or overflows(demand)
    if trial is not None and not (more or _rises(ctx)):
        return "a change of batch settings is still being judged, and comes first"
    return None
