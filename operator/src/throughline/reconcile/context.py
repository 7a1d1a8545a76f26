"""What a reconcile is given, and what a worker remembers of its service between two passes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from throughline.domain.control.state import ControllerState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from securesystemslib.signer import CryptoSigner

    from throughline.api.base import Condition
    from throughline.api.batching import BatchSettings
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.api.status import InferenceServiceStatus
    from throughline.domain.manifests import RenderOptions
    from throughline.domain.observed import FailedProof, MetricsFrame, Unavailable
    from throughline.domain.scalers import OtherScaler
    from throughline.ports import KubePort, TritonPort
    from throughline.reconcile.cluster import Cluster
    from throughline.reconcile.evaluation.guard import ApprovalGuard

Key = tuple[str, str]  # namespace, name

STATUS_MANAGER = "throughline-status"


class ObjectReader(Protocol):
    """The watched objects; the only place that a reconcile reads them from."""

    def get(self, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None: ...
    def version(self, kind: str, namespace: str | None, name: str) -> int | None: ...
    def children(self, namespace: str, service: str, kind: str) -> list[dict[str, Any]]: ...
    def versions(self, namespace: str, service: str) -> Mapping[tuple[str, str], int]: ...
    def all(self, kind: str) -> Iterable[dict[str, Any]]: ...
    def put(self, obj: Mapping[str, Any]) -> bool:
        """Take over the reply to a write, so that the next pass need not wait for its event."""
        ...

    def forget(self, ref: tuple[str, str, str]) -> None:
        """Drop what the API server says is not there."""
        ...


class PodLister(Protocol):
    """The watched objects, for whoever walks over all pods."""

    def names(self, kind: str) -> Iterable[tuple[str, str]]: ...
    def get(self, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None: ...


class Hooks(Protocol):
    """Counters of the runtime."""

    def decided(self, action: str) -> None: ...
    def transitioned(self, type_: str, status: str) -> None: ...
    def evaluated(self, outcome: str) -> None: ...
    def observed(self, key: Key, conditions: Sequence[Condition]) -> None: ...
    def forgotten(self, key: Key) -> None: ...


@dataclass(frozen=True, slots=True)
class Tuning:
    """Times of the reconcile."""

    decision_interval: float = 15
    metrics_window: float = 60
    verify_seconds: float = 60  # how long a read-back counts
    retry_refused_seconds: float = 600  # before settings that a server refused are tried on it again
    retry_proof_seconds: float = 300  # before a proof that gave no verdict is tried again
    again_in_force_seconds: float = 3600  # the same where the answers of what serves already cannot be compared
    batch_apply_seconds: float = 300
    storage_seconds: float = 15
    load_error_seconds: float = 4


@dataclass(frozen=True, slots=True)
class Deps:
    """The world as one reconcile sees it."""

    kube: KubePort
    triton: TritonPort
    objects: ObjectReader
    cluster: Cluster
    guard: ApprovalGuard
    hooks: Hooks
    options: RenderOptions
    frame: Callable[[], MetricsFrame | Unavailable]
    signers: tuple[CryptoSigner, ...] = ()  # of statements about models; none: nothing is signed
    tuning: Tuning = Tuning()
    clock: Callable[[], float] = time.time  # Unix seconds


@dataclass(slots=True)
class Server:
    """What is known of the Triton in one container of one pod."""

    container_id: str
    settings: BatchSettings | None = None
    verified: float = 0.0  # when the settings were read back
    version: str | None = None  # asked once, and only of servers that are sampled
    loaded: bool = False  # through the load API, with a configuration that the next load may change in place
    probed: bool = False
    probe_error: str | None = None
    load_error: str | None = None  # the repository index's, while the model is not ready
    load_error_at: float = 0.0
    repaired: str | None = None  # the time of the repair that was last carried out on it
    refused: dict[BatchSettings, tuple[str, float]] = field(default_factory=dict)  # settings → (why, when)


@dataclass(slots=True)
class ServiceState:
    """Volatile memory of one service. Losing it costs a few reads and no decision."""

    uid: str
    generation: int = 0
    memory: ControllerState = field(default_factory=ControllerState)
    spec: InferenceServiceSpec | None = None
    problem: str | None = None  # why the spec of this generation is invalid
    status: tuple[str, InferenceServiceStatus] | None = None  # resource version, and the status as it is there
    key: str | None = None  # of Triton's control API
    secret_seen: bool = False  # the Secret was there, with that key
    servers: dict[str, Server] = field(default_factory=dict)  # by pod uid
    # Refused and proved since the status was last written; a write that fails loses none of it.
    newly_refused: dict[BatchSettings, str] = field(default_factory=dict)
    failed_proof: FailedProof | None = None
    proven: tuple[str, int] = ("", 0)  # model revision, rows of its largest batch that was proved
    proof_after: float = 0.0  # no proof by a load before; Unix time
    in_force_after: float = 0.0  # no proof of what serves already before; Unix time

    storage: tuple[str, float, str | None] = ("", 0.0, None)
    other_scaler: tuple[float, OtherScaler | None] | None = None  # when it was asked for, and who was found
    requests: dict[str, tuple[Any, ...]] = field(default_factory=dict)  # of reconcile.requests, by pool
    salt: tuple[str, float, str | None] | None = None  # which, when it was asked for, and what is wrong with it
    conflict: str | None = None
    rewritten: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by admission: object → fields
    # What the children were last seen to agree with; while it is the same, they need not be rendered again.
    agreed: tuple[Any, ...] | None = None
    swept: tuple[Any, ...] | None = None
    last_settings: BatchSettings | None = None
    parsed: dict[tuple[str, str], tuple[int, Any]] = field(default_factory=dict)  # of reconcile.evaluation.evidence
