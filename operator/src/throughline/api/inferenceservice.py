"""InferenceService: what must hold for one model, and where it may run."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from throughline.api.base import (
    Name,
    Resource,
    Rule,
    list_map,
)
from throughline.api.batching import (
    Batching,
)
from throughline.api.evaluation import Evaluation
from throughline.api.model import Model
from throughline.api.monitoring import Monitoring
from throughline.api.runtime import Runtime
from throughline.api.scaling import Scaling

if TYPE_CHECKING:
    from throughline.api.tensors import Tensor


# Of requests, where spec.slo.availability does not say.
ALLOWED_FAILURES = 0.01


class SLO(Resource):
    """What must hold, measured at the server (Triton's request time: queue and compute)."""

    latency_p99_milliseconds: Annotated[int, Field(ge=1, le=600_000, alias="latencyP99Milliseconds")]
    throughput_per_second: Annotated[
        int | None,
        Field(ge=1, le=10_000_000, description="Requests per second to be ready for even when fewer arrive."),
    ] = None
    availability: Annotated[
        str | None,
        Field(
            max_length=8,
            pattern=r"^(100|[1-9]?[0-9](\.[0-9]{1,3})?)%$",
            description="Requests that must succeed, of those that clients did not give up, such as 99.9%. If absent, "
            "1 % may fail.",
        ),
    ] = None

    budget_window_seconds: Annotated[
        int,
        Field(
            ge=600,
            le=24 * 3600,
            description="Window of the error budget: of the requests in it, 1 of 100 may be late. While the budget is "
            "unspent, less is held for what may come; the longer the window, the longer a bad minute is made up for. "
            "It is counted in the operator's memory, and starts at zero with each operator.",
        ),
    ] = 3600

    @property
    def allowed_failures(self) -> float:
        """The share of requests that may fail."""
        return ALLOWED_FAILURES if self.availability is None else 1.0 - float(self.availability[:-1]) / 100.0


class PoolReference(Resource):
    name: Name


class PlacementStrategy(StrEnum):
    ORDERED = "Ordered"
    CHEAPEST = "Cheapest"


class Placement(Resource):
    """The pools that a service may run on, in order of preference, and how one of them is chosen."""

    strategy: Annotated[
        PlacementStrategy,
        Field(
            description="Ordered takes the first pool that exists and can hold minReplicas, and stays there; Cheapest "
            "the one where the replicas that the SLO needs cost least, and moves when another is clearly cheaper, or "
            "when the present one is full."
        ),
    ] = PlacementStrategy.ORDERED
    pools: Annotated[list[PoolReference], Field(min_length=1, max_length=8, json_schema_extra=list_map("name"))]


_EMPTY = "(has(self.model.{0}) && self.model.{0}.exists(t, has(t.reshape) && t.reshape.shape.size() == 0))"


def _is_scalar(tensor: Tensor) -> bool:
    return tensor.reshape is not None and not tensor.reshape.shape


def _batches(batching: Batching) -> bool:
    return batching.max_batch_size.max > 0 and (batching.fixed is None or batching.fixed.max_batch_size > 0)


class InferenceServiceSpec(Resource):
    """A model, its SLO and a pool are enough; everything else has a default."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"!({_EMPTY.format('inputs')} || {_EMPTY.format('outputs')}) || !has(self.batching) || "
            "((!has(self.batching.maxBatchSize) || !has(self.batching.maxBatchSize.max) || "
            "self.batching.maxBatchSize.max > 0) && "
            "(!has(self.batching.fixed) || self.batching.fixed.maxBatchSize > 0))",
            holds=lambda s: _batches(s.batching) or not any(_is_scalar(t) for t in (*s.model.inputs, *s.model.outputs)),
            message="spec.model: an empty reshape.shape needs a batch dimension, since Triton has no tensors without "
            "any; set spec.batching.maxBatchSize.max (and spec.batching.fixed.maxBatchSize) above 0, or reshape to [1]",
            field="model",
        ),
    )

    model: Model
    slo: SLO
    placement: Placement
    scaling: Scaling = Scaling()
    batching: Batching = Batching()
    runtime: Runtime = Runtime()
    evaluation: Annotated[
        Evaluation | None, Field(description="Suites that judge the model, and what follows from their verdict.")
    ] = None
    monitoring: Annotated[
        Monitoring | None, Field(description="Samples of live traffic, and what they are compared with.")
    ] = None
