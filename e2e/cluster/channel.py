"""Messages between a caller and what runs for it: JSON objects, one a line, over a socket pair."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import socket

Message: TypeAlias = dict[str, Any]


class Channel:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = connection.makefile("rb")
        self._sending = threading.Lock()

    def send(self, **message: Any) -> None:
        with self._sending:
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, timeout_seconds: float | None = None) -> Message | None:
        """The next message, or None once the other side has ended."""
        self._connection.settimeout(timeout_seconds)
        try:
            line = self._reader.readline()
        except ConnectionResetError:
            return None
        finally:
            self._connection.settimeout(None)
        message: Message | None = json.loads(line) if line else None
        return message

    def close(self) -> None:
        self._reader.close()
        self._connection.close()
