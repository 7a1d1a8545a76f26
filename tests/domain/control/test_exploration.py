"""Batches that come full are made larger where nothing is known of larger ones."""

from throughline.api.inferenceservice import InferenceServiceSpec
from throughline.domain.control.optimise import exploration
from world import World


def spec(most):
    return {
        "model": {"storage": {"uri": "pvc://models/m"}, "backend": "python"},
        "slo": {"latencyP99Milliseconds": 1000},
        "placement": {"pools": [{"name": "gpu"}]},
        "scaling": {"maxReplicas": 1},
        "batching": {"maxBatchSize": {"min": 4, "max": most}, "instances": {"min": 1, "max": 1}},
    }


def pays_late(b, _instances):
    """Four items cost as much as four times one; only larger batches share anything."""
    return 10_000 * min(b, 4) + 2_000 * max(0, b - 4)


def never_pays(b, _instances):
    return 10_000 * b


def at_four(cost):
    """A service that has seen batches of one to four share nothing, then under more load than those carry."""
    world = World(cost, 85, spec=spec(4))
    world.run(240)
    world.spec = InferenceServiceSpec.model_validate(spec(64))
    world.rate = 180
    return world


def explored(world):
    return [d for d in world.status.decisions if "come full" in d.message]


def test_what_smaller_batches_do_not_show_is_found_by_trying():
    world = at_four(pays_late)
    world.run(400)
    assert explored(world)
    assert world.durable.max_batch_size >= 16
    assert world.p99_ms(60) < 1000


def test_without_the_trial_it_stays_where_it_has_learned(monkeypatch):
    monkeypatch.setattr(exploration, "CLEAR", -1.0)  # twice of what fits is never reached
    world = at_four(pays_late)
    world.run(400)
    assert world.durable.max_batch_size <= 4
    assert world.p99_ms(60) > 1000


def test_what_was_tried_in_vain_is_not_tried_again_and_again():
    world = at_four(never_pays)
    world.run(1200)
    assert len(explored(world)) <= 3
