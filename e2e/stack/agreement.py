"""Services that `throughline validate` accepts, made by chance, for a real Triton to load: it has to agree.

Every field that reaches Triton's model configuration takes values that are usual, at a bound, or wrong. What `validate`
refuses is left out, so whatever Triton refuses of the rest is a disagreement.
"""

from __future__ import annotations

import json
import random
import string
from typing import TYPE_CHECKING, Any, NamedTuple

from throughline.api.batching import BatchSettings
from throughline.api.inferenceservice import InferenceServiceSpec
from throughline.api.tensors import DataType
from throughline.api.validation import check
from throughline.domain.manifests import CONFIG_NAME, config_pbtxt, triton_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "agreement"
LARGEST = 50_000  # elements of a tensor that is asked for
LABELS = "labels.txt"
# Of a server that loads nothing by itself, and reads what the operator has rendered.
FLAGS = [
    "--model-control-mode=explicit",
    f"--model-config-name={CONFIG_NAME}",
    "--backend-config=default-max-batch-size=0",
]

# Answers with zeros of the declared shape, as the model itself has it; completes what is not declared.
MODEL = """
import json
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        had = config.as_dict()
        tensor = {"data_type": "TYPE_FP32", "dims": [1]}
        if not had["input"]:
            config.add_input({"name": "completed in", **tensor})
        if not had["output"]:
            config.add_output({"name": "completed out", **tensor})
        return config

    def initialize(self, args):
        self.config = json.loads(args["model_config"])

    def execute(self, requests):
        return [pb_utils.InferenceResponse(list(self.answer(request))) for request in requests]

    def answer(self, request):
        batch = list(request.inputs()[0].shape())[:1] if self.config["max_batch_size"] > 0 else []
        for output in self.config["output"]:
            shape = output["reshape"]["shape"] if "reshape" in output else output["dims"]
            shape = batch + [max(1, int(d)) for d in shape]
            kind = output["data_type"]
            if kind == "TYPE_STRING":
                yield pb_utils.Tensor(output["name"], np.full(shape, b"", np.object_))
            else:
                yield pb_utils.Tensor(output["name"], np.zeros(shape, pb_utils.triton_string_to_numpy(kind)))
"""

# Asks the server for each case and prints, a line each, what it refused.
ASKING = """
import asyncio, json, sys
from tritonclient.http.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException
from throughline.adapters.triton import Triton
from throughline.ports import TritonError

HOST, PORT, CASES = "127.0.0.1", int(sys.argv[2]), json.load(open(sys.argv[1]))

async def tried(what, asking):
    try:
        return None, await asking
    except (TritonError, InferenceServerException) as error:
        return f"{what}: {error}", None

async def one(triton, client, case):
    name = case["name"]
    wrong, _ = await tried("from the file", client.load_model(name))
    if not wrong:
        wrong, _ = await tried("by the API", triton.load(HOST, name, case["config"], key=""))
    if not wrong:
        wrong, found = await tried("settings", triton.settings(HOST, name, key=""))
        if not wrong and found.to_wire() != case["settings"]:
            wrong = f"settings: {found.to_wire()} for {case['settings']}"
    if not wrong and case["ask"]:
        wrong, _ = await tried("asked", triton.probe(HOST, name, case["version"]))
    await tried("unload", client.unload_model(name))
    if wrong:
        print(json.dumps({"case": name, "wrong": wrong}), flush=True)

async def main():
    triton = Triton(timeout_seconds=60, load_timeout_seconds=120, port=PORT)
    async with InferenceServerClient(f"{HOST}:{PORT}", conn_timeout=120) as client:
        for _ in range(600):
            try:
                if await client.is_server_live():
                    break
            except Exception:
                pass
            await asyncio.sleep(0.5)
        for case in CASES:
            await one(triton, client, case)
    print(json.dumps({"asked": len(CASES)}))

asyncio.run(main())
"""


