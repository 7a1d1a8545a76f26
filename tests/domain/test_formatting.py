"""Numbers are written for people: no exponents, few digits, a noun that agrees."""

from __future__ import annotations

import pytest
from throughline.domain.formatting import age, count, duration, money, number, plain, rate, share, sticky


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (rate(3000.0), "3000/s"),
        (rate(15_400.0), "15k/s"),
        (rate(2_140_000.0), "2.1M/s"),
        (rate(999_900.0), "1M/s"),
        (rate(4.94), "4.9/s"),
        (rate(0.0), "0/s"),
        (rate(None), "-"),
        (number(0.25), "0.25"),
        (plain(0.000097), "0.000097"),
        (plain(1440.0, 3), "1440"),
        (plain(-12_345.6, 4), "-12350"),
        (plain(1e-30), "below 0.000000001"),
        (money(12_345.6), "12350"),
        (money(7.5), "7.5"),
        (duration(850.0), "850µs"),
        (duration(4_210.0), "4.2ms"),
        (duration(3.6e12), "3600000s"),
        (duration(float("inf")), "∞"),
        (share(0.5), "50 %"),
        (share(0.9999), "99 %"),
        (share(1.0), "100 %"),
        (share(0.00001), "less than 0.01 %"),
        (count(1, "replica"), "1 replica"),
        (count(4, "replica"), "4 replicas"),
        (count(0, "pod"), "0 pods"),
        (age(45.0), "45s"),
        (age(7_300.0), "2h"),
        (age(30 * 86_400.0), "30d"),
    ],
)
def test_written(written: str, text: str) -> None:
    assert written == text


@pytest.mark.parametrize("exponent", range(-12, 13))
def test_no_number_has_an_exponent(exponent: int) -> None:
    value = 9.7 * 10.0**exponent
    for text in (plain(value), number(value), money(value), rate(value), duration(value)):
        assert "e" not in text.removeprefix("below "), text


def test_a_price_that_moves_by_noise_stays_as_it_is_shown() -> None:
    shown = plain(0.000097)
    assert sticky(shown, 0.000099, money) == shown
    assert sticky("9.7e-05", 0.000099, lambda v: plain(v or 0.0)) == "0.000099"
