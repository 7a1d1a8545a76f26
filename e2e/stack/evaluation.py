"""A Triton server without the operator, and the evaluator beside it, each in a pod that is restricted."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from onnxruntime import quantization
from pyarrow import parquet
from throughline.api.crd import to_yaml

from e2e.stack import models, storage

if TYPE_CHECKING:
    import numpy as np

    from e2e.cluster import Cluster

CLAIM = "evaluation"
COLUMNS = [f"x{i}" for i in range(16)]
CLASSES = [str(i) for i in range(10)]  # of models.onnx_bytes
SAFE = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def put_model(folder: Path, name: str, *, max_batch_size: int, **network: int) -> bytes:
    """models/NAME in the claim's directory: an ONNX network X[16] → Y[10]. Returns its bytes."""
    storage.put_onnx(folder / "models", name, inputs=len(COLUMNS), **network)
    config = _config(name, "onnxruntime", "TYPE_FP32", len(COLUMNS), max_batch_size)
    (folder / "models" / name / "config.pbtxt").write_text(config)
    return models.onnx_bytes(inputs=len(COLUMNS), **network)


# Gives back what it is asked; BF16 goes by DLPack, since numpy does not know it.
ECHO = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        asked = [pb_utils.get_input_tensor_by_name(request, "X") for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("Y", one.to_dlpack())]) for one in asked]
"""


def put_quantised_model(folder: Path, name: str, network: bytes, *, max_batch_size: int) -> None:
    """The network of `put_model` with weights and activations of int8, the latter by the range of each batch."""
    target = folder / "models" / name
    (target / "1").mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "model.onnx"
        plain.write_bytes(network)
        quantization.quantize_dynamic(plain, target / "1/model.onnx")
    (target / "config.pbtxt").write_text(_config(name, "onnxruntime", "TYPE_FP32", len(COLUMNS), max_batch_size))


def put_bfloat16_model(folder: Path, name: str, *, max_batch_size: int) -> None:
    """X[10] → Y[10] of BF16: what it is asked."""
    (folder / "models" / name / "1").mkdir(parents=True)
    (folder / "models" / name / "1/model.py").write_text(ECHO)
    config = _config(name, "python", "TYPE_BF16", len(CLASSES), max_batch_size)
    (folder / "models" / name / "config.pbtxt").write_text(config)


def _config(name: str, backend: str, datatype: str, inputs: int, max_batch_size: int) -> str:
    return f"""
        name: "{name}"
        backend: "{backend}"
        max_batch_size: {max_batch_size}
        input [{{ name: "X" data_type: {datatype} dims: [{inputs}] }}]
        output [{{ name: "Y" data_type: {datatype} dims: [{len(CLASSES)}] }}]
        dynamic_batching {{ }}
    """


def put_waiting_model(folder: Path, name: str, *, max_batch_size: int, alpha_us: int, beta_us: int) -> None:
    """One that waits as an accelerator would, X[8] → Y[1]: two instances, each with a device of its own."""
    (folder / "models" / name / "1").mkdir(parents=True)
    (folder / "models" / name / "1/model.py").write_text(models.SOURCE.read_text())
    parameters = "".join(
        f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}\n'
        for key, value in (("alpha_us", alpha_us), ("beta_us", beta_us), ("parallel", 2))
    )
    config = f"""
        name: "{name}"
        backend: "python"
        max_batch_size: {max_batch_size}
        input [{{ name: "X" data_type: TYPE_FP32 dims: [8] }}]
        output [{{ name: "Y" data_type: TYPE_FP32 dims: [1] }}]
        instance_group [{{ count: 2 kind: KIND_CPU }}]
        dynamic_batching {{ }}
        {parameters}
    """
    (folder / "models" / name / "config.pbtxt").write_text(config)


def put_rows(folder: Path, values: np.ndarray, labels: np.ndarray, name: str = "rows.parquet") -> None:
    """data/NAME in the claim's directory."""
    (folder / "data").mkdir(exist_ok=True)
    columns = {column: values[:, place] for place, column in enumerate(COLUMNS)}
    parquet.write_table(pa.table({**columns, "label": labels}), folder / "data" / name)


