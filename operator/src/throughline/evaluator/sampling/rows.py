"""Sampled requests as rows: one for each batch item, listed columns only, text redacted."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from throughline.evaluator.privacy.redaction import MINIMUM_KEY_BYTES, Redactor
from throughline.evaluator.texts import text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from throughline.api.monitoring import SampledField, Sampling
    from throughline.evaluator.sampling.traces import Sampled, Tensor

TIME, KEY, ITEM = "sample.time", "sample.key", "sample.item"
FIXED = (pa.field(TIME, pa.timestamp("ms", tz="UTC")), pa.field(KEY, pa.string()), pa.field(ITEM, pa.int32()))
MOST_COLUMNS = 256
HASHED = "key:"  # begins a stored key
SHORTEST_NUMBER = 7  # digits of the shortest telephone number that is looked for
_TYPES = {"BOOL": pa.bool_(), "BYTES": pa.string(), "FP32": pa.float64(), "FP64": pa.float64(), "UINT64": pa.uint64()}


class RefusedSampleError(ValueError):
    """A sample that must not, or cannot, be stored. The message is the name of a counter."""


@dataclass(frozen=True, slots=True)
class Keys:
    """How keys of people and cases are stored: as an HMAC-SHA-256 under the salt, which finds them again."""

    salt: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.salt) < MINIMUM_KEY_BYTES:
            raise ValueError(f"salt: {len(self.salt)} bytes can be guessed; put {MINIMUM_KEY_BYTES} or more")

    def hashed(self, key: str) -> str:
        """What is stored for the key."""
        return HASHED + hmac.new(self.salt, f"key:{key}".encode(), hashlib.sha256).hexdigest()[:32]


class Rows:
    """Makes rows under one declaration. Counts what it refused and redacted, without the values."""

    def __init__(self, sampling: Sampling, salt: bytes, model: str, *, batched: bool) -> None:
        self._sampling, self._model, self._batched = sampling, model, batched
        self.keys = Keys(salt)
        self.redactor = Redactor(frozenset(), salt, tuple(sampling.phone_regions))
        self.counts: Counter[str] = Counter()

    def table(self, samples: Iterable[tuple[float, Sampled]]) -> pa.Table | None:
        """Rows of (Unix time, request); None where none is left."""
        columns: dict[str, list[Any]] = {}
        types: dict[str, pa.DataType] = {}
        fixed: list[tuple[int, str | None, int]] = []
        for when, sample in samples:
            try:
                made, kinds, key = self._request(sample)
                if any(types.get(name, kind) != kind for name, kind in kinds.items()):
                    raise RefusedSampleError("typeChanged")  # noqa: TRY301 - counted with the others
            except RefusedSampleError as error:
                self.counts[f"dropped.{error}"] += 1
                continue
            size = len(key)
            for name, kind in kinds.items():
                types.setdefault(name, kind)
                columns.setdefault(name, [None] * len(fixed))
            for name, values in columns.items():
                values.extend(made.get(name, [None] * size))
            fixed += [(round(when * 1000), one, item) for item, one in enumerate(key)]
        if not fixed:
            return None
        arrays = [pa.array(list(side), part.type) for side, part in zip(zip(*fixed, strict=True), FIXED, strict=True)]
        arrays += [pa.array(values, types[name]) for name, values in columns.items()]
        return pa.table(arrays, schema=pa.schema([*FIXED, *(pa.field(n, types[n]) for n in columns)]))

    def _request(self, sample: Sampled) -> tuple[dict[str, list[Any]], dict[str, pa.DataType], list[str | None]]:
        if sample.model != self._model:
            raise RefusedSampleError("otherModel")
        made: dict[str, list[Any]] = {}
        kinds: dict[str, pa.DataType] = {}
        size = self._items(sample)
        keys = self._keys(sample, size)
        for one in self._sampling.fields:
            tensor = sample.tensors.get(one.name)
            if tensor is None:  # an optional input, or a name that the model does not have
                self.counts[f"absent.{one.name}"] += 1
                continue
            for name, values in self._columns(one, tensor, size).items():
                made[name], kinds[name] = values, _TYPES.get(tensor.dtype, pa.int64())
        return made, kinds, keys

    def _items(self, sample: Sampled) -> int:
        if not self._batched:
            return 1
        wanted = {one.name for one in self._sampling.fields} | {self._sampling.key_tensor}
        sizes = {t.shape[0] if t.shape else 0 for name, t in sample.tensors.items() if name in wanted}
        if len(sizes) != 1 or 0 in sizes:
            raise RefusedSampleError("shape")
        return sizes.pop()

    def _keys(self, sample: Sampled, size: int) -> list[str | None]:
        """A row without a key could not be erased, so where keys are declared it is not stored."""
        if self._sampling.use_request_id:
            if not sample.request_id:
                raise RefusedSampleError("noKey")
            return [self.keys.hashed(sample.request_id)] * size
        if self._sampling.key_tensor is None:
            return [None] * size
        tensor = sample.tensors.get(self._sampling.key_tensor)
        if tensor is None or tensor.values is None or len(tensor.values) != size:
            raise RefusedSampleError("noKey")
        texts = [_decoded(v) if isinstance(v, bytes) else text_of(v) for v in tensor.values]
        if not all(texts):
            raise RefusedSampleError("noKey")
        return [self.keys.hashed(text) for text in texts if text]

    def _columns(self, one: SampledField, tensor: Tensor, size: int) -> Mapping[str, list[Any]]:
        if tensor.values is None:
            self.counts[f"notTraced.{one.name}"] += 1
            return {}
        width = len(tensor.values) // size
        if width * size != len(tensor.values) or math.prod(tensor.shape) != len(tensor.values):
            raise RefusedSampleError("shape")
        chosen = {column.name: column.index for column in one.columns} or _named(one.name, width)
        if len(chosen) > MOST_COLUMNS:
            raise RefusedSampleError("tooWide")
        if max(chosen.values(), default=0) >= width:
            raise RefusedSampleError("shape")
        return {name: self._values(tensor.values[index::width], tensor.dtype) for name, index in chosen.items()}

    def _values(self, values: Any, dtype: str) -> list[Any]:
        if dtype == "BYTES":
            return [self._text(value) for value in values]
        plain = list(values.tolist())
        if self._sampling.redact and dtype not in ("BOOL", "FP32", "FP64"):
            return [self._number(value) for value in plain]
        return plain

    def _text(self, value: bytes) -> str:
        text = _decoded(value)
        if text is None:  # what is not text has no form to be checked
            self.counts["redacted.binary"] += 1
            return f"<binary:{len(value)} bytes>"
        if not self._sampling.redact:
            return text
        found: Counter[str] = Counter()
        redacted = self.redactor.text(text, found)
        self.counts.update({f"redacted.{kind}": count for kind, count in found.items()})
        return redacted

    def _number(self, value: int) -> int | None:
        """Cards and telephone numbers come as numbers too, and a number column has no place for a pseudonym."""
        text = str(value)
        if len(text) < SHORTEST_NUMBER or self.redactor.text(text) == text:
            return value
        self.counts["redacted.number"] += 1
        return None


def _named(name: str, width: int) -> dict[str, int]:
    return {name: 0} if width == 1 else {f"{name}.{index}": index for index in range(width)}


def _decoded(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
