"""The loop in a small world of virtual time: it must find, hold, explain and take back."""

import dataclasses
import random

import pytest
from throughline.api.batching import BatchSettings
from throughline.api.status import InferenceServiceStatus
from throughline.domain.control.loop import decide
from throughline.domain.control.state import ControllerState
from throughline.domain.observed import Unavailable
from world import World, linear

# The models of the tour, ten times slower: the same behaviour at a tenth of the events.
BATCHES_WELL = linear(40, 2)
ONE_AT_A_TIME = linear(10, 20, contention=1.0)


def settle(world, seconds=180):
    world.run(seconds)
    return world


# ---------------------------------------------------------------- it finds the settings


def test_four_times_what_one_unbatched_instance_carries_is_met_by_batching_alone():
    world = settle(World(BATCHES_WELL, 95))
    assert world.replicas == 1
    assert world.durable.max_batch_size >= 16
    assert world.p99_ms(30) < 1000
    assert world.condition("SLOMet").reason == "WithinSLO"


def test_ten_times_as_much_is_met_within_three_minutes():
    world = settle(World(BATCHES_WELL, 95))
    world.rate = 238
    world.run(180)
    assert world.p99_ms(30) < 1000
    assert world.replicas <= 2


def test_where_batching_hardly_helps_replicas_do_it():
    world = settle(World(ONE_AT_A_TIME, 133), 210)  # the first pod serves the queue of the first minute alone
    assert world.replicas >= 4
    assert world.durable.instances == 1
    assert world.p99_ms(30) < 1000


def test_load_that_falls_to_a_tenth_brings_replicas_back_without_a_violation():
    world = settle(World(ONE_AT_A_TIME, 133))
    before = world.replicas
    world.rate = 13
    fell = world.now + 10  # what was in flight then belongs to the load before
    world.run(400)
    assert world.replicas < before / 2
    late = sorted(lat for t, lat in world.latencies if t > fell)
    assert late[int(0.99 * len(late))] < 1_000_000


def test_what_is_learned_is_the_models_cost():
    world = settle(World(BATCHES_WELL, 95))
    known = world.status.control.service_time
    assert known.alpha_microseconds == pytest.approx(40_000, rel=0.1)
    assert known.beta_microseconds == pytest.approx(2000, rel=0.15)


def test_contention_is_learned_and_a_second_instance_is_given_up():
    world = settle(World(linear(40, 2, contention=1.0), 150), 300)
    assert world.durable.instances == 1
    assert world.p99_ms(30) < 1000


# ---------------------------------------------------------------- it holds


def test_a_steady_service_is_left_alone():
    world = settle(World(BATCHES_WELL, 95), 300)
    changes = len(world.changes)
    world.run(600)
    assert len(world.changes) == changes


def test_a_steady_service_writes_next_to_nothing():
    world = settle(World(BATCHES_WELL, 95), 300)
    written = 0
    for _ in range(60):
        before = world.status
        world.run(10, interval=10)
        written += world.status != before
    assert written <= 4


def test_the_latency_of_a_load_that_is_gone_is_no_error_of_the_prediction():
    """The summary looks back a minute; the rate is of now."""
    world = settle(World(BATCHES_WELL, 200, slo_ms=200, minReplicas=1, maxReplicas=1), 400)
    before = world.state.estimated.bias
    assert before.own
    world.rate = 20
    world.run(120)
    after = world.state.estimated.bias
    assert all(after.of(own.settings) < 1.05 * before.of(own.settings) for own in after.own)


def test_an_idle_service_shows_no_latency_of_the_operators_own_probe():
    world = World(BATCHES_WELL, 0)
    world.run(10)
    world.pods[0].log.append((world.now - 30, 27_000.0, 1_000.0, 25_000.0, True))
    world.run(5)
    with_probe = world.status
    world.run(60)
    assert not world.pods[0].log  # the summary has forgotten it
    assert world.status == with_probe


def test_an_idle_service_has_the_same_decision_every_time():
    world = settle(World(BATCHES_WELL, 0), 60)
    before = (world.status, world.decision.conditions)
    world.run(120)
    assert (world.status, world.decision.conditions) == before
    assert world.condition("SLOMet").reason == "NoTraffic"


