"""DSSE envelopes (https://github.com/secure-systems-lab/dsse): a payload, its type, and signatures over both.

Signing and checking are securesystemslib's. Added here: the envelope has one spelling (canonical JSON and base64), so
that no byte of it can be changed without notice, and the payload is not looked at before its signatures are checked.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import Signature

from throughline.lineage import canonical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securesystemslib.signer import CryptoSigner, SSlibKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
FIELDS = {"payload", "payloadType", "signatures"}
SIGNATURE_FIELDS = {"keyid", "sig"}


class EnvelopeError(ValueError):
    """The bytes are no envelope as we write them; the message says where."""


class SignatureInvalidError(ValueError):
    """The signatures do not make the payload trustworthy; the message says why."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A payload that may be believed, the ids of the trusted keys that signed it, and of signatures by others."""

    payload: bytes
    key_ids: tuple[str, ...]
    unknown_key_ids: tuple[str, ...]


def sign(payload: bytes, signers: Sequence[CryptoSigner]) -> bytes:
    """A new envelope, as canonical JSON."""
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    for signer in signers:
        envelope.sign(signer)
    return _written(envelope)


def countersign(data: bytes, signers: Sequence[CryptoSigner]) -> bytes:
    """The envelope with more signatures; a signature by the same key is replaced. What was signed stays as it is.

    Raises:
        EnvelopeError: `data` is no envelope.
    """
    envelope = _read(data)
    for signer in signers:
        envelope.sign(signer)
    return _written(envelope)


def verify(data: bytes, keys: Sequence[SSlibKey], threshold: int = 1) -> Verified:
    """The payload, if at least `threshold` of the trusted keys signed it and none of their signatures is wrong.

    A signature by a key that is not among `keys` proves nothing and counts as nothing.

    Raises:
        EnvelopeError: `data` is no envelope.
        SignatureInvalidError: a signature of a trusted key is wrong, or too few trusted keys signed.
    """
    envelope = _read(data)
    by_id = {key.keyid: key for key in keys}
    good: list[str] = []
    # One key at a time: asked for all, securesystemslib stops at the threshold and would pass over a wrong one.
    for key_id in envelope.signatures.keys() & by_id.keys():
        try:
            envelope.verify([by_id[key_id]], 1)
        except VerificationError as error:
            raise SignatureInvalidError(
                f"the signature of key {short(key_id)} is not of this statement: statement or signature was changed"
            ) from error
        good.append(key_id)
    unknown = sorted(envelope.signatures.keys() - by_id.keys())
    if len(good) < threshold:
        signed_by = f"; it is signed by {', '.join(map(short, unknown))}, which is not trusted here" if unknown else ""
        raise SignatureInvalidError(
            f"{len(good)} of the {len(by_id)} trusted keys signed it and {threshold} must have{signed_by}"
        )
    return Verified(envelope.payload, tuple(sorted(good)), tuple(unknown))


def short(key_id: str) -> str:
    """The beginning of a key's id, for people."""
    return f"{key_id[:12]}…"


def _written(envelope: Envelope) -> bytes:
    wire = envelope.to_dict()
    signatures = [{"keyid": s["keyid"], "sig": s["sig"]} for s in wire["signatures"]]
    return canonical.encode({**wire, "signatures": sorted(signatures, key=lambda s: str(s["keyid"]))})


def _read(data: bytes) -> Envelope:
    try:
        wire = canonical.parse_canonical(data)
    except canonical.CanonicalError as error:
        raise EnvelopeError(str(error)) from error
    if not isinstance(wire, dict) or wire.keys() != FIELDS or not isinstance(wire["signatures"], list):
        raise EnvelopeError(f"is no DSSE envelope: it must have {', '.join(sorted(FIELDS))} and nothing else")
    if wire["payloadType"] != PAYLOAD_TYPE:
        raise EnvelopeError(f"has payloadType {wire['payloadType']!r}; expected {PAYLOAD_TYPE}")
    signatures: dict[str, Signature] = {}
    for index, entry in enumerate(wire["signatures"]):
        where = f"signatures[{index}]"
        if not isinstance(entry, dict) or entry.keys() != SIGNATURE_FIELDS or not isinstance(entry["keyid"], str):
            raise EnvelopeError(f"has {where} without keyid and sig, or with more")
        if entry["keyid"] in signatures:
            raise EnvelopeError(f"has two signatures of key {short(entry['keyid'])}")
        signatures[entry["keyid"]] = Signature(entry["keyid"], _decoded(entry["sig"], f"{where}.sig").hex())
    return Envelope(_decoded(wire["payload"], "payload"), PAYLOAD_TYPE, signatures)


def _decoded(text: Any, where: str) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise EnvelopeError(f"has a {where} that is no base64") from error
    # Unused bits of the last character could be changed unseen.
    if base64.b64encode(content).decode() != text:
        raise EnvelopeError(f"has a {where} in another base64 than the one spelling")
    return content
