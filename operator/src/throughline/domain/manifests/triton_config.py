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

from throughline.api.model import InstanceKind
from throughline.api.tensors import InputFormat

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from throughline.api.batching import BatchSettings
    from throughline.api.dynamicbatching import DynamicBatching
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.api.model import Model
    from throughline.api.servingpool import Accelerator
    from throughline.api.tensors import InputTensor, OutputTensor, Tensor

HASH_DIGITS = 10
# These batch in flight, by themselves; a scheduler in front of them would only add delay.
IN_FLIGHT_BATCHING = frozenset({"vllm", "tensorrtllm"})
_ENUM_FIELDS = frozenset({"data_type", "format", "kind", "timeout_action"})
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


def triton_config(
    model: Model, model_name: str, settings: BatchSettings, *, accelerator: Accelerator | None
) -> dict[str, Any]:
    """The configuration in protobuf's JSON form, as `parameters.config` of the load API takes it.

    `accelerator`: the pool's. KIND_AUTO then leaves it to the backend, which also serves on a node whose accelerator is
    shared or absent; without one, KIND_CPU keeps a stray GPU out of it.
    """
    config: dict[str, Any] = {
        "name": model_name,
        "backend": model.backend,
        "max_batch_size": settings.max_batch_size,
        "version_policy": {"specific": {"versions": [model.version]}},
        "instance_group": [{"count": settings.instances, **_placement(model, accelerator)}],
    }
    if model.inputs:
        config["input"] = [_input(t) for t in model.inputs]
    if model.outputs:
        config["output"] = [_output(t) for t in model.outputs]
    # A queue policy exists only with dynamic_batching.
    if batches(model, settings) or model.dynamic_batching is not None:
        config["dynamic_batching"] = {
            "max_queue_delay_microseconds": settings.max_queue_delay_microseconds,
            **_queue(model.dynamic_batching),
        }
    if model.parameters:
        config["parameters"] = {p.name: {"string_value": p.value} for p in model.parameters}
    return config


def proof_config(
    model: Model, model_name: str, settings: BatchSettings, *, accelerator: Accelerator | None
) -> dict[str, Any]:
    """The configuration under which a full batch is proved: the server takes requests of `max_batch_size` rows, and
    executes those of one row alone.

    A preferred batch of 1 that waits for nothing does that: Triton closes a batch at its largest preferred size. The
    batcher stays, as some backends would complete a configuration without one by theirs, and priorities and limits of
    the queue need it; and what the server reports shows that a proof is under way.
    """
    config = triton_config(model, model_name, settings, accelerator=accelerator)
    queue = {"preferred_batch_size": [1], "max_queue_delay_microseconds": 0}
    config["dynamic_batching"] = {**config.get("dynamic_batching", {}), **queue}
    return config


def batches(model: Model, settings: BatchSettings) -> bool:
    """Whether Triton puts requests of these settings together."""
    return settings.max_batch_size > 1 and model.backend not in IN_FLIGHT_BATCHING


def _placement(model: Model, accelerator: Accelerator | None) -> dict[str, Any]:
    """`kind` of the instance group, and the GPUs where there are several: a server that sees fewer then refuses the
    model, where it would otherwise have fewer instances than are counted on.
    """
    if model.instance_kind is not InstanceKind.AUTO:
        return {"kind": model.instance_kind.value}
    if accelerator is None:
        return {"kind": InstanceKind.CPU.value}
    if accelerator.devices == 1:
        return {"kind": InstanceKind.AUTO.value}
    return {"kind": "KIND_GPU", "gpus": list(range(accelerator.devices))}


def _input(tensor: InputTensor) -> dict[str, Any]:
    config = _tensor(tensor)
    if tensor.format is not InputFormat.NONE:
        config["format"] = tensor.format.value
    if tensor.optional:
        config["optional"] = True
    if tensor.allow_ragged_batch:
        config["allow_ragged_batch"] = True
    return config


def _output(tensor: OutputTensor) -> dict[str, Any]:
    return {**_tensor(tensor), **({"label_filename": tensor.label_filename} if tensor.label_filename else {})}


def _tensor(tensor: Tensor) -> dict[str, Any]:
    config: dict[str, Any] = {"name": tensor.name, "data_type": tensor.data_type.value, "dims": list(tensor.dims)}
    if tensor.reshape is not None:
        config["reshape"] = {"shape": list(tensor.reshape.shape)}
    if tensor.is_shape_tensor:
        config["is_shape_tensor"] = True
    return config


def _queue(given: DynamicBatching | None) -> dict[str, Any]:
    """What the model's owner says of the queue; what is left out has Triton's default, which is ours."""
    if given is None:
        return {}
    config: dict[str, Any] = {
        field: value
        for field in ("preserve_ordering", "priority_levels", "default_priority_level")
        if (value := getattr(given, field))
    }
    if given.default_queue_policy is not None:
        config["default_queue_policy"] = given.default_queue_policy.model_dump(mode="json", exclude_defaults=True)
    return config


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
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value if name in _ENUM_FIELDS else f'"{value.translate(_ESCAPES)}"'
    return str(value)
