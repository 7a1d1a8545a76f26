"""Traces as Triton writes them, and a sampler over folders of a test."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyarrow import parquet
from throughline.api.monitoring import Sampling
from throughline.evaluator.sampling.cli import Sampler

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

SALT = b"0123456789abcdef0123456789abcdef"
GOVERNANCE = {
    "owner": "tests",
    "purpose": "tests",
    "legalBasis": "Consent",
    "regions": ["local"],
    "retentionDays": 30,
}


def sampling(**fields: Any) -> Sampling:
    """Text, two numbers and the answer, by request id."""
    declared = {
        "oneIn": 1,
        "fields": [{"name": "TEXT"}, {"name": "X", "columns": [{"name": "age", "index": 0}]}, {"name": "P"}],
        "useRequestId": True,
        "salt": {"name": "salt"},
        "retentionMinutes": 60,
        "storage": {"claimName": "samples"},
        "governance": GOVERNANCE,
        **fields,
    }
    return Sampling.model_validate({name: value for name, value in declared.items() if value is not None})


def _tensor(activity: str, name: str, dtype: str, shape: list[int], values: list[Any]) -> bytes:
    parts = [rb"\"" + v + rb"\"" for v in values] if dtype == "BYTES" else [f"{v}".encode() for v in values]
    sizes = ",".join(map(str, shape)).encode()
    return (
        b'{"id":1,"activity":"%s","tensor":{"name":"%s","data":"' % (activity.encode(), name.encode())
        + b",".join(parts)
        + b'","shape":"%s","dtype":"%s"}}' % (sizes, dtype.encode())
    )


def trace(
    texts: list[bytes], request_id: str = "r", model: str = "m", secret: bytes = b"", numbers: list[int] | None = None
) -> bytes:
    """One request of len(texts) items: TEXT, X [n, 2], CASE, SECRET (never listed), and the answer P [n, 2]."""
    size = len(texts)
    ages = list(range(20, 20 + size)) if numbers is None else numbers
    head = f'{{"id":1,"model_name":"{model}","model_version":1'.encode()
    head += b',"request_id":"%s"' % request_id.encode() if request_id else b""
    time = b'{"id":1,"timestamps":[{"name":"REQUEST_START","ns":59878165574319}]}'
    records = [
        head + b"}",
        time,
        _tensor("TENSOR_QUEUE_INPUT", "TEXT", "BYTES", [size, 1], texts),
        _tensor("TENSOR_QUEUE_INPUT", "X", "INT64", [size, 2], [v for age in ages for v in (age, 7)]),
        _tensor("TENSOR_QUEUE_INPUT", "CASE", "INT32", [size, 1], list(range(size))),
        _tensor("TENSOR_QUEUE_INPUT", "SECRET", "BYTES", [size, 1], [secret] * size),
        _tensor("TENSOR_BACKEND_OUTPUT", "P", "FP32", [size, 2], [0.25, 0.75] * size),
        time,
    ]
    return b"[" + b",".join(records) + b"]"


@dataclass
class Bed:
    """A sampler's folders, and a clock."""

    root: Path
    declared: Sampling = field(default_factory=sampling)
    # Files that are written on the way have the real time, so a slow run must not begin before them.
    now: float = field(default_factory=lambda: time.time() // 60 * 60)
    written: int = 0

    def __post_init__(self) -> None:
        self.traces, self.storage, self.erasures = (self.root / n for n in ("traces", "storage", "erasures"))
        for folder in (self.traces, self.storage, self.erasures):
            folder.mkdir(exist_ok=True)
        self.start()

    def start(self, *, batched: bool = True) -> None:
        """A fresh process over the same folders."""
        given = argparse.Namespace(
            traces=self.traces, storage=self.storage, erasures=self.erasures, model="m",
            no_batch_dimension=not batched, url="http://127.0.0.1:1", key_header="",
        )  # fmt: skip
        self.sampler = Sampler(self.declared, given, SALT, "pod-1")

    def put(self, raw: bytes) -> Path:
        """The server writes one file, a second ago."""
        path = self.traces / f"trace.{self.written}"
        self.written += 1
        path.write_bytes(raw)
        os.utime(path, (self.now - 1, self.now - 1))
        return path

    def step(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.sampler.step(self.now, server=False)

    def tables(self) -> list[pa.Table]:
        return [parquet.read_table(path) for path in sorted(self.storage.glob("*/*.parquet"))]

    def rows(self) -> list[dict[str, Any]]:
        return [row for table in self.tables() for row in table.to_pylist()]

    def counts(self) -> dict[str, int]:
        return dict(self.sampler.counts())

    def stored_bytes(self) -> bytes:
        """Every byte and every name on the storage, and the files' text in the clear."""
        files = [path for path in self.storage.rglob("*") if path.is_file()]
        names = "\n".join(str(path) for path in files).encode()
        clear = "\n".join(str(table.to_pydict()) for table in self.tables()).encode()
        return names + b"".join(path.read_bytes() for path in files) + clear
