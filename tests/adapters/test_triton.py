"""Triton's HTTP API against a server that answers as Triton does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from aiohttp import web
from throughline.adapters.triton import (
    KEY_HEADER,
    Triton,
    _zeros,
    parse_load_error,
    parse_queue,
    parse_settings,
    parse_statistics,
    probe_inputs,
)
from throughline.api.batching import BatchSettings
from throughline.domain.manifests import CONTROL_KEY_HEADER
from throughline.domain.observed import LiveQueue
from throughline.ports import TritonError, TritonRefused
from tritonclient.http import InferInput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = "secret"
CONFIG = {
    "name": "m",
    "max_batch_size": 8,
    "dynamic_batching": {"max_queue_delay_microseconds": 2000},
    "instance_group": [{"name": "m_0", "kind": "KIND_CPU", "count": 2}],
}
INPUTS = [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}, {"name": "t", "datatype": "BYTES", "shape": [-1, 1]}]

# As Triton 2.51 writes it.
METRICS = """\
# HELP nv_inference_request_failure Number of failed inference requests, all batch sizes
# TYPE nv_inference_request_failure counter
nv_inference_request_failure{model="m",reason="BACKEND",version="1"} 2
nv_inference_request_failure{model="m",reason="CANCELED",version="1"} 7
nv_inference_request_failure{model="other",reason="CANCELED",version="1"} 100
nv_inference_count{model="m",version="1"} 5
# HELP nv_inference_pending_request_count Instantaneous number of pending requests awaiting execution per-model.
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="other",version="1"} 50
nv_inference_pending_request_count{model="m",version="1"} 4
"""


class Server:
    """The part of Triton that is spoken to."""

    def __init__(self) -> None:
        self.load_answer: tuple[int, str] = (200, "")
        self.infer_answer: tuple[int, str] = (200, "")
        self.loads: list[Any] = []
        self.inferred: list[bytes] = []
        self.config_more: dict[str, Any] = {}
        self.port = 0

    def _allowed(self, request: web.Request) -> None:
        # As http_server.cc: the header of the flag's name, with the flag's value
        if request.headers.get(CONTROL_KEY_HEADER) != KEY:
            body = json.dumps({"error": f"This API is restricted, expecting header '{CONTROL_KEY_HEADER}'"})
            raise web.HTTPForbidden(text=body)

    async def load(self, request: web.Request) -> web.Response:
        self._allowed(request)
        self.loads.append(await request.json())
        status, error = self.load_answer
        return web.Response(status=status, text=json.dumps({"error": error}) if error else "")

    async def about(self, _request: web.Request) -> web.Response:
        return web.json_response({"name": "triton", "version": "2.51.0", "extensions": []})

    async def config(self, _: web.Request) -> web.Response:
        return web.json_response({**CONFIG, **self.config_more})

    async def index(self, request: web.Request) -> web.Response:
        self._allowed(request)
        return web.json_response([{"name": "m", "version": "1", "state": "UNAVAILABLE", "reason": "no such file"}])

    async def metadata(self, _: web.Request) -> web.Response:
        return web.json_response(
            {"name": "m", "versions": ["1"], "platform": "python", "inputs": INPUTS, "outputs": []}
        )

    async def metrics(self, _: web.Request) -> web.Response:
        return web.Response(text=METRICS)

    async def infer(self, request: web.Request) -> web.Response:
        self.inferred.append(await request.read())
        status, error = self.infer_answer
        body = {"error": error} if error else {"model_name": "m", "model_version": "1", "outputs": []}
        return web.json_response(body, status=status)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    fake = Server()
    app = web.Application()
    app.router.add_post("/v2/repository/models/m/load", fake.load)
    app.router.add_post("/v2/repository/index", fake.index)
    app.router.add_get("/v2/models/m/config", fake.config)
    app.router.add_get("/v2", fake.about)
    app.router.add_get("/metrics", fake.metrics)
    app.router.add_get("/v2/models/m/versions/1", fake.metadata)
    app.router.add_post("/v2/models/m/versions/1/infer", fake.infer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.port = runner.addresses[0][1]
    yield fake
    await runner.cleanup()


def client(server: Server) -> Triton:
    return Triton(timeout_seconds=2, load_timeout_seconds=5, port=server.port, metrics_port=server.port)


def test_the_header_is_the_one_that_the_flag_names() -> None:
    assert KEY_HEADER == CONTROL_KEY_HEADER


async def test_a_load_carries_the_full_config_and_the_key(server: Server) -> None:
    await client(server).load("127.0.0.1", "m", CONFIG, key=KEY)
    assert json.loads(server.loads[0]["parameters"]["config"]) == CONFIG


async def test_tritons_refusal_is_told_from_a_failure(server: Server) -> None:
    server.load_answer = (400, "failed to load 'm', out of memory")
    with pytest.raises(TritonRefused, match="out of memory"):
        await client(server).load("127.0.0.1", "m", CONFIG, key=KEY)
    server.load_answer = (503, "unavailable")
    with pytest.raises(TritonError) as failure:
        await client(server).load("127.0.0.1", "m", CONFIG, key=KEY)
    assert not isinstance(failure.value, TritonRefused)
    with pytest.raises(TritonError, match="restricted") as failure:
        await client(server).load("127.0.0.1", "m", CONFIG, key="wrong")
    assert not isinstance(failure.value, TritonRefused), "a wrong key says nothing about the settings"


async def test_an_absent_server_is_a_failure() -> None:
    triton = Triton(timeout_seconds=0.5, load_timeout_seconds=0.5, port=9)
    with pytest.raises(TritonError):
        await triton.settings("127.0.0.1", "m", key=KEY)


async def test_settings_are_read_back(server: Server) -> None:
    got = await client(server).settings("127.0.0.1", "m", key=KEY)
    assert got == BatchSettings(max_batch_size=8, max_queue_delay_microseconds=2000, instances=2)


async def test_the_servers_version_is_read_without_the_key(server: Server) -> None:
    assert await client(server).version("127.0.0.1") == "2.51.0"


async def test_a_probe_sends_zeros_of_every_input(server: Server) -> None:
    await client(server).probe("127.0.0.1", "m", 1)
    body = server.inferred[0]
    header, _ = json.JSONDecoder().raw_decode(body.decode("latin-1"))  # the tensors follow as bytes
    assert [(i["name"], i["shape"]) for i in header["inputs"]] == [("x", [1, 3]), ("t", [1, 1])]
    server.infer_answer = (400, "unexpected shape")
    with pytest.raises(TritonRefused, match="unexpected shape"):
        await client(server).probe("127.0.0.1", "m", 1)


def _header(body: bytes) -> Any:
    return json.JSONDecoder().raw_decode(body.decode("latin-1"))[0]


@pytest.mark.parametrize(
    ("optional", "sent"), [(("t",), ["x"]), ((), ["x", "t"]), (("x", "t"), ["x", "t"])], ids=["one", "none", "all"]
)
async def test_a_probe_leaves_optional_inputs_out(server: Server, optional: tuple[str, ...], sent: list[str]) -> None:
    server.config_more = {"input": [{"name": name, "optional": name in optional} for name in ("x", "t")]}
    await client(server).probe("127.0.0.1", "m", 1)
    assert [i["name"] for i in _header(server.inferred[0])["inputs"]] == sent


def test_a_probe_asks_for_no_size_of_zero() -> None:
    config = {"input": [{"name": "sizes", "is_shape_tensor": True}, {"name": "x"}]}
    tensors = [{"name": "sizes", "datatype": "INT32", "shape": [2]}, {"name": "x", "datatype": "FP32", "shape": [-1]}]
    assert [values.tolist() for _, values in probe_inputs({"inputs": tensors}, config)] == [[1, 1], [0.0]]


def test_the_client_takes_the_zeros_of_every_datatype() -> None:
    for name in ("BOOL", "UINT8", "INT64", "FP16", "FP32", "FP64", "BF16", "BYTES"):
        metadata = {"inputs": [{"name": "x", "datatype": name, "shape": [-1, 2]}]}
        ((_, values),) = probe_inputs(metadata, {})
        InferInput("x", list(values.shape), name).set_data_from_numpy(values)


async def test_a_decoupled_model_is_not_asked_for_an_inference_over_http(server: Server) -> None:
    server.config_more = {"model_transaction_policy": {"decoupled": True}}
    await client(server).probe("127.0.0.1", "m", 1)
    assert server.inferred == []


async def test_the_queue_is_read_from_the_servers_own_metrics(server: Server) -> None:
    assert await client(server).queue("127.0.0.1", "m") == LiveQueue(pending=4, cancelled=7, failed=2)
    with pytest.raises(TritonError, match="no nv_inference_pending_request_count of model absent"):
        await client(server).queue("127.0.0.1", "absent")  # unknown, not an empty queue
    with pytest.raises(TritonError):
        await Triton(timeout_seconds=0.5, load_timeout_seconds=0.5, metrics_port=9).queue("127.0.0.1", "m")


def test_the_series_of_several_devices_are_one_queue() -> None:
    text = "".join(f'nv_inference_pending_request_count{{model="m",gpu_uuid="{g}",version="1"}} 3\n' for g in "ab")
    assert parse_queue(text, "m") == LiveQueue(pending=6, cancelled=0)


async def test_why_a_model_is_not_ready(server: Server) -> None:
    assert await client(server).load_error("127.0.0.1", "m", key=KEY) == "no such file"


@pytest.mark.parametrize(
    "datatype",
    ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BF16"],
)
def test_zeros_of_every_type(datatype: str) -> None:
    got = _zeros([1, 2], datatype)
    assert got.shape == (1, 2)
    assert not got.any()


def test_zeros_of_bytes_are_empty() -> None:
    assert _zeros([1], "BYTES").tolist() == [b""]
    assert _zeros([1], "BYTES").dtype == np.object_


def test_settings_without_a_batcher() -> None:
    assert parse_settings({"max_batch_size": 0, "instance_group": [{"count": 1}]}) == BatchSettings(max_batch_size=0)
    # protobuf writes 64-bit numbers as text
    delay = {"dynamic_batching": {"max_queue_delay_microseconds": "500"}, "max_batch_size": 4}
    assert parse_settings(delay).max_queue_delay_microseconds == 500


def test_statistics_are_the_sum_of_the_parts() -> None:
    row = {
        "batch_size": 4,
        "compute_input": {"count": 10, "ns": 5},
        "compute_infer": {"count": 10, "ns": 100},
        "compute_output": {"count": 10, "ns": 2},
    }
    empty = {**row, "batch_size": 8, "compute_infer": {"count": 0, "ns": 0}}
    (got,) = parse_statistics({"model_stats": [{"name": "m", "batch_stats": [row, empty]}]})
    assert (got.batch_size, got.executions, got.compute_ns) == (4, 10, 107)
    assert parse_statistics({"model_stats": [{"name": "m"}]}) == ()


def test_load_errors() -> None:
    assert parse_load_error([{"name": "m", "state": "READY"}], "m") is None
    assert "no model m" in (parse_load_error([], "m") or "")
    assert parse_load_error([{"name": "m", "state": "LOADING"}], "m") == "the model is LOADING"
