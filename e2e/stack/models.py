"""The models of the tour: two that wait as an accelerator would, and a real ONNX network on the CPU."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE = Path(__file__).resolve().parent / "model" / "model.py"
STORAGE = "waiting-model"

# Milliseconds of an execution of BERT-large on an H200, by instances and batch: the means of docs/gpu.md. Where it has
# none: for one instance, batch over throughput of its sweep, and 64 as on two, of which one rested meanwhile; 16 on
# four by the line that was learned; for two and four at 64, what a device of 3,100/s takes for that many full batches.
H200_MS: Mapping[int, Mapping[int, float]] = {
    1: {1: 5.7, 8: 7.7, 16: 9.8, 32: 13.5, 64: 23.4},
    2: {1: 9.3, 8: 9.9, 16: 13.7, 32: 20.4, 64: 41.3},
    4: {1: 12.2, 8: 14.5, 16: 22.5, 32: 30.1, 64: 82.6},
}


def waiting_storage(namespace: str = "default", name: str = STORAGE) -> dict[str, Any]:
    """A ConfigMap whose one key is the model's file: spec.model.storage.uri is configmap://NAME."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": {"model.py": SOURCE.read_text()},
    }


def waiting_model(
    alpha_us: int, beta_us: int, *, parallel: int = 1, storage: str = STORAGE, **more: float | str
) -> dict[str, Any]:
    """spec.model of a model that costs alpha + beta per item on a device that runs `parallel` executions at a time.

    `more` are the parameters of e2e/stack/model/model.py: a knee, a cliff, cold executions, batches that fail or are
    mixed up.
    """
    parameters = {"alpha_us": alpha_us, "beta_us": beta_us, "parallel": parallel, **more}
    return {
        "storage": {"uri": f"configmap://{storage}"},
        "backend": "python",
        "inputs": [{"name": "X", "dataType": "TYPE_FP32", "dims": [8]}],
        "outputs": [{"name": "Y", "dataType": "TYPE_FP32", "dims": [1]}],
        "parameters": [{"name": n, "value": str(v)} for n, v in parameters.items()],
    }


def table_model(
    table: Mapping[int, Mapping[int, float]], *, slower: float = 1.0, storage: str = STORAGE, **more: float | str
) -> dict[str, Any]:
    """spec.model of a model whose executions take what a table says: milliseconds by number of instances and batch.

    `slower` stretches all times, so that the cores of a small machine are not what is measured.
    """
    stretched = {instances: {batch: ms * slower for batch, ms in row.items()} for instances, row in table.items()}
    return waiting_model(0, 0, parallel=max(table), storage=storage, table=json.dumps(stretched), **more)


def service(
    name: str, model: dict[str, Any], *, pool: str = "gpu", slo_ms: int = 100, namespace: str = "default", **spec: Any
) -> dict[str, Any]:
    """An InferenceService; `spec` adds or replaces its other fields."""
    return {
        "apiVersion": "throughline.io/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": model,
            "slo": {"latencyP99Milliseconds": slo_ms},
            "placement": {"pools": [{"name": pool}]},
            "runtime": {"resources": {"requests": {"cpu": "50m", "memory": "256Mi"}}},
            **spec,
        },
    }


def pool(name: str, *, accelerator: str | None = None, cost: str = "1", **spec: Any) -> dict[str, Any]:
    """A ServingPool over the nodes labelled throughline.io/pool=NAME."""
    return {
        "apiVersion": "throughline.io/v1alpha1",
        "kind": "ServingPool",
        "metadata": {"name": name},
        "spec": {
            "nodeSelector": {"throughline.io/pool": name},
            "costPerHour": cost,
            **({"accelerator": {"resource": accelerator}} if accelerator else {}),
            **spec,
        },
    }


def pools() -> list[dict[str, Any]]:
    """One pool per node of the local cluster."""
    gpu = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    edge = [{"key": "throughline.io/edge", "operator": "Exists", "effect": "NoSchedule"}]
    return [
        pool("gpu", accelerator="nvidia.com/gpu", cost="2.50", region="local", tolerations=gpu),
        pool("cpu", cost="0.20", region="local"),
        pool("edge", cost="0.10", tier="Edge", region="edge-1", tolerations=edge),
    ]


def onnx_bytes(width: int = 256, layers: int = 6, seed: int = 7, inputs: int | None = None) -> bytes:
    """A dense network with random weights, X[N, inputs or width] → Y[N, 10], as an ONNX file. Deterministic by seed."""
    inputs = inputs or width
    rng = np.random.default_rng(seed)
    nodes, weights, last = [], [], "X"
    sizes = [width] * layers + [10]
    for i, (a, b) in enumerate(zip([inputs, *sizes[:-1]], sizes, strict=True)):
        matrix = (rng.standard_normal((a, b)) / a**0.5).astype(np.float32)
        weights.append(numpy_helper.from_array(matrix, f"W{i}"))
        final = i == len(sizes) - 1
        nodes.append(helper.make_node("MatMul", [last, f"W{i}"], ["Y" if final else f"H{i}"]))
        if not final:
            nodes.append(helper.make_node("Relu", [f"H{i}"], [f"R{i}"]))
        last = f"R{i}"
    shape = lambda name, n: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", n])  # noqa: E731
    graph = helper.make_graph(nodes, "dense", [shape("X", inputs)], [shape("Y", 10)], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def onnx_storage(namespace: str = "default", name: str = "onnx-model", **network: int) -> dict[str, Any]:
    """The ONNX file in a ConfigMap; at most 1 MiB fits, so keep width² × layers × 4 bytes below that."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "binaryData": {"model.onnx": base64.b64encode(onnx_bytes(**network)).decode()},
    }


def onnx_model(width: int, *, storage: str = "onnx-model") -> dict[str, Any]:
    return {
        "storage": {"uri": f"configmap://{storage}"},
        "backend": "onnxruntime",
        "inputs": [{"name": "X", "dataType": "TYPE_FP32", "dims": [width]}],
        "outputs": [{"name": "Y", "dataType": "TYPE_FP32", "dims": [10]}],
    }