def test_without_metrics_everything_is_held_and_said():
    world = settle(World(ONE_AT_A_TIME, 133))
    replicas, settings = world.replicas, world.durable
    world.unavailable = Unavailable("PrometheusUnreachable", "cannot connect")
    world.rate = 0
    world.run(400)
    assert (world.replicas, world.durable) == (replicas, settings)
    assert world.condition("MetricsAvailable").reason == "PrometheusUnreachable"
    assert world.condition("SLOMet").status == "Unknown"
    assert world.condition("ScalingActive").status == "Unknown"
    assert [d.reason for d in world.status.decisions].count("PrometheusUnreachable") == 1


def test_numbers_from_before_prometheus_went_are_not_acted_on():
    world = settle(World(ONE_AT_A_TIME, 133))
    view = dataclasses.replace(world.view(), metrics_unavailable=Unavailable("PrometheusUnreachable", "gone"))
    decision, _ = decide(view, world.state)
    assert next(c for c in decision.conditions if c.type == "SLOMet").status == "Unknown"
    assert decision.slo.throughput == "-"


def test_a_pod_without_metrics_is_not_taken_for_an_idle_one():
    world = settle(World(ONE_AT_A_TIME, 133))
    replicas = world.replicas
    view = world.view()
    bare = tuple(dataclasses.replace(p, metrics=None, ready_seconds=600.0) for p in view.pods)
    decision, _ = decide(dataclasses.replace(view, pods=bare), world.state)
    assert decision.replicas == replicas
    assert next(c for c in decision.conditions if c.type == "MetricsAvailable").reason == "NoSeries"


def test_a_crash_of_the_operator_changes_nothing_that_runs():
    world = settle(World(ONE_AT_A_TIME, 133), 300)
    before = (world.replicas, world.durable)
    world.state = ControllerState()
    world.run(60)
    assert (world.replicas, world.durable) == before


def test_after_a_crash_fewer_replicas_wait_for_a_whole_window():
    world = settle(World(ONE_AT_A_TIME, 133), 300)
    replicas = world.replicas
    world.rate = 10
    world.state = ControllerState()
    world.run(50)
    assert world.replicas == replicas
    world.run(120)
    assert world.replicas < replicas


# ---------------------------------------------------------------- it takes back


def cliff(b, _instances):
    """Past eight items a batch takes ten times as long."""
    return (40_000 + 2000 * b) * (10 if b > 8 else 1)


def test_settings_that_make_it_worse_are_taken_back_and_not_tried_again():
    world = World(cliff, 120, slo_ms=600)
    world.run(420)
    assert world.p99_ms(60) < 600
    assert world.durable.max_batch_size <= 8 or world.replicas > 1


def test_settings_that_triton_refuses_are_taken_back_with_its_own_words():
    world = World(BATCHES_WELL, 95)
    for size in (2, 4, 8):
        for delay in (0, 500, 1000, 2000, 5000, 10000):
            world.refuse.add(BatchSettings(max_batch_size=size, max_queue_delay_microseconds=delay))
    world.run(60)
    rollbacks = [d for d in world.status.decisions if d.action == "Rollback"]
    assert rollbacks
    assert "cannot load" in rollbacks[-1].message
    assert world.status.control.rejected
    assert world.durable.max_batch_size == 1


def test_failures_after_a_change_roll_it_back():
    world = World(BATCHES_WELL, 95)
    world.run(15)
    assert world.status.control.trial is not None
    for pod in world.pods:
        pod.failing = True
    world.run(40)
    assert any(d.action == "Rollback" and "/s fail since the change" in d.message for d in world.status.decisions)


def test_with_peers_new_settings_are_tried_on_one_pod_first():
    world = World(BATCHES_WELL, 30, minReplicas=3, maxReplicas=3)
    world.run(240)
    trials = [d for d in world.status.decisions if d.action == "Trial"]
    assert trials
    assert any(d.reason == "CanaryPassed" for d in world.status.decisions)


def test_a_trial_that_goes_badly_stays_on_its_one_pod():
    world = World(cliff, 30, minReplicas=3, maxReplicas=3, slo_ms=600)
    world.run(200)
    world.rate = 60
    for _ in range(60):
        world.run(5)
        odd = [p for p in world.pods if p.settings != world.durable]
        assert len(odd) <= 1
    assert world.p99_ms(60) < 600


