"""Signing keys as files: PEM, private ones as PKCS #8, public ones as SubjectPublicKeyInfo; what openssl writes too.

Two kinds are taken: ECDSA on P-256 and Ed25519. A key's id is securesystemslib's: the SHA-256 of the public key as
canonical JSON. It only says which key to try; nothing is trusted by its id.
"""

from __future__ import annotations

import os
import stat
from enum import StrEnum
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE_SUFFIX, PUBLIC_SUFFIX = ".key", ".pub"
MAX_KEY_BYTES = 16_384
FORBIDDEN_MODE = stat.S_IRWXO | stat.S_IWGRP  # a Secret's volume gives its group the right to read


class KeyFileError(ValueError):
    """A key that cannot be used, by file, and what to do."""


class Algorithm(StrEnum):
    ECDSA_P256 = "ecdsa-p256"
    ED25519 = "ed25519"


def generate(private: Path, algorithm: Algorithm, passphrase: bytes | None = None) -> tuple[Path, str]:
    """Write a new private key (mode 0600) and, beside it with the suffix `.pub`, the public one.

    Returns: the public key's file and the key's id.

    Raises:
        KeyFileError: a file is there already (a lost key cannot be made again), or cannot be written.
    """
    public = private.with_suffix(PUBLIC_SUFFIX)
    if public == private:
        raise KeyFileError(f"{private}: the suffix {PUBLIC_SUFFIX} is the public key's; name the private one otherwise")
    key = (
        ec.generate_private_key(ec.SECP256R1())
        if algorithm is Algorithm.ECDSA_P256
        else ed25519.Ed25519PrivateKey.generate()
    )
    encryption: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    _create(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    try:
        _create(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), 0o600)
    except KeyFileError:
        public.unlink()
        raise
    return public, SSlibKey.from_crypto(key.public_key()).keyid


def load_signer(path: Path, passphrase: bytes | None = None) -> CryptoSigner:
    """The private key, to sign with.

    Raises:
        KeyFileError: unreadable, readable by others, encrypted without a passphrase or with another, or of no kind
            that is taken.
    """
    try:
        # Links are followed: the kubelet mounts Secrets so. The mode is that of the file that is read.
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & FORBIDDEN_MODE:
                raise KeyFileError(
                    f"{path}: others may use this private key (mode {mode:04o}); run chmod 600, or in a pod mount the "
                    "Secret with defaultMode 0440 - and make a new key if somebody else may have read this one"
                )
            pem = file.read(MAX_KEY_BYTES)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    try:
        key = load_pem_private_key(pem, passphrase)
    except TypeError as error:  # cryptography's way to say that one of key and passphrase lacks the other
        raise KeyFileError(f"{path}: {error}".replace("Password", "passphrase")) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(
            f"{path}: is no private key in PEM (PKCS #8), or the passphrase is another; "
            "`throughline keys generate` makes one"
        ) from error
    if isinstance(key, ed25519.Ed25519PrivateKey) or (
        isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        return CryptoSigner(key)
    raise KeyFileError(f"{path}: only ECDSA P-256 and Ed25519 keys are taken")


def load_public(path: Path) -> SSlibKey:
    """A public key, to verify with.

    Raises:
        KeyFileError: unreadable, a private key, or of no kind that is taken.
    """
    try:
        with path.open("rb") as file:
            pem = file.read(MAX_KEY_BYTES)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    if b"PRIVATE KEY" in pem:
        raise KeyFileError(f"{path}: is a private key; give the public one ({PUBLIC_SUFFIX})")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path}: is no public key in PEM (SubjectPublicKeyInfo)") from error
    if isinstance(key, ed25519.Ed25519PublicKey) or (
        isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        return SSlibKey.from_crypto(key)
    raise KeyFileError(f"{path}: only ECDSA P-256 and Ed25519 keys are taken")


def _create(path: Path, content: bytes, mode: int) -> None:
    """Make the file, with this mode from its first moment on."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError as error:
        raise KeyFileError(f"{path}: is there already and is not overwritten; name another file") from error
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
