"""Whose a changed field is: an edit takes it over, admission leaves it with whoever applied it."""

from __future__ import annotations

import copy
from typing import Any

from throughline.domain import ownership

DESIRED: dict[str, Any] = {
    "spec": {
        "selector": {},
        "ports": [{"port": 8000, "targetPort": "http"}],
        "template": {"spec": {"containers": [{"name": "triton", "image": "a:1", "args": ["x"]}]}},
    }
}
CONTAINER = 'k:{"name":"triton"}'
OURS = {
    "f:spec": {
        "f:selector": {},
        "f:ports": {'k:{"port":8000,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:targetPort": {}}},
        "f:template": {"f:spec": {"f:containers": {CONTAINER: {".": {}, "f:name": {}, "f:image": {}, "f:args": {}}}}},
    }
}


def live(*others: dict[str, Any], ours: dict[str, Any] = OURS) -> dict[str, Any]:
    """What was applied, with an image, an argument, a port and a selector that the operator did not apply."""
    found = copy.deepcopy(DESIRED)
    spec = found["spec"]
    spec["template"]["spec"]["containers"][0] |= {"image": "mirror/a:1", "args": ["x", "y"]}
    spec["ports"][0]["targetPort"] = "web"
    spec["selector"] = {"team": "a"}
    applied = {"manager": "throughline", "operation": "Apply", "fieldsV1": ours}
    edits = [{"manager": "kubectl-edit", "operation": "Update", "fieldsV1": fields} for fields in others]
    return {**found, "metadata": {"managedFields": [applied, *edits]}}


REWRITTEN = [
    "spec.selector",
    "spec.ports[8000].targetPort",
    "spec.template.spec.containers[triton].image",
    "spec.template.spec.containers[triton].args",
]


def test_what_the_operator_still_owns_was_rewritten_by_admission() -> None:
    assert ownership.rewritten(DESIRED, live()) == REWRITTEN
    assert not ownership.edited(DESIRED, live())


def test_what_somebody_else_owns_was_edited() -> None:
    ours = copy.deepcopy(OURS)
    del ours["f:spec"]["f:template"]["f:spec"]["f:containers"][CONTAINER]["f:image"]
    edit = {"f:spec": {"f:template": {"f:spec": {"f:containers": {CONTAINER: {"f:image": {}}}}}}}
    found = live(edit, ours=ours)
    assert "spec.template.spec.containers[triton].image" not in ownership.rewritten(DESIRED, found)
    assert ownership.edited(DESIRED, found)


def test_an_addition_to_an_empty_map_was_edited_though_the_map_is_ours() -> None:
    found = live({"f:spec": {"f:selector": {"f:team": {}}}})
    assert "spec.selector" not in ownership.rewritten(DESIRED, found)
    assert ownership.edited(DESIRED, found)


def test_without_records_every_difference_is_an_edit() -> None:
    bare = {**live(), "metadata": {}}
    watched = {**bare, "metadata": {"managedFields": [{"manager": "throughline-scaler"}]}}
    for found in (bare, watched):
        assert not ownership.told(found)
        assert ownership.rewritten(DESIRED, found) == []
        assert ownership.edited(DESIRED, found)