class Case(NamedTuple):
    """A resource that `validate` accepts."""

    name: str
    resource: dict[str, Any]

    @property
    def spec(self) -> InferenceServiceSpec:
        return InferenceServiceSpec.model_validate(self.resource["spec"])

    def settings(self) -> tuple[BatchSettings, BatchSettings]:
        """At the lower and at the upper bounds, but with few instances; both the same where they are fixed."""
        batching = self.spec.batching
        if batching.fixed is not None:
            return batching.fixed, batching.fixed
        sizes, delays, instances = batching.max_batch_size, batching.max_queue_delay_microseconds, batching.instances
        found = [
            BatchSettings(max_batch_size=size, max_queue_delay_microseconds=delay, instances=instances.min)
            for size, delay in ((sizes.min, delays.min), (sizes.max, delays.max))
        ]
        return found[0], found[1]

    def put(self, folder: Path) -> dict[str, Any]:
        """Its model repository below `folder`, as a pod has it; returns what ASKING is told."""
        spec, (first, then) = self.spec, self.settings()
        model = folder / self.name
        version = model / str(spec.model.version)
        version.mkdir(parents=True)
        (model / "configs").mkdir()
        (version / "model.py").write_text(MODEL)
        (model / LABELS).write_text("a\nb\n")
        config = triton_config(spec.model, self.name, first, accelerator=None)
        (model / "configs" / f"{CONFIG_NAME}.pbtxt").write_text(config_pbtxt(config))
        config = triton_config(spec.model, self.name, then, accelerator=None)
        if "dynamic_batching" not in config:  # without a batcher a server reports no delay
            then = then.model_copy(update={"max_queue_delay_microseconds": 0})
        return {
            "name": self.name,
            "version": spec.model.version,
            "config": config,
            "settings": then.to_wire(),
            "ask": _small(spec) and not _bfloat(spec) and not _impatient(spec),
        }


def cases(count: int, seed: int = 0) -> Iterator[Case]:
    """So many of those that `validate` accepts."""
    found, chance = 0, random.Random(seed)  # noqa: S311 - no secret
    while found < count:
        name = f"{NAME}-{found}"
        resource = _service(chance, name)
        if not list(check(resource)):
            found += 1
            yield Case(name, resource)


def asked(given: list[Case], folder: Path) -> None:
    """models/, cases.json and ask.py in the folder."""
    told = [case.put(folder / "models") for case in given]
    (folder / "cases.json").write_text(json.dumps(told))
    (folder / "ask.py").write_text(ASKING)


def _small(spec: InferenceServiceSpec) -> bool:
    for tensor in (*spec.model.inputs, *spec.model.outputs):
        elements = 1
        for size in tensor.dims:
            elements *= max(1, size)
        if elements > LARGEST:
            return False
    return True


def _bfloat(spec: InferenceServiceSpec) -> bool:
    """Numpy has no such type, so the model cannot answer with it."""
    return any(t.data_type is DataType.BF16 for t in spec.model.outputs)


def _impatient(spec: InferenceServiceSpec) -> bool:
    """Its queue rightly refuses a request that waits for the first execution."""
    policy = spec.model.dynamic_batching and spec.model.dynamic_batching.default_queue_policy
    return bool(policy and 0 < policy.default_timeout_microseconds < 1_000_000)


def _service(chance: random.Random, name: str) -> dict[str, Any]:
    model: dict[str, Any] = {
        "storage": {"uri": "pvc://models/m"},
        "backend": "python",
        "inputs": _tensors(chance, "in"),
        "outputs": _tensors(chance, "out"),
        **_maybe(chance, "version", lambda: chance.choice([1, 7, 2_147_483_647])),
        **_maybe(chance, "parameters", lambda: _parameters(chance)),
        **_maybe(chance, "instanceKind", lambda: chance.choice(["KIND_AUTO", "KIND_CPU", "KIND_MODEL"])),
        **_maybe(chance, "dynamicBatching", lambda: _queue(chance)),
    }
    return {
        "apiVersion": "throughline.io/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "model": model,
            "slo": {"latencyP99Milliseconds": 100},
            "placement": {"pools": [{"name": "cpu"}]},
            **_maybe(chance, "batching", lambda: _batching(chance)),
        },
    }


def _maybe(chance: random.Random, field: str, value: Any) -> dict[str, Any]:
    return {field: value()} if chance.random() < 0.5 else {}


def _text(chance: random.Random) -> str:
    odd = "\"'\\\n\t\r{}[]<>#:;,$ äß\u2028\u200b日本😀\x01\x7f"
    return "".join(chance.choice(string.ascii_letters + odd) for _ in range(chance.choice([1, 3, 9, 60])))


