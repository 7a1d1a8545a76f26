"""What an evaluation by the operator needs, in a namespace of its own: models, rows and suites; and what it leaves."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from sklearn.metrics import accuracy_score

from e2e.stack import evaluation, models, storage
from e2e.stack.objects import condition, get, items, until
from e2e.stack.watching import SERVICE_LABEL, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.cluster import Cluster
    from e2e.stack.watching import Api

ROWS, SECONDS = 2000, 240.0
GOOD_SEED, BAD_SEED = 7, 8


class Bed:
    """A namespace with two models, the rows that one of them is right about, and the suites."""

    def __init__(self, cluster: Cluster, api: Api) -> None:
        self.cluster, self.api, self.namespace = cluster, api, api.namespace
        self.folder: Path = storage.install(cluster, evaluation.CLAIM, self.namespace)
        network = evaluation.put_model(self.folder, "good", max_batch_size=64, width=32, layers=2, seed=GOOD_SEED)
        evaluation.put_model(self.folder, "bad", max_batch_size=64, width=32, layers=2, seed=BAD_SEED)
        rng = np.random.default_rng(3)
        values = rng.standard_normal((ROWS, len(evaluation.COLUMNS))).astype(np.float32)
        session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
        (output,) = session.run(None, {"X": values})
        labels = output.argmax(axis=1)
        wrong = rng.random(ROWS) < 0.1
        labels[wrong] = rng.integers(0, 10, wrong.sum())
        self.accuracy = float(accuracy_score(labels, output.argmax(axis=1)))
        evaluation.put_rows(self.folder, values, labels)

    def suite(self, name: str, floor: str = "0.8", **spec: Any) -> dict[str, Any]:
        made = evaluation.suite(
            name,
            task={"type": "Classification", "classes": evaluation.CLASSES},
            output={"tensor": "Y", "kind": "Logits"},
            metrics=[{"name": "accuracy", "floor": floor}, {"name": "f1"}],
            intervals={"resamples": 100},
            **spec,
        )
        made["metadata"]["namespace"] = self.namespace
        return made

    def service(self, name: str, model: str, suite: str, **declared: Any) -> dict[str, Any]:
        return models.service(
            name, evaluation.model(model), pool="cpu", slo_ms=1000, namespace=self.namespace,
            evaluation={"suites": [{"name": suite}], **declared},
        )  # fmt: skip

    def runs(self, service: str) -> list[dict[str, Any]]:
        return items(self.cluster, "evaluationruns", self.namespace, f"{SERVICE_LABEL}={service}")

    def ended(self, service: str, count: int = 1) -> list[dict[str, Any]]:
        """The service's runs, oldest first, once so many have ended."""

        def check() -> list[dict[str, Any]]:
            done = [r for r in self.runs(service) if condition(r, "Succeeded").get("status") in {"True", "False"}]
            return sorted(done, key=lambda r: r["metadata"]["creationTimestamp"]) if len(done) >= count else []

        return until(f"{count} runs of {service} to end; {self.runs(service)}", check, seconds=SECONDS)

    def result(self, run: dict[str, Any]) -> dict[str, Any]:
        found = get(self.cluster, "configmap", run["metadata"]["name"], self.namespace)
        assert found is not None
        text = found["data"]["result.json"]
        assert run["status"]["resultDigest"] == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
        return dict(json.loads(text))

    def revisions(self, service: str) -> list[dict[str, Any]]:
        return items(self.cluster, "modelrevisions", self.namespace, f"{SERVICE_LABEL}={service}")

    def jobs(self) -> list[dict[str, Any]]:
        return items(self.cluster, "jobs", self.namespace)

    @classmethod
    @contextmanager
    def made(cls, local: Cluster, product: Cluster, name: str) -> Iterator[Bed]:
        with scratch(product, name) as api:
            try:
                yield cls(local, api)
            finally:
                local.kubectl("delete", "pv", f"{api.namespace}-{evaluation.CLAIM}", "--wait=false", check=False)
