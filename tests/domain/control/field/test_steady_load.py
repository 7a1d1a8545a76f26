"""At a constant load beside a replica's capacity nothing flaps (K11)."""

import itertools

import pytest
from throughline.api.batching import BatchSettings
from throughline.domain.control.model.queueing import capacity_per_second
from throughline.domain.control.model.service_time_model import ServiceTimeModel
from throughline.domain.control.tuning import SLO_HEADROOM
from world import World, linear

ALPHA_MS, BETA_MS, SLO_MS = 200, 10, 5000
SETTINGS = BatchSettings(max_batch_size=8)
SPEC = {
    "model": {"storage": {"uri": "pvc://models/m"}, "backend": "python"},
    "slo": {"latencyP99Milliseconds": SLO_MS},
    "placement": {"pools": [{"name": "gpu"}]},
    "scaling": {"maxReplicas": 5, "scaleDownStabilizationSeconds": 60},
    "batching": {"mode": "Fixed", "fixed": SETTINGS.model_dump(by_alias=True)},
}


def removals(world):
    """(replicas removed, times that they were ordered back)."""
    counts = [int(text.split(" ")[0]) for _, text in world.changes]
    steps = [(a, b) for a, b in itertools.pairwise(counts) if a != b]
    down = [i for i, (a, b) in enumerate(steps) if b < a]
    return len(down), sum(i + 1 < len(steps) and steps[i + 1][1] > steps[i + 1][0] for i in down)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("share", [0.95, 1.0, 1.05])
def test_an_hour_beside_the_capacity_of_one_replica_flaps_at_most_once(share, seed):
    """K11: one replica carries that share of the demand."""
    limit_us = SLO_MS * 1000 * (1.0 - SLO_HEADROOM)
    carried = capacity_per_second(ServiceTimeModel(ALPHA_MS * 1000, BETA_MS * 1000), SETTINGS, limit_us)
    world = World(linear(ALPHA_MS, BETA_MS), carried / share, spec=SPEC, seed=seed)
    world.run(3600)
    removed, flapped = removals(world)
    assert flapped <= 1, world.changes
    assert removed <= 2, world.changes
