from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey
from throughline.lineage import canonical, envelope
from throughline.lineage.envelope import EnvelopeError, SignatureInvalidError

if TYPE_CHECKING:
    from collections.abc import Iterator

PAYLOAD = b'{"a":1}'
ECDSA, ED25519, STRANGER = CryptoSigner.generate_ecdsa(), CryptoSigner.generate_ed25519(), CryptoSigner.generate_ecdsa()
each_signer = pytest.mark.parametrize("signer", [ECDSA, ED25519], ids=["ecdsa", "ed25519"])


def flipped(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Every other value of every byte would be 255 times as many; each bit of each byte finds the same."""
    for index in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[index] ^= 1 << bit
            yield index, bytes(changed)


def accepted(data: bytes, keys: list[SSlibKey], threshold: int = 1) -> bool:
    try:
        envelope.verify(data, keys, threshold)
    except (EnvelopeError, SignatureInvalidError):
        return False
    return True


@each_signer
def test_the_payload_comes_back(signer: CryptoSigner) -> None:
    verified = envelope.verify(envelope.sign(PAYLOAD, [signer]), [signer.public_key])
    assert verified == envelope.Verified(PAYLOAD, (signer.public_key.keyid,), ())


@each_signer
def test_no_bit_of_the_envelope_can_be_changed(signer: CryptoSigner) -> None:
    data = envelope.sign(PAYLOAD, [signer])
    assert [index for index, changed in flipped(data) if accepted(changed, [signer.public_key])] == []


def test_no_bit_of_two_signatures_can_be_changed_when_both_are_asked_for() -> None:
    data = envelope.sign(PAYLOAD, [ECDSA, ED25519])
    keys = [ECDSA.public_key, ED25519.public_key]
    assert len(envelope.verify(data, keys, 2).key_ids) == len(keys)
    assert [index for index, changed in flipped(data) if accepted(changed, keys, 2)] == []


def test_a_wrong_signature_of_a_trusted_key_fails_even_where_another_is_right() -> None:
    wire = canonical.parse(envelope.sign(PAYLOAD, [ECDSA, ED25519]))
    for entry in wire["signatures"]:
        signature = bytearray(base64.b64decode(entry["sig"]))
        signature[-1] ^= 1
        broken = {**entry, "sig": base64.b64encode(signature).decode()}
        data = canonical.encode({**wire, "signatures": [broken if e is entry else e for e in wire["signatures"]]})
        with pytest.raises(SignatureInvalidError, match="was changed"):
            envelope.verify(data, [ECDSA.public_key, ED25519.public_key])


def test_after_a_rotation_old_and_new_statements_verify() -> None:
    trusted = [ECDSA.public_key, ED25519.public_key]
    for signer in (ECDSA, ED25519):
        assert envelope.verify(envelope.sign(PAYLOAD, [signer]), trusted).key_ids == (signer.public_key.keyid,)


def test_a_stranger_proves_nothing() -> None:
    with pytest.raises(SignatureInvalidError, match=r"0 of the 1 trusted keys .* is not trusted here"):
        envelope.verify(envelope.sign(PAYLOAD, [STRANGER]), [ECDSA.public_key])
    both = envelope.verify(envelope.sign(PAYLOAD, [STRANGER, ECDSA]), [ECDSA.public_key])
    assert both.unknown_key_ids == (STRANGER.public_key.keyid,)
    with pytest.raises(SignatureInvalidError, match="1 of the 2 trusted keys signed it and 2 must have"):
        envelope.verify(envelope.sign(PAYLOAD, [STRANGER, ECDSA]), [ECDSA.public_key, ED25519.public_key], 2)


def test_a_strangers_signature_under_a_trusted_keys_id_is_refused() -> None:
    wire = canonical.parse(envelope.sign(PAYLOAD, [STRANGER]))
    wire["signatures"][0]["keyid"] = ECDSA.public_key.keyid
    with pytest.raises(SignatureInvalidError, match="was changed"):
        envelope.verify(canonical.encode(wire), [ECDSA.public_key])


def test_the_same_key_twice_is_one() -> None:
    with pytest.raises(SignatureInvalidError, match="1 of the 1 trusted keys signed it and 2 must have"):
        envelope.verify(envelope.sign(PAYLOAD, [ECDSA]), [ECDSA.public_key, ECDSA.public_key], 2)


def test_a_second_signature_is_added_and_the_same_one_replaced() -> None:
    data = envelope.countersign(envelope.sign(PAYLOAD, [ECDSA]), [ED25519, ECDSA])
    assert len(envelope.verify(data, [ECDSA.public_key, ED25519.public_key], 2).key_ids) == 2


def test_what_we_write_is_dsse() -> None:
    """Read and checked by securesystemslib alone."""
    parsed = Envelope.from_dict(canonical.parse(envelope.sign(PAYLOAD, [ED25519])))
    assert parsed.payload == PAYLOAD
    assert parsed.payload_type == "application/vnd.in-toto+json"
    assert parsed.verify([ED25519.public_key], 1)
    assert parsed.pae() == b'DSSEv1 28 application/vnd.in-toto+json 7 {"a":1}'


SIGNED: dict[str, Any] = canonical.parse(envelope.sign(PAYLOAD, [ED25519]))


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        ([], "is no DSSE envelope"),
        ({**SIGNED, "more": 1}, "nothing else"),
        ({**SIGNED, "signatures": {}}, "is no DSSE envelope"),
        ({**SIGNED, "signatures": []}, "0 of the 1 trusted keys"),
        ({**SIGNED, "signatures": [1]}, r"signatures\[0\] without"),
        ({**SIGNED, "signatures": SIGNED["signatures"] * 2}, "two signatures of key"),
        ({**SIGNED, "signatures": [{**SIGNED["signatures"][0], "sig": 1}]}, r"signatures\[0\].sig that is no base64"),
        ({**SIGNED, "signatures": [{**SIGNED["signatures"][0], "sig": "é"}]}, "no base64"),
        ({**SIGNED, "payloadType": "text/plain"}, "payloadType 'text/plain'"),
        ({**SIGNED, "payload": "eyJhIjoxfR=="}, "one spelling"),
        ({**SIGNED, "payload": "eyJhIjox\nfQ=="}, "no base64"),
    ],
)
def test_what_is_no_envelope_is_said(wire: Any, message: str) -> None:
    with pytest.raises((EnvelopeError, SignatureInvalidError), match=message):
        envelope.verify(canonical.encode(wire), [ED25519.public_key])
