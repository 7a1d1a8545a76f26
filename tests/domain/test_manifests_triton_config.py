"""The model configuration, judged by Triton's own protobuf descriptor."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tritonclient
from google.protobuf import json_format, text_format
from hypothesis import given
from hypothesis import strategies as st
from throughline.api.batching import BatchSettings
from throughline.api.model import Model
from throughline.api.servingpool import Accelerator
from throughline.api.tensors import DataType
from throughline.domain.manifests import config_pbtxt, model_hash, triton_config

from tests.domain.manifest_cases import pool, spec


def _descriptor() -> ModuleType:
    """The module alone: the package around it wants grpc and numpy."""
    file = Path(tritonclient.__path__[0]) / "grpc" / "model_config_pb2.py"
    found = importlib.util.spec_from_file_location("model_config_pb2", file)
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


pb = _descriptor()


def _names() -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


sizes = st.integers(-1, 2**15).filter(bool)  # four of them have fewer than 2**63 elements
booleans = st.booleans()


def _tensors(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    required = {
        "name": _names(),
        "dataType": st.sampled_from([t.value for t in DataType]),
        "dims": st.lists(sizes, min_size=1, max_size=4),
    }
    optional = {
        "reshape": st.integers(0, 2),  # sizes of 1 more than dims
        "isShapeTensor": booleans,
        **more,
    }
    return st.lists(st.fixed_dictionaries(required, optional=optional), max_size=3)


queues = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "preserveOrdering": booleans,
        "defaultQueuePolicy": st.fixed_dictionaries(
            {},
            optional={
                "timeoutAction": st.just("REJECT"),
                "defaultTimeoutMicroseconds": st.integers(0, 3_600_000_000),
                "allowTimeoutOverride": booleans,
                "maxQueueSize": st.integers(0, 1_000_000),
            },
        ),
    },
)


def _valid(tensor: dict[str, Any], backend: str) -> dict[str, Any]:
    """Without what Triton takes of no such tensor or backend."""
    made = dict(tensor)
    if "reshape" in tensor:
        made["reshape"] = {"shape": [*tensor["dims"], *[1] * tensor["reshape"]]}
    if backend != "tensorrt":
        made.pop("isShapeTensor", None)
    if len(tensor["dims"]) != 3:
        made.pop("format", None)
    return made


models = st.builds(
    lambda backend, version, inputs, outputs, parameters, queue: Model.model_validate(
        {
            "storage": {"uri": "pvc://models/m"},
            "backend": backend,
            "version": version,
            "inputs": [_valid(t, backend) for t in inputs],
            "outputs": [_valid(t, backend) for t in outputs],
            "parameters": [{"name": k, "value": v} for k, v in parameters.items()],
            **({} if queue is None else {"dynamicBatching": queue}),
        }
    ),
    st.sampled_from(["onnxruntime", "python", "tensorrt", "vllm"]),
    st.integers(1, 2_147_483_647),
    _tensors(optional=booleans, allowRaggedBatch=booleans, format=st.sampled_from(["FORMAT_NONE", "FORMAT_NHWC"])),
    _tensors(labelFilename=st.sampled_from(["labels.txt", "a-b_c.9"])),
    st.dictionaries(_names(), st.text(st.characters(exclude_categories=["Cs"]), max_size=60), max_size=3),
    queues,
)
batch_settings = st.builds(
    lambda size, delay, instances: BatchSettings(
        max_batch_size=size, max_queue_delay_microseconds=delay, instances=instances
    ),
    st.integers(0, 4096),
    st.integers(0, 10_000_000),
    st.integers(1, 64),
)


GPU = Accelerator(resource="nvidia.com/gpu")


@given(model=models, settings=batch_settings, accelerator=st.sampled_from([GPU, None]))
def test_the_text_and_the_json_are_the_same_message_and_lose_nothing(
    model: Model, settings: BatchSettings, accelerator: Accelerator | None
):
    config = triton_config(model, "served", settings, accelerator=accelerator)
    from_json = json_format.Parse(json.dumps(config), pb.ModelConfig())
    from_text = text_format.Parse(config_pbtxt(config), pb.ModelConfig())
    assert from_json == from_text
    assert from_text.name == "served"
    assert from_text.backend == model.backend
    assert from_text.max_batch_size == settings.max_batch_size
    assert list(from_text.version_policy.specific.versions) == [model.version]
    assert [(g.count, g.kind) for g in from_text.instance_group] == [
        (settings.instances, pb.ModelInstanceGroup.KIND_AUTO if accelerator else pb.ModelInstanceGroup.KIND_CPU)
    ]
    assert {k: v.string_value for k, v in from_text.parameters.items()} == {p.name: p.value for p in model.parameters}
    for written, read in ((model.inputs, from_text.input), (model.outputs, from_text.output)):
        assert [(t.name, t.data_type.value, list(t.dims), t.is_shape_tensor) for t in written] == [
            (t.name, pb.DataType.Name(t.data_type), list(t.dims), t.is_shape_tensor) for t in read
        ]
        assert [None if t.reshape is None else list(t.reshape.shape) for t in written] == [
            list(t.reshape.shape) if t.HasField("reshape") else None for t in read
        ]
    assert [(t.optional, t.allow_ragged_batch, t.format.value) for t in model.inputs] == [
        (t.optional, t.allow_ragged_batch, pb.ModelInput.Format.Name(t.format)) for t in from_text.input
    ]
    assert [t.label_filename or "" for t in model.outputs] == [t.label_filename for t in from_text.output]
    if model.dynamic_batching is not None:
        queue = from_text.dynamic_batching
        assert queue.preserve_ordering == model.dynamic_batching.preserve_ordering
        if policy := model.dynamic_batching.default_queue_policy:
            assert queue.default_queue_policy.max_queue_size == policy.max_queue_size
            assert queue.default_queue_policy.default_timeout_microseconds == policy.default_timeout_microseconds


@pytest.mark.parametrize(
    ("max_batch_size", "backend", "batches"),
    [(0, "python", False), (1, "python", False), (2, "python", True), (64, "vllm", False), (8, "tensorrtllm", False)],
)
def test_dynamic_batching_only_where_there_is_something_to_batch(max_batch_size: int, backend: str, batches: bool):
    model = spec(model={"backend": backend}).model
    config = triton_config(model, "m", BatchSettings(max_batch_size=max_batch_size), accelerator=GPU)
    assert ("dynamic_batching" in config) is batches
    if batches:  # a delay of 0 must still be said, or there would be no dynamic batching at all
        message = text_format.Parse(config_pbtxt(config), pb.ModelConfig())
        assert message.HasField("dynamic_batching")


QUEUE = {"priorityLevels": 2, "defaultPriorityLevel": 1, "defaultQueuePolicy": {"maxQueueSize": 50}}


@pytest.mark.parametrize("settings", [(0, 0), (1, 0), (8, 500)])
def test_the_queue_policy_is_kept_through_every_change_of_the_batch_settings(settings: tuple[int, int]):
    size, delay = settings
    model = spec(model={"dynamicBatching": QUEUE}).model
    chosen = BatchSettings(max_batch_size=size, max_queue_delay_microseconds=delay)
    assert triton_config(model, "m", chosen, accelerator=GPU)["dynamic_batching"] == {
        "max_queue_delay_microseconds": delay,
        "priority_levels": 2,
        "default_priority_level": 1,
        "default_queue_policy": {"max_queue_size": 50},
    }


@pytest.mark.parametrize(
    ("resource", "count", "model", "group", "devices"),
    [
        ("nvidia.com/gpu", 1, {}, {"kind": "KIND_AUTO"}, 1),
        ("nvidia.com/gpu", 2, {}, {"kind": "KIND_GPU", "gpus": [0, 1]}, 2),
        ("nvidia.com/gpu", 2, {"instanceKind": "KIND_MODEL"}, {"kind": "KIND_MODEL"}, 1),
        ("nvidia.com/gpu", 2, {"instanceKind": "KIND_CPU"}, {"kind": "KIND_CPU"}, 1),
        # Of shares and MIG devices a server sees one, however many its replica asks for.
        ("nvidia.com/gpu.shared", 2, {}, {"kind": "KIND_AUTO"}, 1),
        ("nvidia.com/mig-1g.10gb", 2, {}, {"kind": "KIND_AUTO"}, 1),
        ("aliyun.com/gpu-mem", 8, {}, {"kind": "KIND_AUTO"}, 1),
    ],
)
def test_instances_are_counted_on_each_gpu_of_a_replica(
    resource: str, count: int, model: dict, group: dict, devices: int
):
    there = pool(accelerator={"resource": resource, "countPerReplica": count})
    served = spec(model=model).model
    config = triton_config(served, "m", BatchSettings(max_batch_size=4, instances=3), accelerator=there.accelerator)
    assert config["instance_group"] == [{"count": 3, **group}]
    assert served.devices(there) == devices
    message = text_format.Parse(config_pbtxt(config), pb.ModelConfig())
    assert list(message.instance_group[0].gpus) == group.get("gpus", [])


BASE = model_hash(spec(), "resnet")


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"backend": "python"}},
        {"model": {"version": 2}},
        {"model": {"storage": {"uri": "pvc://models/other"}}},
        {"model": {"inputs": [{"name": "x", "dataType": "TYPE_FP32", "dims": [1]}]}},
        {"model": {"parameters": [{"name": "x", "value": "1"}]}},
        {"model": {"dynamicBatching": QUEUE}},
        {"model": {"instanceKind": "KIND_MODEL"}},
    ],
)
def test_what_is_served_names_the_revision(change: dict):
    assert model_hash(spec(**change), "resnet") != BASE
    assert model_hash(spec(), "other") != BASE


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"probe": "ConfigOnly"}},
        {"model": {"version": 1, "inputs": []}},  # defaults written out
        {"model": {"instanceKind": "KIND_AUTO"}},
        {"runtime": {"args": ["--log-verbose=1"]}},
        {"model": {"name": "resnet"}},  # the name that it has anyway
        {"slo": {"latencyP99Milliseconds": 5}},
        {"batching": {"mode": "Recommend"}},
        {"runtime": {"drainSeconds": 1}},
    ],
)
def test_what_does_not_change_the_model_keeps_the_revision(change: dict):
    assert model_hash(spec(**change), "resnet") == BASE


def test_the_revision_is_the_same_in_every_version_of_the_operator():
    # A different value here would roll every pod of every user at the next upgrade.
    assert BASE == "046dacf4fd"
