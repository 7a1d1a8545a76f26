"""A network that says who is employed, and what people make of it: quantized to eight bits, and distilled.

Trained here, on the census rows of 2015, in seconds; deterministic by seed. Two of the variants are as they should not
be, as it happens: one was quantized with three rows to calibrate on, so its confidence is wrong though its answers are
not; one was distilled from two columns, so it serves people with a disability worse than others.
"""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization
from sklearn.neural_network import MLPClassifier, MLPRegressor

from tests import census

TRAINING_ROWS = 40_000
CALIBRATION_ROWS, TOO_FEW_ROWS = 500, 3
CERTAIN = 1e-3  # the teacher's probabilities are cut here, so that their logits are finite
FEW = ("AGEP", "SEX")
Layers = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, slots=True)
class Trained:
    """Rows as numbers, how they are scaled, and the teacher."""

    rows: np.ndarray  # float32 [N, features]
    mean: np.ndarray
    deviation: np.ndarray
    teacher: MLPClassifier

    @property
    def scaled(self) -> np.ndarray:
        return (self.rows - self.mean) / self.deviation


def matrix(year: int) -> tuple[np.ndarray, np.ndarray]:
    """(features as float32, employed as 0 or 1) of one year."""
    table = census.codes(census.year(year))
    rows = np.column_stack([table[name].to_numpy() for name in census.FEATURES]).astype(np.float32)
    return rows, np.asarray(table[census.LABEL].to_pylist()).astype(np.int64)


@functools.cache
def trained() -> Trained:
    rows, labels = matrix(2015)
    chosen = np.random.default_rng(0).permutation(len(rows))[:TRAINING_ROWS]
    mean, deviation = rows.mean(axis=0), rows.std(axis=0) + 1e-9
    teacher = MLPClassifier((64, 32), max_iter=25, random_state=0)
    teacher.fit(((rows - mean) / deviation)[chosen], labels[chosen])
    return Trained(rows[chosen], mean, deviation, teacher)


def distilled(hidden: int, names: tuple[str, ...]) -> tuple[Layers, list[int]]:
    """A network of one hidden layer that answers as the teacher does, from those columns alone; and their places."""
    made = trained()
    places = [census.FEATURES.index(name) for name in names]
    sure = np.clip(made.teacher.predict_proba(made.scaled)[:, 1], CERTAIN, 1 - CERTAIN)
    student = MLPRegressor(hidden_layer_sizes=(hidden,), max_iter=30, random_state=0)
    student.fit(made.scaled[:, places], np.log(sure / (1 - sure)))
    return _two_columns(student), places


def _two_columns(network: MLPClassifier | MLPRegressor) -> Layers:
    """Its one logit as two, of which the softmax is the same."""
    layers = list(zip(network.coefs_, network.intercepts_, strict=True))
    weights, bias = layers[-1]
    last = (np.concatenate([-weights / 2, weights / 2], axis=1), np.concatenate([-bias / 2, bias / 2]))
    return [*layers[:-1], last]


def network(layers: Layers, places: list[int]) -> onnx.ModelProto:
    """X[N, features] → probabilities[N, 2], with the scaling inside."""
    made, nodes, weights = trained(), [], []

    def constant(name: str, value: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(value, name))
        return name

    def single(value: np.ndarray) -> np.ndarray:
        return value.astype(np.float32)

    constant("places", np.array(places, dtype=np.int64))
    nodes.append(helper.make_node("Gather", ["X", "places"], ["chosen"], axis=1))
    nodes.append(helper.make_node("Sub", ["chosen", constant("mean", single(made.mean[places]))], ["centred"]))
    factor = constant("factor", single(1 / made.deviation[places]))
    nodes.append(helper.make_node("Mul", ["centred", factor], ["h0"]))
    return dense(nodes, weights, layers, inputs=len(census.FEATURES))


