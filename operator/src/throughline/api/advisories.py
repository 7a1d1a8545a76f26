"""What the API server accepts and yet helps nobody: said by `throughline validate`, and in a condition.

A warning never refuses a resource. What must be refused is a type, a bound or a Rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from throughline.api.crd import SERVING_POOL
from throughline.api.servingpool import ServingPoolSpec
from throughline.api.validation import Problem, without_nulls

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def warnings(document: Mapping[str, Any]) -> list[Problem]:
    """Of a resource of the group that is valid; one that is not has none, for its errors come first."""
    try:
        match document.get("kind"):
            case SERVING_POOL.kind:
                return list(_pool(ServingPoolSpec.model_validate(without_nulls(document.get("spec") or {}))))
            case _:
                return []
    except ValidationError:
        return []


def _pool(spec: ServingPoolSpec) -> Iterator[Problem]:
    if message := undivided_accelerator(spec):
        yield Problem(("spec", "accelerator", "countPerReplica"), message)


def undivided_accelerator(spec: ServingPoolSpec) -> str | None:
    """Why more than one unit of the accelerator buys a replica nothing; None: it does not ask for that."""
    accelerator = spec.accelerator
    if accelerator is None or accelerator.count_per_replica == 1:
        return None
    count, resource = accelerator.count_per_replica, accelerator.resource
    if accelerator.shared or spec.node_selector.get("nvidia.com/gpu.sharing-strategy") in {"time-slicing", "mps"}:
        return (
            f"spec.accelerator asks for {count} of {resource} for each replica, and each is a share of a GPU that "
            "others use, too: more shares bring neither more time nor more memory, and the device plugin may refuse "
            "the pod; set spec.accelerator.countPerReplica to 1"
        )
    if accelerator.mig:
        return (
            f"spec.accelerator asks for {count} of {resource} for each replica, and CUDA shows one MIG device to a "
            "server: the others stay idle; set spec.accelerator.countPerReplica to 1, or name a larger profile"
        )
    return None
