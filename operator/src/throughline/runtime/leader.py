"""Leader election by a Lease, with client-go's semantics.

A candidate never compares clocks with another: it takes the Lease over when it has not seen it change for the whole
lease duration by its own monotonic clock. A leader that could not renew for `renew_deadline` stops leading, and the
process then ends, so that two never act at once.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from throughline.ports import ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

log = structlog.get_logger("leader")

API_VERSION, KIND = "coordination.k8s.io/v1", "Lease"
FIELD_MANAGER = "throughline-leader"
RETRY_JITTER = 0.2


class LeaseApi(Protocol):
    """The part of the Kubernetes client that the election needs."""

    async def get(self, api_version: str, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None: ...
    async def create(self, manifest: Mapping[str, Any], *, field_manager: str) -> dict[str, Any]: ...
    async def replace(self, manifest: Mapping[str, Any], *, field_manager: str) -> dict[str, Any]: ...


@dataclass(slots=True)
class LeaderElection:
    """One candidate."""

    api: LeaseApi
    namespace: str
    name: str
    identity: str
    duration: float
    renew_deadline: float
    retry: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    _seen: tuple[str, str] | None = field(default=None, init=False)  # holder and version, as last seen
    _seen_at: float = field(default=0.0, init=False)
    _lease: dict[str, Any] | None = field(default=None, init=False)

    async def acquire(self) -> None:
        """Wait until this candidate leads."""
        while not await self._try():
            await self._pause()
        log.info("leading", lease=f"{self.namespace}/{self.name}", identity=self.identity)

    async def hold(self) -> None:
        """Renew for as long as it works; returns when the leadership is lost."""
        renewed = self.clock()
        while self.clock() - renewed < self.renew_deadline:
            await self._pause()
            if await self._try():
                renewed = self.clock()
            elif self._lost():
                break
        log.error("leadership lost", lease=f"{self.namespace}/{self.name}", identity=self.identity)

    async def release(self) -> None:
        """Give the Lease up, so that another candidate need not wait it out."""
        if self._lease is None or self._holder(self._lease) != self.identity:
            return
        spec = {**self._lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._time()}
        try:
            await self.api.replace({**self._lease, "spec": spec}, field_manager=FIELD_MANAGER)
        except ApiError as error:
            log.warning("lease not released", error=str(error))
        self._lease = None

    async def _pause(self) -> None:
        await self.sleep(self.retry * (1 + RETRY_JITTER * random.random()))  # noqa: S311 - jitter, not a secret

    async def _try(self) -> bool:
        """Acquire or renew; False when another leads or the API server could not be asked."""
        try:
            async with asyncio.timeout(self.renew_deadline):
                return await self._acquire_or_renew()
        except ApiError as error:
            log.warning("lease not renewed", error=str(error))
        except TimeoutError:
            log.warning("lease not renewed", error=f"no answer within {self.renew_deadline:g} s")
        return False

    async def _acquire_or_renew(self) -> bool:
        lease = await self.api.get(API_VERSION, KIND, self.namespace, self.name)
        if lease is None:
            metadata = {"name": self.name, "namespace": self.namespace}
            manifest = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": self._spec(None)}
            self._observe(await self.api.create(manifest, field_manager=FIELD_MANAGER))
            return True
        self._observe(lease)
        holder = self._holder(lease)
        if holder and holder != self.identity and self.clock() - self._seen_at < self._duration_of(lease):
            return False
        self._observe(await self.api.replace({**lease, "spec": self._spec(lease)}, field_manager=FIELD_MANAGER))
        return True

    def _lost(self) -> bool:
        """Whether the API server itself said that another leads."""
        return self._seen is not None and self._seen[0] not in {"", self.identity}

    def _observe(self, lease: dict[str, Any]) -> None:
        self._lease = lease
        seen = (self._holder(lease), lease["metadata"].get("resourceVersion", ""))
        if seen != self._seen:
            self._seen, self._seen_at = seen, self.clock()

    def _spec(self, lease: Mapping[str, Any] | None) -> dict[str, Any]:
        old = (lease or {}).get("spec") or {}
        mine = lease is not None and self._holder(lease) == self.identity
        changes = int(old.get("leaseTransitions") or 0) + (lease is not None and not mine)
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self.duration)),
            "acquireTime": old.get("acquireTime") if mine and old.get("acquireTime") else self._time(),
            "renewTime": self._time(),
            "leaseTransitions": changes,
        }

    def _duration_of(self, lease: Mapping[str, Any]) -> float:
        return float((lease.get("spec") or {}).get("leaseDurationSeconds") or self.duration)

    @staticmethod
    def _holder(lease: Mapping[str, Any]) -> str:
        return str((lease.get("spec") or {}).get("holderIdentity") or "")

    def _time(self) -> str:
        return self.now().isoformat(timespec="microseconds").replace("+00:00", "Z")
