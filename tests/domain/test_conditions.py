import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import throughline
from hypothesis import given
from hypothesis import strategies as st
from throughline.api.base import Condition, ConditionStatus
from throughline.domain import condition_reasons, workload_conditions
from throughline.domain.conditions import (
    ACCEPTED,
    MODEL_READY,
    READY,
    RECONCILING,
    STALLED,
    TYPES,
    WORKLOAD_READY,
    Nature,
    describe,
    describe_pool,
    merge,
    resolve,
    summary,
)
from throughline.domain.decision import ConditionUpdate
from throughline.domain.evaluation.reasons import describe_revision, describe_run

from tests.domain.pods import pod, view

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"


def update(type_: str, status: ConditionStatus, reason: str = "R", message: str = "m") -> ConditionUpdate:
    return ConditionUpdate(type_, status, reason, message)


def test_all_conditions_are_there_from_the_first_visit():
    conditions = merge([], [], 1, NOW)
    assert [c.type for c in conditions] == list(TYPES)
    assert {(c.status, c.reason) for c in conditions} == {(UNKNOWN, "NotYetObserved")}


def test_what_did_not_change_is_the_same_object():
    first = merge([], [update("SLOMet", TRUE)], 1, NOW)
    second = merge(first, [update("SLOMet", TRUE)], 1, LATER)
    assert all(a is b for a, b in zip(first, second, strict=True))


def condition(conditions: list[Condition], type_: str) -> Condition:
    return next(c for c in conditions if c.type == type_)


def test_only_a_new_status_has_a_new_time():
    first = merge([], [update("SLOMet", FALSE, "A")], 1, NOW)
    reason = condition(merge(first, [update("SLOMet", FALSE, "B", "n")], 2, LATER), "SLOMet")
    assert (reason.last_transition_time, reason.reason, reason.message, reason.observed_generation) == (
        NOW,
        "B",
        "n",
        2,
    )
    status = condition(merge(first, [update("SLOMet", TRUE)], 1, LATER), "SLOMet")
    assert status.last_transition_time == LATER


def test_silence_is_no_change_and_a_strange_type_is_kept():
    strange = Condition(type="FromALaterVersion", status=TRUE, reason="R", last_transition_time=NOW)
    first = merge([strange], [update("SLOMet", TRUE)], 1, NOW)
    assert merge(first, [], 5, LATER) == first
    assert first[-1] is strange


@given(data=st.data())
def test_merging_is_stable(data: st.DataObject):
    updates = st.builds(
        update,
        st.sampled_from(TYPES),
        st.sampled_from(ConditionStatus),
        st.sampled_from(["A", "B"]),
        st.text(max_size=5),
    )
    some = data.draw(st.lists(updates, unique_by=lambda u: u.type))
    once = merge([], some, 3, NOW)
    again = merge(data.draw(st.permutations(once)), data.draw(st.permutations(some)), 3, LATER)
    assert again == once
    assert [c.type for c in again] == list(TYPES)


def served(**others: ConditionStatus) -> list[Condition]:
    statuses = {ACCEPTED: TRUE, WORKLOAD_READY: TRUE, MODEL_READY: TRUE, **others}
    return merge([], [update(t, s) for t, s in statuses.items()], 1, NOW)


@pytest.mark.parametrize("type_", ["MetricsAvailable", "SLOMet", "ScalingActive", "BatchTuned", "LoadBalanced"])
@pytest.mark.parametrize("status", [FALSE, UNKNOWN])
def test_ready_is_about_serving_alone(type_: str, status: ConditionStatus):
    ready, reconciling, stalled = summary(served(**{type_: status}))
    assert (ready.status, reconciling.status, stalled.status) == (TRUE, FALSE, FALSE)


@pytest.mark.parametrize("type_", [ACCEPTED, WORKLOAD_READY, MODEL_READY])
def test_ready_needs_all_of_serving(type_: str):
    assert summary(served(**{type_: FALSE}))[0].status == FALSE
    ready, reconciling, _ = summary(served(**{type_: UNKNOWN}))
    assert (ready.status, reconciling.status) == (UNKNOWN, TRUE)