# ---------------------------------------------------------------- it explains


def test_a_pool_that_is_full_is_named_with_what_would_be_needed():
    world = settle(World(ONE_AT_A_TIME, 133, pool_replicas=2))
    assert world.replicas == 2
    condition = world.condition("ScalingActive")
    assert condition.reason == "PoolFull"
    assert "can hold 2" in condition.message
    assert "add nodes to it or list another pool in spec.placement.pools" in condition.message


def test_a_bound_that_is_too_low_is_named_with_what_would_be_needed():
    world = settle(World(ONE_AT_A_TIME, 133, maxReplicas=2))
    assert world.replicas == 2
    scaling, slo = world.condition("ScalingActive"), world.condition("SLOMet")
    assert (scaling.reason, slo.reason) == ("AtMaxReplicas", "AtMaxReplicas")
    assert scaling.message == slo.message
    assert "; see with `throughline explain m -n ns` what makes it slow" in scaling.message


def test_an_slo_that_nothing_can_meet_is_named_and_does_not_buy_replicas():
    world = settle(World(linear(80, 1), 10, slo_ms=40))
    condition = world.condition("SLOMet")
    assert condition.reason == "SLOInfeasible"
    assert "spec.slo.latencyP99Milliseconds" in condition.message
    assert world.replicas <= 2


def test_a_replica_that_the_load_does_not_reach_is_named():
    world = World(BATCHES_WELL, 30, minReplicas=3, maxReplicas=3)
    world.run(30)
    world.pods[2].weight = 0.0
    world.run(120)
    condition = world.condition("LoadBalanced")
    assert condition.reason == "ReplicaWithoutLoad"
    assert world.pods[2].name in condition.message


def test_each_decision_says_what_it_was_made_from_and_what_was_weighed():
    world = settle(World(BATCHES_WELL, 95))
    batch = next(d for d in world.status.decisions if d.action == "Batch" and d.reason == "BetterSettings")
    assert "arriving" in batch.inputs
    assert "p99" in batch.predicted
    assert batch.alternatives[0].verdict == "chosen"
    assert any(a.verdict == "in force" for a in batch.alternatives)


def test_the_ledger_is_bounded():
    world = World(ONE_AT_A_TIME, lambda t: 133 if int(t / 90) % 2 else 100)
    world.run(2000, interval=10)
    assert len(world.status.decisions) <= 20
    InferenceServiceStatus.model_validate(world.status.to_wire())


# ---------------------------------------------------------------- what no setting explains


def spiky(share, factor):
    """A model that now and then takes `factor` times as long, for reasons of its own."""
    rng = random.Random(5)
    return lambda b, _instances: (40_000 + 2000 * b) * (factor if rng.random() < share else 1)


def test_latency_that_no_prediction_explains_is_answered_within_bounds_and_never_ignored():
    world = World(spiky(0.02, 40), 60, minReplicas=2, maxReplicas=5)
    world.run(300)
    reasons = set()
    for _ in range(30):
        world.run(10)
        reasons.add(world.condition("SLOMet").reason)
        assert world.condition("SLOMet").status == "False"
    assert reasons & {"NoEffectiveAction", "AtMaxReplicas"}
    changes = len(world.changes)
    world.run(300)
    assert len(world.changes) - changes <= 6


def test_a_server_slower_than_predicted_gets_more_room_by_the_measured_error():
    world = settle(World(BATCHES_WELL, 200, slo_ms=400), 300)
    plain = world.replicas
    slow = settle(World(spiky(0.05, 4), 200, slo_ms=400), 500)
    assert slow.replicas >= plain
    assert slow.state.estimated.learned.error_permille > world.state.estimated.learned.error_permille


def test_latency_that_load_does_not_cause_buys_no_replicas():
    """At a hundredth of what one replica carries, a tail of its own is not a reason to double again and again."""
    world = World(spiky(0.03, 12), 2, minReplicas=2, maxReplicas=10, slo_ms=200)
    world.run(900)
    assert world.replicas == 2
    assert world.condition("SLOMet").status == "False"
