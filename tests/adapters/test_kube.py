"""The wire format towards the API server, and what becomes of its errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from throughline.adapters.kube import Kube, Reporter
from throughline.ports import ApiError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEPLOYMENT = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "m", "namespace": "ns"}}


class Server:
    """Records requests, and answers from a list (then with an empty object)."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], dict[str, str], Any]] = []
        self.answers: list[web.Response] = []
        self.stream: list[bytes] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        self.requests.append(
            (
                request.method,
                request.path,
                dict(request.query),
                dict(request.headers),
                json.loads(text) if text else None,
            )
        )
        if request.query.get("watch"):
            response = web.StreamResponse()
            await response.prepare(request)
            for line in self.stream:
                await response.write(line)
            return response
        return self.answers.pop(0) if self.answers else web.json_response({})


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    fake = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"  # type: ignore[attr-defined]
    yield fake
    await runner.cleanup()


@pytest.fixture
async def kube(server: Server) -> AsyncIterator[Kube]:
    configuration = Configuration(host=server.url)  # type: ignore[attr-defined]
    configuration.api_key["BearerToken"] = "Bearer t"
    counted: list[tuple[str, int]] = []
    client = Kube(
        ApiClient(configuration), reporter=Reporter("pod-1"), observe=lambda m, s: counted.append((m, s)), now=lambda: 0
    )
    client.counted = counted  # type: ignore[attr-defined]
    yield client
    await client.close()


def failure(status: int, reason: str, **headers: str) -> web.Response:
    return web.json_response({"kind": "Status", "reason": reason, "message": "no"}, status=status, headers=headers)


async def test_apply_is_server_side_and_forced(kube: Kube, server: Server) -> None:
    await kube.apply(DEPLOYMENT, field_manager="throughline")
    method, path, query, headers, body = server.requests[0]
    assert (method, path) == ("PATCH", "/apis/apps/v1/namespaces/ns/deployments/m")
    assert query == {"fieldManager": "throughline", "force": "true"}
    assert headers["Content-Type"] == "application/apply-patch+yaml"
    assert headers["Authorization"] == "Bearer t"
    assert body == DEPLOYMENT
    pool = {"apiVersion": "throughline.io/v1alpha1", "kind": "ServingPool", "metadata": {"name": "p"}, "status": {}}
    await kube.apply(pool, field_manager="s", subresource="status")
    assert server.requests[1][1] == "/apis/throughline.io/v1alpha1/servingpools/p/status"


async def test_absent_is_none_or_fine(kube: Kube, server: Server) -> None:
    server.answers = [failure(404, "NotFound"), failure(404, "NotFound"), failure(409, "Conflict")]
    assert await kube.get("v1", "Secret", "ns", "x") is None
    await kube.delete("v1", "ConfigMap", "ns", "x", uid="u")
    await kube.delete("v1", "ConfigMap", "ns", "x", uid="u")
    assert server.requests[1][4]["preconditions"] == {"uid": "u"}
    assert server.requests[1][4]["propagationPolicy"] == "Background"


@pytest.mark.parametrize(
    ("status", "terminal"), [(400, True), (403, True), (422, True), (409, False), (429, False), (500, False)]
)
async def test_errors_are_typed(kube: Kube, server: Server, status: int, *, terminal: bool) -> None:
    server.answers = [failure(status, "Because", **{"Retry-After": "7"})]
    with pytest.raises(ApiError) as raised:
        await kube.apply(DEPLOYMENT, field_manager="f")
    error = raised.value
    assert (error.status, error.reason, error.message, error.terminal) == (status, "Because", "no", terminal)
    assert error.retry_after_seconds == 7
    assert kube.counted == [("PATCH", status)]  # type: ignore[attr-defined]


async def test_a_page_of_a_proxy_is_an_error_too(kube: Kube, server: Server) -> None:
    server.answers = [web.Response(status=502, text="<html>bad gateway</html>")]
    with pytest.raises(ApiError, match="bad gateway") as raised:
        await kube.get("v1", "Secret", "ns", "x")
    assert not raised.value.terminal


async def test_no_answer_is_an_error(kube: Kube) -> None:
    kube._client.configuration.host = "http://127.0.0.1:9"
    with pytest.raises(ApiError) as raised:
        await kube.get("v1", "Secret", "ns", "x")
    assert (raised.value.status, raised.value.terminal) == (0, False)


async def test_long_lists_come_in_pages(kube: Kube, server: Server) -> None:
    server.answers = [
        web.json_response(
            {"metadata": {"resourceVersion": "9", "continue": "c"}, "items": [{"metadata": {"name": "a"}}]}
        ),
        web.json_response({"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"name": "b"}}]}),
    ]
    found = await kube.list("v1", "Pod", label_selector="a=b")
    assert [(o["kind"], o["metadata"]["name"]) for o in found] == [("Pod", "a"), ("Pod", "b")]
    assert server.requests[0][2] == {"limit": "500", "labelSelector": "a=b"}
    assert server.requests[1][2]["continue"] == "c"


async def test_a_watch_ends_quietly_on_a_torn_line(kube: Kube, server: Server) -> None:
    server.stream = [b'{"type":"ADDED","object":{"metadata":{}}}\n', b"\n", b'{"type":"MOD']
    events = [e async for e in kube.watch("v1", "Pod", label_selector="l", resource_version="5", timeout_seconds=60)]
    assert [e["type"] for e in events] == ["ADDED"]
    assert server.requests[0][2]["allowWatchBookmarks"] == "true"
    assert server.requests[0][2]["resourceVersion"] == "5"


async def test_the_same_event_is_written_once_in_a_while(kube: Kube, server: Server) -> None:
    now = 0.0
    kube._now = lambda: now
    regarding = {**DEPLOYMENT, "metadata": {**DEPLOYMENT["metadata"], "uid": "u"}}  # type: ignore[dict-item]
    for reason in ("Scaled", "Scaled", "Other"):
        await kube.emit(regarding, type_="Normal", reason=reason, message="m", action="Scale")
    assert len(server.requests) == 2
    _, path, _, _, body = server.requests[0]
    assert path == "/apis/events.k8s.io/v1/namespaces/ns/events"
    assert body["regarding"]["uid"] == "u"
    assert body["eventTime"].endswith("Z")
    assert {"reportingController", "reportingInstance", "action", "reason", "note", "type"} <= body.keys()
    now = 601.0
    await kube.emit(regarding, type_="Normal", reason="Scaled", message="m", action="Scale")
    assert len(server.requests) == 3


async def test_events_of_cluster_scoped_objects_are_in_default(kube: Kube, server: Server) -> None:
    pool = {"apiVersion": "throughline.io/v1alpha1", "kind": "ServingPool", "metadata": {"name": "p", "uid": "u"}}
    await kube.emit(pool, type_="Warning", reason="NoNodes", message="m", action="Reconcile")
    assert "/namespaces/default/" in server.requests[0][1]


async def test_discovery_tells_whether_a_kind_is_served(kube: Kube, server: Server) -> None:
    resources = {"resources": [{"name": "podmonitors", "kind": "PodMonitor"}, {"name": "x/status", "kind": "Other"}]}
    server.answers = [web.json_response(resources), web.json_response(resources), failure(404, "NotFound")]
    assert await kube.serves("monitoring.coreos.com/v1", "PodMonitor")
    assert not await kube.serves("monitoring.coreos.com/v1", "Other")
    assert not await kube.serves("monitoring.coreos.com/v1", "PodMonitor")