def model(name: str) -> dict[str, Any]:
    """spec.model of an InferenceService for what `put_model` has put there."""
    return {
        "storage": {"uri": f"pvc://{CLAIM}/models/{name}"},
        "backend": "onnxruntime",
        "inputs": [{"name": "X", "dataType": "TYPE_FP32", "dims": [len(COLUMNS)]}],
        "outputs": [{"name": "Y", "dataType": "TYPE_FP32", "dims": [len(CLASSES)]}],
    }


def put_suite(folder: Path, name: str, rows: str = "rows.parquet", **spec: Any) -> None:
    """data/NAME.yaml in the claim's directory."""
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / f"{name}.yaml").write_text(to_yaml(suite(name, rows, **spec)))


def suite(name: str, rows: str = "rows.parquet", **spec: Any) -> dict[str, Any]:
    """An EvaluationSuite of those rows; `spec` adds or replaces fields."""
    governance = {"owner": "tests", "purpose": "tests", "legalBasis": "NotPersonalData", "regions": ["local"]}
    source = {"pvc": {"claimName": CLAIM, "path": f"data/{rows}"}}
    return {
        "apiVersion": "throughline.io/v1alpha1",
        "kind": "EvaluationSuite",
        "metadata": {"name": name},
        "spec": {
            "dataset": {"source": source, "labelColumn": "label", "governance": {**governance, "retentionDays": 1}},
            "inputs": [{"tensor": "X", "columns": COLUMNS, "datatype": "FP32"}],
            **spec,
        },
    }


def server(cluster: Cluster, namespace: str, name: str = "server") -> list[dict[str, Any]]:
    """A pod and a Service of that name, for all of the claim's models."""
    labels = {"app": name}
    container = {
        "name": "triton",
        "image": cluster.images["triton"],
        "args": ["--model-repository=/claim/models"],
        "securityContext": SAFE,
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": 8000}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "claim", "mountPath": "/claim", "readOnly": True},
            {"name": "shm", "mountPath": "/dev/shm"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    volumes = [{"name": "shm", "emptyDir": {"medium": "Memory"}}, {"name": "tmp", "emptyDir": {}}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": labels, "ports": [{"name": "grpc", "port": 8001}]},
    }
    return [pod(name, namespace, 1000, container, volumes, labels), service]


def evaluator(cluster: Cluster, namespace: str, name: str, **container: Any) -> dict[str, Any]:
    """A pod of the evaluator's image: the claim at /claim, read-only; a place to write at /work, and nowhere else."""
    made = {
        "name": "evaluator",
        "image": cluster.images["evaluator"],
        "securityContext": SAFE,
        "volumeMounts": [
            {"name": "claim", "mountPath": "/claim", "readOnly": True},
            {"name": "work", "mountPath": "/work"},
        ],
        **container,
    }
    return pod(name, namespace, 65532, made, [{"name": "work", "emptyDir": {}}], {"app": name})


def arguments(suite: str, model: str, *more: str, service: str = "server") -> list[str]:
    """What the evaluator is started with, in a pod of `evaluator`."""
    return [
        f"--suite=/claim/data/{suite}.yaml", f"--url=grpc://{service}:8001", f"--model={model}", "--data-root=/claim",
        "--output=/work/out", *more,
    ]  # fmt: skip


def pod(
    name: str,
    namespace: str,
    user: int,
    container: dict[str, Any],
    volumes: list[dict[str, Any]],
    labels: dict[str, str],
) -> dict[str, Any]:
    claim = {"name": "claim", "persistentVolumeClaim": {"claimName": CLAIM, "readOnly": True}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "nodeSelector": {"throughline.io/pool": "cpu"},
            "securityContext": {"runAsNonRoot": True, "runAsUser": user, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [claim, *volumes],
        },
    }
