"""A bill of materials of a model (ML-BOM): CycloneDX 1.6 JSON (ECMA-424) with the model, its files, its card and data.

cyclonedx-python-lib has no model card, so the document is made here; the tests validate it by the official schema,
which that library carries.
"""

from __future__ import annotations

import uuid
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from throughline.api.base import Outcome
from throughline.lineage import canonical

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from throughline.api.evaluationresult import Estimate, EvaluationResult, GapResult
    from throughline.api.evaluationsuite import EvaluationSuiteSpec
    from throughline.lineage.statement import EvaluationRecord, Predicate

MODEL_REF = "model"
NAMESPACE = uuid.UUID("6f0b8a52-6c1f-5a7e-9d53-0d6f6a1c7b11")  # of our serial numbers: any constant
PROPERTY_PREFIX = "throughline:"

Json = dict[str, Any]


def build(
    predicate: Predicate, results: Mapping[str, EvaluationResult], suites: Mapping[str, EvaluationSuiteSpec]
) -> Json:
    """The document. Same input, same document: serial number and time come from the predicate.

    Args:
        predicate: what the statement will say; its `bom` is not looked at.
        results: by name of the evaluation.
        suites: by name of the evaluation; for task and governance of the data.
    """
    said = predicate.model_copy(update={"bom": None}).to_wire()
    datasets = _datasets(predicate, suites)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, canonical.digest(said))}",
        "version": 1,
        "metadata": {
            "timestamp": predicate.created,
            "tools": {
                "components": [{"type": "application", "name": "throughline", "version": version("throughline")}]
            },
            "component": _model(predicate, results, suites, sorted(datasets)),
        },
        "components": [datasets[ref] for ref in sorted(datasets)],
        "dependencies": [{"ref": MODEL_REF, "dependsOn": sorted(datasets)}],
    }


def _model(
    predicate: Predicate,
    results: Mapping[str, EvaluationResult],
    suites: Mapping[str, EvaluationSuiteSpec],
    dataset_refs: list[str],
) -> Json:
    model = predicate.model
    component: Json = {
        "type": "machine-learning-model",
        "bom-ref": MODEL_REF,
        "name": model.name,
        "version": predicate.revision or model.digest,
        "components": [
            {"type": "file", "name": path, "hashes": [{"alg": "SHA-256", "content": file.sha256}]}
            for path, file in sorted(model.files.items())
        ],
        "modelCard": _card(predicate, results, suites, dataset_refs),
        "properties": _properties(
            {
                "artifactDigest": model.digest,
                "service": predicate.service,
                "variant": predicate.variant,
                "pool": predicate.pool,
                "specHash": predicate.spec_hash,
                "approval": predicate.approval.decision if predicate.approval else None,
                "approvedBy": predicate.approval.approved_by if predicate.approval else None,
                **{f"verdict:{e.name}": e.verdict for e in predicate.evaluations},
            }
        ),
    }
    if parent := predicate.parent:
        ancestor = {"type": "machine-learning-model", "name": model.name, "version": parent.name}
        properties = _properties({"artifactDigest": parent.digest})
        component["pedigree"] = {"ancestors": [{**ancestor, "properties": properties}]}
    return component


def _card(
    predicate: Predicate,
    results: Mapping[str, EvaluationResult],
    suites: Mapping[str, EvaluationSuiteSpec],
    dataset_refs: list[str],
) -> Json:
    tasks = sorted({str(suite.task.type).lower() for suite in suites.values()})
    records = [(record, results[record.name]) for record in predicate.evaluations if record.name in results]
    considerations = {
        "technicalLimitations": [text for record, result in records for text in _limitations(record, result)],
        "fairnessAssessments": [gap for _, result in records for gap in _fairness(result)],
    }
    return {
        "modelParameters": {
            **({"task": ", ".join(tasks)} if tasks else {}),
            "datasets": [{"ref": ref} for ref in dataset_refs],
        },
        "quantitativeAnalysis": {"performanceMetrics": [m for _, result in records for m in _metrics(result)]},
        "considerations": {name: entries for name, entries in considerations.items() if entries},
    }


