"""The gauge of conditions: a number for what is known, and nothing for what is not, or is no more."""

from __future__ import annotations

from throughline.api.base import Condition, ConditionStatus
from throughline.runtime.metrics import Metrics

KEY = ("default", "m")


def told(**statuses: ConditionStatus) -> list[Condition]:
    return [
        Condition(
            type=t,
            status=s,
            reason="Any",
            message="",
            last_transition_time="2026-11-29T08:00:00Z",
            observed_generation=1,
        )
        for t, s in statuses.items()
    ]


def shown(metrics: Metrics) -> dict[str, float]:
    (family,) = [f for f in metrics.registry.collect() if f.name == "throughline_inferenceservice_condition"]
    return {s.labels["type"]: s.value for s in family.samples}


def test_unknown_and_gone_have_no_number() -> None:
    metrics = Metrics()
    metrics.observed(
        KEY, told(Ready=ConditionStatus.TRUE, SLOMet=ConditionStatus.FALSE, BatchTuned=ConditionStatus.TRUE)
    )
    assert shown(metrics) == {"Ready": 1.0, "SLOMet": 0.0}
    metrics.observed(KEY, told(SLOMet=ConditionStatus.UNKNOWN))
    metrics.observed(KEY, told(SLOMet=ConditionStatus.UNKNOWN))
    assert shown(metrics) == {"Ready": 1.0}
    metrics.forgotten(KEY)
    metrics.forgotten(KEY)
    assert shown(metrics) == {}
