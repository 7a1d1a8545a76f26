"""What Triton writes of one traced request (levels TIMESTAMPS and TENSORS, log-frequency 1: one file for each).

The file looks like JSON and is none: texts stand in it as they came, with their quotes and line breaks, and bytes of
UINT8 and INT8 as characters. So it is read by the form that the server gives its own parts, and what can be read in two
ways is not read at all.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

INPUT, OUTPUT = "TENSOR_QUEUE_INPUT", "TENSOR_BACKEND_OUTPUT"
MOST_ELEMENTS = 1_000_000
_NEXT = rb'(?=,\{"id":|\]\Z)'
_HEADER = re.compile(
    rb'\{"id":(?P<id>\d+),"model_name":"(?P<model>[^"]*)","model_version":-?\d+'
    rb'(?:,"request_id":"(?P<request>.*?)")?(?P<parent>,"parent_id":\d+)?\}' + _NEXT,
    re.DOTALL,
)
_TIME = re.compile(rb'\{"id":\d+,"timestamps":\[\{"name":"[^"]*","ns":\d+\}\]\}' + _NEXT)
_TENSOR = re.compile(
    rb'\{"id":(?P<id>\d+),"activity":"(?P<activity>[A-Z_]+)","tensor":\{"name":"(?P<name>[^"]*)","data":"'
)
_END = re.compile(rb'","shape":"(?P<shape>\d+(?:,\d+)*)?","dtype":"(?P<dtype>[A-Z0-9]+)"\}\}' + _NEXT)
_KINDS: dict[str, type[np.generic]] = {
    "BOOL": np.bool_, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64, "INT16": np.int16,
    "INT32": np.int32, "INT64": np.int64, "FP32": np.float64, "FP64": np.float64,
}  # fmt: skip
_BYTE_KINDS: dict[str, type[np.generic]] = {"UINT8": np.uint8, "INT8": np.int8}


class UnreadableTraceError(ValueError):
    """Not whole, not of this form, or readable in two ways."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output. `values` are flat: numbers, or (BYTES) a list of bytes; None where Triton writes none.
    Floating-point numbers have the six digits that Triton prints.
    """

    dtype: str
    shape: tuple[int, ...]
    values: NDArray[np.generic] | Sequence[bytes] | None


@dataclass(frozen=True, slots=True)
class Sampled:
    """One request that was answered."""

    model: str
    request_id: str
    tensors: Mapping[str, Tensor]  # by name; inputs and outputs


def whole(raw: bytes) -> bool:
    """Whether the server may have written all of it."""
    return raw.startswith(b"[") and raw.endswith(b"]")


def parse(raw: bytes) -> Sampled:
    """The request of one file.

    Raises:
        UnreadableTraceError: it is not one.
    """
    if not whole(raw):
        raise UnreadableTraceError("not whole")
    found = _Found({}, {})
    at = 1
    while at != len(raw) - 1:
        if at > 1:
            if raw[at : at + 1] != b",":
                raise UnreadableTraceError("something stands between two records")
            at += 1
        at = _record(raw, at, found)
    return _root(found)


@dataclass(frozen=True, slots=True)
class _Found:
    heads: dict[bytes, re.Match[bytes]]
    tensors: dict[tuple[bytes, str, str], Tensor]  # by request, activity and name


def _record(raw: bytes, at: int, found: _Found) -> int:
    """Reads one; returns where it ends."""
    if (match := _TIME.match(raw, at)) is not None:
        return match.end()
    if (match := _HEADER.match(raw, at)) is not None:
        if match["id"] in found.heads:
            raise UnreadableTraceError("a request has two heads")
        found.heads[match["id"]] = match
        return match.end()
    match = _TENSOR.match(raw, at)
    end = None if match is None else _END.search(raw, match.end())
    if match is None or end is None:
        raise UnreadableTraceError("a record of no known form")
    key = (match["id"], _text(match["activity"]), _text(match["name"]))
    if key in found.tensors:
        raise UnreadableTraceError("a tensor is there twice")
    found.tensors[key] = _tensor(raw[match.end() : end.start()], end)
    return end.end()


def _root(found: _Found) -> Sampled:
    """Of an ensemble's trace only the request that came in; its steps are requests within."""
    roots = [head for head in found.heads.values() if head["parent"] is None]
    if len(roots) != 1:
        raise UnreadableTraceError(f"{len(roots)} requests in one file")
    (head,) = roots
    own: dict[str, Tensor] = {}
    for (of, activity, name), tensor in found.tensors.items():
        if of != head["id"] or activity not in (INPUT, OUTPUT):
            continue
        if name in own:
            raise UnreadableTraceError("an input and an output have one name")
        own[name] = tensor
    return Sampled(_text(head["model"]), _text(head["request"] or b""), own)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise UnreadableTraceError("a name is no text") from error


def _tensor(data: bytes, end: re.Match[bytes]) -> Tensor:
    dtype = _text(end["dtype"])
    shape = tuple(int(size) for size in (end["shape"] or b"").split(b",") if size)
    count = math.prod(shape)
    if count > MOST_ELEMENTS:
        raise UnreadableTraceError("too many elements")
    return Tensor(dtype, shape, _values(data, dtype, count))


def _values(data: bytes, dtype: str, count: int) -> Any:
    if dtype == "BYTES":
        return _texts(data, count)
    if dtype in _BYTE_KINDS:
        if len(data) != max(0, 2 * count - 1) or set(data[1::2]) - {ord(",")}:
            raise UnreadableTraceError("bytes that are not as many as the shape says")
        return np.frombuffer(data[::2], dtype=_BYTE_KINDS[dtype])
    kind = _KINDS.get(dtype)
    if kind is None:
        return None  # FP16 and BF16
    parts = data.split(b",") if data else []
    if len(parts) != count:
        raise UnreadableTraceError("numbers that are not as many as the shape says")
    try:
        if kind is np.float64:
            return np.array([float(part) for part in parts], dtype=np.float64)
        return np.array([int(part) for part in parts], dtype=kind)
    except (ValueError, OverflowError) as error:
        raise UnreadableTraceError("no number") from error


def _texts(data: bytes, count: int) -> list[bytes]:
    if count == 0 and not data:
        return []
    texts = data[2:-2].split(rb"\",\"")
    # A text that holds what stands between two of them cannot be told from two.
    if len(data) < 4 or data[:2] != rb"\"" or data[-2:] != rb"\"" or len(texts) != count:
        raise UnreadableTraceError("texts that are not as many as the shape says")
    return texts
