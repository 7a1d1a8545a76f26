"""Closed-loop clients: the settings that serve them best are found, and kept."""

import pytest
from closed_loop_world import ClosedLoopWorld, Server, throughput
from throughline.api.batching import BatchSettings
from throughline.api.inferenceservice import InferenceServiceSpec

# The models of the tour as their servers run them: handing a batch over and back takes more than a millisecond.
SERIAL = Server(1000, 2000, parallel=1, host=1200, host_item=100, gap=300, back=2500)
BATCHES = Server(4000, 200, parallel=2, host=700, host_item=30, gap=300, back=1000)
SWEPT = ((1, 0, 2), (8, 0, 1), (8, 0, 2), (32, 0, 1), (32, 0, 2), (32, 500, 2), (64, 0, 1), (64, 0, 2))
CLIENTS = 64


def spec(replicas, most, slo_ms=100):
    return {
        "model": {"storage": {"uri": "pvc://models/m"}, "backend": "python"},
        "slo": {"latencyP99Milliseconds": slo_ms},
        "placement": {"pools": [{"name": "gpu"}]},
        "scaling": {"minReplicas": replicas, "maxReplicas": most, "scaleDownStabilizationSeconds": 60},
        "batching": {"instances": {"min": 1, "max": 2}},
    }


def share_of_the_best(world):
    """Throughput with the settings in force over that with the best of the sweep, on as many replicas."""
    swept = {
        s: throughput(world.server, s, world.replicas, CLIENTS, seconds=8.0)
        for s in {
            world.durable,
            *(BatchSettings(max_batch_size=b, max_queue_delay_microseconds=d, instances=k) for b, d, k in SWEPT),
        }
    }
    return swept[world.durable] / max(swept.values())


@pytest.mark.parametrize("seed", [1, 4])
def test_on_a_device_that_runs_one_at_a_time_they_get_what_can_be_had(seed):
    """What was learned under overload, with batches four times as large, is that instances get in each other's way."""
    world = ClosedLoopWorld(SERIAL, 1333, most=96, spec=spec(1, 8), seed=seed, start_seconds=3.0)
    world.run(60)
    world.rate = 0
    world.spec = InferenceServiceSpec.model_validate(spec(8, 8))
    world.set_clients(CLIENTS)
    world.run(120)
    assert world.replicas == 8
    assert world.durable.instances == 2
    assert share_of_the_best(world) >= 0.95


def test_on_one_that_runs_two_they_do_so_too_and_stay():
    world = ClosedLoopWorld(BATCHES.slower(4), clients=CLIENTS, spec=spec(1, 1, 400), start_seconds=3.0)
    world.run(240)
    changes = len(world.changes)
    assert share_of_the_best(world) >= 0.95
    world.run(300)
    assert len(world.changes) == changes
    assert world.state.estimated.closed_loop.clients_in_flight > 0


def test_after_open_loop_arrivals_they_get_it_without_another_replica():
    """Larger batches carry more open-loop arrivals; smaller ones serve closed-loop clients better."""
    world = ClosedLoopWorld(BATCHES.slower(4), 600, most=384, spec=spec(1, 8, 400), seed=2, start_seconds=3.0)
    world.run(150)
    world.rate = 60
    world.run(120)
    assert (world.durable.max_batch_size, world.replicas) == (64, 1)
    world.rate = 0
    world.set_clients(CLIENTS)
    world.run(150)
    assert world.durable.max_batch_size < 64
    assert world.replicas == 1
    assert share_of_the_best(world) >= 0.95


def test_an_instance_more_is_not_given_to_a_device_that_one_keeps_busy():
    world = ClosedLoopWorld(Server(1000, 2000, parallel=1, back=500), clients=16, spec=spec(2, 2), start_seconds=3.0)
    world.run(300)
    assert world.durable.instances == 1


def test_they_are_no_longer_taken_for_such_when_they_are_gone():
    world = ClosedLoopWorld(BATCHES.slower(4), clients=CLIENTS, spec=spec(1, 1, 400), start_seconds=3.0)
    world.run(240)
    assert world.state.estimated.closed_loop.clients_in_flight > 0
    world.set_clients(0)
    world.rate = 100
    world.run(40)
    assert world.state.estimated.closed_loop.clients_in_flight == 0


def test_the_gap_between_two_executions_is_learned_while_there_is_enough_to_do():
    world = ClosedLoopWorld(Server(10_000, 2000, parallel=1, gap=3000, back=500), clients=32, spec=spec(1, 1, 400))
    world.run(120)
    assert world.state.estimated.inter_execution_idle_us == pytest.approx(3000, rel=0.3)
    before = world.state.estimated.inter_execution_idle_us
    world.set_clients(0)
    world.rate = 10
    world.run(60)
    world.run(60)
    assert world.state.estimated.inter_execution_idle_us == pytest.approx(before, rel=0.2)
