"""The loop within what the user allows: modes, bounds, memory, and what was there before."""

import dataclasses
import itertools

import pytest
from throughline.api.batching import BatchSettings
from throughline.api.status import RejectedSettings
from throughline.domain.control.loop import decide
from throughline.domain.control.state import ControllerState
from throughline.domain.observed import Unavailable
from throughline.domain.times import rfc3339
from world import World, linear

# The models of the tour, ten times slower: the same behaviour at a tenth of the events.
BATCHES_WELL = linear(40, 2)
ONE_AT_A_TIME = linear(10, 20, contention=1.0)


def settle(world, seconds=180):
    world.run(seconds)
    return world


def spec(**changes):
    base = {
        "model": {"storage": {"uri": "pvc://models/m"}, "backend": "python"},
        "slo": {"latencyP99Milliseconds": 1000},
        "placement": {"pools": [{"name": "gpu"}]},
        "scaling": {"maxReplicas": 10, "scaleDownStabilizationSeconds": 60},
        "batching": {"instances": {"min": 1, "max": 2}},
    }
    for key, value in changes.items():
        base[key] = {**base[key], **value}
    return base


def tuned():
    """A service in mode Auto that has found its best settings."""
    world = World(BATCHES_WELL, 95, spec=spec(), window=20.0)
    world.run(400)
    return world


def advising():
    """The spec in mode Recommend."""
    return spec(batching={"mode": "Recommend"}, scaling={"mode": "Recommend"})


def test_mode_recommend_says_and_touches_nothing():
    world = World(BATCHES_WELL, 95, spec=advising())
    world.run(120)
    assert world.durable == BatchSettings(max_batch_size=1)
    assert world.replicas == 1
    assert world.status.batch.recommended.max_batch_size > 1
    assert any(d.action == "Recommend" for d in world.status.decisions)


def test_mode_recommend_says_that_the_settings_in_force_are_the_best():
    """Nobody can tell an empty recommendation from one that has not come yet."""
    world = tuned()
    best = world.durable
    world.spec = world.spec.model_validate(advising())
    world.run(60)
    assert world.durable == best
    assert world.status.batch.recommended == best
    assert world.condition("BatchTuned").status == "True"
    world.unavailable = Unavailable("PrometheusUnreachable", "gone")
    world.run(20)
    assert world.status.batch.recommended == best, "held; BatchTuned says that it is not known now"
    assert world.condition("BatchTuned").status == "Unknown"


def test_mode_recommend_advises_what_is_in_force_where_no_request_comes():
    """The load of the README's tour ends when its only server is killed, right before it asks for advice."""
    world = tuned()
    world.rate = 0
    world.run(60)
    world.spec = world.spec.model_validate(advising())
    world.run(10)
    assert world.condition("SLOMet").reason == "NoTraffic"
    assert world.status.batch.recommended == world.durable


def test_a_recommendation_stands_while_no_request_comes():
    world = World(BATCHES_WELL, 95, spec=advising())
    world.run(120)
    advised = world.status.batch.recommended
    assert advised != world.durable
    world.rate = 0
    for _ in range(80):
        world.run(10)
        assert world.status.batch.recommended == advised
        assert world.condition("BatchTuned").reason == "Recommended"
    assert world.condition("SLOMet").reason == "NoTraffic"
    world.generation += 1
    world.run(10)
    assert world.status.batch.recommended == world.durable, "it was made for another spec"


def test_mode_off_leaves_the_replicas_alone():
    world = World(ONE_AT_A_TIME, 133, spec=spec(scaling={"mode": "Off"}))
    world.run(120)
    assert world.decision.replicas is None
    assert world.replicas == 1


@pytest.mark.parametrize("mode", ["Off", "Recommend"])
def test_replicas_that_were_set_are_obeyed_beyond_the_bounds_once(mode):
    """As kubectl scale, an HPA or KEDA writes them; after that nothing is reported again."""
    world = World(ONE_AT_A_TIME, 20, spec=spec(scaling={"mode": mode, "maxReplicas": 2}))
    world.run(20)
    world.spec = world.spec.model_validate(spec(scaling={"mode": mode, "maxReplicas": 2, "replicas": 3}))
    world.run(30)
    assert world.replicas == 3
    lines = [d for d in world.status.decisions if d.reason == "ReplicasRequested"]
    assert [line.message for line in lines] == ["1 → 3 replicas: spec.scaling.replicas was set"]
    world.spec = world.spec.model_validate(spec(scaling={"mode": mode, "maxReplicas": 2, "replicas": 0}))
    world.run(10)
    assert world.replicas == 0


