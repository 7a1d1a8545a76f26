"""The event loop of an evaluation."""

from __future__ import annotations

import asyncio

try:
    from uvloop import new_event_loop
except ImportError:  # Windows has none
    new_event_loop = None  # type: ignore[assignment]


def runner() -> asyncio.Runner:
    """With uvloop where it is: what a request costs the client is a sixth less."""
    return asyncio.Runner(loop_factory=new_event_loop)
