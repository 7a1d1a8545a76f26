"""Nodes that report less of a resource than their pods hold, so that what is free on them is not known.

A device plugin that restarts, or loses a device, takes none from the pods that have one: the kubelet then reports 0
allocatable for minutes, and each of these pods runs on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.domain.closed_nodes import node_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from throughline.domain.nodes import NodeAllocatable


def doubtful_nodes(
    nodes: Iterable[NodeAllocatable], held: Mapping[str, Mapping[str, int]], resources: Iterable[str]
) -> str:
    """Names them, says what follows and where to look; empty where every node reports what its pods hold, or more.

    `held`: by all pods, by node.
    """
    asked = sorted(resources)
    found: dict[str, list[str]] = {}
    for node in nodes:
        on_node = held.get(node.name, {})
        for resource in asked:
            if node.resources.get(resource, 0) < on_node.get(resource, 0):
                found.setdefault(resource, []).append(node.name)
    texts = [
        f"{node_names(short)} {'reports' if len(short) == 1 else 'report'} less {resource} than the pods there hold"
        for resource, short in found.items()
    ]
    if not texts:
        return ""
    first = min(min(short) for short in found.values())
    fix = f"`kubectl describe node {first}` shows both"
    plugin = "; check the device plugin there" if any("/" in resource for resource in found) else ""
    return f"{'; '.join(texts)}, so how many replicas fit is not known: {fix}{plugin}"
