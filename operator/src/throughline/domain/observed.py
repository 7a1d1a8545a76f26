"""What is known of one service at one moment: the whole input of every decision.

The shell (adapters, reconcile) fills these; the core only reads them. What is not known is None or an
`Unavailable`, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from throughline.api.batching import BatchSettings
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.api.servingpool import ServingPoolSpec
    from throughline.api.status import BlockedBy, InferenceServiceStatus


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Metrics that cannot be had now. `reason` is a CamelCase condition reason, `message` says what to do."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class PodMetrics:
    """Rates of one model on one pod over the metrics window, from Triton's counters (facts: metrics.md of Triton).

    Rates are per second. `*_us_rate` are microseconds of that duration accumulated per second; each request is
    charged the whole batch's compute. `items_rate` is nv_inference_count, `executions_rate` nv_inference_exec_count.
    """

    success_rate: float
    failure_rate: float
    items_rate: float
    executions_rate: float
    request_us_rate: float
    queue_us_rate: float
    compute_us_rate: float
    pending: float
    pending_growth_rate: float
    p99_us: float | None  # None while idle: the summary is NaN then
    age_seconds: float  # since the newest sample
    gpu_memory_used_ratio: float | None = None  # used / total, None without nv_gpu_* (edge, CPU)
    cancelled_rate: float = 0.0  # requests that their callers gave up; the server's fault only in that it was late


@dataclass(frozen=True, slots=True)
class BatchStatistic:
    """One row of `batch_stats` of GET /v2/models/M/stats: cumulative since the model was loaded."""

    batch_size: int
    executions: int
    compute_ns: int


@dataclass(frozen=True, slots=True)
class LiveQueue:
    """A server's own metrics at this moment, for one model; requests.

    `pending`: nv_inference_pending_request_count. `cancelled`: nv_inference_request_failure{reason="CANCELED"},
    `failed`: of all other reasons; both cumulative since the server began.
    """

    pending: int
    cancelled: int
    failed: int = 0


@dataclass(frozen=True, slots=True)
class FailedProof:
    """A batch of so many rows that failed, or whose rows got other answers than alone; larger ones do, too."""

    rows: int
    blocked_by: BlockedBy
    words: str  # the server's own, or what differs


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod of the service, as the API server, Triton and Prometheus show it."""

    name: str
    uid: str
    ip: str | None
    ready: bool
    ready_seconds: float  # how long it has been ready; 0 when it is not
    terminating: bool
    template_hash: str  # pod-template-hash: which ReplicaSet it is of
    revision: str  # label throughline.io/revision: which model revision it serves
    waiting_reason: str | None = None  # of the container: ImagePullBackOff, CrashLoopBackOff, …
    waiting_message: str | None = None
    waiting_container: str = "triton"  # the one these are of
    restarts: int = 0
    unschedulable: str | None = None  # message of PodScheduled=False
    container_id: str | None = None
    silent_node: str | None = None  # its node, when that is not ready: the kubelet does not report, or reports trouble
    settings: BatchSettings | None = None  # read back from the server; None: not verified
    load_error: str | None = None  # Triton's own words when it refused the model or the settings
    metrics: PodMetrics | None = None
    batch_statistics: tuple[BatchStatistic, ...] = ()
    queue: LiveQueue | None = None  # read with the statistics; None: it could not be
    memory_used_ratio: float | None = None  # working set / limit; None: unknown or no limit
    pool: str = ""  # label throughline.io/pool: which pool it was made for
    server_version: str | None = None  # of Triton; None: not asked yet, or not answered
    broken_links: str = ""  # links among the model's files that lead nowhere in the pod, in words
    # The load API has loaded the model since the server started: only then are instances alone changed in place. False
    # where that is not known
    loaded_by_api: bool = False
    elsewhere: bool = False  # on a pool that the service has left: it serves until its successor does


@dataclass(frozen=True, slots=True)
class EndedPod:
    """A pod in phase Failed or Succeeded that nobody has deleted yet. It holds nothing and is no replica."""

    name: str
    reason: str  # Evicted, UnexpectedAdmissionError, NodeShutdown, …
    message: str  # the kubelet's own words
    started_seconds: float  # Unix time


