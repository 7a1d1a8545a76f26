"""One pod fails its requests: it is named and repaired, and neither settings nor the load balancer are blamed."""

from __future__ import annotations

import dataclasses

import pytest
from throughline.api.inferenceservice import SLO, InferenceServiceSpec
from throughline.api.status import ControlStatus, InferenceServiceStatus, ServiceTime, Trial
from throughline.domain.control.act.watch import Outcome, judge
from throughline.domain.control.loop import decide
from throughline.domain.control.observe.counters import Failed
from throughline.domain.control.observe.demand import measure
from throughline.domain.control.observe.observation import teaching
from throughline.domain.control.state import ControllerState
from throughline.domain.times import rfc3339
from views import BATCHED, NOW, UNBATCHED, context_of, metrics, pod, view

DEAD = metrics(0.0, failures=100.0)
QUICK = ServiceTime(alpha_microseconds=4000, beta_microseconds=10, largest_batch=1, executions=1000)


def condition(decision, type_):
    return next(c for c in decision.conditions if c.type == type_)


def with_availability(seen, availability):
    spec = seen.spec.to_wire()
    spec["slo"]["availability"] = availability
    return dataclasses.replace(seen, spec=InferenceServiceSpec.model_validate(spec))


def repaired(seen, decision, *, after):
    """The next view: the status was written, and so much time has passed."""
    status = InferenceServiceStatus(control=decision.control)
    return dataclasses.replace(seen, status=status, now_seconds=seen.now_seconds + after)


def test_the_pod_that_fails_is_named_and_nothing_else_is_blamed():
    decision, _ = decide(view(pod("good", metrics()), pod("dead", DEAD)), ControllerState())
    slo = condition(decision, "SLOMet")
    assert (slo.status, slo.reason) == ("False", "PodFailing")
    assert slo.message.startswith("pod dead fails all of its requests, its peers answer theirs: ")
    assert "kubectl delete pod dead -n ns" in slo.message
    spread = condition(decision, "LoadBalanced")
    assert (spread.status, spread.reason) == ("Unknown", "PodFailing")
    assert (decision.replicas, decision.settings, decision.control.trial) == (2, UNBATCHED, None)


def test_the_only_pod_that_fails_is_named():
    slo = condition(decide(view(pod("dead", DEAD)), ControllerState())[0], "SLOMet")
    assert (slo.status, slo.reason) == ("False", "PodFailing")
    assert "it is the only one" in slo.message


def test_failures_on_every_pod_are_the_models_or_the_clients_and_nothing_is_loaded_again():
    decision, _ = decide(view(pod("a", DEAD), pod("b", DEAD)), ControllerState())
    slo = condition(decision, "SLOMet")
    assert (slo.status, slo.reason) == ("False", "RequestsFailing")
    assert "the model or the requests are at fault" in slo.message
    assert decision.control.repairs == []


HANGS = metrics(0.0, pending=3.0)
SLO_US = 50_000.0


def test_a_pod_that_answers_nothing_is_named_and_the_spread_is_not_blamed():
    decision, _ = decide(view(pod("good", metrics()), pod("hangs", HANGS)), ControllerState())
    slo = condition(decision, "SLOMet")
    assert (slo.status, slo.reason) == ("False", "NoAnswer")
    assert slo.message.startswith("requests wait at pod hangs, and none was answered")
    assert "kubectl delete pod hangs -n ns" in slo.message
    spread = condition(decision, "LoadBalanced")
    assert (spread.status, spread.reason) == ("Unknown", "NoAnswer")
    assert (decision.replicas, decision.settings, decision.control.repairs) == (2, UNBATCHED, [])


def test_where_no_pod_answers_it_is_said_too():
    slo = condition(decide(view(pod("a", HANGS), pod("b", HANGS)), ControllerState())[0], "SLOMet")
    assert (slo.status, slo.reason) == ("False", "NoAnswer")
    assert "requests wait at pod a (as at b), and" in slo.message


@pytest.mark.parametrize(
    "seen",
    [
        view(pod("new", HANGS, ready_seconds=30.0), pod("good", metrics())),  # its first request may take long
        view(pod("quiet", metrics(0.0)), pod("good", metrics())),  # nothing waits
        view(pod("fails", metrics(0.0, failures=0.05, pending=3.0)), pod("good", metrics())),
    ],
)
def test_a_pod_is_not_silent_that_is_new_or_idle_or_fails(seen):
    assert measure(seen, SLO_US).silent_pods == ()


def test_within_an_slo_longer_than_the_window_nothing_is_late_yet():
    seen = view(pod("hangs", HANGS), pod("good", metrics()))
    assert measure(seen, SLO_US).silent_pods == ("hangs",)
    assert measure(seen, 1e6 * seen.metrics_window_seconds).silent_pods == ()


