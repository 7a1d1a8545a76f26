"""`spec.monitoring` of a service that is right, and ways to make it wrong, as in resources.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.api.changes import Change

GOVERNANCE: dict[str, Any] = {
    "owner": "fraud",
    "purpose": "watching the model",
    "legalBasis": "LegitimateInterests",
    "regions": ["eu-west-1"],
    "retentionDays": 7,
}
SAMPLING: dict[str, Any] = {
    "oneIn": 100,
    "fields": [{"name": "X", "columns": [{"name": "age", "index": 0}]}, {"name": "P"}],
    "keyTensor": "CUSTOMER",
    "salt": {"name": "salt"},
    "retentionMinutes": 1440,
    "storage": {"claimName": "samples"},
    "governance": GOVERNANCE,
}
SOURCE = {"source": {"configMap": {"name": "rows", "key": "rows.parquet"}}, "governance": GOVERNANCE}
LABELS = {"dataset": {**SOURCE, "idColumn": "customer", "labelColumn": "fraud"}}
PREDICTIONS = {"columns": ["P.0", "P.1"], "classes": ["no", "yes"]}
MONITORING: dict[str, Any] = {"sampling": SAMPLING}
_SERVICE = "spec/monitoring"


def _with(**fields: Any) -> tuple[Change, ...]:
    return ((_SERVICE, {**MONITORING, **fields}),)


def _sampling(**fields: Any) -> tuple[Change, ...]:
    return _with(sampling={k: v for k, v in {**SAMPLING, **fields}.items() if v is not None})


# Changes of an InferenceService.
GOOD_MONITORING: dict[str, tuple[Change, ...]] = {
    "sampling alone": _with(),
    "the request's id as key": _sampling(keyTensor=None, useRequestId=True),
    "no key for what is of no person": _sampling(
        keyTensor=None, governance={**GOVERNANCE, "legalBasis": "NotPersonalData"}
    ),
    "every request": _sampling(oneIn=1, redact=False, phoneRegions=["DE"], erasures="erased"),
    "kept as long as may be": _sampling(retentionMinutes=7 * 1440),
    "drift": _with(drift={"baseline": SOURCE, "policy": {"windowRows": 500, "minimumRows": 100}}),
    "all of it": _with(
        drift={"baseline": {**SOURCE, "labelColumn": "fraud"}},
        predictions={**PREDICTIONS, "accuracyFloor": "0.8"},
        labels={**LABELS, "itemColumn": "item", "holdout": {"column": "age", "value": "1"}},
    ),
    "a column with the class": _with(predictions={"columns": ["P"]}, labels=LABELS),
}
BAD_MONITORING: dict[str, tuple[tuple[Change, ...], str, str]] = {
    "no governance": (_sampling(governance=None), "spec.monitoring.sampling.governance", "required"),
    "no legal basis": (
        _sampling(governance={k: v for k, v in GOVERNANCE.items() if k != "legalBasis"}),
        "spec.monitoring.sampling.governance.legalBasis",
        "required",
    ),
    "no retention": (_sampling(retentionMinutes=None), "spec.monitoring.sampling.retentionMinutes", "required"),
    "retention of nothing": (_sampling(retentionMinutes=0), "spec.monitoring.sampling.retentionMinutes", "at least 1"),
    "no salt": (_sampling(salt=None), "spec.monitoring.sampling.salt", "required"),
    "nothing may be stored": (_sampling(fields=[]), "spec.monitoring.sampling.fields", "at least 1"),
    "a field twice": (
        _sampling(fields=[{"name": "X"}, {"name": "X"}]),
        "spec.monitoring.sampling.fields[1]",
        "remove or rename",
    ),
    "a rate of none": (_sampling(oneIn=0), "spec.monitoring.sampling.oneIn", "at least 1"),
    "a rate with a point": (_sampling(oneIn=1.5), "spec.monitoring.sampling.oneIn", ""),
    "a region in words": (_sampling(phoneRegions=["Germany"]), "spec.monitoring.sampling.phoneRegions[0]", "at most 2"),
    "an empty path": (
        _sampling(storage={"claimName": "samples", "path": ""}),
        "spec.monitoring.sampling.storage.path",
        "not valid",
    ),
    "a server's version in words": (
        _sampling(minimumServerVersion="25.05-py3"),
        "spec.monitoring.sampling.minimumServerVersion",
        "not valid",
    ),
}
MONITORING_RULE_BREAKERS: dict[str, tuple[tuple[Change, ...], str, str]] = {
    "one class in two spellings": (
        _with(predictions={**PREDICTIONS, "classes": ["1", "True"]}),
        "spec.monitoring.predictions.classes",
        "the same class",
    ),
    "two keys": (_sampling(useRequestId=True), "spec.monitoring.sampling.keyTensor", "not both; remove one"),
    "personal data without a key": (
        _sampling(keyTensor=None),
        "spec.monitoring.sampling.governance",
        "personal data must be erasable",
    ),
    "the key stored as it is": (
        _sampling(fields=[{"name": "CUSTOMER"}]),
        "spec.monitoring.sampling.fields",
        "remove it from fields",
    ),
    "a reserved column": (
        _sampling(fields=[{"name": "X", "columns": [{"name": "sample.key", "index": 0}]}]),
        "spec.monitoring.sampling.fields",
        "name the column otherwise",
    ),
    "kept longer than governed": (
        _sampling(retentionMinutes=7 * 1440 + 1),
        "spec.monitoring.sampling.retentionMinutes",
        "must not be above governance.retentionDays",
    ),
    "storage outside of the claim": (
        _sampling(storage={"claimName": "samples", "path": "../other"}),
        "spec.monitoring.sampling.storage.path",
        "must stay inside the claim",
    ),
    "fewer probabilities than classes": (
        _with(predictions={**PREDICTIONS, "columns": ["P.0"]}),
        "spec.monitoring.predictions.columns",
        "one for each of predictions.classes",
    ),
    "a floor without probabilities": (
        _with(predictions={"columns": ["P"], "accuracyFloor": "0.8"}),
        "spec.monitoring.predictions.accuracyFloor",
        "add them or remove it",
    ),
    "labels without predictions": (_with(labels=LABELS), "spec.monitoring.labels", "predictions is required"),
    "labels without their column": (
        _with(predictions=PREDICTIONS, labels={"dataset": {**SOURCE, "idColumn": "customer"}}),
        "spec.monitoring.labels.dataset",
        "add both",
    ),
    "labels that nothing joins": (
        _with(
            sampling={
                **{k: v for k, v in SAMPLING.items() if k != "keyTensor"},
                "governance": {**GOVERNANCE, "legalBasis": "NotPersonalData"},
            },
            predictions=PREDICTIONS,
            labels=LABELS,
        ),
        "spec.monitoring.sampling",
        "labels are joined by it",
    ),
}
