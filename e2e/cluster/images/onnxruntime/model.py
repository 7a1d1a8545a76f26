"""ONNX models on the CPU as a Triton Python-based backend: `backend: "onnxruntime"` serves <version>/model.onnx.

It stands in for Triton's C++ ONNX Runtime backend where that is not shipped, and follows it where a model can tell:
the file's name, batching along axis 0, configuration completed from the graph and checked against it, and the
`intra_op_thread_count` parameter.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-not-found,unused-ignore]
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found,unused-ignore]

# ONNX element type → (Triton's name in the configuration, numpy type)
TYPES: dict[str, tuple[str, Any]] = {
    "tensor(bool)": ("TYPE_BOOL", np.bool_),
    "tensor(uint8)": ("TYPE_UINT8", np.uint8),
    "tensor(uint16)": ("TYPE_UINT16", np.uint16),
    "tensor(uint32)": ("TYPE_UINT32", np.uint32),
    "tensor(uint64)": ("TYPE_UINT64", np.uint64),
    "tensor(int8)": ("TYPE_INT8", np.int8),
    "tensor(int16)": ("TYPE_INT16", np.int16),
    "tensor(int32)": ("TYPE_INT32", np.int32),
    "tensor(int64)": ("TYPE_INT64", np.int64),
    "tensor(float16)": ("TYPE_FP16", np.float16),
    "tensor(float)": ("TYPE_FP32", np.float32),
    "tensor(double)": ("TYPE_FP64", np.float64),
    "tensor(string)": ("TYPE_STRING", np.object_),
}


def _session(version: pathlib.Path, threads: int) -> Any:
    path = version / "model.onnx"
    if not path.exists():
        raise pb_utils.TritonModelException(f"no model.onnx in version {version.name} of the model")
    options = onnxruntime.SessionOptions()
    # One thread per instance: Triton scales by instances, and idle spinning threads would take each other's CPU.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise pb_utils.TritonModelException(f"model.onnx cannot be loaded: {error}") from error


def _describe(kind: str, node: Any, *, batched: bool) -> dict[str, Any]:
    """A graph's input or output as Triton's configuration writes it."""
    if node.type not in TYPES:
        raise pb_utils.TritonModelException(f"{kind} {node.name!r} has type {node.type}, which Triton has not")
    dims = [size if isinstance(size, int) and size > 0 else -1 for size in node.shape]
    if batched:
        if not dims or dims[0] != -1:
            raise pb_utils.TritonModelException(
                f"max_batch_size is above 0, but the first dimension of {kind} {node.name!r} is fixed: "
                f"{dims}; export the model with a dynamic batch axis, or set max_batch_size to 0"
            )
        dims = dims[1:]
    return {"name": node.name, "data_type": TYPES[node.type][0], "dims": dims}


def _check(kind: str, declared: list[dict[str, Any]], described: list[dict[str, Any]], *, batched: bool) -> None:
    known = {entry["name"]: entry for entry in described}
    for entry in declared:
        name = entry["name"]
        if name not in known:
            raise pb_utils.TritonModelException(
                f"{kind} {name!r} is not in model.onnx, which has {', '.join(sorted(known))}"
            )
        actual = known[name]
        if entry["data_type"] != actual["data_type"]:
            raise pb_utils.TritonModelException(
                f"{kind} {name!r} is declared {entry['data_type']}, but model.onnx has {actual['data_type']}"
            )
        dims = [int(size) for size in entry["dims"]]
        # A reshape says that the declared dims are those of the request, not of the graph.
        if not entry.get("reshape") and not _agree(dims, actual["dims"]):
            of_items = " (without the batch axis)" if batched else ""
            raise pb_utils.TritonModelException(
                f"{kind} {name!r} is declared with dims {dims}, but model.onnx has {actual['dims']}{of_items}"
            )
    if kind == "input" and declared:
        missing = sorted(set(known) - {entry["name"] for entry in declared})
        if missing:
            raise pb_utils.TritonModelException(f"model.onnx also needs input {', '.join(missing)}")


def _agree(declared: list[int], actual: list[int]) -> bool:
    return len(declared) == len(actual) and all(-1 in (d, a) or d == a for d, a in zip(declared, actual, strict=True))


def _complete(kind: str, nodes: list[Any], declared: list[dict[str, Any]], *, batched: bool) -> list[dict[str, Any]]:
    """What the graph has, if nothing is declared; what is declared, if it fits the graph."""
    described = [_describe(kind, node, batched=batched) for node in nodes]
    _check(kind, declared, described, batched=batched)
    return declared or described


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        config = auto_complete_model_config.as_dict()
        session = _session(pathlib.Path(pb_utils.get_model_dir()), 1)
        batched = config["max_batch_size"] > 0
        for kind, nodes, add in (
            ("input", session.get_inputs(), auto_complete_model_config.add_input),
            ("output", session.get_outputs(), auto_complete_model_config.add_output),
        ):
            complete = _complete(kind, nodes, config[kind], batched=batched)
            for entry in complete if not config[kind] else []:
                add(entry)
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        self._batched = config["max_batch_size"] > 0
        parameter = config.get("parameters", {}).get("intra_op_thread_count", {}).get("string_value", "1")
        if not parameter.isdigit():
            raise pb_utils.TritonModelException(f"intra_op_thread_count must be a whole number, not {parameter!r}")
        self._session = _session(pathlib.Path(args["model_repository"]) / args["model_version"], int(parameter))
        nodes = self._session.get_inputs()
        inputs = _complete("input", nodes, config["input"], batched=self._batched)
        outputs = _complete("output", self._session.get_outputs(), config["output"], batched=self._batched)
        self._inputs = [entry["name"] for entry in inputs]
        self._outputs = [entry["name"] for entry in outputs]
        self._texts = {node.name for node in nodes if node.type == "tensor(string)"}

    def execute(self, requests: list[Any]) -> list[Any]:
        if not self._batched:
            return [self._respond_alone(request) for request in requests]
        tensors = [self._tensors(request) for request in requests]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for index, inputs in enumerate(tensors):
            # Requests whose items differ in shape cannot be one array; Triton may batch them where dims are -1.
            groups.setdefault(tuple(tensor.shape[1:] for tensor in inputs.values()), []).append(index)
        responses: list[Any] = [None] * len(requests)
        for indexes in groups.values():
            self._respond_together(indexes, tensors, requests, responses)
        return responses

    def _tensors(self, request: Any) -> dict[str, Any]:
        inputs = {}
        for name in self._inputs:
            tensor = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
            if name in self._texts:
                # Triton hands over bytes, the runtime takes text.
                tensor = np.vectorize(bytes.decode, otypes=[object])(tensor) if tensor.size else tensor
            inputs[name] = tensor
        return inputs

    def _run(self, inputs: dict[str, Any]) -> list[Any]:
        outputs: list[Any] = self._session.run(self._outputs, inputs)
        return outputs

    def _respond_alone(self, request: Any) -> Any:
        try:
            outputs = self._run(self._tensors(request))
        except Exception as error:  # noqa: BLE001 - the runtime's own types are private to its C++ module
            return self._failure(error)
        return self._response(request, outputs)

    def _respond_together(
        self, indexes: list[int], tensors: list[dict[str, Any]], requests: list[Any], responses: list[Any]
    ) -> None:
        sizes = [len(next(iter(tensors[index].values()))) for index in indexes]
        try:
            if len(indexes) == 1:
                outputs = self._run(tensors[indexes[0]])
            else:
                joined = {name: np.concatenate([tensors[i][name] for i in indexes]) for name in self._inputs}
                outputs = self._run(joined)
        except Exception as error:  # noqa: BLE001 - the runtime's own types are private to its C++ module
            for index in indexes:
                responses[index] = self._failure(error)
            return
        start = 0
        for index, size in zip(indexes, sizes, strict=True):
            responses[index] = self._response(requests[index], [array[start : start + size] for array in outputs])
            start += size

    def _response(self, request: Any, outputs: list[Any]) -> Any:
        wanted = set(request.requested_output_names())
        tensors = [
            pb_utils.Tensor(name, array) for name, array in zip(self._outputs, outputs, strict=True) if name in wanted
        ]
        return pb_utils.InferenceResponse(output_tensors=tensors)

    def _failure(self, error: Exception) -> Any:
        # A failed run answers the requests it concerns; the instance goes on serving the others.
        return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(f"onnxruntime: {error}"))
