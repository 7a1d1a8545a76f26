"""What the last look at the samples says, and for how long."""

import json

import pytest
from throughline.api.base import Condition, ConditionStatus
from throughline.api.monitoring import Monitoring
from throughline.api.status import MonitoringStatus
from throughline.domain.evaluation.attempt import JobView, Words
from throughline.domain.evaluation.monitoring import condition, found, kept_from, with_servers
from throughline.domain.times import unix_seconds

from tests.domain.pods import pod

DONE = "2026-01-01T12:01:00Z"
EVERY_TEN = "*/10 * * * *"


def job(ended: str = "Complete") -> JobView:
    return JobView("m-monitoring-1", "uid", 1, ended, "BackoffLimitExceeded", "what Kubernetes says")


def words(outcome: str | None, message: str = "x0: drifted") -> Words | None:
    return Words.parse(json.dumps({"exitCode": 0, "outcome": outcome, "message": message, "rows": 7}))


@pytest.mark.parametrize(
    ("ended", "said", "status", "reason", "message"),
    [
        ("Complete", words("Passed"), "True", "WithinBounds", "x0"),
        ("Complete", words("Failed"), "False", "Drifted", "x0: drifted"),
        ("Complete", words("Unknown"), "Unknown", "NotEnoughRows", "x0"),
        ("Complete", words(None, "no such file"), "Unknown", "CheckFailed", "no such file"),
        ("Failed", words(None, "the store does not answer"), "Unknown", "CheckFailed", "the store does not answer"),
        ("Failed", None, "Unknown", "CheckFailed", "what Kubernetes says"),
    ],
)
def test_what_a_look_says(ended: str, said: Words | None, status: str, reason: str, message: str) -> None:
    last = found(job(ended), DONE, said)
    update = condition(last, EVERY_TEN, unix_seconds(DONE) + 60)
    assert (update.status, update.reason) == (ConditionStatus(status), reason)
    assert message in update.message


def test_what_is_old_is_not_held_to_be_so() -> None:
    last = found(job(), DONE, words("Passed"))
    then = unix_seconds(DONE)
    assert condition(last, EVERY_TEN, then + 3600).reason == "WithinBounds"
    assert condition(last, EVERY_TEN, then + 3600 + 1200).reason == "Stale"
    assert condition(last, "0 0 * * *", then + 24 * 3600).reason == "WithinBounds"
    assert condition(None, EVERY_TEN, then).reason == "NotLookedAt"


def test_a_stored_reason_may_have_its_former_name() -> None:
    last = found(job("Failed"), DONE, None).model_copy(update={"reason": "LookFailed"})
    update = condition(last, EVERY_TEN, unix_seconds(DONE) + 60)
    assert (update.status, update.reason) == (ConditionStatus.UNKNOWN, "CheckFailed")


def test_only_the_message_is_cut() -> None:
    last = found(job(), DONE, words("Failed", "a" * 5000))
    assert len(last.message) == 2048
    assert MonitoringStatus.model_validate(last.to_wire()) == last


MONITORING = Monitoring.model_validate(
    {
        "sampling": {
            "oneIn": 1, "fields": [{"name": "X"}], "salt": {"name": "s"}, "retentionMinutes": 1,
            "storage": {"claimName": "c"},
            "governance": {
                "owner": "o", "purpose": "p", "legalBasis": "NotPersonalData", "regions": ["eu"], "retentionDays": 1,
            },
        }
    }
)  # fmt: skip
LOOKED = condition(found(job(), DONE, words("Passed")), EVERY_TEN, unix_seconds(DONE))


@pytest.mark.parametrize(
    ("versions", "status", "reason", "message"),
    [
        (["2.58.0", "2.60.0dev"], "True", "WithinBounds", "x0"),
        (["2.57.0", "2.51.0"], "Unknown", "ServerTooOld", "nothing is sampled: Triton 2.51.0, 2.57.0 is older than"),
        (["2.57.0", "2.58.0"], "True", "WithinBounds", "1 of 2 servers are not sampled: Triton 2.57.0"),
        (["2.57.0", None], "Unknown", "ServerTooOld", "the last look: x0"),
        ([None], "True", "WithinBounds", "x0"),
        ([], "True", "WithinBounds", "x0"),
    ],
)
def test_servers_too_old_to_be_sampled(versions: list[str | None], status: str, reason: str, message: str) -> None:
    pods = [pod(f"p{i}", server_version=version) for i, version in enumerate(versions)]
    update = with_servers(LOOKED, MONITORING, pods, None)
    assert (update.status, update.reason) == (ConditionStatus(status), reason)
    assert message in update.message


def test_what_was_said_of_old_servers_stands_until_one_says_its_version() -> None:
    said = with_servers(LOOKED, MONITORING, [pod("p", server_version="2.51.0")], None)
    before = Condition(
        type=said.type, status=said.status, reason=said.reason, message=said.message, last_transition_time=DONE
    )
    assert with_servers(LOOKED, MONITORING, [pod("p")], before) == said
    assert with_servers(LOOKED, MONITORING, [pod("p", server_version="2.58.0")], before) == LOOKED
    assert with_servers(LOOKED, None, [pod("p")], before) == LOOKED
    missing = kept_from("SaltMissing", "no salt")
    assert with_servers(missing, MONITORING, [pod("p", server_version="2.51.0")], before) == missing
