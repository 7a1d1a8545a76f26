"""What a container asks for and may use at most: Kubernetes' ResourceRequirements (core/v1), without accelerators."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from throughline.api import quantities
from throughline.api.base import Quantity, Resource, Rule

COMPUTE_RESOURCES = ("cpu", "memory", "ephemeral-storage")
Amounts = Annotated[dict[Annotated[str, Field(max_length=63)], Quantity], Field(max_length=3)]


class ComputeResources(Resource):
    """Base of those that a spec may name; each has its `rules`."""

    requests: Amounts = {}
    limits: Amounts = {}


def rules(where: str, others: str) -> tuple[Rule, ...]:
    """`where`: the field, from spec on. `others`: what is to be done about further resources."""

    def compute_only(field: str) -> Rule:
        return Rule(
            cel=f"!has(self.{field}) || self.{field}.all(k, k in {list(COMPUTE_RESOURCES)})",
            holds=lambda s: all(name in COMPUTE_RESOURCES for name in getattr(s, field)),
            message=f"{where}.{field} may name cpu, memory and ephemeral-storage only; {others}",
            field=field,
        )

    not_above = Rule(
        cel="!has(self.requests) || !has(self.limits) || self.requests.all(k, !(k in self.limits) || "
        "quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k]))) <= 0)",
        holds=lambda s: all(
            quantities.parse(requested) <= quantities.parse(s.limits.get(name, requested))
            for name, requested in s.requests.items()
        ),
        message=f"{where}.requests must not be above {where}.limits; raise the limit or lower the request",
        field="requests",
    )
    return compute_only("requests"), compute_only("limits"), not_above