@pytest.mark.parametrize(
    ("availability", "failures", "reason"),
    [
        (None, 0.5, "WithinSLO"),
        (None, 2.0, "PodFailing"),
        ("99.9%", 0.5, "PodFailing"),
        ("90%", 2.0, "WithinSLO"),
        ("100%", 0.2, "WithinSLO"),  # four in the window may be chance
        ("100%", 0.5, "PodFailing"),
    ],
)
def test_more_failures_than_are_allowed_miss_the_slo(availability, failures, reason):
    seen = view(pod("a", metrics(50.0)), pod("b", metrics(50.0, failures=failures)))
    if availability:
        seen = with_availability(seen, availability)
    assert condition(decide(seen, ControllerState())[0], "SLOMet").reason == reason


def test_availability_is_exact_enough():
    allowed = SLO.model_validate({"latencyP99Milliseconds": 1, "availability": "99.95%"}).allowed_failures
    assert allowed == pytest.approx(0.0005)


def test_a_repair_is_written_down_before_it_is_done_and_done_once_in_half_an_hour():
    seen = view(pod("good", metrics()), pod("dead", DEAD), pod("sick", DEAD))
    decision, state = decide(seen, ControllerState())
    assert [r.pod for r in decision.control.repairs] == ["dead"]  # one at a time
    assert decision.reloads == {}
    assert [(r.action, r.reason) for r in decision.records] == [("Repair", "ModelReloaded")]
    seen = repaired(seen, decision, after=5)
    decision, state = decide(seen, state)
    assert decision.reloads == {"dead": rfc3339(NOW)}
    assert decision.records == ()
    seen = repaired(seen, decision, after=115)
    decision, state = decide(seen, state)
    assert decision.reloads == {}
    assert [r.pod for r in decision.control.repairs] == ["dead", "sick"]
    assert "loaded again and that did not help" in condition(decision, "SLOMet").message
    seen = repaired(seen, decision, after=1000)
    decision, state = decide(seen, state)
    assert decision.records == ()
    seen = repaired(seen, decision, after=700)
    decision, state = decide(seen, state)
    assert [r.pod for r in decision.control.repairs] == ["sick", "dead"]


def test_a_repair_that_could_run_out_of_memory_is_not_tried():
    seen = dataclasses.replace(view(pod("good", metrics()), pod("dead", DEAD)), memory_limited=True)
    assert decide(seen, ControllerState())[0].control.repairs == []


def test_a_pod_that_has_just_come_is_not_repaired():
    decision, _ = decide(view(pod("good", metrics()), pod("dead", DEAD, ready_seconds=30.0)), ControllerState())
    assert decision.control.repairs == []


@pytest.mark.parametrize(("failed", "teaches"), [(4, True), (5, False)])
def test_a_few_failures_keep_a_pods_executions_from_teaching_as_they_do_everywhere(failed, teaches):
    seen = context_of(view(pod("a", metrics(1.0), BATCHED), settings=BATCHED)).observation
    _, failing = teaching(seen._replace(failed={"a": Failed(float(failed), 20.0, 10.0)}))
    assert ("a" not in failing) is teaches


def test_settings_are_not_blamed_for_one_pod():
    started = rfc3339(NOW - 120)
    trial = Trial(settings=BATCHED, previous=UNBATCHED, started=started, baseline_mean_microseconds=5000)
    one = view(pod("good", metrics(), BATCHED), pod("dead", DEAD, BATCHED), settings=BATCHED)
    both = view(pod("a", DEAD, BATCHED), pod("b", DEAD, BATCHED), settings=BATCHED)
    for seen, outcome in ((one, Outcome.WATCHING), (both, Outcome.ROLLBACK)):
        assert judge(seen, trial, measure(seen, 100_000.0), 100_000.0).outcome is outcome


def test_no_replica_is_removed_while_requests_fail():
    fixed = {"mode": "Fixed", "fixed": UNBATCHED.to_wire()}
    spec = {**view().spec.to_wire(), "scaling": {"scaleDownStabilizationSeconds": 0}, "batching": fixed}
    seen = dataclasses.replace(
        view(pod("a", metrics(1.0)), pod("b", metrics(1.0)), pod("dead", DEAD)),
        spec=InferenceServiceSpec.model_validate(spec),
        status=InferenceServiceStatus(control=ControlStatus(model_hash="r", service_time=QUICK)),
    )
    assert lowest(seen) == 3
    well = dataclasses.replace(seen, pods=tuple(dataclasses.replace(p, metrics=metrics(1.0)) for p in seen.pods))
    assert lowest(well) < 3, "what is not needed goes where nothing fails"


def lowest(seen):
    state, found = ControllerState(), []
    for _ in range(10):
        decision, state = decide(seen, state)
        found.append(decision.replicas)
        seen = repaired(seen, decision, after=30)
    return min(found)


def test_pods_that_have_just_come_are_no_fault():
    decision, _ = decide(view(pod("new", None, ready_seconds=5.0)), ControllerState())
    assert {c.reason for c in decision.conditions} == {"AwaitingFirstScrape", "AwaitingMetrics"}
    assert {c.status for c in decision.conditions} == {"Unknown"}
