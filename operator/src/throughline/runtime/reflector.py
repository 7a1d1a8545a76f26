"""List and watch of one kind into a sink, for the kinds that are not our own resources.

kopf watches InferenceServices and ServingPools. For their many children this does what kopf does not: it knows when
the first list is complete, it notices what was deleted while a watch was broken, and it starts no task per object
(docs/decisions/0002-watching-children.md).
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from throughline.ports import ApiError
from throughline.runtime.store import ref_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from throughline.adapters.kube import Kube
    from throughline.runtime.store import Ref, Store

log = structlog.get_logger("reflector")

GONE = 410
MAX_BACKOFF = 30.0


@dataclass(slots=True)
class Reflector:
    """One kind, in one namespace or in all."""

    kube: Kube
    store: Store
    api_version: str
    kind: str
    changed: Callable[[Mapping[str, Any]], None]
    namespace: str | None = None
    label_selector: str = ""
    resync_seconds: float = 600
    on_restart: Callable[[str], None] = lambda _kind: None
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    synced: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def run(self) -> None:
        """List and watch until cancelled."""
        failures = 0
        while True:
            asked = 0.0
            try:
                version = await self.list()
                self.synced.set()
                failures = 0
                await self._watch(version)
            except ApiError as error:
                failures += 1
                asked = error.retry_after_seconds or 0.0
                log.warning("watch failed", kind=self.kind, namespace=self.namespace or "", error=str(error))
            self.on_restart(self.kind)
            backoff = min(MAX_BACKOFF, 0.1 * 2 ** min(failures, 10)) * (0.5 + random.random())  # noqa: S311 - jitter
            await self.sleep(max(asked, backoff))

    async def list(self) -> str:
        """Take the whole list over; returns its version."""
        listed: set[Ref] = set()
        version = ""
        pages = self.kube.pages(self.api_version, self.kind, self.namespace, label_selector=self.label_selector)
        async for page in pages:
            version = page.resource_version
            for obj in page.items:
                listed.add(ref_of(obj))
                if self.store.put(obj):
                    self.changed(obj)
            await asyncio.sleep(0)  # a long list must not hold up the Lease
        for obj in self.store.retain(self.kind, self.namespace, listed, int(version or 0)):
            self.changed(obj)
        return version

    async def _watch(self, version: str) -> None:
        """Follow the changes; returns when it is time to list again."""
        until = time.monotonic() + self.resync_seconds * (0.9 + 0.2 * random.random())  # noqa: S311 - jitter
        while (left := until - time.monotonic()) > 0:
            events = self.kube.watch(
                self.api_version,
                self.kind,
                self.namespace,
                label_selector=self.label_selector,
                resource_version=version,
                timeout_seconds=max(1, round(left)),
            )
            async for event in events:
                obj = event["object"]
                if event["type"] == "ERROR":
                    if obj.get("code") == GONE:
                        return
                    after = (obj.get("details") or {}).get("retryAfterSeconds")
                    raise ApiError(int(obj.get("code") or 0), obj.get("reason") or "", obj.get("message") or "", after)
                version = obj["metadata"]["resourceVersion"]
                if event["type"] == "BOOKMARK":
                    continue
                obj.setdefault("apiVersion", self.api_version)
                obj.setdefault("kind", self.kind)
                if self.store.delete(obj) if event["type"] == "DELETED" else self.store.put(obj):
                    self.changed(obj)
