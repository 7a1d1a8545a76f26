"""Requests over open streams (ModelStreamInfer): a call of its own for each costs the client twice as much.

A stream carries one request at a time, so that answers need no matching. What goes wrong on one is asked again by a
call of its own, whose status says whether trying again may help: on a stream the server only sends words.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import grpc

# A stream stays with one server of those behind an address; a new one may go to another.
MAX_AGE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Stream:
    call: Any
    opened: float


class Streams:
    """Those that are open and idle; as many are opened as requests are under way."""

    def __init__(self, stub: Any, timeout_seconds: float) -> None:
        self._stub, self._timeout_seconds = stub, timeout_seconds
        self._idle: list[_Stream] = []
        self._served = True  # a proxy, or another server, may not know streams

    def close(self) -> None:
        for stream in self._idle:
            stream.call.cancel()
        self._idle.clear()

    async def ask(self, request: Any) -> Any:
        """The server's ModelInferResponse; None where the request is to be asked by a call of its own."""
        if not self._served:
            return None
        stream = self._take()
        try:
            await stream.call.write(request)
            said = await stream.call.read()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._end(stream)
            return None
        except BaseException:
            stream.call.cancel()
            raise
        if said is grpc.aio.EOF:
            await self._end(stream)
            return None
        self._idle.append(stream)
        return None if said.error_message else said.infer_response

    def _take(self) -> _Stream:
        """One that is idle and not too old, or a new one."""
        now = time.monotonic()
        while self._idle:
            stream = self._idle.pop()
            if now - stream.opened < MAX_AGE_SECONDS:
                return stream
            stream.call.cancel()  # nothing is under way on it
        # The stream's own deadline: a timer for each request is a fifth of what one costs the client.
        seconds = MAX_AGE_SECONDS + self._timeout_seconds
        return _Stream(self._stub.ModelStreamInfer(timeout=seconds), now)

    async def _end(self, stream: _Stream) -> None:
        stream.call.cancel()
        if await stream.call.code() is grpc.StatusCode.UNIMPLEMENTED:
            self._served = False
