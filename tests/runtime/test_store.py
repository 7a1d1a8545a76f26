"""The cache of watched objects: never older than the newest that was seen, whichever path brought it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from throughline.domain.manifests import SERVICE_LABEL
from throughline.runtime.store import Store


def obj(version: int, name: str = "a", *, value: int = 0, owner: str = "m") -> dict[str, Any]:
    labels = {SERVICE_LABEL: owner}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "ns", "resourceVersion": str(version), "labels": labels},
        "data": {"v": str(value)},
    }


def value(store: Store, name: str = "a") -> str | None:
    found = store.get("ConfigMap", "ns", name)
    return found["data"]["v"] if found else None


def test_an_older_event_never_replaces_a_newer_object() -> None:
    store = Store()
    assert store.put(obj(9, value=1))
    assert not store.put(obj(10, value=1)), "the same content is no change"
    assert not store.put(obj(8, value=2))
    assert value(store) == "1"
    # 10 is newer than 9 although it sorts before it as text
    assert store.put(obj(100, value=3))
    assert not store.put(obj(99, value=4))
    assert value(store) == "3"


def test_a_deleted_object_does_not_come_back_by_an_old_event() -> None:
    store = Store()
    store.put(obj(5))
    assert store.delete(obj(7))
    assert not store.put(obj(6, value=9))
    assert value(store) is None
    assert store.children("ns", "m", "ConfigMap") == []
    assert store.put(obj(8, value=1)), "a new one of the name does"


def test_an_old_deletion_does_not_remove_a_newer_object() -> None:
    store = Store()
    store.put(obj(9, value=1))
    assert not store.delete(obj(7))
    assert value(store) == "1"


def test_a_list_drops_what_it_does_not_contain_unless_that_is_newer() -> None:
    store = Store()
    store.put(obj(5, "old"))
    store.put(obj(20, "created-after-the-list"))
    store.put(obj(6, "listed"))
    gone = store.retain("ConfigMap", None, {("ConfigMap", "ns", "listed")}, 10)
    assert [g["metadata"]["name"] for g in gone] == ["old"]
    assert value(store, "created-after-the-list") is not None
    assert value(store, "listed") is not None


def test_a_list_of_one_namespace_says_nothing_of_another() -> None:
    store = Store()
    store.put(obj(5))
    assert store.retain("ConfigMap", "elsewhere", set(), 10) == []
    assert value(store) == "0"


def test_children_are_found_by_their_service() -> None:
    store = Store()
    store.put(obj(1, "a"))
    store.put(obj(2, "b", owner="other"))
    assert [c["metadata"]["name"] for c in store.children("ns", "m", "ConfigMap")] == ["a"]
    assert store.versions("ns", "m") == {("ConfigMap", "a"): 1}
    assert store.children("ns", "m", "Pod") == []


def test_bookkeeping_and_heartbeats_are_not_kept() -> None:
    store = Store()
    node: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n", "resourceVersion": "1", "managedFields": [{"manager": "kubelet"}]},
        "status": {
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "1"}],
            "images": ["x" * 999],
        },
    }
    assert store.put(node)
    kept = store.get("Node", None, "n")
    assert kept is not None
    assert "managedFields" not in kept["metadata"]
    assert "images" not in kept["status"]
    node["metadata"]["resourceVersion"] = "2"
    node["status"]["conditions"][0]["lastHeartbeatTime"] = "2"
    assert not store.put(node), "a heartbeat wakes nobody"


events = st.lists(st.tuples(st.sampled_from(["put", "delete"]), st.integers(1, 12)), max_size=30)


@given(events)
def test_the_newest_wins_in_any_order(sequence: list[tuple[str, int]]) -> None:
    """Whatever the order of arrival, the state is that of the highest version (each version is one event)."""
    fate: dict[int, str] = {}
    store = Store()
    for kind, version in sequence:
        kind = fate.setdefault(version, kind)  # noqa: PLW2901 - a version is either a change or the deletion
        (store.put if kind == "put" else store.delete)(obj(version, value=version))
    if fate:
        newest = max(fate)
        assert value(store) == (str(newest) if fate[newest] == "put" else None)
