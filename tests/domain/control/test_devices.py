"""A replica with several GPUs: Triton counts instances on each of them, and the loop reckons with all."""

from __future__ import annotations

import dataclasses

import pytest
from throughline.api.batching import BatchSettings
from throughline.api.model import InstanceKind
from throughline.api.servingpool import ServingPoolSpec
from throughline.domain.control.estimate.estimates import EstimatorState
from throughline.domain.control.estimate.service_time import ServiceTimeEstimator
from throughline.domain.control.model.queueing import closed_loop_per_second
from throughline.domain.control.model.service_time_model import ServiceTimeModel
from throughline.domain.control.observe.demand import measure
from throughline.domain.control.predict.outcome import evaluate
from throughline.domain.control.state import ControllerState
from throughline.domain.observed import BatchStatistic, PoolView
from views import context_of, metrics, pod, view, warm

TWO_GPUS = {"resource": "nvidia.com/gpu", "countPerReplica": 2}


def full_pod_on(accelerator, kind=InstanceKind.AUTO):
    """What keeps one instance busy all the time."""
    spec = ServingPoolSpec.model_validate(
        {"nodeSelector": {"pool": "gpu"}, "costPerHour": "1", "accelerator": accelerator}
    )
    seen = view(pod("a", metrics(240, compute_us=4166)), pool=PoolView("gpu", spec, None, 1))
    model = seen.spec.model.model_copy(update={"instance_kind": kind})
    return dataclasses.replace(seen, spec=seen.spec.model_copy(update={"model": model}))


@pytest.mark.parametrize(
    ("accelerator", "saturated"),
    [
        ({"resource": "nvidia.com/gpu"}, True),
        (TWO_GPUS, False),
        ({"resource": "nvidia.com/gpu.shared", "countPerReplica": 2}, True),
        ({"resource": "nvidia.com/mig-1g.10gb", "countPerReplica": 2}, True),
    ],
)
def test_what_fills_one_gpu_leaves_a_second_of_the_replica_idle(accelerator, saturated):
    demand = measure(full_pod_on(accelerator), 100_000)
    assert demand is not None
    assert demand.saturated is saturated


def test_a_model_that_spans_both_gpus_has_one_instance_to_fill():
    demand = measure(full_pod_on(TWO_GPUS, InstanceKind.MODEL), 100_000)
    assert demand is not None
    assert demand.saturated


def full_pods_seen(accelerator, kind=InstanceKind.AUTO):
    """A pod with statistics of batches, as the estimate needs them."""
    seen = full_pod_on(accelerator, kind)
    statistics = tuple(BatchStatistic(b, 1000, 1000 * (2_000_000 + 250_000 * b)) for b in (1, 2, 4, 8))
    pods = tuple(dataclasses.replace(p, batch_statistics=statistics) for p in seen.pods)
    return dataclasses.replace(seen, pods=pods)


def capacity_on(accelerator, kind=InstanceKind.AUTO):
    seen = full_pods_seen(accelerator, kind)
    estimator = warm(ServiceTimeEstimator(), seen.pods, seen.now_seconds)
    known = EstimatorState(service_times=estimator)
    ctx = context_of(seen, ControllerState(estimated=known, model_hash=seen.model_hash))
    assert ctx.problem is not None
    return evaluate(ctx.problem, BatchSettings(max_batch_size=8)).capacity_per_second


def test_a_replica_with_two_gpus_is_reckoned_with_the_instances_on_both():
    """K10: Triton makes `count` instances on each GPU that is named, so one replica carries at least twice as much."""
    one, two = capacity_on({"resource": "nvidia.com/gpu"}), capacity_on(TWO_GPUS)
    assert two >= 2 * one
    assert capacity_on(TWO_GPUS, InstanceKind.MODEL) == one


def test_instances_on_two_gpus_do_not_contend_with_each_other():
    """K10: contention is of instances on the same GPU, so one on each of two serves closed-loop clients twice."""
    settings = BatchSettings(max_batch_size=8)
    alone, contended = ServiceTimeModel(2000, 250), ServiceTimeModel(2000, 250, contention=1.0)
    served = [
        closed_loop_per_second(dataclasses.replace(curve, devices=2), settings, 64.0) for curve in (alone, contended)
    ]
    assert served[0] == pytest.approx(served[1])
    assert served[0] == pytest.approx(2 * closed_loop_per_second(contended, settings, 32.0))
