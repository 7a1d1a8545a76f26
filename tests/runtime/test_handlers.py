"""kopf only watches and wakes: nothing that it could write is registered or switched on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kopf
from throughline.runtime import handlers
from throughline.settings import Settings

if TYPE_CHECKING:
    import pytest


def test_only_event_handlers_of_our_two_resources() -> None:
    registry = handlers.registry(lambda _type, _obj: None)
    assert not registry._spawning.get_all_handlers(), "daemons and timers force a finalizer"
    assert not registry._changing.get_all_handlers(), "state-changing handlers write annotations"
    assert not registry._indexing.get_all_handlers(), "indexes are quadratic"
    assert not registry._webhooks.get_all_handlers()
    selectors = {h.selector for h in registry._watching.get_all_handlers()}
    assert {(s.group, s.version, s.any_name or s.plural) for s in selectors if s} == {
        ("throughline.io", "v1alpha1", "inferenceservices"),
        ("throughline.io", "v1alpha1", "servingpools"),
    }


async def test_events_are_handed_on() -> None:
    seen: list[Any] = []
    registry = handlers.registry(lambda type_, obj: seen.append((type_, obj)))
    for handler in registry._watching.get_all_handlers():
        await handler.fn(event={"type": "ADDED", "object": {"kind": "X"}}, body={}, logger=None)  # type: ignore[call-arg]
    assert seen == [("ADDED", {"kind": "X"})] * 2


def test_kopf_writes_nothing() -> None:
    reduced = handlers.kopf_settings(Settings())
    assert not reduced.posting.enabled
    assert reduced.peering.standalone
    assert reduced.scanning.disabled
    assert reduced.queueing.worker_limit is None, "a limit stalls the queue for seconds"
    body = kopf.Body({"metadata": {"name": "x"}, "spec": {"a": 1}})  # type: ignore[typeddict-item,typeddict-unknown-key]
    assert reduced.persistence.diffbase_storage.build(body=body) == {}
    patch = kopf.Patch()
    reduced.persistence.progress_storage.touch(body=body, patch=patch, value="x")
    reduced.persistence.diffbase_storage.store(body=body, patch=patch, essence={})
    assert not patch


async def test_login_prefers_kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    config = tmp_path / "config"
    config.write_text(
        "current-context: c\n"
        "contexts: [{name: c, context: {cluster: k, user: u}}]\n"
        "clusters: [{name: k, cluster: {server: 'https://example.test:6443'}}]\n"
        "users: [{name: u, user: {token: t}}]\n"
    )
    monkeypatch.setenv("KUBECONFIG", str(config))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    info = await handlers.login(settings=handlers.kopf_settings(Settings()), logger=None)
    assert info is not None
    assert info.server == "https://example.test:6443"
