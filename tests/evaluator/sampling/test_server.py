"""Tracing is turned on where the server is new enough, and left alone everywhere else."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from throughline.evaluator.sampling.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "secret"


class Triton(HTTPServer):
    """The trace API of a server whose tracing is off."""

    version = "2.62.0"
    level = ["OFF"]  # noqa: RUF012 - one for each test, by assignment


class Handler(BaseHTTPRequestHandler):
    server: Triton

    def _answer(self, body: dict[str, Any]) -> None:
        refused = self.path.endswith("/setting") and self.headers.get("key") != KEY
        text = json.dumps({} if refused else body).encode()
        self.send_response(403 if refused else 200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        self._answer({"version": self.server.version} if self.path == "/v2" else {"trace_level": self.server.level})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.level = body["trace_level"]
        self._answer(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def triton() -> Iterator[Triton]:
    server = Triton(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_new_server_is_asked_to_trace(triton: Triton) -> None:
    asked = Server(f"http://127.0.0.1:{triton.server_port}", "key", KEY)
    assert [asked.watch("2.58.0"), asked.watch("2.58.0")] == ["On", "On"]
    assert triton.level == ["TIMESTAMPS", "TENSORS"]


@pytest.mark.parametrize("version", ["2.51.0", "2.9.0", "2.57.9dev", "", "latest"])
def test_an_old_one_is_not(triton: Triton, version: str) -> None:
    triton.version = version
    assert Server(f"http://127.0.0.1:{triton.server_port}", "key", KEY).watch("2.58.0") == "ServerTooOld"
    assert triton.level == ["OFF"]


def test_without_the_key_it_is_refused_and_without_a_server_not_reached(triton: Triton) -> None:
    url = f"http://127.0.0.1:{triton.server_port}"
    assert Server(url, "key", "guess").watch("2.58.0") == "Refused"
    assert Server("http://127.0.0.1:1").watch("2.58.0") == "NotReached"