def test_the_summary_of_nothing_is_in_progress():
    assert [(u.type, u.status) for u in summary([])] == [(READY, UNKNOWN), (RECONCILING, TRUE), (STALLED, FALSE)]


def test_resolve_merges_the_summary_too_and_comes_to_rest():
    updates = workload_conditions.workload_conditions(view(pod()), None)
    first = resolve([], updates, 2, NOW)
    assert condition(first, READY).status == TRUE
    assert [c.type for c in first] == list(TYPES)
    second = resolve(first, updates, 2, LATER)
    assert all(a is b for a, b in zip(first, second, strict=True))


def test_the_table_has_each_line_once_and_every_fault_a_way_out():
    assert {line.type for line in describe()} == set(TYPES)
    lines = describe()
    assert len({(line.type, line.reason) for line in lines}) == len(lines)
    assert [TYPES.index(line.type) for line in lines] == sorted(TYPES.index(line.type) for line in lines)
    for line in (*lines, *describe_pool(), *describe_run(), *describe_revision()):
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]*", line.reason)
        assert line.meaning.endswith(".")
        assert line.action.endswith(".")
        if line.nature in {Nature.USER, Nature.FAULT}:
            assert line.action != "Nothing."


def test_what_to_do_about_a_run_or_a_revision_names_a_command_a_field_or_the_message():
    where = re.compile(r"`|\bspec\.|settings\.|docs/|message")
    acted_on = [m for m in (*describe_run(), *describe_revision()) if m.nature in {Nature.USER, Nature.FAULT}]
    assert [f"{m.reason}: {m.action}" for m in acted_on if not where.search(m.action)] == []
    again = [m.action for m in (*describe(), *acted_on) if "runs it again" in m.action]
    assert again
    assert all("`kubectl delete trun RUN -n NAMESPACE`" in action for action in again)


# Every CamelCase word in the modules that speak of conditions is a type or a reason of the table, or is one of these:
# reasons of the kubelet, and words of the domain that only look like a reason.
SOURCE = Path(throughline.__file__).parent
SPEAKERS = (
    "domain/absent_pods.py",
    "domain/refusals.py",
    "domain/workload_conditions.py",
    "domain/placement.py",
    "domain/control/explain/conditions.py",
    "domain/control/explain/failing.py",
    "domain/control/observe/series.py",
)
KUBELET = workload_conditions.PULL_REASONS | workload_conditions.CONFIG_REASONS | workload_conditions.CRASH_REASONS
OTHERS = KUBELET | {"Triton", "Insufficient", "Evicted", "UnexpectedAdmissionError", "NodeAffinity"}
CAMEL = re.compile(r"[A-Z][a-z]+[A-Za-z]*|SLO[A-Z][a-z]+")


def camel_case_words(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CAMEL.fullmatch(node.value):
            yield node.value


def literals(call: str, position: int) -> Iterator[str]:
    """The constant at `position` of every call of `call`, anywhere in the code."""
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == call:
                values = [*node.args[position : position + 1], *(k.value for k in node.keywords if k.arg == "reason")]
                yield from (str(v.value) for v in values if isinstance(v, ast.Constant))


def test_every_reason_that_the_code_can_give_is_in_the_table():
    explain = "domain/reasons must explain these"
    reasons = {line.reason for line in describe()} | set(TYPES)
    for speaker in SPEAKERS:
        words = set(camel_case_words(SOURCE / speaker))
        assert words, speaker
        assert not words - reasons - OTHERS, f"{speaker}: {explain}"
    others = {line.reason for line in (*describe_pool(), *describe_run(), *describe_revision())}
    assert not set(literals("ConditionUpdate", 2)) - reasons - others, explain
    assert not set(literals("Finding", 1)) - {line.reason for line in describe_revision()} - reasons, explain
    given_ = set(literals("Step", 2))
    assert given_
    assert not given_ - {line.reason for line in describe_run()}, explain
    for call, type_ in (("Unavailable", "MetricsAvailable"), ("Refusal", ACCEPTED)):
        given_ = set(literals(call, 0))
        assert given_, call
        assert not {r for r in given_ if not condition_reasons.known(type_, r)}, f"{type_}: {explain}"
