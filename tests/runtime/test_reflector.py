"""List and watch: nothing lost when a watch breaks, nothing kept that is gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from throughline.domain.manifests import SERVICE_LABEL
from throughline.ports import ApiError, Page
from throughline.runtime.reflector import Reflector
from throughline.runtime.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


def pod(name: str, version: int, phase: str = "Running") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "ns", "resourceVersion": str(version), "labels": {SERVICE_LABEL: "m"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"phase": phase}}


class Api:
    """Lists and watches from a script; when that is over, a watch hangs as a quiet one does."""

    def __init__(self, lists: list[Any], watches: list[list[Any]]) -> None:
        self.lists, self.watches = lists, watches
        self.watched_from: list[str] = []
        self.over = asyncio.Event()

    async def pages(self, *_: Any, **__: Any) -> AsyncIterator[Page]:
        answer = self.lists.pop(0)
        if isinstance(answer, Exception):
            raise answer
        for page in answer:
            yield page

    async def watch(self, *_: Any, resource_version: str, **__: Any) -> AsyncIterator[dict[str, Any]]:
        self.watched_from.append(resource_version)
        if not self.watches:
            self.over.set()
            await asyncio.Event().wait()
        for event in self.watches.pop(0):
            yield event


async def play(lists: list[Any], watches: list[list[Any]], **more: Any) -> tuple[Store, Api, list[str], Reflector]:
    api, store, changed = Api(lists, watches), Store(), []
    reflector = Reflector(
        kube=api,  # type: ignore[arg-type]
        store=store,
        api_version="v1",
        kind="Pod",
        changed=lambda obj: changed.append(obj["metadata"]["name"]),
        **more,
    )
    task = asyncio.create_task(reflector.run())
    await asyncio.wait_for(api.over.wait(), 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return store, api, changed, reflector


def names(store: Store) -> list[str]:
    return sorted(p["metadata"]["name"] for p in store.all("Pod"))


async def test_pages_then_events() -> None:
    store, api, changed, reflector = await play(
        [[Page([pod("a", 1)], "9"), Page([pod("b", 2)], "9")]],
        [[{"type": "MODIFIED", "object": pod("a", 10, "Failed")}, {"type": "DELETED", "object": pod("b", 11)}]],
    )
    assert reflector.synced.is_set()
    assert names(store) == ["a"]
    assert changed == ["a", "b", "a", "b"]
    assert api.watched_from == ["9", "11"], "a stream that ends is taken up where it was"


async def test_bookmarks_move_on_and_wake_nobody() -> None:
    _, api, changed, _ = await play(
        [[Page([], "9")]], [[{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "500"}}}]]
    )
    assert api.watched_from == ["9", "500"]
    assert changed == []


async def test_what_was_deleted_while_the_watch_was_broken_goes() -> None:
    gone = {"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}
    store, api, changed, _ = await play(
        [[Page([pod("a", 1), pod("b", 2)], "9")], [Page([pod("a", 1)], "50")]], [[gone]]
    )
    assert names(store) == ["a"]
    assert changed == ["a", "b", "b"]
    assert api.watched_from == ["9", "50"]


async def test_a_list_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("throughline.runtime.reflector.MAX_BACKOFF", 0.01)
    store, _, _, reflector = await play([ApiError(0, "Unreachable", "x"), [Page([pod("a", 1)], "9")]], [])
    assert names(store) == ["a"]
    assert reflector.synced.is_set()


async def test_other_errors_of_a_watch_lead_to_a_new_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("throughline.runtime.reflector.MAX_BACKOFF", 0.01)
    error = {"type": "ERROR", "object": {"code": 500, "reason": "InternalError", "message": "x"}}
    _, api, _, _ = await play([[Page([], "9")], [Page([], "12")]], [[error]])
    assert api.watched_from == ["9", "12"]


async def test_a_list_that_the_api_server_puts_off_is_asked_for_when_it_said() -> None:
    """As for a kind that was just made: 429 "storage is (re)initializing", in an answer or in a watch."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    busy = {"code": 429, "reason": "TooManyRequests", "message": "busy", "details": {"retryAfterSeconds": 11}}
    lists = [ApiError(429, "TooManyRequests", "storage is (re)initializing", 7.0), [Page([pod("a", 1)], "9")]]
    store, _, _, reflector = await play(
        [*lists, [Page([pod("a", 1)], "9")]], [[{"type": "ERROR", "object": busy}]], sleep=sleep
    )
    assert slept == [7.0, 11.0]
    assert reflector.synced.is_set()
    assert names(store) == ["a"]
