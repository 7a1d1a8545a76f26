"""What a container asks for and may use at most: Kubernetes' ResourceRequirements (core/v1), without accelerators."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from throughline.api import quantities
from throughline.api.base import FieldRules, Quantity, Resource, Rule

COMPUTE_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_BYTES = ("memory", "ephemeral-storage")
LEAST_BYTES = "1Mi"  # of memory or storage: less holds no process, and is a unit left out
MOST_BYTES = "1024Ti"  # more is digits or a unit too many
MOST_CORES = 1024  # of a replica: more is a unit of memory
Amounts = Annotated[dict[Annotated[str, Field(max_length=63)], Quantity], Field(max_length=3)]


def _enough(text: str) -> bool:
    """Thousandths have a rule of their own."""
    return text.endswith("m") or quantities.parse(text) >= quantities.parse(LEAST_BYTES)


def _not_too_much(text: str) -> bool:
    return quantities.parse(text) <= quantities.parse(MOST_BYTES)


def bytes_rules(where: str) -> FieldRules:
    """Of one field that counts bytes. `where`: the field, from spec on."""
    return FieldRules(
        Rule(
            cel="!string(self).endsWith('m')",
            holds=lambda text: not text.endswith("m"),
            message=f"{where} is in bytes, and m is a thousandth of one; did you mean Mi?",
        ),
        Rule(
            cel=f"string(self).endsWith('m') || quantity(string(self)).compareTo(quantity('{LEAST_BYTES}')) >= 0",
            holds=_enough,
            message=f"{where} is in bytes, and must be at least {LEAST_BYTES}; write Mi or Gi after the number",
        ),
        Rule(
            cel=f"quantity(string(self)).compareTo(quantity('{MOST_BYTES}')) <= 0",
            holds=_not_too_much,
            message=f"{where} is in bytes, and must be at most {MOST_BYTES}; correct the number or its unit",
        ),
    )


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

    def whole_bytes(field: str) -> Rule:
        return Rule(
            cel=f"!has(self.{field}) || "
            f"self.{field}.all(k, !(k in {list(_BYTES)}) || !string(self.{field}[k]).endsWith('m'))",
            holds=lambda s: all(not text.endswith("m") for name, text in getattr(s, field).items() if name in _BYTES),
            message=f"{where}.{field}: memory and ephemeral-storage are in bytes, and m is a thousandth of one; "
            "did you mean Mi?",
            field=field,
        )

    def enough_bytes(field: str, or_none: str) -> Rule:
        amount = f"quantity(string(self.{field}[k]))"
        none = f"{amount}.compareTo(quantity('0')) == 0 || " if or_none else ""
        return Rule(
            cel=f"!has(self.{field}) || self.{field}.all(k, !(k in {list(_BYTES)}) || {none}"
            f"string(self.{field}[k]).endsWith('m') || {amount}.compareTo(quantity('{LEAST_BYTES}')) >= 0)",
            holds=lambda s: all(
                _enough(text) or (bool(or_none) and quantities.parse(text) == 0)
                for name, text in getattr(s, field).items()
                if name in _BYTES
            ),
            message=f"{where}.{field}: memory and ephemeral-storage are in bytes, and must be at least "
            f"{LEAST_BYTES}{or_none}; write Mi or Gi after the number",
            field=field,
        )

    def not_too_many_bytes(field: str) -> Rule:
        return Rule(
            cel=f"!has(self.{field}) || self.{field}.all(k, !(k in {list(_BYTES)}) || "
            f"quantity(string(self.{field}[k])).compareTo(quantity('{MOST_BYTES}')) <= 0)",
            holds=lambda s: all(_not_too_much(text) for name, text in getattr(s, field).items() if name in _BYTES),
            message=f"{where}.{field}: memory and ephemeral-storage are in bytes, and must be at most {MOST_BYTES}; "
            "correct the number or its unit",
            field=field,
        )

    def cores(field: str) -> Rule:
        return Rule(
            cel=f"!has(self.{field}) || !('cpu' in self.{field}) || !string(self.{field}['cpu']).endsWith('i') && "
            f"quantity(string(self.{field}['cpu'])).compareTo(quantity('{MOST_CORES}')) <= 0",
            holds=lambda s: (
                not (text := getattr(s, field).get("cpu", "0")).endswith("i") and quantities.parse(text) <= MOST_CORES
            ),
            message=f"{where}.{field}: cpu is in cores, at most {MOST_CORES}; write 2, or 500m for half of one",
            field=field,
        )

    some_cores = Rule(
        cel="!has(self.limits) || !('cpu' in self.limits) || "
        "quantity(string(self.limits['cpu'])).compareTo(quantity('0')) > 0",
        holds=lambda s: quantities.parse(s.limits.get("cpu", "1")) > 0,
        message=f"{where}.limits: a limit of 0 cpu lets nothing run; remove it to set no limit",
        field="limits",
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
    return (
        *(compute_only(field) for field in ("requests", "limits")),
        *(whole_bytes(field) for field in ("requests", "limits")),
        enough_bytes("requests", " or 0"),
        enough_bytes("limits", ""),
        *(not_too_many_bytes(field) for field in ("requests", "limits")),
        *(cores(field) for field in ("requests", "limits")),
        some_cores,
        not_above,
    )
