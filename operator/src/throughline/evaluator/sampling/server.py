"""Turns the server's tracing on, where that is safe: a server starts with it off."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from throughline.api.monitoring import version_parts

LEVELS = ["TIMESTAMPS", "TENSORS"]  # the first has the request's id
TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Server:
    """Triton's HTTP endpoint in the same pod."""

    url: str
    key_header: str = ""
    key: str = ""

    def watch(self, minimum_version: str) -> str:
        """Turns tracing on where it is off; returns how it is: On, ServerTooOld, NotReached or Refused."""
        try:
            settings = self._ask("GET", "/v2/trace/setting")
            if settings is None:
                return "Refused"
            if set(settings.get("trace_level") or ()) == set(LEVELS):
                return "On"
            about = self._ask("GET", "/v2") or {}
            if version_parts(str(about.get("version", ""))) < version_parts(minimum_version):
                return "ServerTooOld"
            made = self._ask("POST", "/v2/trace/setting", {"trace_level": LEVELS})
        except (OSError, http.client.HTTPException, ValueError):
            return "NotReached"
        return "Refused" if made is None else "On"

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """The answer; None: the server refuses it."""
        host = urlsplit(self.url)
        connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=TIMEOUT_SECONDS)
        try:
            headers = {self.key_header: self.key} if self.key_header else {}
            connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return dict(json.loads(text)) if answer.status == http.client.OK else None
