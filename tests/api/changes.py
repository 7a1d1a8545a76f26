"""Change a resource, to make it another that is right, or one that is wrong."""

from __future__ import annotations

import copy
from typing import Any

REMOVE = object()
Change = tuple[str, Any]  # dotted path, value


def changed(resource: dict[str, Any], *changes: Change) -> dict[str, Any]:
    result = copy.deepcopy(resource)
    for path, value in changes:
        *parents, last = (int(p) if p.isdigit() else p for p in path.split("/"))
        node: Any = result
        for part in parents:
            node = node[part] if isinstance(part, int) else node.setdefault(part, {})
        if value is REMOVE:
            node.pop(last)
        elif isinstance(last, int) and last == len(node):
            node.append(copy.deepcopy(value))
        else:
            node[last] = copy.deepcopy(value)
    return result
