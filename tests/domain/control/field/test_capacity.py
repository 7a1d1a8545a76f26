"""What runs is not what is free: the loop where nodes are closed, misreport, or pods are refused (K1, K2, K3)."""

import dataclasses

import pytest
from test_pools import Pools, pool
from throughline.api.base import ConditionStatus
from throughline.api.batching import Batching
from world import World, linear

SLO_MS = 4000
CLOSED = "nodes a, b are cordoned: `kubectl uncordon a b` opens them"
DOUBTFUL = "node a reports less nvidia.com/gpu than the pods there hold, so how many replicas fit is not known"
UNBATCHED = {"maxBatchSize": 1, "maxQueueDelayMicroseconds": 0, "instances": 1}


def serving(rate, **scaling):
    """A model that takes 400 ms: one replica carries less than 2.5 a second."""
    document = {
        "model": {"storage": {"uri": "pvc://models/m"}, "backend": "python"},
        "slo": {"latencyP99Milliseconds": SLO_MS},
        "placement": {"pools": [{"name": "gpu"}]},
        "scaling": {"maxReplicas": 10, "scaleDownStabilizationSeconds": 60, **scaling},
        "batching": {"mode": "Fixed", "fixed": UNBATCHED},
    }
    return World(linear(0, 400), rate, spec=document)


def reasons(world):
    return [reason for _, reason, _ in world.ledger()]


@pytest.mark.parametrize("said", [0, 1, 3])
def test_replicas_that_serve_stay_whatever_the_pool_is_said_to_hold(said):
    """K1: all nodes cordoned, counted as no room at all."""
    world = serving(9.0)
    world.run(900)
    before = world.replicas
    assert before >= 4
    world.pool_replicas, world.closed = said, CLOSED
    world.run(300)
    assert world.replicas == before
    assert world.p99_ms(240) < SLO_MS


def test_while_nodes_are_closed_only_growth_is_refused_and_the_condition_says_what_opens_them():
    """K1."""
    world = serving(9.0)
    world.run(300)
    before = world.replicas
    world.pool_replicas, world.closed = before, CLOSED
    world.rate = 3.0 * before  # where one carries 2.5
    world.run(120)
    assert world.replicas == before
    for kind in ("ScalingActive", "SLOMet"):
        condition = world.condition(kind)
        assert condition.reason == "PoolFull"
        assert CLOSED in condition.message
    world.pool_replicas, world.closed = None, ""
    world.run(60)
    assert world.replicas > before


def test_while_nodes_are_closed_replicas_go_when_the_demand_needs_fewer():
    """K1: the demand says so, not the room."""
    world = serving(9.0)
    world.run(300)
    before = world.replicas
    world.pool_replicas, world.closed = 0, CLOSED
    world.rate = 3.0
    world.run(400)
    assert 2 <= world.replicas < before
    assert "ExcessCapacity" in reasons(world)
    assert world.p99_ms(120) < SLO_MS


def test_a_pool_of_unknown_capacity_is_told_of_and_nothing_is_done_about_it():
    """K2."""
    world = serving(9.0)
    world.run(900)
    before = world.replicas
    world.pool_replicas, world.doubtful = None, DOUBTFUL
    world.run(200)
    assert world.replicas == before
    condition = world.condition("ScalingActive")
    assert (condition.status, condition.reason) == (ConditionStatus.UNKNOWN, "CapacityUnknown")
    assert DOUBTFUL in condition.message
    world.doubtful = ""
    world.run(5)
    assert world.condition("ScalingActive").reason == "Steady"


@pytest.mark.parametrize("said", [0, None])
def test_nobody_is_moved_because_the_nodes_report_less_than_the_pods_hold(said):
    """K2: with strategy Cheapest, and a pool at three times the price."""
    speed = linear(0, 100)
    fixed = Batching.model_validate({"mode": "Fixed", "fixed": UNBATCHED})

    def run(report):
        world = Pools([pool("cheap", 1), pool("dear", 3)], 20.0, speeds={"cheap": speed, "dear": speed})
        world.spec = world.spec.model_copy(update={"batching": fixed})
        world.run(1200)
        before = world.replicas
        world.pools["cheap"] = dataclasses.replace(world.pools["cheap"], **report)
        world.run(400)
        assert world.moves == []
        return before, world.replicas

    before, after = run({"capacity_replicas": said, "doubtful": DOUBTFUL})
    assert before >= 3
    # What is reported to be less refuses growth; what is not known changes nothing.
    assert after == (before if said == 0 else run({})[1])


def test_nobody_is_moved_to_or_from_a_pool_of_unknown_capacity():
    """K2: not for the price either."""
    speed = linear(0, 100)
    for capacities in ((50, None), (None, 50)):
        pools = [pool("dear", 3, capacities[0]), pool("cheap", 1, capacities[1])]
        world = Pools(pools, 15.0, speeds={"dear": speed, "cheap": speed})
        world.run(700)
        assert world.moves == []


def test_what_a_quota_keeps_out_is_told_of_and_given_back_once_it_is_not_needed():
    """K3: the quota lets two pods in, and more are needed until the load ends."""
    world = serving(6.0)
    world.quota = 2
    world.run(150)
    assert len(world.pods) == 2 < world.replicas
    for kind in ("ScalingActive", "SLOMet"):
        condition = world.condition(kind)
        assert condition.reason == "ReplicasBlocked"
        assert "exceeded quota: team" in condition.message
        assert "kubectl edit resourcequota team" in condition.message
    world.rate = 1.0
    world.run(400)
    assert world.replicas <= 2
    assert "NeverStarted" in reasons(world)
    assert world.condition("SLOMet").reason == "WithinSLO"
    assert world.condition("ScalingActive").reason == "Steady"


def test_what_a_quota_keeps_out_stays_ordered_while_it_is_needed():
    """K3: it starts by itself as soon as the quota is raised."""
    world = serving(6.0)
    world.quota = 2
    world.run(150)
    assert "NeverStarted" not in reasons(world)
    world.quota = None
    world.run(150)
    assert len(world.pods) >= 3
    assert world.condition("SLOMet").reason != "ReplicasBlocked"


def test_nothing_is_said_to_drain_while_nothing_does():
    """K3: requests queue up at the two pods that the quota lets in."""
    world = serving(6.0)
    world.quota = 2
    said = set()
    for _ in range(30):
        world.run(5)
        said.add(world.condition("SLOMet").reason)
    assert "Draining" not in said
