"""JSON with one spelling, so that a digest is of the content and anybody can compute it again.

The rules are RFC 8785 (JSON Canonicalization Scheme): UTF-8; no white space; keys sorted by their UTF-16 code units;
the shortest escapes; numbers as ECMAScript prints a double (1.0 and 1 are the same number, -0 is 0); no NaN and no
infinity; integers within ±(2^53 - 1). Text is taken as it is: no Unicode normalisation.
On reading we are as strict: a key that stands twice in one object is refused, where other readers silently take one.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import rfc8785

PREFIX = "sha256:"
LARGEST_INTEGER = 2**53 - 1
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"


class CanonicalError(ValueError):
    """What cannot be canonical JSON, and why."""


def encode(value: Any) -> bytes:
    """The one spelling of the value (a tree of dict, list, str, int, float, bool and None).

    Raises:
        CanonicalError: what JSON cannot say (NaN, an integer beyond 2^53 - 1, a key that is no text, lone surrogates).
    """
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise CanonicalError(f"cannot be written as canonical JSON: {error}") from error


def digest(value: Any) -> str:
    """`sha256:…` of the canonical form."""
    return digest_bytes(encode(value))


def digest_bytes(data: bytes) -> str:
    """`sha256:…` of the bytes."""
    return PREFIX + hashlib.sha256(data).hexdigest()


def parse(data: bytes) -> Any:
    """JSON (RFC 8259) in UTF-8, in any layout.

    Raises:
        CanonicalError: no JSON, or JSON that two readers could read differently.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CanonicalError(f"is not UTF-8 text (byte {error.start})") from error
    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_int=_integer, parse_float=_double
        )
    except json.JSONDecodeError as error:
        raise CanonicalError(f"is no JSON: {error.msg} (line {error.lineno}, column {error.colno})") from error
    except RecursionError as error:
        raise CanonicalError("is nested too deeply") from error


def parse_canonical(data: bytes) -> Any:
    """JSON that is in canonical form already: as everything is that we write.

    Raises:
        CanonicalError: no JSON, or another spelling than the canonical one, with the first byte that differs.
    """
    value = parse(data)
    expected = encode(value)
    if data != expected:
        pairs = enumerate(zip(data, expected, strict=False))
        at = next((index for index, (is_, should) in pairs if is_ != should), min(len(data), len(expected)))
        raise CanonicalError(f"is not in canonical form from byte {at} on: it was edited or laid out anew")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise CanonicalError(f"has the key {repeated!r} twice in one object")
    return result


def _integer(text: str) -> int | float:
    """An integer; beyond 2^53 - 1 a double, if that is what the digits are the canonical spelling of."""
    # Python would refuse to make an int of a text that long; no double has so many digits.
    if len(text) <= len(str(LARGEST_INTEGER)) + 1 and abs(number := int(text)) <= LARGEST_INTEGER:
        return number
    double = float(text)
    if math.isinf(double) or encode(double).decode() != text:
        raise CanonicalError(f"has the integer {text[:40]}, which is beyond 2^53 - 1: readers would round it")
    return double


def _double(text: str) -> float:
    double = float(text)
    if math.isinf(double):
        raise CanonicalError(f"has the number {text[:40]}, which is beyond what a double holds")
    return double


def _refuse_constant(name: str) -> None:
    raise CanonicalError(f"has {name}, which is no JSON number")
