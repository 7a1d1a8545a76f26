from __future__ import annotations

from typing import Any

import pytest
from throughline.api import quantities, validation
from throughline.api.inferenceservice import InferenceServiceSpec

from tests.api import evaluations, resources
from tests.api.cel_rules import verdicts


def broken(resource: dict[str, Any]) -> dict[str, str]:
    return {problem.field: problem.message for problem in validation.check(resource)}


@pytest.mark.parametrize("resource", resources.good().values(), ids=list(resources.good()))
def test_good_resources_pass(resource: dict[str, Any]) -> None:
    assert validation.check(resource) == []
    assert verdicts(resource) == []


@pytest.mark.parametrize(("resource", "field", "message"), resources.bad().values(), ids=list(resources.bad()))
def test_bad_resources_are_refused_with_field_and_fix(resource: dict[str, Any], field: str, message: str) -> None:
    found = broken(resource)
    assert list(found) == [field]
    assert message in found[field]


@pytest.mark.parametrize(
    ("resource", "field", "message"), resources.rule_breakers().values(), ids=list(resources.rule_breakers())
)
def test_rules_say_the_same_in_python_and_in_cel(resource: dict[str, Any], field: str, message: str) -> None:
    found = broken(resource)
    assert list(found) == [field]
    assert message in found[field]
    # `validate` adds what it got, where the API server's message is fixed.
    assert {(v.field, v.message) for v in verdicts(resource)} == {(field, found[field].split("; got ")[0])}


def test_another_version_or_kind_is_named() -> None:
    assert "throughline.io/v1alpha1" in broken({"apiVersion": "throughline.io/v2", "kind": "ServingPool"})["apiVersion"]
    assert (
        "did you mean ServingPool?" in broken({"apiVersion": "throughline.io/v1alpha1", "kind": "Servingpool"})["kind"]
    )


def test_a_pool_belongs_to_no_namespace() -> None:
    assert "metadata.namespace" in broken(resources.changed(resources.SERVING_POOL, ("metadata/namespace", "x")))


def test_every_problem_is_reported_at_once() -> None:
    resource = resources.changed(
        resources.INFERENCE_SERVICE,
        ("spec/slo/latencyP99Milliseconds", 0),
        ("spec/scaling/minReplicas", 11),
        ("specs", {}),
    )
    assert set(broken(resource)) == {"spec.slo.latencyP99Milliseconds", "spec.scaling.minReplicas", "specs"}


def test_the_operator_reads_numbers_as_quantities() -> None:
    spec = InferenceServiceSpec.model_validate(
        resources.changed(
            resources.INFERENCE_SERVICE, ("spec/runtime/resources", {"requests": {"cpu": 2, "memory": "1Gi"}})
        )["spec"]
    )
    assert spec.runtime.resources.requests == {"cpu": "2", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("text", "value"), [("2", 2), ("1.5", 1.5), ("500m", 0.5), ("2k", 2000), ("1Ki", 1024), ("1.5Gi", 1.5 * 2**30)]
)
def test_quantity_value(text: str, value: float) -> None:
    assert float(quantities.parse(text)) == value


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        (
            {"schedule": "0 25 * * *"},
            "spec.scaling.schedules[0].schedule",
            "hour 25 is not from 0 to 23; write minute, hour",
        ),
        ({"timeZone": "Mars/Olympus"}, "spec.scaling.schedules[0].timeZone", "not in the IANA"),
    ],
)
def test_what_only_a_calendar_knows_is_told_offline(change: dict[str, str], field: str, message: str) -> None:
    scaling = {"schedules": [{**resources.SCHEDULE, **change}]}
    found = broken(resources.changed(resources.INFERENCE_SERVICE, ("spec/scaling", scaling)))
    assert list(found) == [field]
    assert message in found[field]


@pytest.mark.parametrize(
    ("changes", "field", "message"), evaluations.ONLY_OFFLINE.values(), ids=list(evaluations.ONLY_OFFLINE)
)
def test_times_of_suites_are_checked_offline(changes: tuple[resources.Change, ...], field: str, message: str) -> None:
    found = broken(resources.changed(resources.INFERENCE_SERVICE, *changes))
    assert list(found) == [field]
    assert message in found[field]
    # To the API server they are text like any other: the operator says it in the condition Accepted.
    assert verdicts(resources.changed(resources.INFERENCE_SERVICE, *changes)) == []
