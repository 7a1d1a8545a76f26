"""Fields are read by their name on the wire alone, as the CRDs have them: people copy names from config.pbtxt."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, get_args, get_origin

import pytest
from pydantic import ValidationError
from throughline.api import validation
from throughline.api.base import Resource
from throughline.api.crd import KINDS, Kind
from throughline.api.inferenceservice import InferenceServiceSpec

from tests.api import resources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def nested(annotation: Any) -> Iterator[tuple[type[Resource], Callable[[Any], Any]]]:
    """The models within a field's type, each with what makes the field's value of the model's."""
    if inspect.isclass(annotation) and issubclass(annotation, Resource):
        yield annotation, lambda value: value
        return
    for argument in get_args(annotation):
        for model, wrap in nested(argument):
            if get_origin(annotation) in {list, tuple}:
                yield model, lambda value, wrap=wrap: [wrap(value)]
            elif get_origin(annotation) is dict:
                yield model, lambda value, wrap=wrap: {"key": wrap(value)}
            else:
                yield model, wrap


def other_names(
    model: type[Resource], wrap: Callable[[Any], Any] = lambda value: value
) -> Iterator[tuple[str, str, Any]]:
    """Each field below the model whose name in Python is another: both names, and an object with the wrong one."""
    for name, field in model.model_fields.items():
        alias = field.alias or name
        if alias != name:
            yield name, alias, wrap({name: None})
        for inner, within in nested(field.annotation):
            yield from other_names(inner, lambda value, alias=alias, within=within: wrap({alias: within(value)}))


def refused(read: Callable[[Any], object], value: Any, name: str) -> bool:
    with pytest.raises(ValidationError) as raised:
        read(value)
    return any(e["type"] == "extra_forbidden" and e["loc"][-1] == name for e in raised.value.errors())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_no_field_of_any_kind_is_read_by_its_name_in_python(kind: Kind) -> None:
    models = [model for model in (kind.spec, kind.status) if model is not None]
    cases = [(model, *case) for model in models for case in other_names(model)]
    assert len(cases) > 1
    for model, name, _, value in cases:
        assert refused(model.model_validate, value, name), (model, value)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_validate_names_the_field_that_is_meant(kind: Kind) -> None:
    envelope = {"apiVersion": "throughline.io/v1alpha1", "kind": kind.kind, "metadata": {"name": "x"}}
    for name, alias, value in other_names(kind.spec):
        wrong = _with_values(value, name)
        found = {p.path[-1]: p.message for p in validation.check({**envelope, "spec": wrong})}
        assert found[name] == f"unknown field; did you mean {alias}?", wrong


def _with_values(value: Any, name: str) -> Any:
    """Something where `other_names` has nothing, since a null is an absent field."""
    if isinstance(value, list):
        return [_with_values(item, name) for item in value]
    return {k: 1 if k == name and v is None else _with_values(v, name) for k, v in value.items()}


def test_the_operator_and_validate_refuse_what_the_schema_does_not_have() -> None:
    service = resources.changed(
        resources.INFERENCE_SERVICE, ("spec/model/inputs/0/allow_ragged_batch", True), ("spec/scaling/min_replicas", 3)
    )
    found = {p.field: p.message for p in validation.check(service)}
    assert found == {
        "spec.model.inputs[0].allow_ragged_batch": "unknown field; did you mean allowRaggedBatch?",
        "spec.scaling.min_replicas": "unknown field; did you mean minReplicas?",
    }
    assert refused(InferenceServiceSpec.model_validate, service["spec"], "min_replicas")
