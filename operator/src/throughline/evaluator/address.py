"""Where a model is served: HOST:PORT of Triton's gRPC endpoint, and which of its versions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from throughline.evaluator.errors import EvaluationInputError

DEFAULT_PORT = 8001
LAST_PORT = 65535
_ADDRESS = re.compile(r"(?:(?P<scheme>[a-z+]+)://)?(?P<host>\[[0-9a-fA-F:]+\]|[^:/\s]+)(?::(?P<port>[0-9]+))?/?")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")  # names a folder of the model repository; Triton's are of 64 bits


@dataclass(frozen=True, slots=True)
class Address:
    """grpc://HOST:PORT, or grpcs:// for TLS."""

    target: str
    secure: bool

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises EvaluationInputError."""
        match = _ADDRESS.fullmatch(url)
        if match is None or match["scheme"] not in {None, "grpc", "grpcs"}:
            port = " (Triton's gRPC port is 8001, not 8000)" if url.startswith("http") else ""
            raise EvaluationInputError(f"--url {url}: write grpc://HOST:{DEFAULT_PORT}, or grpcs:// for TLS{port}")
        port = match["port"] or str(DEFAULT_PORT)
        if not is_port(port):
            raise EvaluationInputError(f"--url {url}: a port is a number from 1 to {LAST_PORT}; Triton's is 8001")
        return cls(f"{match['host']}:{port}", match["scheme"] == "grpcs")


def is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(LAST_PORT)) and 1 <= int(text) <= LAST_PORT


def is_version(text: str) -> bool:
    """Whether it can be the version of a model."""
    return _VERSION.fullmatch(text) is not None