def _tensors(chance: random.Random, side: str) -> list[dict[str, Any]]:
    return [_tensor(chance, side, place) for place in range(chance.choice([0, 1, 1, 2, 3]))]


def _tensor(chance: random.Random, side: str, place: int) -> dict[str, Any]:
    dims = _shape(chance)
    tensor: dict[str, Any] = {
        "name": chance.choice([f"{side}{place}", _text(chance)]),
        "dataType": chance.choice([t.value for t in DataType]),
        "dims": dims,
    }
    if chance.random() < 0.4:
        tensor["reshape"] = {"shape": _reshaped(chance, dims)}
    if chance.random() < 0.1:
        tensor["isShapeTensor"] = chance.choice([True, False])
    if side == "in":
        tensor |= {
            **_maybe(chance, "optional", lambda: chance.choice([True, False])),
            **_maybe(chance, "allowRaggedBatch", lambda: chance.choice([True, False])),
        }
        if chance.random() < 0.3:
            tensor["format"] = chance.choice(["FORMAT_NONE", "FORMAT_NHWC", "FORMAT_NCHW"])
    elif chance.random() < 0.3:
        tensor["labelFilename"] = LABELS
    return tensor


def _shape(chance: random.Random) -> list[int]:
    sizes = [-1, 1, 1, 2, 3, 8, 0, 224, 65_536, 2**31 - 1, 2**31, 2**62]
    weights = [6, 6, 6, 6, 6, 6, 1, 3, 1, 0.3, 0.3, 0.3]
    return chance.choices(sizes, weights, k=chance.choice([1, 1, 2, 3, 3, 4, 16]))


def _reshaped(chance: random.Random, dims: list[int]) -> list[int]:
    """Often as many elements: ones left out or added, and neighbours multiplied."""
    kind = chance.random()
    if kind < 0.1:
        return _shape(chance)
    if kind < 0.2:
        return []
    if kind < 0.3:
        return chance.sample(dims, len(dims))
    made = [d for d in dims if d != 1 or chance.random() < 0.5]
    for place in range(len(made) - 1, 0, -1):
        if min(made[place], made[place - 1]) > 0 and chance.random() < 0.4:
            made[place - 1 : place + 1] = [made[place - 1] * made[place]]
    return made + [1] * chance.choice([0, 0, 1])


def _parameters(chance: random.Random) -> list[dict[str, str]]:
    return [{"name": _text(chance), "value": _text(chance)} for _ in range(chance.choice([1, 2]))]


def _queue(chance: random.Random) -> dict[str, Any]:
    policy = lambda: {  # noqa: E731
        **_maybe(chance, "timeoutAction", lambda: chance.choice(["REJECT", "DELAY"])),
        **_maybe(chance, "defaultTimeoutMicroseconds", lambda: chance.choice([0, 100, 3_600_000_000])),
        **_maybe(chance, "allowTimeoutOverride", lambda: chance.choice([True, False])),
        **_maybe(chance, "maxQueueSize", lambda: chance.choice([0, 1, 1_000_000])),
    }
    levels = lambda: chance.choice([0, 1, 2, 1000])  # noqa: E731
    return {
        **_maybe(chance, "preserveOrdering", lambda: chance.choice([True, False])),
        **_maybe(chance, "priorityLevels", levels),
        **_maybe(chance, "defaultPriorityLevel", levels),
        **_maybe(chance, "defaultQueuePolicy", policy),
    }


def _batching(chance: random.Random) -> dict[str, Any]:
    if chance.random() < 0.4:
        return {"maxBatchSize": {"min": 0, "max": 0}}
    size, delay = chance.choice([0, 1, 8, 4096]), chance.choice([0, 100, 10_000_000])
    if chance.random() < 0.5:
        fixed = {"maxBatchSize": size, "maxQueueDelayMicroseconds": delay, "instances": chance.choice([1, 2])}
        return {"mode": "Fixed", "fixed": fixed}
    return {
        "maxBatchSize": {"min": chance.choice([0, 1, 8]), "max": size},
        "maxQueueDelayMicroseconds": {"min": 0, "max": delay},
        "instances": {"min": chance.choice([1, 2])},
    }
