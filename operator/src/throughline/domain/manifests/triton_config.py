"""Triton's full model configuration, from the spec and the batch settings in force.

Always the full one: an override of the load API replaces the whole configuration, and what Triton reports is
auto-completed, so replaying that would reload the model (facts of Triton 5 to 7). The same dict is sent as JSON to
the load API and written as text to the ConfigMap, so a restarted pod and a reloaded one serve the same.
Source: model_config.proto of triton-inference-server/common.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from throughline.api.inferenceservice import BatchSettings, InferenceServiceSpec, Model, Tensor

HASH_DIGITS = 10
# These batch in flight, by themselves; a scheduler in front of them would only add delay.
IN_FLIGHT_BATCHING = frozenset({"vllm", "tensorrtllm"})
_ENUM_FIELDS = frozenset({"data_type", "kind"})
_MAP_FIELDS = frozenset({"parameters"})
_ESCAPES = {ord("\\"): "\\\\", ord('"'): '\\"', ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
_ESCAPES |= {code: f"\\{code:03o}" for code in (*range(32), 127) if code not in _ESCAPES}


def served_name(spec: InferenceServiceSpec, resource_name: str) -> str:
    """The model's name on the wire."""
    return spec.model.name or resource_name


def model_hash(spec: InferenceServiceSpec, model_name: str) -> str:
    """Names the model revision: what is served, not how it is batched, probed or placed.

    Fields at their default are left out, so that a later version of the API with one more field names the same
    revision and rolls no pod.
    """
    wire = spec.model.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"probe", "name"})
    text = json.dumps([model_name, wire], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]


def triton_config(model: Model, model_name: str, settings: BatchSettings, *, accelerated: bool) -> dict[str, Any]:
    """The configuration in protobuf's JSON form, as `parameters.config` of the load API takes it.

    `accelerated`: whether the pool has an accelerator. KIND_AUTO then leaves it to the backend, which also serves
    on a node whose accelerator is shared or absent; without one, KIND_CPU keeps a stray GPU out of it.
    """
    config: dict[str, Any] = {
        "name": model_name,
        "backend": model.backend,
        "max_batch_size": settings.max_batch_size,
        "version_policy": {"specific": {"versions": [model.version]}},
        "instance_group": [{"count": settings.instances, "kind": "KIND_AUTO" if accelerated else "KIND_CPU"}],
    }
    if model.inputs:
        config["input"] = [_tensor(t) for t in model.inputs]
    if model.outputs:
        config["output"] = [_tensor(t) for t in model.outputs]
    if settings.max_batch_size > 1 and model.backend not in IN_FLIGHT_BATCHING:
        config["dynamic_batching"] = {"max_queue_delay_microseconds": settings.max_queue_delay_microseconds}
    if model.parameters:
        config["parameters"] = {p.name: {"string_value": p.value} for p in model.parameters}
    return config


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "data_type": tensor.data_type.value, "dims": list(tensor.dims)}


def config_pbtxt(config: Mapping[str, Any]) -> str:
    """The same configuration in protobuf's text format, for config.pbtxt."""
    return "\n".join(_lines(config, "")) + "\n"


def _lines(message: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, value in message.items():
        if name in _MAP_FIELDS:
            for key in sorted(value):
                yield from _block(name, {"key": key, "value": value[key]}, indent)
            continue
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                yield from _block(name, item, indent)
            else:
                yield f"{indent}{name}: {_scalar(name, item)}"


def _block(name: str, message: Mapping[str, Any], indent: str) -> Iterator[str]:
    yield f"{indent}{name} {{"
    yield from _lines(message, indent + "  ")
    yield f"{indent}}}"


def _scalar(name: str, value: str | int) -> str:
    if isinstance(value, str):
        return value if name in _ENUM_FIELDS else f'"{value.translate(_ESCAPES)}"'
    return str(value)