def test_mode_off_says_where_the_count_comes_from():
    world = World(ONE_AT_A_TIME, 20, spec=spec(scaling={"mode": "Off"}))
    world.run(10)
    assert "kubectl scale tis/" in world.condition("ScalingActive").message
    world.spec = world.spec.model_validate(spec(scaling={"mode": "Off", "replicas": 2}))
    world.run(10)
    assert "spec.scaling.replicas, 2" in world.condition("ScalingActive").message


def test_replicas_that_were_set_have_no_effect_in_mode_auto_and_the_condition_says_so():
    world = World(ONE_AT_A_TIME, 133, spec=spec(scaling={"replicas": 3}))
    world.run(180)
    assert world.replicas not in {1, 3}
    scaling = world.condition("ScalingActive")
    assert scaling.status == "True"
    assert "spec.scaling.replicas: 3 has no effect in mode Auto" in scaling.message


def test_a_new_deployment_starts_with_the_replicas_that_were_set():
    world = World(ONE_AT_A_TIME, 20, spec=spec(scaling={"mode": "Off", "replicas": 4}))
    decision, _ = decide(dataclasses.replace(world.view(), replicas=None), world.state)
    assert decision.replicas == 4


def test_mode_fixed_keeps_the_fixed_settings():
    fixed = {"maxBatchSize": 4, "instances": 1}
    world = World(BATCHES_WELL, 95, spec=spec(batching={"mode": "Fixed", "fixed": fixed}))
    world.run(120)
    assert world.durable.max_batch_size == 4
    assert world.condition("BatchTuned").reason == "Fixed"
    assert world.replicas > 1


def test_bounds_that_are_drawn_in_move_the_settings_and_the_replicas():
    world = settle(World(BATCHES_WELL, 95))
    world.spec = world.spec.model_validate(
        spec(batching={"maxBatchSize": {"min": 1, "max": 4}}, scaling={"minReplicas": 2})
    )
    world.run(30)
    assert world.durable.max_batch_size <= 4
    assert world.replicas >= 2


def test_a_declared_throughput_is_held_ready_without_traffic():
    world = settle(World(ONE_AT_A_TIME, 5, spec=spec(slo={"throughputPerSecond": 120})))
    assert world.replicas >= 3
    added = next(d for d in world.status.decisions if d.reason == "DemandAboveCapacity")
    asked = "target demand 120/s (spec.slo.throughputPerSecond)"
    assert (asked in added.message, asked in added.inputs, "wanted" in added.inputs) == (True, True, False)


@pytest.mark.parametrize(("used", "moved"), [(None, True), (0.2, True), (0.6, False)])
def test_gpu_memory_must_have_room_for_two_models_where_it_is_measured(used, moved):
    world = World(BATCHES_WELL, 95)
    world.run(10)
    world.run(5, deciding=False)
    seen = world.view()
    pods = tuple(
        dataclasses.replace(p, metrics=dataclasses.replace(p.metrics, gpu_memory_used_ratio=used)) for p in seen.pods
    )
    decision, _ = decide(dataclasses.replace(seen, pods=pods), world.state)
    assert (decision.settings != BatchSettings(max_batch_size=1)) is moved


def test_settings_that_were_taken_back_are_not_chosen_again_before_their_time():
    world = World(BATCHES_WELL, 95)
    world.run(15)
    chosen = world.durable
    assert chosen.max_batch_size > 1
    fresh = World(BATCHES_WELL, 95)
    fresh.run(5)
    entry = RejectedSettings(settings=chosen, reason="slow", until=rfc3339(fresh.now + 1000))
    fresh.status = fresh.status.model_copy(
        update={"control": fresh.status.control.model_copy(update={"rejected": [entry]})}
    )
    fresh.run(10)
    assert fresh.durable != chosen
    assert fresh.durable.max_batch_size > 1


@pytest.mark.parametrize(("used", "moved"), [(None, False), (0.3, True), (0.8, False)])
def test_a_reload_is_made_only_where_the_memory_for_two_models_is_known_to_be_there(used, moved):
    world = World(BATCHES_WELL, 95)
    world.run(10)
    world.run(5, deciding=False)
    view = world.view()
    pods = tuple(dataclasses.replace(p, memory_used_ratio=used) for p in view.pods)
    decision, _ = decide(dataclasses.replace(view, memory_limited=True, pods=pods), world.state)
    assert (decision.settings != BatchSettings(max_batch_size=1)) is moved
    if not moved:
        assert next(c for c in decision.conditions if c.type == "BatchTuned").reason == "MemoryBound"