def _metrics(result: EvaluationResult) -> Iterator[Json]:
    for estimate in result.metrics:
        yield from _metric(estimate, "")
    for part in result.slices:
        for estimate in part.metrics:
            yield from _metric(estimate, f"{part.slice}={part.value}")


def _metric(estimate: Estimate, where: str) -> Iterator[Json]:
    if estimate.value is None:  # not known: said among the limitations, not as a number
        return
    metric: Json = {"type": estimate.metric, "value": _number(estimate.value)}
    if where:
        metric["slice"] = where
    if estimate.low is not None and estimate.high is not None:
        metric["confidenceInterval"] = {"lowerBound": _number(estimate.low), "upperBound": _number(estimate.high)}
    yield metric


def _limitations(record: EvaluationRecord, result: EvaluationResult) -> Iterator[str]:
    if result.verdict is None:
        yield f"{record.name}: there is no verdict"
    else:
        for reason in result.verdict.reasons:
            if reason.outcome is not Outcome.PASSED:
                yield f"{record.name}: {reason.outcome}: {reason.message}"
    for estimate in result.metrics:
        if estimate.value is None:
            yield f"{record.name}: {estimate.metric} is not known: {estimate.reason or 'no reason given'}"
    for part in result.slices:
        if part.too_small:
            yield f"{record.name}: {part.slice}={part.value} has {part.rows} rows, too few to be judged"


def _fairness(result: EvaluationResult) -> Iterator[Json]:
    for gap in result.gaps:
        yield {"groupAtRisk": f"{gap.slice}={gap.worst}" if gap.worst else gap.slice, "harms": _harm(gap)}


def _harm(gap: GapResult) -> str:
    if gap.value is None:
        return f"the gap of {gap.metric} is not known: {gap.reason or 'no reason given'}"
    interval = ""
    if gap.low is not None and gap.high is not None:
        interval = f" (interval {_number(gap.low)} to {_number(gap.high)})"
    return f"{gap.metric} differs from that of {gap.slice}={gap.best} by {_number(gap.value)}{interval}"


def _datasets(predicate: Predicate, suites: Mapping[str, EvaluationSuiteSpec]) -> dict[str, Json]:
    """Reference → component; suites that share a data set share the component, with the governance of each."""
    by_digest: dict[str, list[EvaluationRecord]] = {}
    for record in predicate.evaluations:
        by_digest.setdefault(record.dataset.digest, []).append(record)
    found = {}
    for digest, records in by_digest.items():
        ref = f"data-{digest.removeprefix(canonical.PREFIX)[:12]}"
        name = ", ".join(record.suite.name for record in records)
        found[ref] = {
            "type": "data",
            "bom-ref": ref,
            "name": f"evaluation data of {name}",
            "hashes": [{"alg": "SHA-256", "content": digest.removeprefix(canonical.PREFIX)}],
            "data": [_data(record, suites[record.name]) for record in records if record.name in suites]
            or [{"type": "dataset", "name": name}],
            "properties": _properties({"sizeBytes": str(records[0].dataset.size_bytes)}),
        }
    return found


def _data(record: EvaluationRecord, suite: EvaluationSuiteSpec) -> Json:
    governance = suite.dataset.governance
    return {
        "type": "dataset",
        "name": record.suite.name,
        "description": f"Evaluation data. Purpose: {governance.purpose}",
        "contents": {
            "properties": _properties(
                {
                    "legalBasis": governance.legal_basis,
                    "regions": ",".join(governance.regions),
                    "retentionDays": str(governance.retention_days),
                    "labelColumn": suite.dataset.label_column,
                }
            )
        },
        "governance": {"owners": [{"organization": {"name": governance.owner}}]},
    }


def _properties(values: Mapping[str, str | None]) -> list[Json]:
    return [
        {"name": PROPERTY_PREFIX + name, "value": str(value)} for name, value in values.items() if value is not None
    ]


def _number(value: float) -> str:
    return canonical.encode(value).decode()
