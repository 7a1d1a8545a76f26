"""A small model, what it was judged by, and a signed statement of it all, as files."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from securesystemslib.signer import CryptoSigner
from throughline.api.evaluationresult import (
    Check,
    Estimate,
    EvaluationResult,
    GapResult,
    Outcome,
    Reason,
    SliceResult,
    Verdict,
)
from throughline.api.evaluationsuite import EvaluationSuiteSpec
from throughline.lineage import bom, canonical, digest, envelope, statement

from tests.api.resources import EVALUATION_SUITE

if TYPE_CHECKING:
    from pathlib import Path

SIGNER = CryptoSigner.generate_ed25519()
FILES = {"1/model.onnx": b"weights", "config.pbtxt": b"m"}
ROWS = b"age,employed\n30,1\n"
CREATED = "2026-01-02T03:04:05Z"
APPROVAL: dict[str, Any] = {
    "apiVersion": "throughline.io/v1alpha1",
    "kind": "ModelApproval",
    "metadata": {
        "name": "fraud-7",
        "namespace": "risk",
        "uid": "0d2a4b1e-8f6c-4b0e-9a52-6d0d6f6a1c7b",
        "creationTimestamp": CREATED,
    },
    "spec": {
        "service": "fraud",
        "revision": "fraud-1a2b3c4d",
        "artifactDigest": "",
        "decision": "Approved",
        "approvedBy": "alice@example.com",
        "reason": "gap below 3 points",
    },
}


def result(model_digest: str, dataset_digest: str, suite_digest: str) -> EvaluationResult:
    accuracy = Estimate(metric="accuracy", value=0.8247, low=0.81, high=0.84, rows=2)
    return EvaluationResult(
        suite="census",
        suite_digest=suite_digest,
        dataset_digest=dataset_digest,
        model_digest=model_digest,
        rows=2,
        confidence_percent=95,
        resamples=1000,
        seed=1,
        metrics=[accuracy, Estimate(metric="auroc", rows=2, reason="one class only")],
        slices=[SliceResult(slice="race", value="5", rows=2, too_small=True, metrics=[accuracy])],
        gaps=[
            GapResult(metric="truePositiveRate", slice="race", value=0.031, low=0.01, high=0.06, best="1", worst="5"),
            GapResult(metric="f1", slice="race", reason="no two slices are large enough"),
        ],
        verdict=Verdict(
            outcome=Outcome.FAILED,
            reasons=[
                Reason(check=Check.FLOOR, metric="accuracy", outcome=Outcome.PASSED, bound=0.8, message="kept"),
                Reason(check=Check.GAP, metric="tpr", outcome=Outcome.FAILED, bound=0.05, message="gap above 0.05"),
            ],
        ),
    )


@dataclass
class Bundle:
    """The files below a folder."""

    folder: Path
    predicate: statement.Predicate = field(init=False)

    @classmethod
    def write(cls, folder: Path, *, suffix: str = "yaml") -> Bundle:
        bundle = cls(folder)
        for name, content in FILES.items():
            (bundle.model / name).parent.mkdir(parents=True, exist_ok=True)
            (bundle.model / name).write_bytes(content)
        bundle.data.write_bytes(ROWS)
        dump = yaml.safe_dump if suffix == "yaml" else json.dumps
        bundle.suite.write_text(dump(EVALUATION_SUITE))
        manifest, rows = digest.model_manifest(bundle.model), digest.file_digest(bundle.data)
        spec = EvaluationSuiteSpec.model_validate(EVALUATION_SUITE["spec"])
        found = result(manifest.digest, rows.digest, statement.suite_digest(spec))
        bundle.result.write_bytes(canonical.encode(found.to_wire()))
        approval = copy.deepcopy(APPROVAL)
        approval["spec"]["artifactDigest"] = manifest.digest
        bundle.approval.write_text(dump(approval))
        predicate = statement.Predicate(
            model=statement.ModelRecord.of("fraud", manifest),
            service="fraud",
            revision="fraud-1a2b3c4d",
            pool="gpu",
            parent=statement.ParentRecord(name="fraud-0", digest=canonical.digest(0)),
            evaluations=(
                statement.EvaluationRecord(
                    name="census",
                    suite=statement.SuiteRecord(name="census", digest=statement.suite_digest(spec)),
                    dataset=statement.DatasetRecord(digest=rows.digest, size_bytes=rows.size_bytes),
                    result=statement.ResultRecord(digest=canonical.digest_bytes(bundle.result.read_bytes())),
                    verdict=Outcome.FAILED,
                ),
            ),
            approval=statement.approval_record(approval),
            created=CREATED,
        )
        bundle.bom.write_bytes(canonical.encode(bom.build(predicate, {"census": found}, {"census": spec})))
        bundle.predicate = predicate.model_copy(
            update={"bom": statement.BomRecord(digest=canonical.digest_bytes(bundle.bom.read_bytes()))}
        )
        bundle.statement.write_bytes(envelope.sign(statement.write(bundle.predicate), [SIGNER]))
        return bundle

    def __getattr__(self, name: str) -> Path:
        names = {"data": "rows.csv", "model": "model", "suite": "suite.yaml", "result": "result.json"}
        names |= {"approval": "approval.yaml", "bom": "bom.json", "statement": "statement.json"}
        if name not in names:
            raise AttributeError(name)
        return self.folder / names[name]
