"""The CEL rules of the generated CRDs, evaluated by a CEL interpreter as the API server does: on every object that
is there, bottom up. The functions that Kubernetes adds to CEL are given here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cel
from throughline.api import quantities
from throughline.api.validation import dotted, schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SCALE = 10**6


@dataclass(frozen=True)
class Verdict:
    field: str
    message: str


def verdicts(resource: dict[str, Any]) -> list[Verdict]:
    """Rules that the resource breaks."""
    return list(_walk(_without_nulls(resource), schema_of(resource["kind"]), ()))


def _walk(value: Any, schema: dict[str, Any], path: tuple[str | int, ...]) -> Iterator[Verdict]:
    if isinstance(value, dict):
        for name, child in value.items():
            inner = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
            if inner:
                yield from _walk(child, inner, (*path, name))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _walk(child, schema["items"], (*path, index))
    for rule in schema.get("x-kubernetes-validations", []):
        # A rule that compares with what was there before is not asked of a new object.
        if "oldSelf" not in rule["rule"] and not holds(rule["rule"], value):
            field = dotted(path) + rule.get("fieldPath", "")
            yield Verdict(field, rule["message"])


def holds(rule: str, value: Any) -> bool:
    context = cel.Context()
    context.add_variable("self", value)
    # Integers in millionths stand for Kubernetes' quantity type.
    context.add_function("quantity", lambda text: int(quantities.parse(text) * SCALE))
    context.add_function("compareTo", lambda left, right: (left > right) - (left < right))
    result = cel.evaluate(rule, context)
    assert isinstance(result, bool), rule
    return result


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value
