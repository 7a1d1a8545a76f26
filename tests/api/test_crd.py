from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError
from throughline.api.base import Resource
from throughline.api.batching import InstancesBounds, MaxBatchSizeBounds, MaxQueueDelayBounds
from throughline.api.crd import KINDS, Kind, definition, generated_files, structural
from throughline.api.scaling import Scaling

from tests.api.cel_rules import verdicts
from tools import generate

if TYPE_CHECKING:
    from collections.abc import Iterator

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
LIMIT_OF_APPLY = 262_144  # bytes of an annotation: client-side `kubectl apply` keeps the whole object in one


def schema_of(kind: Kind) -> dict[str, Any]:
    schema: dict[str, Any] = definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def walk(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield from walk(schema[name], f"{path}[]")


def test_generated_files_are_up_to_date() -> None:
    assert generate.stale(generate.files()) == [], "run: uv run python -m tools.generate"


def test_what_the_operator_does_not_reconcile_is_not_installed() -> None:
    assert sorted(generated_files()) == sorted(f"{kind.crd_name}.yaml" for kind in KINDS)


@pytest.mark.parametrize(("name", "text"), generated_files().items())
def test_small_enough_for_client_side_apply(name: str, text: str) -> None:
    assert len(json.dumps(yaml.safe_load(text))) < LIMIT_OF_APPLY, name


@each_kind
def test_schema_is_structural(kind: Kind) -> None:
    for path, node in walk(schema_of(kind)):
        assert not {"$ref", "title", "nullable", "allOf", "oneOf", "$defs", "const"} & node.keys(), path
        assert ("type" in node) != bool(node.get("x-kubernetes-int-or-string")), path
        assert node.get("additionalProperties") is not False, path


@each_kind
def test_everything_has_a_bound(kind: Kind) -> None:
    """Or the API server takes the request size for it, and refuses the CRD for the cost of its rules."""
    for path, node in walk(schema_of(kind)):
        if path in {"", ".apiVersion", ".kind", ".metadata"}:
            continue
        if node.get("type") == "string":
            assert "maxLength" in node or "enum" in node, path
        if node.get("x-kubernetes-int-or-string"):
            assert "maxLength" in node, path
            assert "pattern" in node, path
        if node.get("type") == "array":
            assert "maxItems" in node, path
            assert node.get("x-kubernetes-list-type") in {"map", "set", "atomic"}, path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path
        if node.get("type") == "integer":
            assert node["format"] in {"int32", "int64"}, path


@each_kind
def test_keys_of_list_maps_are_required(kind: Kind) -> None:
    for path, node in walk(schema_of(kind)):
        for key in node.get("x-kubernetes-list-map-keys", []):
            assert key in node["items"]["required"], path


@each_kind
def test_only_the_status_has_a_default(kind: Kind) -> None:
    """A default in the spec would be written into the user's object."""
    expected = {".status": {"observedGeneration": -1}} if kind.status else {}
    assert {path: node["default"] for path, node in walk(schema_of(kind)) if "default" in node} == expected


@each_kind
def test_rules_point_at_fields_that_are_there(kind: Kind) -> None:
    for path, node in walk(schema_of(kind)):
        for rule in node.get("x-kubernetes-validations", []):
            assert "$" not in rule["rule"].replace("$')", ""), f"{path}: a field is not expanded"
            if field := rule.get("fieldPath"):
                assert field.removeprefix(".") in node["properties"], path


@each_kind
def test_columns_show_fields_that_are_there(kind: Kind) -> None:
    paths = {path for path, _ in walk(schema_of(kind))}
    for column in definition(kind)["spec"]["versions"][0]["additionalPrinterColumns"]:
        path = column["jsonPath"].split("[?")[0]
        assert path in paths | {".metadata.creationTimestamp"}, column["name"]


def test_kubectl_get_tis_tells_what_matters() -> None:
    columns = definition(KINDS[0])["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [c["name"] for c in columns if not c.get("priority")] == [
        *("Ready", "SLO", "P99", "Throughput", "Replicas", "Batch", "Pool", "Cost/1k", "Reason", "Age")
    ]
    assert definition(KINDS[0])["spec"]["names"]["shortNames"] == ["tis"]


def test_defaults_are_told_in_the_description() -> None:
    scaling = schema_of(KINDS[0])["properties"]["spec"]["properties"]["scaling"]["properties"]
    assert scaling["maxReplicas"]["description"] == "Default: 10."


class Inner(Resource):
    """Inner words."""

    size: Annotated[int, Field(ge=0)] | None = None


class Outer(Resource):
    inner: Annotated[Inner | None, Field(description="Outer words.")] = None


def test_references_and_optional_fields_are_inlined() -> None:
    assert structural(Outer) == {
        "type": "object",
        "properties": {
            "inner": {
                "type": "object",
                "description": "Outer words.",
                "properties": {"size": {"type": "integer", "format": "int64", "minimum": 0}},
            }
        },
    }


class Union(Resource):
    value: int | str = 0


def test_unions_are_refused() -> None:
    with pytest.raises(ValueError, match="no unions"):
        structural(Union)


def _bounds(least: int, most: int, names: tuple[str, str]) -> st.SearchStrategy[dict[str, int]]:
    numbers = st.integers(least, most)
    return st.fixed_dictionaries({}, optional={names[0]: numbers, names[1]: numbers})


RULED = {
    "scaling": (Scaling, _bounds(1, 14, ("minReplicas", "maxReplicas"))),
    "maxBatchSize": (MaxBatchSizeBounds, _bounds(0, 70, ("min", "max"))),
    "maxQueueDelayMicroseconds": (MaxQueueDelayBounds, _bounds(0, 40_000, ("min", "max"))),
    "instances": (InstancesBounds, _bounds(1, 8, ("min", "max"))),
}


@given(st.data())
def test_rules_agree_on_any_bounds(data: st.DataObject) -> None:
    """CEL on what the user wrote, Python on what the operator reads with defaults filled in."""
    name = data.draw(st.sampled_from(sorted(RULED)))
    model, strategy = RULED[name]
    bounds = data.draw(strategy)
    try:
        model.model_validate(bounds)
        accepted = True
    except ValidationError:
        accepted = False
    spec = {"scaling": bounds} if name == "scaling" else {"batching": {name: bounds}}
    served = {"storage": {"uri": "pvc://models/m"}, "backend": "python"}
    resource = {"kind": "InferenceService", "metadata": {"name": "x"}, "spec": {"model": served, **spec}}
    assert (verdicts(resource) == []) is accepted


def test_a_field_with_rules_keeps_its_pattern() -> None:
    """pydantic leaves a pattern out of the schema where it stands behind a validator."""
    spec = definition(KINDS[0])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    uri = spec["properties"]["model"]["properties"]["storage"]["properties"]["uri"]
    assert "configmap" in uri["pattern"]
    assert uri["x-kubernetes-validations"]
