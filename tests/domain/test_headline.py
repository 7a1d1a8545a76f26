from __future__ import annotations

import pytest
from throughline.api.base import Condition, ConditionStatus
from throughline.api.crd import INFERENCE_SERVICE
from throughline.domain.conditions import (
    BATCH_TUNED,
    LOAD_BALANCED,
    METRICS_AVAILABLE,
    READY,
    SLO_MET,
    Nature,
    describe,
    headline,
)


def condition(type_: str, status: str, reason: str) -> Condition:
    return Condition(
        type=type_, status=ConditionStatus(status), reason=reason, last_transition_time="2026-01-01T00:00:00Z"
    )


def reason_of(type_: str, nature: Nature) -> str:
    return next(line.reason for line in describe() if line.type == type_ and line.nature is nature)


SERVING = condition(READY, "True", "Serving")
MISSED = condition(SLO_MET, "False", "LatencyAboveTarget")
LOST = condition(METRICS_AVAILABLE, "False", reason_of(METRICS_AVAILABLE, Nature.FAULT))
TRYING = condition(BATCH_TUNED, "False", reason_of(BATCH_TUNED, Nature.PROGRESS))


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [
        ([], ""),
        ([SERVING], "Serving"),
        ([condition(READY, "False", "CrashLooping"), MISSED], "CrashLooping"),
        ([condition(READY, "Unknown", "NotYetObserved"), MISSED], "NotYetObserved"),
        ([SERVING, LOST, MISSED], "LatencyAboveTarget"),
        ([SERVING, condition(SLO_MET, "True", "WithinTarget"), LOST], LOST.reason),
        ([SERVING, condition(SLO_MET, "Unknown", "NoTraffic"), TRYING], "Serving"),
        ([SERVING, condition(LOAD_BALANCED, "True", "Balanced")], "Serving"),
    ],
)
def test_headline(conditions: list[Condition], reason: str) -> None:
    shown = headline(conditions)
    assert (shown.reason if shown else "") == reason


def test_reason_and_message_of_a_line_are_of_one_condition() -> None:
    missed = MISSED.model_copy(update={"message": "p99 is above the SLO"})
    serving = SERVING.model_copy(update={"message": "2 pods serving"})
    shown = headline([serving, missed])
    assert shown is not None
    assert (shown.reason, shown.message) == ("LatencyAboveTarget", "p99 is above the SLO")
    columns = {c["name"]: c["jsonPath"] for c in INFERENCE_SERVICE.columns}
    assert (columns["Reason"], columns["Message"]) == (".status.reason", ".status.message")
