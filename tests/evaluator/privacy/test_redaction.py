"""Personal data planted in many forms is in nothing that is stored; ordinary text is left alone."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given
from throughline.evaluator.privacy.redaction import Redactor, stored_text

KEY = b"k" * 32
REDACTOR = Redactor(frozenset({"text", "inputs.prompt", "note"}), KEY, regions=("US", "DE", "GB"))
# kind → spellings, each of one person: all of them must go, and be the same pseudonym.
PLANTED = {
    "email": [
        "jane.roe+x@mail.example.com",
        "Jane.Roe+x@Mail.Example.com",
        "jane.roe+x%40mail.example.com",
        "jane.roe+x@mail.example.com",
        "jane.\u200broe+x@mail.example.com",
    ],
    "phone": ["+49 30 901820", "+4930901820", "+49 (0)30 901820", "030 901820", "030/901820", "+49-30-90 18 20"],
    "iban": ["DE89370400440532013000", "DE89 3704 0044 0532 0130 00", "de89-3704-0044-0532-0130-00"],
    "card": ["4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", "4111111111111111"],
    "ip": ["2001:db8::8a2e:370:7334", "2001:0db8:0000:0000:0000:8a2e:0370:7334"],
}
OTHERS = [
    *("o'neil@example.ie", "müller@bücher.example", "a@b.co", "x_y@sub.domain.example.org"),
    *("(212) 555-2368", "212-736-5000", "+1 212 736 5000", "+44 20 7946 0958", "020 7946 0958", "+33 1 42 68 53 00"),
    *("GB82 WEST 1234 5698 7654 32", "FR1420041010050500013M02606", "NL91ABNA0417164300"),
    *("378282246310005", "5555 5555 5555 4444", "6011111111111117", "3056 9309 0259 04"),
    *("192.168.17.4", "8.8.8.8", "fe80::1ff:fe23:4567:890a", "::ffff:192.0.2.128"),
]
SENTENCES = ["{}", "Please write to {}.", "call {}, today", "({})", "x={};y", 'he said "{}"', "a\n{}\nb", "<{}>"]
ORDINARY = [
    "The drug helped within 3 days, 20 mg twice daily.",
    "Order 2024-11-05 shipped at 12:30:45.",
    "pi is 3.14159265358979",
    "Version 1.2.3 of the package, section 4.2.1.",
    "It costs $1,299.99, or 3 for 3,500.",
    "ratio 16:9, scale 1:50000",
    "Room 4012, building 7.",
    "std::vector<int> and a::b",
    "born in 1984, aged 40",
    "ISBN 978-3-16-148410-0",
    "@home and #tag, 5 @ 3 each",
    "DE is a country; GB too",
    "timestamps 1731974400 and 1731974401",
    "UUID 123e4567-e89b-12d3-a456-426614174000",
    "temperature -12.5 to 37.25",
    "2001: A Space Odyssey",
    "score 10-7-3",
    "lat 52.5200, lon 13.4050",
    "AB12 is a postcode part",
    "MAC 00:1B:44:11:3A:B7",
    "0000000000000000",
    "0.0.0.0 means any",
    "sha 9f86d081884c7d65",
    "invoice 100200300",
    "Take 1 tablet at 08:00 and 1 at 20:00",
    "I rate it 9/10",
    "call me maybe",
    "e.g. i.e. etc.",
    "1/2 cup",
    "http://example.com/a?b=1",
]


@pytest.mark.parametrize("sentence", SENTENCES)
@pytest.mark.parametrize("kind", PLANTED)
def test_every_spelling_goes_and_is_one_pseudonym(kind, sentence):
    stored = {REDACTOR.text(sentence.format(value)) for value in PLANTED[kind]}
    assert stored == {sentence.format(REDACTOR.pseudonym(PLANTED[kind][0]))}
    assert f"<{kind}:" in stored.pop()


@pytest.mark.parametrize("sentence", SENTENCES)
@pytest.mark.parametrize("value", OTHERS)
def test_nothing_of_it_is_stored(value, sentence):
    planted = sentence.format(value)
    stored = stored_text(REDACTOR.payload({"text": planted, "inputs": {"prompt": [planted, {planted: 1}]}}).value)
    assert value not in stored
    # Nor most of it: no five characters of it in a row, but for what the sentence or the pseudonym has as well.
    rest = stored_text(REDACTOR.payload({"text": sentence, "inputs": {"prompt": [sentence, {sentence: 1}]}}).value)
    pieces = [value[at : at + 5] for at in range(len(value) - 4)]
    assert [piece for piece in pieces if piece in stored and piece not in rest] == []


def test_numbers_bytes_and_keys_are_looked_at():
    found = REDACTOR.payload({"text": {"card": 4111111111111111, "raw": b"jane@example.com", "jane@example.com": 1}})
    stored = stored_text(found.value)
    assert "4111" not in stored
    assert "jane" not in stored
    assert found.counts == {"card": 1, "email": 2}
    assert REDACTOR.payload({"text": b"\xff\xfejane@example.com"}).value == {"text": "<binary:18 bytes>"}


def test_what_is_not_allowed_is_dropped_unread():
    found = REDACTOR.payload(
        {"text": "hello", "user": "Jane Roe", "inputs": {"prompt": "p", "ssn": 1}, "x@y.example": 2}
    )
    assert found.value == {"text": "hello", "inputs": {"prompt": "p"}}
    assert found.dropped_fields[1:] == ("inputs.ssn", "user")
    assert "x@y" not in str(found.dropped_fields)
    with pytest.raises(TypeError, match="convert it first"):
        REDACTOR.payload({"text": {1, 2}})


def test_ordinary_text_is_left_alone():
    changed = [text for text in ORDINARY if REDACTOR.text(text) != text]
    # A book number is a payment card by its check digit about one time in ten, as any digits are; none here.
    assert changed == []


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=80))
def test_redaction_is_idempotent(text):
    once = REDACTOR.text(text)
    assert REDACTOR.text(once) == once


def test_pseudonyms_need_the_key():
    other = Redactor(frozenset({"text"}), b"o" * 32)
    assert other.pseudonym("a@example.com") != REDACTOR.pseudonym("a@example.com")
    assert REDACTOR.pseudonym(" A@example.com ") == REDACTOR.text("a@example.com")
    with pytest.raises(ValueError, match="nothing stands for it"):
        REDACTOR.pseudonym("Jane Roe")
    with pytest.raises(ValueError, match="32 or more"):
        Redactor(frozenset(), b"short")
    with pytest.raises(ValueError, match="no country code"):
        Redactor(frozenset(), KEY, regions=("Germany",))


def test_names_are_caught_only_with_a_model():
    assert REDACTOR.text("Jane Roe was here") == "Jane Roe was here"
    with_names = Redactor(frozenset({"text"}), KEY, find_names=lambda text: [(0, 8)] if text.startswith("Jane") else [])
    assert "Jane" not in with_names.text("Jane Roe was here")


def test_the_parts_of_what_overlaps_all_go():
    text = "4111 1111 1111 1111 2" + " +49 30 901820"
    assert "4111" not in REDACTOR.text(text)
