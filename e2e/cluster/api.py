"""A client of the API server, as small as a start needs: a kubectl process each time would cost half a second."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import TYPE_CHECKING, Any

from . import network

if TYPE_CHECKING:
    import pathlib

TIMEOUT_SECONDS = 10.0


class Api:
    def __init__(self, authority: pathlib.Path, token: str) -> None:
        self._context = ssl.create_default_context(cafile=str(authority))
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}

    def is_ready(self) -> bool:
        try:
            return self._send("GET", "/readyz")[0] == http.client.OK
        except OSError:
            return False  # not listening yet

    def get(self, path: str) -> dict[str, Any]:
        """The object or list; empty if there is none."""
        status, body = self._send("GET", path)
        if status == http.client.NOT_FOUND:
            return {}
        return self._object(status, body)

    def create(self, path: str, value: dict[str, Any]) -> None:
        self._object(*self._send("POST", path, value))

    def patch(self, path: str, value: dict[str, Any]) -> None:
        self._object(*self._send("PATCH", path, value, "application/merge-patch+json"))

    def _send(
        self, verb: str, path: str, value: dict[str, Any] | None = None, kind: str = "application/json"
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection(
            network.CONTROL_PLANE, network.API_PORT, timeout=TIMEOUT_SECONDS, context=self._context
        )
        try:
            body = None if value is None else json.dumps(value)
            connection.request(verb, path, body, {**self._headers, "Content-Type": kind})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    @staticmethod
    def _object(status: int, body: bytes) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(body)
        if status >= http.client.BAD_REQUEST:
            raise OSError(f"the API server answered {status}: {value.get('message')}")
        return value
