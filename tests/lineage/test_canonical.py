from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from throughline.lineage import canonical

LARGEST = 2**53 - 1
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-LARGEST, LARGEST)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("value", "spelling"),
    [
        # RFC 8785, appendix B and section 3.2.3
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (5e-324, "5e-324"),
        (-0.0, "0"),
        (1.0, "1"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (333333333.33333329, "333333333.3333333"),
        (
            {"€": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "ö": 7},
            '{"\\r":2,"1":4,"\x80":6,"ö":7,"€":1,"\U0001f600":5,"\ufb33":3}',
        ),
        ({"b": [1, 2.5, None, True], "a": "\u000f/\"'"}, '{"a":"\\u000f/\\"\'","b":[1,2.5,null,true]}'),
    ],
)
def test_the_spelling_of_rfc_8785(value: Any, spelling: str) -> None:
    assert canonical.encode(value).decode() == spelling


@given(VALUES)
def test_what_is_written_is_read_back_and_is_canonical(value: Any) -> None:
    assert canonical.parse_canonical(canonical.encode(value)) == value


@given(VALUES)
def test_the_layout_does_not_matter_to_the_digest(value: Any) -> None:
    laid_out = json.dumps(value, indent=3, ensure_ascii=True).encode()
    assert canonical.digest(canonical.parse(laid_out)) == canonical.digest(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a":1,"a":2}', "key 'a' twice"),
        (b"[NaN]", "NaN"),
        (b"[-Infinity]", "-Infinity"),
        (b"{", "no JSON"),
        (b"\xff", "not UTF-8"),
        (b"\xef\xbb\xbf{}", "no JSON"),
        (b"[9007199254740993]", "beyond 2^53"),
        (b"[" + b"9" * 5000 + b"]", "beyond 2^53"),
        (b"[1e999]", "beyond what a double holds"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_two_readers_could_read_differently_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(canonical.CanonicalError, match=re.escape(message)):
        canonical.parse(text)


@pytest.mark.parametrize("value", [2.0**53, -(2.0**67), 1e20])
def test_large_doubles_are_read_back(value: float) -> None:
    assert canonical.parse_canonical(canonical.encode([value])) == [value]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, {1: 2}, "\ud800", {"\ud800": 1}, {1, 2}])
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(canonical.CanonicalError):
        canonical.encode(value)


@pytest.mark.parametrize(
    ("text", "byte"), [(b'{"a": 1}', 5), (b'{"b":1,"a":2}', 2), (b"[1.0]", 2), (b"{}\n", 2), (b'"\\u0041"', 1)]
)
def test_another_layout_is_told_from_its_first_byte_on(text: bytes, byte: int) -> None:
    with pytest.raises(canonical.CanonicalError, match=f"from byte {byte} on"):
        canonical.parse_canonical(text)
