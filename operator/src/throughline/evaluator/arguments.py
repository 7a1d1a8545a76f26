"""Kinds of arguments of the evaluator's command lines. argparse puts the argument's name in front of what they say."""

from __future__ import annotations

import argparse
import math
import re
from typing import TYPE_CHECKING

from throughline.evaluator.address import LAST_PORT, is_port, is_version
from throughline.lineage.canonical import DIGEST_PATTERN

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 2**31 - 1


def count(most: int = MOST) -> Callable[[str], int]:
    """A whole number of at least 1."""

    def parsed(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and 1 <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to {most}")
        return int(text)

    return parsed


def positive(most: float = math.inf) -> Callable[[str], float]:
    """A number above 0."""

    def parsed(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (0.0 < value <= most and math.isfinite(value)):
            bound = f"from above 0 to {most:g}" if math.isfinite(most) else "above 0"
            raise argparse.ArgumentTypeError(f"{text!r} is no number {bound}")
        return value

    return parsed


def digest(text: str) -> str:
    """SHA-256 as results and statements have it."""
    if re.fullmatch(DIGEST_PATTERN, text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no digest; write sha256: and 64 digits of 0-9a-f")
    return text


def version(text: str) -> str:
    """Of a model; nothing: the newest."""
    if text and not is_version(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no version; write the number of its folder, such as 3, or leave it out for the newest"
        )
    return text


def port(text: str) -> int:
    """To listen at."""
    if not is_port(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no port; write a number from 1 to {LAST_PORT}")
    return int(text)


def some(text: str) -> str:
    """Anything but nothing: an empty argument is mostly a variable of a script that is not set."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty")
    return text
