"""What the core needs of the world. Adapters satisfy these; tests put fakes here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from throughline.api.batching import BatchSettings
    from throughline.api.status import BlockedBy
    from throughline.domain.observed import BatchStatistic, LiveQueue, MetricsFrame, PodKey, Unavailable


class ApiError(Exception):
    """The API server said no. `terminal` when trying again cannot help (400, 403, 422)."""

    def __init__(self, status: int, reason: str, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason, self.message, self.retry_after_seconds = status, reason, message, retry_after_seconds

    @property
    def terminal(self) -> bool:
        return self.status in {400, 403, 404, 422}


class TritonError(Exception):
    """A Triton server could not be reached or answered with a failure."""


class TritonRefused(TritonError):  # noqa: N818 - the server's answer, not a fault of ours
    """Triton answered and refused the model or its configuration; the message is Triton's own."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list. The version is the whole list's, the same on every page of it."""

    items: Sequence[dict[str, Any]]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Proof:
    """What a batch of `rows` rows has shown."""

    rows: int
    fault: BlockedBy | None = None  # None: it shows none
    words: str = ""  # what is wrong, or why the answers could not be compared
    compared: bool = True  # False: all that is known is that it does not fail
    answers: Any = None  # to the rows alone; for `prove_together`


class KubePort(Protocol):
    """The Kubernetes API. Objects are plain dicts; raises ApiError."""

    async def get(self, api_version: str, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None: ...

    async def list(
        self, api_version: str, kind: str, namespace: str | None = None, *, label_selector: str = ""
    ) -> Sequence[dict[str, Any]]: ...

    def pages(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[Page]:
        """A list in parts, for lists too long to hold."""
        ...

    async def apply(self, manifest: Mapping[str, Any], *, field_manager: str, subresource: str = "") -> dict[str, Any]:
        """Server-side apply, forcing conflicts; returns the object as stored."""
        ...

    async def delete(self, api_version: str, kind: str, namespace: str | None, name: str, *, uid: str = "") -> None:
        """Delete in the background; absent is fine. `uid` is a precondition."""
        ...

    async def log(self, namespace: str, pod: str, container: str) -> str:
        """The whole log of a container, of its last start."""
        ...

    async def emit(self, regarding: Mapping[str, Any], *, type_: str, reason: str, message: str, action: str) -> None:
        """Write an Event (events.k8s.io/v1) about the object."""
        ...


class MetricsPort(Protocol):
    """Prometheus, one look for all services."""

    async def frame(self) -> MetricsFrame | Unavailable: ...

    async def diagnose(self, frame: MetricsFrame, pods: Sequence[PodKey]) -> MetricsFrame:
        """The frame, with what Prometheus has of these pods: they should have metrics, and the frame has none."""
        ...


class TritonPort(Protocol):
    """The servers, one pod at a time. Raises TritonError; TritonRefused where the server said no."""

    async def load(self, ip: str, model: str, config: Mapping[str, Any], *, key: str) -> None:
        """POST /v2/repository/models/M/load with the full configuration."""
        ...

    async def version(self, ip: str) -> str:
        """Of the server, such as 2.58.0 (GET /v2)."""
        ...

    async def settings(self, ip: str, model: str, *, key: str) -> BatchSettings:
        """Batch settings that the server reports (GET /v2/models/M/config)."""
        ...

    async def probe(self, ip: str, model: str, version: int) -> None:
        """One inference of zeros, shaped after the model's metadata (-1 is 1)."""
        ...

    async def prove(self, ip: str, model: str, version: int, rows: int) -> Proof:
        """One inference of so many rows that differ, compared with the answers to some of them alone.

        Raises TritonError where neither an answer nor a refusal came: nothing is proved or disproved.
        """
        ...

    async def prove_together(self, ip: str, model: str, version: int, proof: Proof) -> Proof:
        """The same rows again, each in a request of its own, all at once: for the batcher to put together."""
        ...

    async def statistics(self, ip: str, model: str) -> Sequence[BatchStatistic]: ...

    async def queue(self, ip: str, model: str) -> LiveQueue:
        """What waits now and what was given up, from the server's own metrics endpoint."""
        ...

    async def load_error(self, ip: str, model: str, *, key: str) -> str | None:
        """Why the model is not ready, from the repository index; None when it is ready."""
        ...
