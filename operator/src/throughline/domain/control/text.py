"""How the numbers of the loop are written for people: few digits, units, and no change for noise."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from throughline.api.status import MAX_DECISIONS, Action, Alternative, DecisionRecord, SLOStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from throughline.api.inferenceservice import BatchSettings
    from throughline.domain.control.choose import Option
    from throughline.domain.control.curve import Curve
    from throughline.domain.control.demand import Demand

# A shown number is left as it is while the new one is within this share of it.
STICKY_SHARE = 0.15
# Within this share also when rounded to two digits, which moves a number by up to a twentieth.
_SURELY_SAME = 0.08


def rfc3339(now_seconds: float) -> str:
    """Whole seconds, UTC, as the Kubernetes API writes times."""
    return datetime.fromtimestamp(int(now_seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=4096)
def unix_seconds(timestamp: str) -> float:
    """The inverse of `rfc3339`; raises ValueError for other text."""
    return datetime.fromisoformat(timestamp).timestamp()


def two_digits(value: float) -> float:
    if value <= 0 or not math.isfinite(value):
        return 0.0
    places = 1 - math.floor(math.log10(value))
    return round(value, places)


def duration(microseconds: float | None) -> str:
    """Two digits with unit: 850µs, 4.2ms, 12s; `-` when unknown, `∞` for a queue without end."""
    if microseconds is None:
        return "-"
    if not math.isfinite(microseconds):
        return "∞"
    value = two_digits(microseconds)
    if value < 1e3:
        return f"{value:g}µs"
    return f"{value / 1e3:g}ms" if value < 1e6 else f"{value / 1e6:g}s"


def rate(per_second: float | None) -> str:
    return "-" if per_second is None else f"{two_digits(per_second):g}/s"


_NUMBER = re.compile(r"^([0-9.e+]+)(µs|ms|s|/s)?$")
_MICROSECONDS = {"µs": 1.0, "ms": 1e3, "s": 1e6, "/s": 1.0, None: 1.0}


@lru_cache(maxsize=4096)
def _number(text: str) -> float | None:
    """What a shown number stands for, in one unit; few are ever shown, as they have two digits."""
    match = _NUMBER.match(text)
    return float(match[1]) * _MICROSECONDS[match[2]] if match else None


def sticky(shown: str, value: float | None, write: Callable[[float | None], str]) -> str:
    """`shown`, unless what `write` makes of `value` differs from it by more than noise."""
    old = _number(shown)
    if old is not None and value is not None and abs(old - value) <= _SURELY_SAME * max(old, value):
        return shown  # most often; nothing is written
    fresh = write(value)
    new = _number(fresh)
    if old is None or new is None:
        return fresh
    return shown if abs(old - new) <= STICKY_SHARE * max(old, new) else fresh


def _cost(per_thousand: float | None) -> str:
    return "-" if per_thousand is None else f"{per_thousand:.2g}"


def slo_status(shown: SLOStatus, demand: Demand, price_per_hour: float) -> SLOStatus:
    """What is shown of the measurements; the same object while it says the same.

    Without traffic no latency is shown: for a minute after a model was loaded it would be of the operator's own probe.
    """
    cost = None  # unknown without traffic or price
    if demand.arrivals_per_second >= 0.01 and price_per_hour > 0:
        cost = price_per_hour / (demand.arrivals_per_second * 3.6)
    latency = sticky(shown.latency_p99, None if demand.idle else demand.p99_us, duration)
    throughput = sticky(shown.throughput, demand.requests_per_second, rate)
    per_thousand = sticky(shown.cost_per_thousand, cost, _cost)
    if latency == shown.latency_p99 and throughput == shown.throughput and per_thousand == shown.cost_per_thousand:
        return shown
    return SLOStatus(latency_p99=latency, throughput=throughput, cost_per_thousand=per_thousand)


def settings_text(settings: BatchSettings) -> str:
    """Max batch / queue delay × instances: `32/2ms×2`."""
    delay = settings.max_queue_delay_microseconds
    return f"{settings.max_batch_size}/{duration(delay) if delay else '0'}×{settings.instances}"


def curve_text(curve: Curve) -> str:
    text = f"s(b) = {duration(curve.alpha_us)} + {duration(curve.beta_us)}·b"
    return text + (f", contention {curve.contention:.2g}" if curve.contention >= 0.005 else "")


def inputs_text(demand: Demand, curve: Curve | None, replicas: int, ready: int) -> str:
    return "; ".join(
        (
            f"arriving {rate(demand.arrivals_per_second)}",
            f"wanted {rate(demand.wanted_per_second)}",
            f"p99 {duration(demand.p99_us)}",
            f"mean {duration(demand.mean_us)}",
            f"in flight {two_digits(demand.in_flight):g}",
            f"failing {rate(demand.failures_per_second)}" if demand.failures_per_second else "failing 0",
            f"ready {ready}/{replicas}",
            curve_text(curve) if curve else "service time not learned yet",
        )
    )


def predicted_text(option: Option) -> str:
    return (
        f"p99 {duration(option.p99_us)}, capacity {rate(option.capacity_per_second * option.replicas)} "
        f"on {option.replicas} replica(s), {option.cost_per_hour:.4g} per hour"
    )


def alternative(option: Option, verdict: str) -> Alternative:
    return Alternative(
        settings=option.settings,
        replicas=option.replicas,
        latency_p99=duration(option.p99_us),
        capacity=rate(option.capacity_per_second * option.replicas),
        cost_per_hour=f"{option.cost_per_hour:.4g}",
        verdict=verdict[:128],
    )


def record(
    now_seconds: float,
    action: Action,
    reason: str,
    message: str,
    *,
    inputs: str = "",
    predicted: str = "",
    replicas: int = 0,
    settings: BatchSettings | None = None,
    alternatives: Sequence[Alternative] = (),
) -> DecisionRecord:
    return DecisionRecord(
        time=rfc3339(now_seconds),
        action=action,
        reason=reason,
        message=message[:1024],
        inputs=inputs[:512],
        predicted=predicted[:256],
        replicas=replicas,
        settings=settings,
        alternatives=list(alternatives)[:5],
    )


def with_records(ledger: Sequence[DecisionRecord], new: Sequence[DecisionRecord]) -> list[DecisionRecord]:
    """The ledger, newest first and bounded; holding for the reason of the newest line again is no news."""
    result = list(ledger)
    for entry in new:
        if (
            entry.action is Action.HOLD
            and result
            and (result[0].action, result[0].reason) == (entry.action, entry.reason)
        ):
            continue
        result.insert(0, entry)
    return result[:MAX_DECISIONS]
