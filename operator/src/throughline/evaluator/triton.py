"""A model behind Triton, by gRPC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import serialize_byte_tensor

from throughline.evaluator.answers import DATATYPES, TEXT, Answer
from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.served import RefusedError, Served, Tensor, TransientError
from throughline.evaluator.streams import Streams

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from throughline.evaluator.address import Address

TRANSIENT = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
# Triton answers UNAVAILABLE also to a caller without the key of a restricted API: asking again would not help.
_RESTRICTED = "protocol is restricted"
# A server that comes back is seen within seconds; gRPC by itself waits up to two minutes before it tries again.
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # A peer that is gone without a word is noticed.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


@dataclass(frozen=True, slots=True)
class Asking:
    """How each request is sent."""

    timeout_seconds: float
    low_priority: bool = False  # the last of the model's priority levels
    queue_timeout_microseconds: int = 0  # how long the server may keep a request in its queue; 0: its default


class Triton:
    """ModelPort. Made and used within one event loop.

    Requests are put together from the protocol's own messages: on the way there the rows are copied once, into the
    message, and the answer not at all.
    """

    def __init__(
        self, address: Address, model: str, version: str, output: str, asking: Asking, ca_file: Path | None = None
    ) -> None:
        self.asking = asking
        self._model, self._version, self._output = model, version, output
        self._where = address.target
        self._priority = 0  # the model's default
        if address.secure:
            try:
                roots = None if ca_file is None else ca_file.read_bytes()
            except OSError as error:
                raise EvaluationInputError(f"--ca-file {ca_file}: {error.strerror}") from error
            credentials = grpc.ssl_channel_credentials(roots)
            self._channel = grpc.aio.secure_channel(address.target, credentials, options=_OPTIONS)
        else:
            self._channel = grpc.aio.insecure_channel(address.target, options=_OPTIONS)
        self._stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._streams = Streams(self._stub, asking.timeout_seconds)

    async def close(self) -> None:
        self._streams.close()
        await self._channel.close()

    async def describe(self) -> Served:
        named = {"name": self._model, "version": self._version}
        try:
            metadata = await self._call("ModelMetadata", service_pb2.ModelMetadataRequest(**named))
        except RefusedError as error:
            raise RefusedError(f"model {self._model!r} at {self._where}: {error}") from error
        config = await self._config(named)
        optional = {tensor.name for tensor in config.input if tensor.optional} if config is not None else set()
        priorities = 0 if config is None else int(config.dynamic_batching.priority_levels)
        if self.asking.low_priority:
            self._priority = priorities
        # From here on by its number: a version that is loaded meanwhile must not answer the rest of the rows.
        self._version = self._version or max(metadata.versions, key=_number, default="")
        return Served(
            name=metadata.name,
            version=self._version,
            inputs=tuple(
                Tensor(t.name, t.datatype, tuple(t.shape), optional=t.name in optional) for t in metadata.inputs
            ),
            outputs=tuple(Tensor(t.name, t.datatype, tuple(t.shape)) for t in metadata.outputs),
            max_batch_size=None if config is None else config.max_batch_size,
            priority_levels=priorities,
        )

    async def _config(self, named: Mapping[str, str]) -> Any:
        try:
            return (await self._call("ModelConfig", service_pb2.ModelConfigRequest(**named))).config
        except RefusedError:
            return None  # a server may restrict this API; how many rows a request may have must then be told

    async def infer(self, inputs: Mapping[str, NDArray[np.generic]]) -> Answer:
        request = service_pb2.ModelInferRequest(model_name=self._model, model_version=self._version)
        for name, array in inputs.items():
            datatype, raw = _raw(array)
            request.inputs.add(name=name, datatype=datatype, shape=array.shape)
            request.raw_input_contents.append(raw)
        request.outputs.add(name=self._output)
        if self._priority:
            request.parameters["priority"].uint64_param = self._priority
        if self.asking.queue_timeout_microseconds:
            request.parameters["timeout"].int64_param = self.asking.queue_timeout_microseconds
        response = await self._streams.ask(request) or await self._call("ModelInfer", request)
        if len(response.outputs) != 1 or len(response.raw_output_contents) != 1:
            raise RefusedError(f"the server's answer has not the one output {self._output!r} that was asked for")
        output = response.outputs[0]
        if output.datatype != TEXT and output.datatype not in DATATYPES:
            raise RefusedError(f"output {self._output!r} has datatype {output.datatype}, which cannot be scored")
        return Answer(output.datatype, tuple(output.shape), response.raw_output_contents[0])

    async def _call(self, method: str, request: Any) -> Any:
        try:
            return await getattr(self._stub, method)(request, timeout=self.asking.timeout_seconds)
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), " ".join((error.details() or "no message").split())
            if code in TRANSIENT and _RESTRICTED not in details:
                raise TransientError(f"{self._where}: {code.name}: {details}") from error
            raise RefusedError(f"{code.name}: {details}") from error


def _raw(array: NDArray[np.generic]) -> tuple[str, bytes]:
    if array.dtype == np.object_:
        serialized = serialize_byte_tensor(array)
        return TEXT, serialized.item() if serialized.size else b""
    return _NAMES[array.dtype], array.tobytes()


_NAMES = {np.dtype(code): name for name, code in DATATYPES.items()}


def _number(version: str) -> int:
    return int(version) if version.isdigit() else -1
