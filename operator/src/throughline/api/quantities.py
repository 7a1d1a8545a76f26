"""Kubernetes quantities, exactly: parsed to fractions, and written as the API server stores them.

The rules are those of apimachinery's resource.Quantity (CanonicalizeBytes): the largest suffix that leaves an
integer, no fraction, a binary suffix only for whole numbers from 1024 up. What we apply must equal what is
stored, or every comparison would see a difference.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

_DECIMAL = {"n": -3, "u": -2, "m": -1, "": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_DECIMAL_SUFFIX = {power: suffix for suffix, power in _DECIMAL.items()}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_BINARY_SUFFIX = {power: suffix for suffix, power in _BINARY.items()}
_PATTERN = re.compile(r"([+-]?)([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:([eE][+-]?[0-9]+)|([A-Za-z]*))")
_NANO = Fraction(1, 10**9)
_MAX_BINARY = Fraction(2**63 - 1)  # larger ones are stored as this
_MILLI = Fraction(1, 1000)


def parse(quantity: str | float) -> Fraction:
    """The exact number behind a quantity; ValueError where it is none."""
    text = str(quantity).strip()
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a quantity")
    sign, digits, exponent, suffix = match.groups()
    number = Fraction(digits)
    if exponent:
        number *= Fraction(10) ** int(exponent[1:])
    elif suffix in _BINARY:
        number *= Fraction(1024) ** _BINARY[suffix]
    elif (suffix or "") in _DECIMAL:
        number *= Fraction(1000) ** _DECIMAL[suffix or ""]
    else:
        raise ValueError(f"{text!r} has the unknown suffix {suffix!r}")
    return -number if sign == "-" else number


def canonical(quantity: str | float) -> str:
    """The quantity as the API server writes it: 1000m → 1, 0.5 → 500m, 1024Mi → 1Gi."""
    return _write(quantity, _NANO)


def canonical_resource(quantity: str | float) -> str:
    """As `canonical`, for requests and limits: the API server rounds those up to thousandths when it defaults."""
    return _write(quantity, _MILLI)


def _write(quantity: str | float, step: Fraction) -> str:
    number = math.ceil(parse(quantity) / step) * step
    if number == 0:
        return "0"
    binary = str(quantity).strip().endswith("i")
    number = min(number, _MAX_BINARY) if binary else number
    if binary and abs(number) >= 1024 and number.denominator == 1:
        return _largest_suffix(number, 1024, _BINARY_SUFFIX)
    return _largest_suffix(number, 1000, _DECIMAL_SUFFIX)


def _largest_suffix(number: Fraction, base: int, suffixes: dict[int, str]) -> str:
    for power in sorted(suffixes, reverse=True):
        scaled = number / Fraction(base) ** power
        if scaled.denominator == 1:
            return f"{scaled.numerator}{suffixes[power]}"
    return str(number.numerator)  # a whole number below the smallest suffix of its base: 1025 bytes
