"""The operator process: everything is made here, started in order, and stopped in the reverse."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kopf
import structlog

from throughline.adapters.kube import Kube, Reporter, connect
from throughline.adapters.prometheus import Prometheus
from throughline.adapters.triton import Triton
from throughline.api.base import API_VERSION
from throughline.api.crd import KINDS
from throughline.domain.manifests import SERVICE_LABEL
from throughline.lineage.keys import load_signer
from throughline.ports import ApiError
from throughline.reconcile.cluster import Cluster
from throughline.reconcile.context import Deps, Tuning
from throughline.reconcile.evaluation.guard import ApprovalGuard
from throughline.reconcile.evaluation.reconciler import EvaluationReconciler
from throughline.reconcile.pods import lacking_metrics
from throughline.reconcile.pool import PoolReconciler
from throughline.reconcile.service import ServiceReconciler
from throughline.reconcile.watched import CHILDREN, EVALUATION, POD_MONITOR
from throughline.runtime import collector, handlers, health
from throughline.runtime.leader import LeaderElection
from throughline.runtime.metrics import Metrics
from throughline.runtime.poller import Poller
from throughline.runtime.queue import WorkQueue
from throughline.runtime.reflector import Reflector
from throughline.runtime.store import Store
from throughline.runtime.wakes import Wakes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from securesystemslib.signer import CryptoSigner

    from throughline.reconcile.context import Key
    from throughline.settings import Settings

log = structlog.get_logger("app")

POOL_WORKERS = 2
EVALUATION_WORKERS = 4
CONNECTIONS = 40  # besides the watches, each of which holds one
CRD_RETRY_SECONDS = 5.0
SYNC_SECONDS = 120.0


@dataclass(slots=True)
class App:
    """One operator."""

    settings: Settings
    kube: Kube
    metrics: Metrics
    signers: tuple[CryptoSigner, ...] = ()
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    store: Store = field(default_factory=Store)
    health: health.Health = field(default_factory=health.Health)
    services: WorkQueue[Key] = field(init=False)
    evaluations: WorkQueue[Key] = field(init=False)
    pools: WorkQueue[str] = field(init=False)
    wakes: Wakes = field(init=False)
    poller: Poller = field(init=False)
    reflectors: list[Reflector] = field(default_factory=list, init=False)

    async def run(self) -> int:
        """The exit code of the process."""
        self.health.ready["started"] = lambda: None if self.reflectors else "waiting for the API server or the CRDs"
        servers = await health.serve(
            self.health,
            self.metrics,
            health_port=self.settings.health_port,
            metrics_port=self.settings.metrics_port,
        )
        beat = asyncio.create_task(self.health.beat(), name="heartbeat")
        try:
            pod_monitor = await self._unless_stopped(self._wait_for_api())
            return 0 if pod_monitor is None else await self._operate(pod_monitor=pod_monitor)
        finally:
            beat.cancel()
            for server in servers:
                await server.cleanup()

    async def _unless_stopped(self, awaitable: Any) -> Any:
        """Its result, or None when the process is to stop first."""
        task, stop = asyncio.ensure_future(awaitable), asyncio.ensure_future(self.stop.wait())
        done, _ = await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        for pending in {task, stop} - done:
            pending.cancel()
        return task.result() if task in done else None

    async def _wait_for_api(self) -> bool:
        """Wait for our resources to be served; returns whether PodMonitors are."""
        while True:
            try:
                missing = [k.kind for k in KINDS if not await self.kube.serves(API_VERSION, k.kind)]
                if not missing:
                    if self.settings.pod_monitor != "auto":
                        return self.settings.pod_monitor == "always"
                    return await self.kube.serves(*POD_MONITOR)
                log.warning("CRDs are missing: install crds/ of this release", kinds=missing)
            except ApiError as error:
                log.warning("API server does not answer", error=str(error))
            await asyncio.sleep(CRD_RETRY_SECONDS)

    async def _operate(self, *, pod_monitor: bool) -> int:
        settings = self.settings
        self._wire(pod_monitor=pod_monitor)
        ours: list[asyncio.Task[Any]] = [asyncio.create_task(r.run(), name=f"watch-{r.kind}") for r in self.reflectors]
        for reflector, task in zip(self.reflectors, ours, strict=True):
            where = f"{reflector.kind} {reflector.namespace or ''}".strip()
            self.health.alive[f"watch {where}"] = lambda t=task: "ended" if t.done() else None  # type: ignore[misc]
            self.health.ready[f"sync {where}"] = lambda r=reflector: None if r.synced.is_set() else "first list"  # type: ignore[misc]
        ignored: set[asyncio.Task[Any]] = set(asyncio.all_tasks())
        kopf_stop = asyncio.Event()
        kopf_tasks = await kopf.spawn_tasks(
            registry=handlers.registry(self.seen),
            settings=handlers.kopf_settings(settings),
            # Named, since kopf else looks for the user's name, which a container's numeric user has not.
            identity=settings.pod_name,  # type: ignore[arg-type]
            clusterwide=not settings.watched_namespaces,
            namespaces=settings.watched_namespaces,
            stop_flag=kopf_stop,
        )
        self._handle_signals()  # after kopf, which takes them for itself
        leading = asyncio.create_task(self._lead(), name="leader")
        kopf_ended = asyncio.create_task(_first(kopf_tasks), name="kopf")
        stop = asyncio.create_task(self.stop.wait(), name="stop")
        ignored |= {leading, kopf_ended, stop}
        try:
            await asyncio.wait({leading, kopf_ended, stop}, return_when=asyncio.FIRST_COMPLETED)
            code = 0 if stop.done() else 1
            log.info("stopping", signal=stop.done(), lost_leadership=leading.done(), watch_ended=kopf_ended.done())
            if leading.done() and leading.exception() is not None:
                log.error("leading failed", exc_info=leading.exception())
            if not leading.done():
                leading.cancel()  # drains, then releases the Lease
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({leading})
        finally:
            for task in (*ours, kopf_ended, stop):
                task.cancel()
            await asyncio.gather(*ours, kopf_ended, stop, return_exceptions=True)
        kopf_stop.set()
        try:
            await kopf.run_tasks(kopf_tasks, ignored=ignored | {t for t in (asyncio.current_task(),) if t})
        except Exception:
            log.exception("watching failed")
        return code

    def _wire(self, *, pod_monitor: bool) -> None:
        settings, kube = self.settings, self.kube
        self.poller = Poller(
            Prometheus(
                settings.prometheus_access,
                window_seconds=settings.metrics_window_seconds,
                timeout_seconds=settings.prometheus_timeout_seconds,
            ),
            self.metrics,
            settings.metrics_poll_seconds,
            lacking=lambda frame: lacking_metrics(self.store, frame, time.time()),
        )
        deps = Deps(
            kube=kube,
            triton=Triton(
                timeout_seconds=settings.triton_timeout_seconds,
                load_timeout_seconds=settings.triton_load_timeout_seconds,
            ),
            objects=self.store,
            cluster=Cluster(kube, self.store, time.monotonic),
            guard=ApprovalGuard(kube, time.monotonic),
            hooks=self.metrics,
            options=settings.render_options(pod_monitors=pod_monitor),
            frame=self.poller.frame,
            signers=self.signers,
            tuning=Tuning(
                decision_interval=settings.decision_interval_seconds,
                metrics_window=settings.metrics_window_seconds,
                batch_apply_seconds=settings.batch_apply_seconds,
            ),
        )
        reconcile_service, reconcile_pool = ServiceReconciler(deps), PoolReconciler(deps)

        async def service(key: Key) -> float | None:
            with structlog.contextvars.bound_contextvars(
                namespace=key[0], service=key[1], reconcile=uuid.uuid4().hex[:8]
            ):
                return await reconcile_service(key)

        async def evaluation(key: Key) -> float | None:
            with structlog.contextvars.bound_contextvars(
                namespace=key[0], service=key[1], reconcile=uuid.uuid4().hex[:8]
            ):
                return await reconcile_evaluation(key)

        async def pool(name: str) -> float | None:
            with structlog.contextvars.bound_contextvars(pool=name, reconcile=uuid.uuid4().hex[:8]):
                return await reconcile_pool(name)

        self.services = WorkQueue("inferenceservice", service, workers=settings.workers, metrics=self.metrics)
        reconcile_evaluation = EvaluationReconciler(deps, self.services.add)
        self.evaluations = WorkQueue("evaluation", evaluation, workers=EVALUATION_WORKERS, metrics=self.metrics)
        self.pools = WorkQueue("servingpool", pool, workers=POOL_WORKERS, metrics=self.metrics)
        self.wakes = Wakes(self.store, self.services, self.evaluations, self.pools)
        kinds = [*CHILDREN, POD_MONITOR] if pod_monitor else list(CHILDREN)
        for namespace in settings.watched_namespaces or (None,):
            self.reflectors += [self._reflector(v, k, namespace, SERVICE_LABEL) for v, k in kinds]
            self.reflectors += [self._reflector(v, k, namespace, selector) for v, k, selector in EVALUATION]
        self.reflectors.append(self._reflector("v1", "Node", None, ""))

    def _reflector(self, api_version: str, kind: str, namespace: str | None, selector: str) -> Reflector:
        return Reflector(
            kube=self.kube,
            store=self.store,
            api_version=api_version,
            kind=kind,
            changed=self.wakes,
            namespace=namespace,
            label_selector=selector,
            resync_seconds=self.settings.resync_seconds,
            on_restart=lambda k: self.metrics.watch_restarts.labels(kind=k).inc(),
        )

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop.set)

    def seen(self, type_: str | None, obj: Mapping[str, Any]) -> None:
        """An event of our own resources, from kopf."""
        if self.store.delete(obj) if type_ == "DELETED" else self.store.put(obj):
            self.wakes(obj)

    async def _lead(self) -> None:
        """Wait for the Lease, then work for as long as it is held. Cancelling drains and gives it up."""
        settings, name = self.settings, f"{self.settings.operator_namespace}/{self.settings.lease_name}"
        self.metrics.leader.labels(name=name).set(0)
        if not settings.leader_election:
            await self._work()
            return
        election = LeaderElection(
            api=self.kube,
            namespace=settings.operator_namespace,
            name=settings.lease_name,
            identity=settings.pod_name,
            duration=settings.lease_duration_seconds,
            renew_deadline=settings.lease_renew_deadline_seconds,
            retry=settings.lease_retry_seconds,
        )
        await election.acquire()
        self.metrics.leader.labels(name=name).set(1)
        work = asyncio.create_task(self._work(), name="work")
        hold = asyncio.create_task(election.hold(), name="lease")
        try:
            await asyncio.wait({work, hold}, return_when=asyncio.FIRST_COMPLETED)
            if work.done() and work.exception() is not None:
                log.error("workers failed", exc_info=work.exception())
        except asyncio.CancelledError:
            deadline = settings.shutdown_seconds
            drained = asyncio.create_task(_drain(deadline, self.services, self.evaluations, self.pools), name="drain")
            # Losing the Lease meanwhile ends it at once: then another may act.
            await asyncio.wait({drained, hold}, return_when=asyncio.FIRST_COMPLETED)
            drained.cancel()
            raise
        finally:
            held = not hold.done()
            for task in (work, hold):
                task.cancel()
            await asyncio.gather(work, hold, return_exceptions=True)
            self.metrics.leader.labels(name=name).set(0)
            if held:
                await election.release()

    async def _work(self) -> None:
        """All work of a leader, on complete caches."""
        async with asyncio.timeout(SYNC_SECONDS):
            await asyncio.gather(*(r.synced.wait() for r in self.reflectors))
        own = self._own_resources()
        await asyncio.gather(*(r.list() for r in own), self.poller.poll())
        collector.settle()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.poller.run())
            group.create_task(self._relist(own))
            group.create_task(self.pools.run())
            group.create_task(self.services.run())
            group.create_task(self.evaluations.run())

    def _own_resources(self) -> list[Reflector]:
        namespaces = self.settings.watched_namespaces or (None,)
        services = [self._reflector(API_VERSION, "InferenceService", n, "") for n in namespaces]
        return [self._reflector(API_VERSION, "ServingPool", None, ""), *services]

    async def _relist(self, own: list[Reflector]) -> None:
        """Kopf does not notice what was deleted while its watch was broken; this does."""
        while True:
            await asyncio.sleep(self.settings.resync_seconds)
            for reflector in own:
                try:
                    await reflector.list()
                except ApiError as error:
                    log.warning("list failed", kind=reflector.kind, error=str(error))


async def _drain(seconds: float, *queues: WorkQueue[Any]) -> None:
    await asyncio.gather(*(queue.drain(seconds) for queue in queues))


async def _first(tasks: Any) -> None:
    """Wait until one of kopf's tasks ends: they are all meant to run for ever."""
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def run(settings: Settings) -> int:
    """The whole operator; returns the exit code."""
    # Before anything else: a key that cannot be used is a mistake of the installation, and ends the process.
    signers = (load_signer(Path(settings.signing_key_file)),) if settings.signing_key_file else ()
    metrics = Metrics()
    watches = len(settings.watched_namespaces or (None,)) * (len(CHILDREN) + 1 + len(EVALUATION)) + 1
    kube = Kube(
        await connect(connections=CONNECTIONS + watches),
        reporter=Reporter(settings.pod_name),
        observe=metrics.observe_request,
    )
    try:
        return await App(settings, kube, metrics, signers).run()
    finally:
        await kube.close()
