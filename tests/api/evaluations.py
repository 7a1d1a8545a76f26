"""`spec.evaluation` of a service and EvaluationRuns that are right, and ways to make each wrong, as in resources.py."""

from __future__ import annotations

from typing import Any

from tests.api.changes import REMOVE, Change

SUITE = {"name": "census", "schedule": "0 3 * * MON", "timeZone": "Europe/Berlin"}
EVALUATION: dict[str, Any] = {"suites": [SUITE]}
_SERVICE = "spec/evaluation"


def _with(**fields: Any) -> tuple[Change, ...]:
    return ((_SERVICE, {**EVALUATION, **fields}),)


def _suite(**fields: Any) -> tuple[Change, ...]:
    return _with(suites=[{**SUITE, **fields}])


# Changes of an InferenceService.
GOOD_EVALUATIONS: dict[str, tuple[Change, ...]] = {
    "suites": _with(),
    "a suite without a schedule": _with(suites=[{"name": "census"}, {"name": "drift"}]),
    "the most that a gate can ask": _with(gate="Enforce", approval="Required", onDecay="RollBack", target="Scratch"),
    "reported on what serves": _with(target="Live", maxRowsPerSecond=100),
    "the least": _with(deadlineSeconds=30, retries=0, historyLimit=1, maxRowsPerSecond=1),
    "the most": _with(deadlineSeconds=86_400, retries=10, historyLimit=100, maxRowsPerSecond=10_000_000),
}
BAD_EVALUATIONS: dict[str, tuple[tuple[Change, ...], str, str]] = {
    "no suite": (_with(suites=[]), "spec.evaluation.suites", "at least 1"),
    "suites absent": (((_SERVICE, {"gate": "Report"}),), "spec.evaluation.suites", "required"),
    "too many suites": (
        _with(suites=[{"name": f"s{i}"} for i in range(17)]),
        "spec.evaluation.suites",
        "at most 16",
    ),
    "the same suite twice": (_with(suites=[SUITE, SUITE]), "spec.evaluation.suites[1]", "remove or rename"),
    "a suite's name": (_suite(name="Census"), "spec.evaluation.suites[0].name", "not valid"),
    "a suite's schedule in words": (
        _suite(schedule="weekly"),
        "spec.evaluation.suites[0].schedule",
        "must have 5 fields",
    ),
    "a schedule of six parts": (_suite(schedule="0 0 3 * * 1"), "spec.evaluation.suites[0].schedule", "has 6"),
    "an hour of a suite's schedule": (
        _suite(schedule="0 25 * * *"),
        "spec.evaluation.suites[0].schedule",
        "hour 25 is not from 0 to 23; write minute, hour",
    ),
    "a time zone's name": (_suite(timeZone="Mars Olympus"), "spec.evaluation.suites[0].timeZone", "not valid"),
    "unknown gate": (_with(gate="Warn"), "spec.evaluation.gate", "one of Report, Enforce"),
    "unknown approval": (_with(approval="Optional"), "spec.evaluation.approval", "one of NotRequired, Required"),
    "unknown onDecay": (_with(onDecay="Rollback"), "spec.evaluation.onDecay", "one of Alert, RollBack"),
    "unknown target": (_with(target="Shadow"), "spec.evaluation.target", "one of Scratch, Live"),
    "no rows": (_with(maxRowsPerSecond=0), "spec.evaluation.maxRowsPerSecond", "at least 1"),
    "too many rows": (_with(maxRowsPerSecond=10_000_001), "spec.evaluation.maxRowsPerSecond", "at most 10000000"),
    "deadline too short": (_with(deadlineSeconds=29), "spec.evaluation.deadlineSeconds", "at least 30"),
    "deadline too long": (_with(deadlineSeconds=86_401), "spec.evaluation.deadlineSeconds", "at most 86400"),
    "retries below zero": (_with(retries=-1), "spec.evaluation.retries", "at least 0"),
    "too many retries": (_with(retries=11), "spec.evaluation.retries", "at most 10"),
    "no history": (_with(historyLimit=0), "spec.evaluation.historyLimit", "at least 1"),
    "too long a history": (_with(historyLimit=101), "spec.evaluation.historyLimit", "at most 100"),
    "retries as text": (_with(retries="3"), "spec.evaluation.retries", "remove the quotes"),
    "evaluation misspelt": (_with(ondecay="Alert"), "spec.evaluation.ondecay", "did you mean onDecay?"),
}
EVALUATION_RULE_BREAKERS: dict[str, tuple[tuple[Change, ...], str, str]] = {
    "a gate on what serves already": (
        _with(gate="Enforce", target="Live"),
        "spec.evaluation.target",
        "set target Scratch, or gate Report",
    ),
    "approval without a gate": (
        _with(approval="Required"),
        "spec.evaluation.approval",
        "set gate Enforce, or approval NotRequired",
    ),
    "approval where only told": (
        _with(approval="Required", gate="Report"),
        "spec.evaluation.approval",
        "set gate Enforce, or approval NotRequired",
    ),
    "back without a gate": (_with(onDecay="RollBack"), "spec.evaluation.onDecay", "set gate Enforce, or onDecay Alert"),
}
# What the API server cannot know.
ONLY_OFFLINE: dict[str, tuple[tuple[Change, ...], str, str]] = {
    "a suite's schedule that ends before it begins": (
        _suite(schedule="0 20-8 * * *"),
        "spec.evaluation.suites[0].schedule",
        "ends before it begins; write minute, hour",
    ),
    "a time zone of a suite": (
        _suite(timeZone="Mars/Olympus"),
        "spec.evaluation.suites[0].timeZone",
        "not in the IANA",
    ),
}

