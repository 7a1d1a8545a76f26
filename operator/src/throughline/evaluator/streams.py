"""Requests over open streams (ModelStreamInfer): a call of its own for each costs the client twice as much.

A stream carries one request at a time, so that answers need no matching. What goes wrong on one is asked again by a
call of its own, whose status says whether trying again may help: on a stream the server only sends words.
"""

from __future__ import annotations

import asyncio
import contextlib
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
        stream = self._idle.pop() if self._idle else _Stream(self._stub.ModelStreamInfer(), time.monotonic())
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await stream.call.write(request)
                said = await stream.call.read()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
            await self._end(stream)
            return None
        except BaseException:
            stream.call.cancel()
            raise
        if said is grpc.aio.EOF:
            await self._end(stream)
            return None
        if time.monotonic() - stream.opened < MAX_AGE_SECONDS:
            self._idle.append(stream)
        else:
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await stream.call.done_writing()
        return None if said.error_message else said.infer_response

    async def _end(self, stream: _Stream) -> None:
        stream.call.cancel()
        if await stream.call.code() is grpc.StatusCode.UNIMPLEMENTED:
            self._served = False
