"""A replica with several GPUs: Triton counts instances on each of them, and the loop reckons with all."""

from __future__ import annotations

import dataclasses

import pytest
from throughline.api.model import InstanceKind
from throughline.api.servingpool import ServingPoolSpec
from throughline.domain.control.demand import measure
from throughline.domain.observed import PoolView
from views import metrics, pod, view

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
