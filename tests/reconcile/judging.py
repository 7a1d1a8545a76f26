"""The evaluations of the service `m` in the world in memory, and what Kubernetes would do for its Jobs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from throughline.domain.manifests import MODEL_FILES
from throughline.evaluator.job import manifest_line, result_line
from throughline.lineage import canonical
from throughline.lineage.digest import FileDigest, Manifest
from throughline.reconcile.evaluation.reconciler import EvaluationReconciler
from throughline.reconcile.service import ServiceReconciler

from tests.api.resources import changed
from tests.api.suites import EVALUATION_SUITE
from tests.domain.evaluation.cases import digest
from tests.reconcile.fakes import World, pool, service

if TYPE_CHECKING:
    from throughline.reconcile.context import Key

KEY = ("default", "m")
MANIFEST = Manifest({"1/model.py": FileDigest("0" * 64, 8)})
FILES = {"digest": MANIFEST.digest, "files": 1, "sizeBytes": 8}


@dataclass
class Scene:
    """Both reconciles of the service `m`, and what Kubernetes would do for its Jobs."""

    world: World
    woken: list[Key] = field(default_factory=list)

    def __post_init__(self) -> None:
        options = replace(self.world.deps.options, evaluator_image="evaluator:test")
        self.world.deps = replace(self.world.deps, options=options)
        self.world.add(pool("gpu", region="eu"))
        self.world.add({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta("models")})
        self.world.add({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta("data")})
        self.suite()
        self.restart()

    def restart(self) -> None:
        self.evaluate = EvaluationReconciler(self.world.deps, self.woken.append)
        self.serve = ServiceReconciler(self.world.deps)

    def suite(self, name: str = "s", *changes: Any) -> None:
        made = changed(
            EVALUATION_SUITE, ("metadata/name", name), ("metadata/namespace", "default"),
            ("spec/dataset/governance/regions", ["eu"]),
            ("spec/dataset/source", {"pvc": {"claimName": "data", "path": "rows.csv"}}), *changes,
        )  # fmt: skip
        self.world.add(made)

    def declare(self, *, uri: str = "pvc://models/m", generation: int = 1, **evaluation: Any) -> None:
        declared = {"suites": [{"name": "s"}], "gate": "Enforce", **evaluation}
        model = {"storage": {"uri": uri}, "backend": "python"}
        live = self.world.kube.objects.get(("InferenceService", *KEY))
        made = service(generation=generation, model=model, evaluation=declared)
        self.world.add(
            made
            if live is None
            else {**live, "metadata": {**live["metadata"], "generation": generation}, "spec": made["spec"]}
        )

    async def passes(self, count: int = 6) -> None:
        """Both, as wakes would run them."""
        for _ in range(count):
            await self.evaluate(KEY)
            await self.serve(KEY)

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [o for (k, _, _), o in self.world.kube.objects.items() if k == kind]

    @property
    def job(self) -> dict[str, Any]:
        return self.all("Job")[-1]

    def end(self, outcome: str = "Passed", *, exit_code: int = 0, message: str = "", **more: Any) -> None:
        """The Job completes: last words in its pod, and the result in its log. `more` changes the words."""
        job = self.job
        result = canonical.encode(
            {
                "suite": "s", "rows": 10, "confidencePercent": 95, "resamples": 9, "seed": 1,
                "metrics": [{"metric": "accuracy", "value": 0.9, "low": 0.8, "high": 1.0, "rows": 10}],
                "verdict": {"outcome": outcome, "reasons": []}, "datasetDigest": digest("d"), "datasetSizeBytes": 5,
            }
        )  # fmt: skip
        words = {
            "exitCode": exit_code, "outcome": outcome, "message": message, "rows": 10, "artifact": FILES,
            "resultDigest": canonical.digest_bytes(result), **more,
        }  # fmt: skip
        name = f"{job['metadata']['name']}-x"
        self.pod(job, name, {"terminated": {"exitCode": 0, "message": json.dumps(words)}})
        self.world.kube.logs[("default", name)] = f"reading…\n{manifest_line(MANIFEST)}\n{result_line(result)}\n"
        self.finish(job, "Complete")

    def finish(self, job: dict[str, Any], type_: str, reason: str = "") -> None:
        ends = [{"type": type_, "status": "True", "reason": reason}]
        self.world.add({**job, "status": {"conditions": ends}})

    def pod(self, job: dict[str, Any], name: str, state: dict[str, Any], restarts: int = 0) -> None:
        labels = {"batch.kubernetes.io/controller-uid": job["metadata"]["uid"]}
        status = {"containerStatuses": [{"name": "evaluate", "state": state, "restartCount": restarts}]}
        metadata = {**meta(name), "labels": labels}
        self.world.kube.seed({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status})

    async def judge(self, outcome: str = "Passed", **more: Any) -> None:
        await self.passes()
        self.end(outcome, **more)
        await self.passes()

    def served(self) -> str | None:
        """Storage and version of the model that the Deployment's pods mount; None: there is no Deployment."""
        found = self.all("Deployment")
        if not found:
            return None
        spec = found[0]["spec"]["template"]["spec"]
        mount = next(m for m in spec["containers"][0]["volumeMounts"] if m["name"] == "storage")
        (version,) = (c["args"][2] for c in spec["initContainers"] if c["name"] == MODEL_FILES)
        return f"{mount['subPath']}/{version}"


def meta(name: str) -> dict[str, Any]:
    return {"name": name, "namespace": "default"}
