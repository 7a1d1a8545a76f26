"""Whose a field is, by `managedFields`: whether somebody edited what was applied, or admission rewrites it each time.

An edit takes the field over: its manager owns it from then on. What a mutating admission policy or webhook makes of a
field stays owned by whoever applied it. To apply again would change nothing then: admission rewrites it again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from throughline.domain.diff import paths, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from throughline.domain.diff import Path, Step

FIELD_MANAGER = "throughline"  # of all that the operator applies, but for replicas and status
Fields = dict[str, Any]  # FieldsV1


def rewritten(desired: Mapping[str, Any], live: Mapping[str, Any]) -> list[str]:
    """Paths of `desired`, which was applied, that admission rewrote. Empty where `managedFields` are not there."""
    ours, others = _fields_of(live)
    return [text_of(path) for path in paths(desired, live) if _is_rewritten(path, ours, others)]


def edited(desired: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    """Whether `live` differs by more than what admission rewrote."""
    ours, others = _fields_of(live)
    return any(not _is_rewritten(path, ours, others) for path in paths(desired, live))


def told(live: Mapping[str, Any]) -> bool:
    """Whether `live` says whose its fields are; what is watched is kept without that."""
    return any("fieldsV1" in entry for entry in _entries(live))


def _entries(live: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    return (live.get("metadata") or {}).get("managedFields") or ()


def _fields_of(live: Mapping[str, Any]) -> tuple[list[Fields], list[Fields]]:
    ours: list[Fields] = []
    others: list[Fields] = []
    for entry in _entries(live):
        if fields := entry.get("fieldsV1"):
            applied = entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply"
            (ours if applied and not entry.get("subresource") else others).append(fields)
    return ours, others


def _is_rewritten(path: Path, ours: Iterable[Fields], others: Iterable[Fields]) -> bool:
    own = next((found for fields in ours if (found := _at(fields, path)) is not None), None)
    if own is None:
        return False
    # Only an empty map is both ours and open to additions of others.
    return not any(_beyond(found, own) for fields in others if (found := _at(fields, path)) is not None)


def _at(fields: Fields, path: Path) -> Fields | None:
    """What is owned at the path and below; None: nothing. A leaf is owned as a whole."""
    for step in path:
        if not fields:
            return fields
        below = _child(fields, step)
        if below is None:
            return None
        fields = below
    return fields


def _child(fields: Fields, step: Step) -> Fields | None:
    if isinstance(step, str):
        return fields.get(f"f:{step}")
    if isinstance(step, int):  # no list that is merged by keys: it would have been a leaf
        return None
    for name, below in fields.items():
        if name.startswith("k:") and dict(step).items() <= json.loads(name[2:]).items():
            return dict(below)
    return None


def _beyond(theirs: Fields, ours: Fields) -> bool:
    return any(name != "." and (name not in ours or _beyond(below, ours[name])) for name, below in theirs.items())
