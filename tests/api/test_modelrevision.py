from __future__ import annotations

from typing import Any

import pytest
from throughline.api import validation
from throughline.api.crd import EVALUATION_RUN, KINDS, MODEL_APPROVAL, MODEL_REVISION, definition

from tests.api import modelrevisions
from tests.api.cel_rules import verdicts
from tests.api.resources import Change, changed


@pytest.mark.parametrize(("base", "changes"), modelrevisions.GOOD.values(), ids=list(modelrevisions.GOOD))
def test_good_ones_pass(base: dict[str, Any], changes: tuple[Change, ...]) -> None:
    assert validation.check(changed(base, *changes)) == []
    assert verdicts(changed(base, *changes)) == []


@pytest.mark.parametrize(
    ("base", "change", "field", "message"), modelrevisions.BAD.values(), ids=list(modelrevisions.BAD)
)
def test_bad_ones_are_refused_with_field_and_fix(
    base: dict[str, Any], change: Change, field: str, message: str
) -> None:
    (problem,) = validation.check(changed(base, change))
    assert problem.field == field
    assert message in problem.message


def test_records_and_only_they_never_change() -> None:
    """The rule is on the whole spec, so that no field can be added or taken away either."""
    fixed = [
        kind
        for kind in KINDS
        if any(
            rule["rule"] == "self == oldSelf"
            for rule in definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].get(
                "x-kubernetes-validations", []
            )
        )
    ]
    assert fixed == [EVALUATION_RUN, MODEL_REVISION, MODEL_APPROVAL]
