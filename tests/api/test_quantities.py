from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from throughline.api.quantities import canonical, canonical_resource, parse


@pytest.mark.parametrize(
    ("given_", "number"),
    [
        ("1", 1),
        ("500m", Fraction(1, 2)),
        ("0.5", Fraction(1, 2)),
        ("1Ki", 1024),
        ("1.5Gi", 1.5 * 2**30),
        ("2k", 2000),
        ("1e3", 1000),
        ("1E", 10**18),
        ("100n", Fraction(1, 10**7)),
        ("-3", -3),
        (".5", Fraction(1, 2)),
        (4, 4),
        ("5.", 5),
    ],
)
def test_parse(given_: str, number: Fraction):
    assert parse(given_) == number


@pytest.mark.parametrize("text", ["", "x", "1x", "1KI", "1 Gi", "--1", "1.2.3", "m", "1mi"])
def test_what_is_no_quantity_is_refused(text: str):
    with pytest.raises(ValueError, match=r".+"):
        parse(text)


# Each pair as resource.Quantity of apimachinery 0.36 has it.
@pytest.mark.parametrize(
    ("given_", "stored"),
    [
        ("1000m", "1"),
        ("0.5", "500m"),
        ("1500m", "1500m"),
        ("1", "1"),
        ("01", "1"),
        ("1.0", "1"),
        ("0", "0"),
        ("0Gi", "0"),
        ("1000", "1k"),
        ("1500", "1500"),
        ("2000000", "2M"),
        ("1000M", "1G"),
        ("0.001", "1m"),
        ("1.5k", "1500"),
        ("1024Mi", "1Gi"),
        ("1536Mi", "1536Mi"),
        ("0.5Gi", "512Mi"),
        ("1.5Gi", "1536Mi"),
        ("1Ki", "1Ki"),
        ("0.5Ki", "512"),
        ("0.9765625Ki", "1k"),
        ("0.1Ki", "102400m"),
        ("1.1Ki", "1126400m"),
        ("1025Ki", "1025Ki"),
        ("4096Mi", "4Gi"),
        ("1000Ki", "1000Ki"),
        ("1.0009765625Ki", "1025"),
        ("13418311Ti", "9223372036854775807"),
        ("8191Pi", "8191Pi"),
    ],
)
def test_canonical(given_: str, stored: str):
    assert canonical(given_) == stored


def test_requests_are_rounded_up_to_thousandths():
    assert canonical_resource("0.0001") == "1m"
    assert canonical_resource("0.5m") == "1m"
    assert canonical("0.5m") == "500u"


@given(
    number=st.one_of(
        st.integers(0, 10**12).map(str),
        st.decimals(0, 10**6, places=3, allow_nan=False, allow_infinity=False).map(lambda d: f"{d:f}"),
    ),
    suffix=st.sampled_from(["", "m", "k", "Ki", "M", "Mi", "G", "Gi", "T", "Ti"]),
)
def test_the_canonical_form_says_the_same_and_is_a_fixed_point(number: str, suffix: str):
    text = f"{number}{suffix}"
    assume(parse(text) < 2**63)
    stored = canonical(text)
    assert canonical(stored) == stored
    assert 0 <= parse(stored) - parse(text) < Fraction(1, 10**9)
