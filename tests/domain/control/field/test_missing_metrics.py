"""What is not measured is unknown: replicas and settings are held, and nothing is taken for zero (K12)."""

import dataclasses

import pytest
from throughline.domain.control.loop import decide
from throughline.domain.control.observe.demand import measure
from throughline.domain.control.state import ControllerState
from throughline.domain.observed import Unavailable
from views import metrics, pod, view
from world import World, linear

SLOW = linear(10, 20, contention=1.0)


@pytest.fixture(scope="module")
def busy():
    """Several replicas that are all needed."""
    world = World(SLOW, 133)
    world.run(180)
    assert world.replicas >= 3
    return world


def passes(world, blind, seconds=400.0):
    """Decide on views that `blind` has changed, for longer than the stabilisation window; nothing is applied."""
    seen, state, status, decisions = blind(world.view()), world.state, world.status, []
    for _ in range(int(seconds / 10)):
        decision, state = decide(dataclasses.replace(seen, status=status), state)
        decisions.append(decision)
        seen = dataclasses.replace(seen, now_seconds=seen.now_seconds + 10)
        status = status.model_copy(update={"control": decision.control})
    return decisions


def without_traffic(seen):
    """As Triton shows a model that nobody calls: rates of 0, and a summary of NaN, which is read as no p99."""
    quiet = dataclasses.replace(metrics(0.0), p99_us=None)
    return dataclasses.replace(seen, pods=tuple(dataclasses.replace(p, metrics=quiet) for p in seen.pods))


def one_pod_without(seen):
    first, *others = seen.pods
    return dataclasses.replace(seen, pods=(dataclasses.replace(first, metrics=None, ready_seconds=600.0), *others))


def failed_queries(seen):
    return dataclasses.replace(seen, metrics_unavailable=Unavailable("PrometheusQueryFailed", "HTTP status 503"))


def test_nan_without_traffic_is_no_latency_of_zero():
    """K12: neither within the SLO nor beyond it, and no settings are judged by it."""
    demand = measure(without_traffic(view(pod("a"), pod("b"))), 100_000)
    assert demand.p99_us is None
    assert demand.mean_us is None
    decision, _ = decide(without_traffic(view(pod("a"), pod("b"))), ControllerState())
    assert next(c for c in decision.conditions if c.type == "SLOMet").reason == "NoTraffic"


def test_one_pod_without_metrics_is_not_taken_for_an_idle_one(busy):
    """K12: what it serves is not known, so no replica is removed for it, however long that lasts."""
    for decision in passes(busy, one_pod_without):
        assert decision.replicas >= busy.replicas
        assert decision.settings == busy.durable


def test_the_rate_of_a_pod_without_metrics_is_left_out_of_the_mean():
    """K12: the load of the other is even, and the missing one is not named as unloaded."""
    demand = measure(view(pod("a", metrics(100.0)), pod("b")), 100_000)
    assert (demand.requests_per_second, demand.skew, demand.unloaded) == (100.0, 1.0, ())


def test_failed_queries_hold_replicas_and_settings(busy):
    """K12: nothing is known, so nothing is changed, however long that lasts."""
    for decision in passes(busy, failed_queries):
        assert (decision.replicas, decision.settings) == (busy.replicas, busy.durable)
        assert next(c for c in decision.conditions if c.type == "SLOMet").status == "Unknown"
