"""Keys and values of labels and annotations, by the API server's rules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from throughline.api.base import Rule

if TYPE_CHECKING:
    from collections.abc import Sequence

LABEL_KEY = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
)
LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
MAX_LABEL_VALUE = 63
MAX_KEY = 253  # the API server allows 253 characters before the slash and 63 after it

LabelKey = Annotated[str, Field(pattern=LABEL_KEY, min_length=1, max_length=MAX_KEY)]
LabelValue = Annotated[str, Field(pattern=LABEL_VALUE, max_length=MAX_LABEL_VALUE)]


def key_rule(field: str, attribute: str, where: str) -> Rule:
    """Keys of a map are no part of a structural schema, so a rule checks them."""
    return Rule(
        cel=f"!has(self.{field}) || self.{field}.all(k, size(k) <= {MAX_KEY} && k.matches(r'{LABEL_KEY}'))",
        holds=lambda s: all(len(key) <= MAX_KEY and re.fullmatch(LABEL_KEY, key) for key in getattr(s, attribute)),
        message=f"{where} has a key that is not valid; write it as name or example.com/name, "
        f"with at most {MAX_KEY} characters",
        field=field,
    )


def reserved_rule(field: str, attribute: str, where: str, pattern: str, fix: str) -> Rule:
    """Keys that match `pattern` belong to Throughline or to Kubernetes."""
    return Rule(
        cel=f"!has(self.{field}) || !self.{field}.exists(k, k.matches(r'{pattern}'))",
        holds=lambda s: not any(re.fullmatch(pattern, key) for key in getattr(s, attribute)),
        message=f"{where} {fix}",
        field=field,
    )


def keys(*names: str, domains: Sequence[str] = ()) -> str:
    """A pattern for reserved keys: `names` as they are, and every key of `domains` and of what is below them."""
    of_domains = rf"([^/]*\.)?({'|'.join(map(re.escape, domains))})/.*"
    return rf"^({'|'.join([*map(re.escape, names), of_domains])})$"