DIGEST = f"sha256:{'0123456789abcdef' * 4}"
EVALUATION_RUN: dict[str, Any] = {
    "apiVersion": "throughline.io/v1alpha1",
    "kind": "EvaluationRun",
    "metadata": {"name": "fraud-census-0123456789", "namespace": "default"},
    "spec": {
        "service": "fraud",
        "suite": "census",
        "suiteDigest": DIGEST,
        "specHash": "1a2b3c4d5e",
        "model": {"storage": {"uri": "pvc://models/fraud"}, "backend": "onnxruntime"},
        "servedName": "fraud",
        "pool": "gpu",
        "reason": "Revision",
    },
}
GOOD_RUNS: dict[str, tuple[Change, ...]] = {
    "as it is": (),
    "of a changed suite": (("spec/reason", "Suite"),),
    "on schedule": (
        ("spec/reason", "Schedule"),
        ("spec/scheduled", "2026-01-05T02:00:00Z"),
        ("spec/missed", 3),
    ),
}
BAD_RUNS: dict[str, tuple[tuple[Change, ...], str, str]] = {
    **{
        f"no {field}": (((f"spec/{field}", REMOVE),), f"spec.{field}", "required")
        for field in ("service", "suite", "suiteDigest", "specHash", "model", "servedName", "pool", "reason")
    },
    "short digest": ((("spec/suiteDigest", "sha256:0"),), "spec.suiteDigest", "must match"),
    "hash of 8 digits": ((("spec/specHash", "1a2b3c4d"),), "spec.specHash", "must match"),
    "hash in capitals": ((("spec/specHash", "1A2B3C4D5E"),), "spec.specHash", "must match"),
    "model without files": ((("spec/model/storage", REMOVE),), "spec.model.storage", "required"),
    "unknown reason": ((("spec/reason", "Manual"),), "spec.reason", "one of Revision, Suite, Schedule"),
    "a start that is no time": ((("spec/scheduled", "yesterday"),), "spec.scheduled", "a time as in RFC 3339"),
    "a day that is not": ((("spec/scheduled", "2026-02-30T08:00:00Z"),), "spec.scheduled", "a time as in RFC 3339"),
    "missed below zero": ((("spec/missed", -1),), "spec.missed", "at least 0"),
    "a verdict in the spec": ((("spec/verdict", "Passed"),), "spec.verdict", "unknown field"),
    "a run's name": ((("metadata/name", "Fraud"),), "metadata.name", "choose another"),
}