@dataclass(frozen=True, slots=True)
class PoolView:
    """The chosen pool. `capacity_replicas`: how many replicas of this service it can hold in all (those that hold a
    place there, and those that fit beside them), None where that is not known.
    """

    name: str
    spec: ServingPoolSpec
    capacity_replicas: int | None
    nodes: int
    closed: str = ""  # which nodes with its labels take no replica, why, and what opens them
    doubtful: str = ""  # which nodes report less than their pods hold, so that the capacity is not known
    replaces: bool = True  # whether a replica that leaves makes room for its successor, as that is asked for now


@dataclass(frozen=True, slots=True)
class ServiceView:
    """Everything the decision about one service is made from."""

    now_seconds: float  # Unix time
    name: str
    namespace: str
    generation: int
    spec: InferenceServiceSpec
    status: InferenceServiceStatus
    pool: PoolView | None
    pods: tuple[PodView, ...]
    replicas: int | None  # spec.replicas of the Deployment; None: there is none yet
    settings: BatchSettings | None  # in the ConfigMap of the current model revision; None: there is none yet
    model_hash: str  # of spec.model: names the revision
    metrics_unavailable: Unavailable | None
    metrics_window_seconds: float
    memory_limited: bool = False  # a memory limit is declared, so a reload must have room
    # Settings that a server refused since the last decision, with its own words
    refused_settings: tuple[tuple[BatchSettings, str], ...] = ()
    # What proofs of a full batch have shown of this model revision since the last decision
    failed_proof: FailedProof | None = None
    proven_batch: int = 0
    # All listed pools that exist, in their order, the chosen one too; empty where only one may be chosen anyway
    pools: tuple[PoolView, ...] = ()
    # Pods that have ended and remain, newest first
    ended_pods: tuple[EndedPod, ...] = ()
    # Why the API server refuses new pods: the message of the Deployment's ReplicaFailure condition
    pods_refused: str | None = None
    # The message of the Deployment's Progressing condition once it is False
    rollout_stalled: str | None = None
    # When the metrics were read: two views with the same time have the same metrics. None without metrics
    metrics_time_seconds: float | None = None
    series: SeriesFacts | None = None  # None without metrics
    model: str = ""  # its name on the wire, and so in the metrics

    @property
    def devices(self) -> int:
        """On how many devices of one replica the model executes."""
        return 1 if self.pool is None else self.spec.model.devices(self.pool.spec)

    @property
    def started(self) -> tuple[PodView, ...]:
        """Pods that have a node, and keep it. Replicas that are ordered beyond these have never started."""
        return tuple(p for p in self.pods if not p.terminating and p.unschedulable is None)

    @property
    def held(self) -> int:
        """Places of the chosen pool that the service holds, whatever is said to be free there."""
        return sum(not p.elsewhere for p in self.started)

    @property
    def serving(self) -> tuple[PodView, ...]:
        """Pods of the current revision that take traffic."""
        return tuple(p for p in self.pods if p.ready and not p.terminating)


PodKey = tuple[str, str]  # namespace, name
SeriesKey = tuple[str, str, str]  # namespace, pod, model


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """What Prometheus has of pods whose metrics are not all there. What was not asked for is not in it."""

    # Models named by nv_inference_request_success, for each pod that has it
    models: Mapping[PodKey, frozenset[str]] = field(default_factory=dict)
    # Metrics that other series of the same pod and model show to be missing
    missing: Mapping[SeriesKey, tuple[str, ...]] = field(default_factory=dict)
    # Models named by series that have no labels of a namespace and pod
    unlabelled: tuple[str, ...] = ()
    # Whether the newest scrape of a pod worked; a pod that was asked for and is no target is None
    up: Mapping[PodKey, bool | None] = field(default_factory=dict)
    # Unix times of the newest samples of nv_inference_request_success, oldest first
    samples: Mapping[PodKey, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MetricsFrame:
    """One look at Prometheus, for all services at once."""

    time_seconds: float
    window_seconds: float
    pods: Mapping[SeriesKey, PodMetrics] = field(default_factory=dict)
    # Working set over limit of the container `triton`, where cAdvisor metrics are scraped
    memory_used_ratio: Mapping[PodKey, float] = field(default_factory=dict)
    series: SeriesFacts = field(default_factory=SeriesFacts)
    warnings: tuple[str, ...] = ()  # why the answers may lack a part, in the server's words


Manifest = dict[str, Any]
