"""Handwritten digits through real Triton: a fragile network fails floors that one trained with noise passes, and rows
that the model was trained on are no evidence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from e2e.stack import census_models, models, storage
from e2e.stack.objects import apply, condition, items, until
from e2e.stack.watching import SERVICE_LABEL, Api, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.long]

CLAIM, SECONDS, TRAINED = "digits", 240.0, 1200
PIXELS = [f"p{place}" for place in range(64)]
BOUNDS = {"lower": "0", "upper": "16"}
NOISE = {"name": "noise", "type": "GaussianNoise", "strengths": ["0.2", "0.4"], "floor": "0.76", "bounds": BOUNDS}
ATTACK = {
    "name": "attack", "type": "SquareAttack", "strengths": ["0.15"], "floor": "0.30", "bounds": BOUNDS,
    "image": {"heightPixels": 8, "widthPixels": 8}, "queries": 200, "maxRows": 597,
}  # fmt: skip
GOVERNANCE = {
    "owner": "tests", "purpose": "tests", "legalBasis": "NotPersonalData", "regions": ["local"], "retentionDays": 1,
}  # fmt: skip


def network(values: np.ndarray, labels: np.ndarray) -> bytes:
    """Trained here; X[N, 64], of 0 to 16, → probabilities[N, 10]."""
    made = MLPClassifier((64,), max_iter=150, random_state=0, n_iter_no_change=150, tol=0).fit(values / 16, labels)
    layers = list(zip(made.coefs_, made.intercepts_, strict=True))
    weights = [numpy_helper.from_array(np.array(1 / 16, np.float32), "scale")]
    nodes = [helper.make_node("Mul", ["X", "scale"], ["h0"])]
    return bytes(census_models.dense(nodes, weights, layers, inputs=len(PIXELS)).SerializeToString())


def dataset(file: str) -> dict[str, Any]:
    source = {"pvc": {"claimName": CLAIM, "path": file}}
    return {"source": source, "labelColumn": "digit", "governance": GOVERNANCE}


def suite(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "throughline.io/v1alpha1",
        "kind": "EvaluationSuite",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "dataset": dataset("judged.parquet"),
            "task": {"type": "Classification", "classes": [str(n) for n in range(10)]},
            "inputs": [{"tensor": "X", "columns": PIXELS, "datatype": "FP32"}],
            "output": {"tensor": "probabilities", "kind": "Probabilities"},
            "metrics": [{"name": "accuracy", "floor": "0.93"}],
            **spec,
        },
    }


def service(name: str, namespace: str, model: str, suite_name: str) -> dict[str, Any]:
    spec = {
        "storage": {"uri": f"pvc://{CLAIM}/{model}"},
        "backend": "onnxruntime",
        "inputs": [{"name": "X", "dataType": "TYPE_FP32", "dims": [len(PIXELS)]}],
        "outputs": [{"name": "probabilities", "dataType": "TYPE_FP32", "dims": [10]}],
    }
    evaluation = {"suites": [{"name": suite_name}], "gate": "Enforce"}
    return models.service(name, spec, pool="cpu", slo_ms=1000, namespace=namespace, evaluation=evaluation)


@pytest.fixture(scope="module")
def api(local: Cluster, product: Cluster) -> Iterator[Api]:
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    values, labels = digits.data[order], digits.target[order]
    rng, training, truth = np.random.default_rng(1), values[:TRAINED], labels[:TRAINED]
    noisy = [np.clip(training + rng.normal(0, 16 * sigma, training.shape), 0, 16) for sigma in (0.1, 0.2, 0.3, 0.4)]
    networks = {
        "fragile": network(training, truth),
        "hardened": network(np.concatenate([training, *noisy]), np.tile(truth, 5)),
    }
    with scratch(product, "robustness") as api:
        folder = storage.install(local, CLAIM, api.namespace)
        for name, content in networks.items():
            (folder / name / "1").mkdir(parents=True)
            (folder / name / "1" / "model.onnx").write_bytes(content)
        for name, part in (("training", slice(0, TRAINED)), ("judged", slice(TRAINED, None))):
            columns = {pixel: values[part, place] for place, pixel in enumerate(PIXELS)}
            pq.write_table(pa.table({**columns, "digit": labels[part]}), folder / f"{name}.parquet")
        try:
            yield api
        finally:
            local.kubectl("delete", "pv", f"{api.namespace}-{CLAIM}", "--wait=false", check=False)


def judged(cluster: Cluster, api: Api, name: str) -> dict[str, Any]:
    """The service's one run, once it has a verdict."""

    def check() -> list[dict[str, Any]]:
        found = items(cluster, "evaluationruns", api.namespace, f"{SERVICE_LABEL}={name}")
        return [r for r in found if condition(r, "Succeeded").get("status") in {"True", "False"}]

    (run,) = until(f"{name} to be judged", check, seconds=SECONDS)
    assert condition(run, "Succeeded")["status"] == "True", run["status"]
    return dict(run["status"])


def test_a_fragile_model_is_kept_out_by_floors_that_a_hardened_one_passes(local: Cluster, api: Api) -> None:
    suites = {"noise": NOISE, "attack": ATTACK}
    made = [suite(name, api.namespace, perturbations=[perturbation]) for name, perturbation in suites.items()]
    services = [service(f"{m}-{s}", api.namespace, m, s) for m in ("fragile", "hardened") for s in suites]
    apply(local, [*made, *services])
    for name in suites:
        fragile, hardened = judged(local, api, f"fragile-{name}"), judged(local, api, f"hardened-{name}")
        print(f"{name}: {fragile['message']}")
        assert (fragile["verdict"], hardened["verdict"]) == ("Failed", "Passed")
        assert name in fragile["message"]
        assert "accuracy is" not in fragile["message"], "undisturbed it is good enough"
        api.until_ready(f"hardened-{name}", seconds=SECONDS)
        assert api.pods(f"fragile-{name}") == []


def test_rows_that_it_was_trained_on_are_no_evidence(local: Cluster, api: Api) -> None:
    leaked = suite(
        "leaked", api.namespace, dataset=dataset("training.parquet"), trainingDataset=dataset("training.parquet"),
        quality={"trainingOverlap": {"ceiling": "0.05"}},
    )  # fmt: skip
    apply(local, [leaked, service("leaks", api.namespace, "hardened", "leaked")])
    status = judged(local, api, "leaks")
    assert status["verdict"] == "Failed"
    assert "training" in status["message"], status["message"]
    api.until_condition("leaks", "AccuracyPassing", "False", "RevisionHeldBack")
    assert api.pods("leaks") == []
