"""Personal data out of payloads, before anything is stored.

First an allow-list: a field that is not named is dropped unread. Then, in the text of what is left, what has a form
that can be checked is replaced by a pseudonym: e-mail addresses, telephone numbers, IBANs and payment cards (both by
their check digits), IP addresses; and names, where a model that finds them is given.

Not caught, and so a reason to leave a field off the list: names without a model, postal addresses, dates of birth,
numbers of identity documents, user names, telephone numbers that are not valid in the regions declared, what is
spelt out ("john at example dot com"), encoded (base64) or split over several fields, and all that only the
combination of fields gives away.

A pseudonym is an HMAC-SHA-256 of the value under a key: the same person is the same pseudonym, so `pseudonym` of a
person's address finds everything to be erased, and without the key it can be neither reversed nor guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import phonenumbers
from phonenumbers import Leniency, PhoneNumberFormat, PhoneNumberMatcher

from throughline.api.monitoring import SALT_BYTES
from throughline.evaluator.privacy.iban import LENGTHS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

MINIMUM_KEY_BYTES = SALT_BYTES  # as long as the hash: a shorter key is the weakest part
PSEUDONYM_HEX = 16  # 64 bits tell ten million people apart with one collision in 370,000 such sets
INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]")

# Without =, &, / and the like, which RFC 5322 allows and which in practice stand between an address and its field.
EMAIL = re.compile(r"\w[\w.!#$'*+^~-]{0,63}(?:@|%40)(?:[\w](?:[\w-]{0,61}\w)?\.)+[^\W\d_][\w-]{0,61}\w")
# Four to a group or none, separated by what people separate them with.
IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ \-.]?[A-Za-z0-9]){11,29}")
INTERNATIONAL = re.compile(r"[+]\d(?:[ \-./()]{0,2}\d){6,24}")
CARD = re.compile(r"(?<!\d)\d+(?:[ \-.]\d+)*(?!\d)")
CARD_DIGITS = range(13, 20)
IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d]|\.\d)")
IPV6 = re.compile(r"(?<![0-9A-Za-z:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:\.\d{1,3}){0,3}(?![0-9A-Za-z:])")


@dataclass(frozen=True, slots=True)
class Found:
    """Personal data at [start, end) of a text; `value` in the form that all spellings of it share."""

    start: int
    end: int
    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class Redacted:
    """What may be stored, and how often what was taken out (for the audit, without the values)."""

    value: Any
    counts: Mapping[str, int]
    dropped_fields: Sequence[str]


@dataclass(frozen=True, slots=True)
class Redactor:
    """A policy of redaction.

    Attributes:
        allowed: Fields of a payload that may be stored, as dotted paths; what is below one is allowed with it.
        key: Of the pseudonyms, 32 bytes or more, from a Secret.
        regions: Countries (ISO 3166) whose national telephone numbers are known; international ones always are.
        find_names: Text → [start, end) of names in it, by some model; None: names are not caught.
    """

    allowed: frozenset[str]
    key: bytes = field(repr=False)
    regions: tuple[str, ...] = ()
    find_names: Callable[[str], Iterable[tuple[int, int]]] | None = None

    def __post_init__(self) -> None:
        if len(self.key) < MINIMUM_KEY_BYTES:
            raise ValueError(f"key: {len(self.key)} bytes can be guessed; give {MINIMUM_KEY_BYTES} or more")
        unknown = set(self.regions) - phonenumbers.SUPPORTED_REGIONS
        if unknown:
            raise ValueError(f"regions: {', '.join(sorted(unknown))} is no country code; write it as DE or US")

    def payload(self, payload: Mapping[str, Any]) -> Redacted:
        """The allowed fields of a request or answer, redacted; keys too, for people are put there as well."""
        counts: Counter[str] = Counter()
        dropped: list[str] = []
        kept = self._allowed(payload, "", dropped)
        return Redacted(self._redacted(kept, counts), counts, tuple(sorted(self.text(one, counts) for one in dropped)))

    def text(self, text: str, counts: Counter[str] | None = None) -> str:
        """The text with pseudonyms in place of what was found. Compatibility forms (full-width digits, …) are folded
        and invisible characters removed, or they would hide what they are part of.
        """
        text = INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
        parts, at = [], 0
        for found in _without_overlap(self._find(text)):
            parts += [text[at : found.start], f"<{found.kind}:{self._digest(found.kind, found.value)}>"]
            at = found.end
            if counts is not None:
                counts[found.kind] += 1
        return "".join([*parts, text[at:]])

    def pseudonym(self, value: str) -> str:
        """What stands in stored text for this address, number or card: what to look for when a person is to be erased.

        Raises:
            ValueError: It has no form that would have been redacted.
        """
        text = INVISIBLE.sub("", unicodedata.normalize("NFKC", value)).strip()
        for found in self._find(text):
            if (found.start, found.end) == (0, len(text)):
                return f"<{found.kind}:{self._digest(found.kind, found.value)}>"
        raise ValueError("value: neither e-mail, telephone number, IBAN, card nor IP address; nothing stands for it")

    def _digest(self, kind: str, value: str) -> str:
        return hmac.new(self.key, f"{kind}:{value}".encode(), hashlib.sha256).hexdigest()[:PSEUDONYM_HEX]

    def _allowed(self, value: Any, path: str, dropped: list[str]) -> Any:
        if path in self.allowed:
            return value
        if isinstance(value, dict) and (not path or any(one.startswith(f"{path}.") for one in self.allowed)):
            kept = {}
            for name, inner in value.items():
                below = f"{path}.{name}" if path else str(name)
                part = self._allowed(inner, below, dropped)
                if part is not _DROPPED:
                    kept[name] = part
            return kept
        dropped.append(path)
        return _DROPPED

    def _redacted(self, value: Any, counts: Counter[str]) -> Any:
        if isinstance(value, str):
            return self.text(value, counts)
        if isinstance(value, dict):
            return {self.text(str(name), counts): self._redacted(inner, counts) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._redacted(inner, counts) for inner in value]
        if isinstance(value, bytes):
            # What is not text has no form to be checked; it is not stored at all.
            try:
                return self.text(value.decode(), counts)
            except UnicodeDecodeError:
                counts["binary"] += 1
                return f"<binary:{len(value)} bytes>"
        if isinstance(value, int) and not isinstance(value, bool):
            # Card and telephone numbers come as numbers too.
            text = self.text(str(value), counts)
            return value if text == str(value) else text
        if value is None or isinstance(value, float | bool):
            return value
        raise TypeError(f"payload: {type(value).__name__} is nothing that JSON holds; convert it first")

    def _find(self, text: str) -> Iterator[Found]:
        for match in EMAIL.finditer(text):
            yield Found(match.start(), match.end(), "email", match[0].replace("%40", "@").lower())
        for match in IBAN.finditer(text):
            yield from _iban(match)
        for match in CARD.finditer(text):
            yield from _cards(match)
        for pattern in (IPV4, IPV6):
            for match in pattern.finditer(text):
                yield from _ip(match)
        yield from self._phones(text)
        if self.find_names is not None:
            for start, end in self.find_names(text):
                yield Found(start, end, "name", text[start:end].casefold())

    def _phones(self, text: str) -> Iterator[Found]:
        for sign in INTERNATIONAL.finditer(text):
            yield from _international(sign)
        for region in (None, *self.regions):
            for match in PhoneNumberMatcher(text, region, leniency=Leniency.VALID):
                number = phonenumbers.format_number(match.number, PhoneNumberFormat.E164)
                # A parenthesis that only opens is the sentence's.
                raw = match.raw_string
                opened = raw.startswith("(") and raw.count("(") > raw.count(")")
                yield Found(match.start + opened, match.end, "phone", number)


_DROPPED = object()


def _international(match: re.Match[str]) -> Iterator[Found]:
    """The most groups of digits that are a number together: what follows may be of something else, and the matcher
    would take all of it for a number that is not valid.
    """
    for group in reversed(list(re.finditer(r"\d+", match[0]))):
        try:
            number = phonenumbers.parse(match[0][: group.end()])
        except phonenumbers.NumberParseException:
            return
        if phonenumbers.is_valid_number(number):
            value = phonenumbers.format_number(number, PhoneNumberFormat.E164)
            yield Found(match.start(), match.start() + group.end(), "phone", value)
            return


def _without_overlap(found: Iterable[Found]) -> Iterator[Found]:
    """In order; of two that overlap, one that covers both, so that no part of either is left."""
    current: Found | None = None
    for one in sorted(found, key=lambda found: (found.start, -found.end)):
        if current is None or one.start >= current.end:
            if current is not None:
                yield current
            current = one
        elif one.end > current.end:
            current = Found(current.start, one.end, current.kind, current.value)
    if current is not None:
        yield current


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 annex B. A row of zeros passes it and is no card."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0 and digits.strip("0") != ""


def _cards(match: re.Match[str]) -> Iterator[Found]:
    """Cards in a row of groups of digits, each begun and ended with a group: other numbers may stand beside it."""
    groups = list(re.finditer(r"\d+", match[0]))
    first = 0
    while first < len(groups):
        for last in reversed(range(first, min(len(groups), first + CARD_DIGITS.stop))):
            digits = "".join(group[0] for group in groups[first : last + 1])
            if len(digits) in CARD_DIGITS and _luhn(digits):
                yield Found(match.start() + groups[first].start(), match.start() + groups[last].end(), "card", digits)
                first = last
                break
        first += 1


def _iban(match: re.Match[str]) -> Iterator[Found]:
    """ISO 13616: as many characters as the country's have, when their check digits hold (ISO 7064, modulo 97)."""
    length = LENGTHS.get(match[0][:2].upper(), 0)
    places = [place for place, char in enumerate(match[0]) if char.isalnum()][:length]
    compact = "".join(match[0][place] for place in places).upper()
    end = places[-1] + 1 if places else 0
    after = match.string[match.start() + end : match.start() + end + 1]
    if len(compact) != length or not length or (after.isascii() and after.isalnum()):
        return
    if int("".join(str(int(char, 36)) for char in compact[4:] + compact[:4])) % 97 == 1:
        yield Found(match.start(), match.start() + end, "iban", compact)


def _ip(match: re.Match[str]) -> Iterator[Found]:
    try:
        address = ipaddress.ip_address(match[0])
    except ValueError:
        return  # four numbers with dots that are no address: a version, a section
    # 0.0.0.0 and :: are nobody's, and a::b is code: an address without a digit is hardly ever one.
    if not address.is_unspecified and any(char.isdigit() for char in match[0]):
        yield Found(match.start(), match.end(), "ip", address.compressed)


def stored_text(value: Any) -> str:
    """What of a redacted payload is written: JSON with all characters as they are."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
