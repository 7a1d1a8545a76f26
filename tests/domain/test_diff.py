import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from throughline.domain.diff import APPLIED_HASH, needs_apply, with_hash

from tests.domain.manifest_cases import CASES, objects, render_case

MANIFESTS = [manifest for case in CASES for manifest in render_case(case)]
# What the API server and controllers add to every object.
SERVER_METADATA = {"uid": "u", "resourceVersion": "1", "generation": 3, "creationTimestamp": "t", "managedFields": [{}]}
KEYED = {
    "containers",
    "env",
    "imagePullSecrets",
    "ownerReferences",
    "topologySpreadConstraints",
    "volumeMounts",
    "volumes",
}


def defaulted(manifest: dict[str, Any], data: st.DataObject) -> dict[str, Any]:
    """The object as it may come back: more fields in every map that says anything, more items and another order in
    every keyed list.
    """

    def grow(value: Any, name: str) -> Any:
        if isinstance(value, dict):
            grown = {k: grow(v, k) for k, v in value.items()}
            if grown and data.draw(st.booleans()):
                grown["addedByTheServer"] = data.draw(st.sampled_from([None, "x", 1, {}, []]))
            return grown
        if isinstance(value, list):
            items = [grow(v, "") for v in value]
            if name in KEYED:
                extra = {"name": "injected", "uid": "injected", "mountPath": "/injected", "topologyKey": "injected"}
                items = data.draw(st.permutations([*items, extra] if data.draw(st.booleans()) else items))
            return items
        return value

    live = grow(manifest, "")
    live["metadata"].update(SERVER_METADATA)
    live["status"] = {"replicas": 1}
    return live


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict) and value:
        return [leaf for k, v in value.items() for leaf in leaves(v, (*path, k))]
    if isinstance(value, list) and value:
        return [leaf for i, v in enumerate(value) for leaf in leaves(v, (*path, i))]
    return [path]


def parent_of(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path[:-1]:
        value = value[step]
    return value


@given(data=st.data())
def test_what_the_server_adds_is_no_reason_to_write(data: st.DataObject):
    desired = with_hash(data.draw(st.sampled_from(MANIFESTS)))
    assert needs_apply(desired, defaulted(desired, data)) is None


@given(data=st.data())
def test_any_changed_or_removed_leaf_is_found(data: st.DataObject):
    desired = with_hash(data.draw(st.sampled_from(MANIFESTS)))
    path = data.draw(st.sampled_from(leaves(desired)))
    live = copy.deepcopy(desired)
    parent = parent_of(live, path)
    if data.draw(st.booleans()):
        del parent[path[-1]]
    else:
        parent[path[-1]] = data.draw(st.sampled_from(["changed", 424242, None, {"x": 1}, [1]]))
    assert needs_apply(desired, live)


@given(data=st.data())
def test_any_change_of_what_is_desired_is_found(data: st.DataObject):
    """Also a removal, which no comparison of fields could see."""
    manifest = data.draw(st.sampled_from(MANIFESTS))
    before = with_hash(manifest)
    changed = copy.deepcopy(manifest)
    path = data.draw(st.sampled_from(leaves(manifest)))
    del parent_of(changed, path)[path[-1]]
    assert needs_apply(with_hash(changed), defaulted(before, data)) == "what it should say has changed"


def test_the_reasons_say_what_and_where():
    desired = with_hash(objects()["Deployment"])
    assert needs_apply(desired, None) == "it does not exist"
    bare = copy.deepcopy(desired)
    del bare["metadata"]["annotations"][APPLIED_HASH]
    assert needs_apply(desired, bare) == "it was not applied by this operator"
    drifted = copy.deepcopy(desired)
    drifted["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
    reason = needs_apply(desired, drifted)
    assert reason == "spec.template.spec.containers[triton].image was changed by somebody else"


@pytest.mark.parametrize(
    "path",
    [("spec", "template", "spec", "containers", 0, "args"), ("spec", "template", "spec", "containers", 0, "command")],
)
def test_an_item_added_to_an_atomic_list_is_healed(path: tuple[Any, ...]):
    desired = with_hash(objects()["Deployment"])
    live = copy.deepcopy(desired)
    parent_of(live, path)[path[-1]].append("--more")
    assert needs_apply(desired, live)


def test_what_applying_would_not_remove_is_no_reason_to_apply():
    """An item that another field manager added to a list that is merged by key: writing again would never end."""
    desired = with_hash(objects()["Service"])
    live = copy.deepcopy(desired)
    live["spec"]["ports"].insert(0, {"name": "extra", "port": 9000, "protocol": "TCP", "targetPort": 9000})
    assert needs_apply(desired, live) is None


def test_a_rule_added_to_the_network_policy_is_healed():
    desired = with_hash(objects()["NetworkPolicy"])
    live = copy.deepcopy(desired)
    live["spec"]["ingress"][0]["ports"].append({"port": 22, "protocol": "TCP"})
    assert needs_apply(desired, live)


def test_the_hash_leaves_the_manifest_and_the_pods_alone():
    manifest = objects()["Deployment"]
    before = copy.deepcopy(manifest)
    hashed = with_hash(manifest)
    assert manifest == before
    assert hashed["spec"] == manifest["spec"]
    assert with_hash(hashed) == hashed
    assert with_hash({**manifest, "metadata": {**manifest["metadata"], "annotations": {"a": "b"}}}) != hashed


def test_another_annotation_can_be_named():
    hashed = with_hash(objects()["Service"], hash_annotation="x/y")
    assert list(hashed["metadata"]["annotations"]) == ["x/y"]
    assert needs_apply(hashed, hashed, hash_annotation="x/y") is None
