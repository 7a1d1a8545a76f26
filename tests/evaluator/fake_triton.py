"""A server that speaks Triton's gRPC protocol for one small model: Y[rows, 2] = (sum of the row, 1 − sum)."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from ml_dtypes import bfloat16
from tritonclient.grpc import service_pb2, service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS = 3


@dataclass
class Behaviour:
    max_batch_size: int = 8
    delay_seconds: float = 0.0
    unavailable: int = 0  # of the next requests
    refuse: bool = False
    refuse_after_rows: int | None = None
    restricted_config: bool = False
    streams: bool = True
    cut_after: int | None = None  # requests by stream
    silent_after: int | None = None  # the same; what comes then is never answered, nor is the stream ended
    streamed: int = 0
    priority_levels: int = 0
    quantised: bool = False  # dynamically: activations are rounded by the range of the whole batch
    random: bool = False  # answers otherwise each time
    datatype: str = "FP32"
    rows: list[int] = field(default_factory=list)
    parameters: list[dict[str, int]] = field(default_factory=list)


class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour, self.lock = behaviour, threading.Lock()

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.name != "sum":
            context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{request.name}' is not found")
        tensor = service_pb2.ModelMetadataResponse.TensorMetadata
        return service_pb2.ModelMetadataResponse(
            name="sum",
            versions=["2", "10"],
            inputs=[tensor(name="X", datatype=self.behaviour.datatype, shape=[-1, COLUMNS])],
            outputs=[tensor(name="Y", datatype=self.behaviour.datatype, shape=[-1, 2])],
        )

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self.behaviour.restricted_config:
            context.abort(grpc.StatusCode.UNAVAILABLE, "This protocol is restricted, expecting header 'key'")
        response = service_pb2.ModelConfigResponse()
        response.config.max_batch_size = self.behaviour.max_batch_size
        response.config.dynamic_batching.priority_levels = self.behaviour.priority_levels
        return response

    def ModelStreamInfer(self, requests: Any, context: Any) -> Any:  # noqa: N802
        """As Triton does it: what is refused is words, and the stream goes on."""
        if not self.behaviour.streams:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
        for request in requests:
            self.behaviour.streamed += 1
            if self.behaviour.silent_after is not None and self.behaviour.streamed > self.behaviour.silent_after:
                self.behaviour.silent_after = None
                while context.is_active():
                    time.sleep(0.05)
                return
            if self.behaviour.unavailable > 0 or self._refused():
                yield service_pb2.ModelStreamInferResponse(error_message="not now, or not at all")
                continue
            yield service_pb2.ModelStreamInferResponse(infer_response=self.ModelInfer(request, context))
            if self.behaviour.cut_after is not None and self.behaviour.streamed >= self.behaviour.cut_after:
                self.behaviour.cut_after = None
                context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    def _refused(self) -> bool:
        limit = self.behaviour.refuse_after_rows
        return self.behaviour.refuse or (limit is not None and sum(self.behaviour.rows) > limit)

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        with self.lock:
            fail = self.behaviour.unavailable > 0
            self.behaviour.unavailable -= fail
        if fail:
            context.abort(grpc.StatusCode.UNAVAILABLE, "draining")
        if self._refused():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape")
        time.sleep(self.behaviour.delay_seconds)
        shape = tuple(request.inputs[0].shape)
        kind = bfloat16 if self.behaviour.datatype == "BF16" else np.float32
        rows = np.frombuffer(request.raw_input_contents[0], kind).reshape(shape).astype(np.float32)
        with self.lock:
            self.behaviour.rows.append(len(rows))
            self.behaviour.parameters.append(
                {k: v.uint64_param or v.int64_param for k, v in request.parameters.items()}
            )
        total = rows.sum(axis=1)
        if self.behaviour.quantised:
            step = np.abs(total).max() / 15
            total = np.round(total / step) * step
        if self.behaviour.random:
            total = total * np.random.default_rng().random()
        answer = np.column_stack([total, 1 - total]).astype(kind)
        response = service_pb2.ModelInferResponse(model_name="sum", model_version=request.model_version)
        response.outputs.add(name="Y", datatype=self.behaviour.datatype, shape=answer.shape)
        response.raw_output_contents.append(answer.tobytes())
        return response


@contextlib.contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """Its URL."""
    server = grpc.server(ThreadPoolExecutor(8))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(behaviour), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.stop(0).wait()
