"""The cluster's certificate authority and the certificates it signs."""

from __future__ import annotations

import dataclasses
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pathlib

EC_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
DAYS = "365"


@dataclasses.dataclass(frozen=True)
class Pair:
    certificate: pathlib.Path
    key: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Authority:
    directory: pathlib.Path
    pair: Pair

    @classmethod
    def create(cls, directory: pathlib.Path) -> Authority:
        directory.mkdir()
        pair = Pair(directory / "ca.crt", directory / "ca.key")
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        _openssl(
            "req",
            "-x509",
            *EC_KEY,
            "-days",
            DAYS,
            "-subj",
            "/CN=throughline",
            *usage,
            "-keyout",
            pair.key,
            "-out",
            pair.certificate,
        )
        return cls(directory, pair)

    def issue(self, name: str, subject: str, usage: str, alternatives: tuple[str, ...] = ()) -> Pair:
        pair = Pair(self.directory / f"{name}.crt", self.directory / f"{name}.key")
        extensions = ["basicConstraints=critical,CA:FALSE", f"extendedKeyUsage={usage}"]
        if alternatives:
            extensions.append(f"subjectAltName={','.join(alternatives)}")
        added = [argument for extension in extensions for argument in ("-addext", extension)]
        signer = ("-CA", self.pair.certificate, "-CAkey", self.pair.key)
        _openssl(
            "req",
            "-x509",
            *signer,
            *EC_KEY,
            "-days",
            DAYS,
            "-subj",
            subject,
            *added,
            "-keyout",
            pair.key,
            "-out",
            pair.certificate,
        )
        return pair


def create_signing_keys(directory: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """The key that signs service account tokens, and the one that proves them."""
    private, public = directory / "service-accounts.key", directory / "service-accounts.pub"
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", private)
    _openssl("pkey", "-in", private, "-pubout", "-out", public)
    return private, public


def _openssl(*arguments: str | pathlib.Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