def test_a_deployment_made_anew_starts_with_what_it_had():
    world = settle(World(ONE_AT_A_TIME, 133))
    had = world.replicas
    decision, _ = decide(dataclasses.replace(world.view(), replicas=None), world.state)
    assert decision.replicas == had


def test_another_model_forgets_what_was_learned_but_keeps_the_settings():
    world = settle(World(BATCHES_WELL, 95))
    view = dataclasses.replace(world.view(), model_hash="other", settings=None)
    decision, state = decide(view, world.state)
    assert decision.settings == world.durable
    assert state.model_hash == "other"
    assert decision.control.trial is None


@pytest.mark.parametrize("fast", [True, False])
def test_the_error_budget_has_the_window_of_the_spec(fast):
    """In full passes and in those of the fast path."""

    def shares(window):
        world = World(BATCHES_WELL, 95, spec=spec(slo={"budgetWindowSeconds": window}, scaling={"minReplicas": 2}))
        spent = []
        for seconds in (120, 300, 900):
            end = world.now + seconds
            while world.now < end:
                if not fast:
                    world.state = world.state._replace(stable=None)
                world.run(5)
            spent.append(world.state.estimated.budget.spent)
        return spent

    short, long = shares(600), shares(86_400)
    assert short[0] > 3 * long[0], "a bad minute of ten weighs more than one of a day"
    assert short[2] < 0.2 * short[1], "and is forgotten sooner"
    assert long[2] > 0.8 * long[1]


def recommending():
    world = World(BATCHES_WELL, 95, spec=advising())
    world.run(120)
    assert world.status.batch.recommended.max_batch_size > 1
    return world


def test_a_recommendation_is_withdrawn_once_nothing_is_better():
    world = tuned()
    best = world.durable
    world.spec = world.spec.model_validate(advising())
    world.run(30)
    other = world.status.batch.model_copy(update={"recommended": BatchSettings(max_batch_size=2)})
    world.status = world.status.model_copy(update={"batch": other})
    world.run(10)
    assert world.status.batch.recommended == best
    world.rate = 0
    world.run(100)
    assert world.status.batch.recommended == best
    assert world.condition("BatchTuned").reason == "Tuned", "what is in force is no recommendation"


def test_a_recommendation_that_memory_forbids_is_not_kept():
    world = recommending()
    seen = world.view()
    full = tuple(dataclasses.replace(p, memory_used_ratio=0.9) for p in seen.pods)
    decision, _ = decide(dataclasses.replace(seen, memory_limited=True, pods=full), world.state)
    assert next(c.reason for c in decision.conditions if c.type == "BatchTuned") == "MemoryBound"
    assert decision.recommended_settings is None


@pytest.mark.parametrize("changed", ["model_hash", "pool", "status", "nothing"])
def test_a_recommendation_is_of_one_model_and_pool_and_of_what_they_can_do(changed):
    world = recommending()
    advised = world.status.batch.recommended
    world.rate = 0
    world.run(800)
    seen = world.view()
    refused = RejectedSettings(settings=advised, reason="cannot load", blocked_by="Refused")
    control = seen.status.control.model_copy(update={"rejected": [refused]})
    other = {
        "model_hash": "another",
        "pool": dataclasses.replace(seen.pool, name="another"),
        "status": seen.status.model_copy(update={"control": control}),
        "nothing": "ns",
    }[changed]
    asked = dataclasses.replace(seen, **{"namespace" if changed == "nothing" else changed: other})
    decision, _ = decide(asked, ControllerState())
    assert (decision.recommended_settings == advised) == (changed == "nothing")


def test_advice_is_not_changed_with_each_sample():
    """Two settings that are as good as each other: 33 changes in 25 minutes, with a record and an Event each."""
    batching = {"mode": "Recommend", "instances": {"min": 1, "max": 1}, "maxBatchSize": {"min": 2, "max": 16}}
    scaling = {"scaleDownStabilizationSeconds": 60, "maxReplicas": 20}
    world = World(linear(4, 20), 120, spec=spec(batching=batching, scaling=scaling))
    given, records = [], 0
    for _ in range(150):
        world.run(10, 10)
        records += sum(r.action == "Recommend" for r in world.decision.records)
        given.append(world.status.batch.recommended)
    assert given[-1] is not None
    assert 1 <= records <= 6, "twice as long after each"
    assert sum(a != b for a, b in itertools.pairwise(given)) <= 2 * records
