"""Times as the Kubernetes API writes them, and as numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


def rfc3339(now_seconds: float) -> str:
    """Whole seconds, UTC, as the Kubernetes API writes times."""
    return datetime.fromtimestamp(int(now_seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=4096)
def unix_seconds(timestamp: str) -> float:
    """The inverse of `rfc3339`; raises ValueError for other text."""
    return datetime.fromisoformat(timestamp).timestamp()
