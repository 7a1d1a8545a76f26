"""What the model has answered so far: in memory as one array, and on disk, so that a killed evaluation goes on.

The file is a row of records, each with its own checksum; one that was cut off or damaged, and what follows it, is
dropped and asked for again. Nothing else than appending is ever done to it, so a kill at any moment loses at most what
was being written.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np
from ml_dtypes import bfloat16

from throughline.evaluator.errors import NotEvaluatedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

# Of what the tensors' raw contents hold.
DATATYPES: dict[str, str | np.dtype[Any]] = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
    "BF16": np.dtype(bfloat16),
}  # fmt: skip
# As numpy calculates with them: it does not know BF16, of which FP32 holds every number.
_ARRAYS = {**DATATYPES, "BF16": "<f4"}
TEXT = "BYTES"
FILE = "answers"
_HEAD = struct.Struct("<QQQI")  # first row, row after the last, bytes of the payload, checksum of these and the payload


@dataclass(frozen=True, slots=True)
class Answer:
    """The output tensor for some rows, as the Open Inference Protocol's raw contents have it."""

    datatype: str
    shape: tuple[int, ...]  # [rows, …]
    raw: bytes

    def array(self) -> NDArray[np.generic]:
        """The tensor; texts as an object array of bytes, BF16 as single-precision numbers.

        Raises:
            NotEvaluatedError: the server sent fewer or more bytes than its shape says.
        """
        if self.datatype == TEXT:
            values = np.empty(len(texts := list(_texts(self.raw))), dtype=np.object_)
            values[:] = texts
        else:
            raw = np.frombuffer(self.raw, dtype=DATATYPES[self.datatype])
            values = raw.astype(_ARRAYS[self.datatype], copy=False)
        if values.size != math.prod(self.shape):
            raise NotEvaluatedError(f"the server says shape {list(self.shape)}, but sent {values.size} values")
        shaped: NDArray[np.generic] = values.reshape(self.shape)
        return shaped


def _texts(raw: bytes) -> Iterator[bytes]:
    """Each text is its length in four bytes, then itself."""
    at = 0
    while at < len(raw):
        length = int.from_bytes(raw[at : at + 4], "little")
        yield raw[at + 4 : at + 4 + length]
        at += 4 + length


class Answers:
    """The answers for `rows` rows, in their order whatever order they come in."""

    def __init__(self, rows: int, directory: Path | None = None) -> None:
        """Takes up what an earlier evaluation left in `directory`; None keeps nothing on disk.

        Raises:
            NotEvaluatedError: another process is at work there, or it cannot be written.
        """
        self.rows = rows
        self._kind: tuple[str, tuple[int, ...]] | None = None  # datatype and shape of one row
        self._output: NDArray[np.generic] | None = None
        self._done: list[tuple[int, int]] = []
        self.done_rows = 0
        self._file: BinaryIO | None = None
        self._directory = directory
        if directory is not None:
            self._file = _locked(directory / FILE)
            self._take_up(self._file)
        self.resumed_rows = self.done_rows

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def missing(self, batch_rows: int) -> Iterator[tuple[int, int]]:
        """What is still to be asked for, as (first row, row after the last) of at most so many rows."""
        at = 0
        for start, stop in [*sorted(self._done), (self.rows, self.rows)]:
            while at < start:
                end = min(at + batch_rows, start)
                yield at, end
                at = end
            at = max(at, stop)

    def add(self, start: int, stop: int, answer: Answer) -> None:
        """Keep an answer.

        Raises:
            NotEvaluatedError: it is not for so many rows, or unlike those before it.
        """
        if not answer.shape or answer.shape[0] != stop - start:
            raise NotEvaluatedError(
                f"the model answered {stop - start} rows with an output of shape {list(answer.shape)}; its first "
                "dimension must be the rows"
            )
        self._place(start, stop, answer)
        self._write(start, stop, answer.raw)

    def output(self) -> NDArray[np.generic]:
        """[rows, …], when nothing is missing."""
        assert self._output is not None  # noqa: S101 - there are no data sets without rows
        assert self.done_rows == self.rows  # noqa: S101 - the caller asked for all that was missing
        return self._output

    def discard(self) -> None:
        """The result is written: what was kept to come to it goes."""
        if self._directory is not None:
            shutil.rmtree(self._directory)

    def _place(self, start: int, stop: int, answer: Answer) -> None:
        kind = (answer.datatype, answer.shape[1:])
        if self._kind is None or self._output is None:
            self._kind = kind
            values = np.object_ if answer.datatype == TEXT else _ARRAYS[answer.datatype]
            self._output = np.empty((self.rows, *answer.shape[1:]), dtype=values)
            self._write(0, 0, json.dumps({"datatype": kind[0], "shape": kind[1]}).encode())
        elif kind != self._kind:
            raise NotEvaluatedError(
                f"the model answered with {answer.datatype} {list(answer.shape[1:])} per row, and before with "
                f"{self._kind[0]} {list(self._kind[1])}: outputs whose shape depends on the row cannot be scored"
            )
        self._output[start:stop] = answer.array()
        self._done.append((start, stop))
        self.done_rows += stop - start

    def _write(self, start: int, stop: int, payload: bytes) -> None:
        if self._file is None:
            return
        record = _HEAD.pack(start, stop, len(payload), _checksum(start, stop, payload)) + payload
        try:
            whole = self._file.write(record) == len(record)
        except OSError as error:
            raise NotEvaluatedError(f"{self._directory} cannot be written: {error.strerror}") from error
        if not whole:
            raise NotEvaluatedError(f"{self._directory} is full; make room, and run it again")

    def _take_up(self, file: BinaryIO) -> None:
        kept = 0
        kind: tuple[str, tuple[int, ...]] | None = None
        keeping, self._file = self._file, None  # what is read is not written again
        for start, stop, payload in _records(file):
            if start == stop == 0:
                described = json.loads(payload)
                kind = (described["datatype"], tuple(described["shape"]))
            elif kind is None or stop > self.rows:
                break
            else:
                self._place(start, stop, Answer(kind[0], (stop - start, *kind[1]), payload))
            kept += _HEAD.size + len(payload)
        self._file = keeping
        file.truncate(kept)
        file.seek(kept)


def _records(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    file.seek(0)
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        start, stop, length, checksum = _HEAD.unpack(head)
        left = os.fstat(file.fileno()).st_size - file.tell()
        if length > left:
            return
        payload = file.read(length)
        if _checksum(start, stop, payload) != checksum:
            return
        yield start, stop, payload


def _checksum(start: int, stop: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(struct.pack("<QQ", start, stop)))


def _locked(path: Path) -> BinaryIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        file = path.open("r+b", buffering=0)
    except OSError as error:
        raise NotEvaluatedError(
            f"{path.parent} cannot be written: {error.strerror}; name another --work-dir"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise NotEvaluatedError(f"another evaluation of the same is at work in {path.parent}; wait for it") from None
    return file