def dense(nodes: list[Any], weights: list[Any], layers: Layers, *, inputs: int) -> onnx.ModelProto:
    """After nodes that make `h0` of X[N, inputs]: layers with ReLU between them, to probabilities[N, classes]."""
    last = "h0"
    for i, pair in enumerate(layers):
        names = [f"w{i}", f"b{i}"]
        weights += [numpy_helper.from_array(a.astype(np.float32), n) for a, n in zip(pair, names, strict=True)]
        nodes.append(helper.make_node("Gemm", [last, *names], [f"g{i}"]))
        last = f"g{i}"
        if i < len(layers) - 1:
            nodes.append(helper.make_node("Relu", [last], [f"r{i}"]))
            last = f"r{i}"
    nodes.append(helper.make_node("Softmax", [last], ["probabilities"], axis=1))
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", inputs])
    y = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(layers[-1][1])])
    graph = helper.make_graph(nodes, "dense", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    return model


class _Rows(quantization.CalibrationDataReader):
    def __init__(self, rows: np.ndarray) -> None:
        self._left = [rows]

    def get_next(self) -> Any:
        return {"X": self._left.pop()} if self._left else None


def quantized(model: onnx.ModelProto, calibration: np.ndarray) -> bytes:
    """Weights and activations in eight bits; the activations' ranges are those of the calibration rows."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)  # a model in memory would be changed
        quantization.quantize_static(
            source, target, _Rows(calibration), per_channel=True, op_types_to_quantize=["Gemm", "Relu"]
        )
        return target.read_bytes()


@functools.cache
def full() -> onnx.ModelProto:
    """The teacher itself."""
    return network(_two_columns(trained().teacher), list(range(len(census.FEATURES))))


@functools.cache
def variants() -> dict[str, bytes]:
    """model.onnx by name."""
    made = trained()
    return {
        "fp32": full().SerializeToString(),
        "int8": quantized(full(), made.rows[:CALIBRATION_ROWS]),
        "int8-three-rows": quantized(full(), made.rows[:TOO_FEW_ROWS]),
        "distilled": network(*distilled(16, census.FEATURES)).SerializeToString(),
        "distilled-small": network(*distilled(4, FEW)).SerializeToString(),
    }


def spec_model(claim: str, name: str) -> dict[str, Any]:
    """spec.model of an InferenceService for NAME/1/model.onnx below `census` of the claim."""
    return {
        "storage": {"uri": f"pvc://{claim}/census/{name}"},
        "backend": "onnxruntime",
        "inputs": [{"name": "X", "dataType": "TYPE_FP32", "dims": [len(census.FEATURES)]}],
        "outputs": [{"name": "probabilities", "dataType": "TYPE_FP32", "dims": [2]}],
    }


def suite(name: str, namespace: str, claim: str, file: str) -> dict[str, Any]:
    """Accuracy, calibration, and that people with a disability are not served worse."""
    return {
        "apiVersion": "throughline.io/v1alpha1",
        "kind": "EvaluationSuite",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "dataset": {
                "source": {"pvc": {"claimName": claim, "path": file}},
                "labelColumn": census.LABEL,
                "governance": {
                    "owner": "people-analytics",
                    "purpose": "whether the model serves all alike",
                    "legalBasis": "LegitimateInterests",
                    "regions": ["local"],
                    "retentionDays": 30,
                },
            },
            "task": {"type": "Classification", "classes": ["0", "1"], "positiveClass": "1"},
            "inputs": [{"tensor": "X", "columns": list(census.FEATURES), "datatype": "FP32"}],
            "output": {"tensor": "probabilities", "kind": "Probabilities"},
            "metrics": [
                {"name": "accuracy", "floor": "0.77"},
                {"name": "expectedCalibrationError", "ceiling": "0.027"},
                {"name": "auroc"},
            ],
            "slices": [{"name": "disability", "column": "DIS"}, {"name": "sex", "column": "SEX"}],
            "gaps": [{"metric": "accuracy", "slice": "disability", "ceiling": "0.06"}],
            "intervals": {"resamples": 200},
        },
    }
