"""The model configuration, judged by Triton's own protobuf descriptor."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import tritonclient
from google.protobuf import json_format, text_format
from hypothesis import given
from hypothesis import strategies as st
from throughline.api.inferenceservice import BatchSettings, DataType, Model
from throughline.domain.manifests import config_pbtxt, model_hash, triton_config

from tests.domain.manifest_cases import spec


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


tensors = st.lists(
    st.builds(
        lambda name, data_type, dims: {"name": name, "dataType": data_type, "dims": dims},
        _names(),
        st.sampled_from([t.value for t in DataType]),
        st.lists(st.integers(-1, 2**40), min_size=1, max_size=4),
    ),
    max_size=3,
)
models = st.builds(
    lambda backend, version, inputs, outputs, parameters: Model.model_validate(
        {
            "storage": {"uri": "pvc://models/m"},
            "backend": backend,
            "version": version,
            "inputs": inputs,
            "outputs": outputs,
            "parameters": [{"name": k, "value": v} for k, v in parameters.items()],
        }
    ),
    st.sampled_from(["onnxruntime", "python", "vllm"]),
    st.integers(1, 2_147_483_647),
    tensors,
    tensors,
    st.dictionaries(_names(), st.text(st.characters(exclude_categories=["Cs"]), max_size=60), max_size=3),
)
batch_settings = st.builds(
    lambda size, delay, instances: BatchSettings(
        max_batch_size=size, max_queue_delay_microseconds=delay, instances=instances
    ),
    st.integers(0, 4096),
    st.integers(0, 10_000_000),
    st.integers(1, 64),
)


@given(model=models, settings=batch_settings, accelerated=st.booleans())
def test_the_text_and_the_json_are_the_same_message_and_lose_nothing(
    model: Model, settings: BatchSettings, accelerated: bool
):
    config = triton_config(model, "served", settings, accelerated=accelerated)
    from_json = json_format.Parse(json.dumps(config), pb.ModelConfig())
    from_text = text_format.Parse(config_pbtxt(config), pb.ModelConfig())
    assert from_json == from_text
    assert from_text.name == "served"
    assert from_text.backend == model.backend
    assert from_text.max_batch_size == settings.max_batch_size
    assert list(from_text.version_policy.specific.versions) == [model.version]
    assert [(g.count, g.kind) for g in from_text.instance_group] == [
        (settings.instances, pb.ModelInstanceGroup.KIND_AUTO if accelerated else pb.ModelInstanceGroup.KIND_CPU)
    ]
    assert {k: v.string_value for k, v in from_text.parameters.items()} == {p.name: p.value for p in model.parameters}
    for written, read in ((model.inputs, from_text.input), (model.outputs, from_text.output)):
        assert [(t.name, t.data_type.value, list(t.dims)) for t in written] == [
            (t.name, pb.DataType.Name(t.data_type), list(t.dims)) for t in read
        ]


@pytest.mark.parametrize(
    ("max_batch_size", "backend", "batches"),
    [(0, "python", False), (1, "python", False), (2, "python", True), (64, "vllm", False), (8, "tensorrtllm", False)],
)
def test_dynamic_batching_only_where_there_is_something_to_batch(max_batch_size: int, backend: str, batches: bool):
    model = spec(model={"backend": backend}).model
    config = triton_config(model, "m", BatchSettings(max_batch_size=max_batch_size), accelerated=True)
    assert ("dynamic_batching" in config) is batches
    if batches:  # a delay of 0 must still be said, or there would be no dynamic batching at all
        message = text_format.Parse(config_pbtxt(config), pb.ModelConfig())
        assert message.HasField("dynamic_batching")


BASE = model_hash(spec(), "resnet")


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"backend": "python"}},
        {"model": {"version": 2}},
        {"model": {"storage": {"uri": "pvc://models/other"}}},
        {"model": {"inputs": [{"name": "x", "dataType": "TYPE_FP32", "dims": [1]}]}},
        {"model": {"parameters": [{"name": "x", "value": "1"}]}},
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
