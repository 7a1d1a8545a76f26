"""Text out of data, as a terminal may be given it."""

from __future__ import annotations


def visible(text: str) -> str:
    """The text with its control characters, which a terminal would obey, as their codes."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
