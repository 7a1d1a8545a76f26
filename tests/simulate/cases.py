"""Short, deterministic cases for the promises of the decision core."""

from dataclasses import replace

import numpy as np
from throughline.api.batching import BatchSettings
from throughline.api.inferenceservice import InferenceServiceSpec
from throughline.api.servingpool import ServingPoolSpec
from throughline.api.status import ControlStatus, ServiceTime
from throughline.simulate import traffic
from throughline.simulate.arena import first_replicas, hindsight, run_contenders
from throughline.simulate.autopilot import Autopilot
from throughline.simulate.loadtest import hand_tuned
from throughline.simulate.run import Case, run_autopilot
from throughline.simulate.types import Environment, Traffic, Truth

UNBATCHED = BatchSettings(max_batch_size=1, instances=1)
ENCODER = Truth(40_000, 8_000, contention=0.8)
SLO_US = 500_000.0
POOL_REPLICAS = 60
MAX_INSTANCES = 2


def case(made, truth=ENCODER, slo_us=SLO_US):
    return Case(truth, Environment(pool_replicas=POOL_REPLICAS), made, slo_us)


def pilot(c, control=None, batching=None, **scaling):
    spec = InferenceServiceSpec.model_validate(
        {
            "model": {"storage": {"uri": "pvc://models/m"}, "backend": "python"},
            "slo": {"latencyP99Milliseconds": round(c.slo_us / 1000)},
            "placement": {"pools": [{"name": "pool"}]},
            "scaling": {"maxReplicas": POOL_REPLICAS, **scaling},
            "batching": {"instances": {"min": 1, "max": MAX_INSTANCES}, **(batching or {})},
        }
    )
    pool = ServingPoolSpec.model_validate({"nodeSelector": {"a": "b"}, "costPerHour": "2"})
    return Autopilot(spec, pool, control=control)


def tuned(c):
    return hand_tuned(c.truth, c.slo_us, MAX_INSTANCES)


def ours(c, control=None, settings=UNBATCHED):
    return run_autopilot(c, pilot(c, control), settings, replicas=first_replicas(c, tuned(c)))


def rivals(c, settings, only=""):
    return {r.contender: r for r in run_contenders(c, settings, "") if only in r.contender}


def floor(c):
    return hindsight(c, MAX_INSTANCES)


def cheapest(results, violations):
    """Of those that keep the SLO, or at least violate it no more often than that."""
    able = [r for r in results if r.violations <= max(0.01, violations)]
    return min(able, key=lambda r: r.cost) if able else None


def knows(alpha_us, beta_us, largest=64):
    """What a service may believe of its model when it begins."""
    return ControlStatus(
        pool="pool",
        model_hash="r",
        service_time=ServiceTime(
            alpha_microseconds=round(alpha_us), beta_microseconds=round(beta_us), contention_permille=800,
            largest_batch=largest, executions=1000,
        ),
    )  # fmt: skip


def steady(rate=350.0, seconds=2 * 3600.0, seed=1):
    return case(traffic.poisson(rate, seconds, seed=seed))


def flash(rate=100.0, seed=1):
    return case(traffic.flash_crowd(rate, 3600.0, seed=seed))


def bursts(rate=120.0, seed=1):
    """Of a quarter of a minute each, without a period: shorter than a replica takes to start."""
    return case(traffic.bursty(rate, 3600.0, seed=seed))


def jumps(rate=80.0, seed=1):
    return case(traffic.level_jumps(rate, 3600.0, seed=seed))


def fall(high=400.0, low=130.0, seconds=1200.0, seed=1):
    edges, rates = np.array([0.0, seconds, 2 * seconds]), np.array([high, low])
    arrivals = traffic.poisson_arrivals(edges, rates, np.random.default_rng(seed))
    return case(Traffic("fall", 2 * seconds, arrivals))


def gap(rate=350.0, seed=1, seconds=3600.0):
    return case(traffic.metrics_gap(rate, seconds, seed=seed))


def with_truth(c, **changes):
    return replace(c, truth=replace(c.truth, **changes))
