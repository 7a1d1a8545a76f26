"""What the Triton servers of one service say of themselves. What cannot be read is None, never zero."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from throughline.api.model import Probe
from throughline.domain.conditions import PROBE_FAILED
from throughline.domain.control.observe.counters import STATISTICS_PODS
from throughline.ports import TritonError, TritonRefused
from throughline.reconcile.context import Server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.api.batching import BatchSettings
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.domain.observed import BatchStatistic, LiveQueue, PodView
    from throughline.reconcile.context import Deps, ServiceState

log = structlog.get_logger("servers")

CONCURRENT = 8


async def ask(
    deps: Deps, state: ServiceState, spec: InferenceServiceSpec, model: str, pods: Sequence[PodView], up: frozenset[str]
) -> tuple[PodView, ...]:
    """The pods with what their servers report. `up`: uids of pods whose container runs."""
    gone = state.servers.keys() - {p.uid for p in pods}
    for uid in gone:
        del state.servers[uid]
    if state.key is None:
        return tuple(pods)
    slots = asyncio.Semaphore(CONCURRENT)
    counted = _counted(pods)

    async def one(pod: PodView) -> PodView:
        if pod.terminating or pod.ip is None or pod.container_id is None or pod.uid not in up:
            return pod
        async with slots:
            return await _ask_one(deps, state, spec, model, pod, statistics=pod.uid in counted)

    return tuple(await asyncio.gather(*(one(pod) for pod in pods)))


def _counted(pods: Sequence[PodView]) -> set[str]:
    """Uids of the pods that are asked what they did: those with traffic, and those that are too new to have metrics
    where others have traffic. An idle service is left alone.
    """
    busy = {p.uid for p in pods if p.ready and p.metrics is not None and p.metrics.success_rate > 0}
    new = {p.uid for p in pods if p.ready and p.metrics is None} if busy else set[str]()
    return set(sorted(busy | new)[:STATISTICS_PODS])


def server_of(state: ServiceState, pod: PodView) -> Server:
    """What is known of the pod's server; a restarted container is a new server."""
    server = state.servers.get(pod.uid)
    if server is None or server.container_id != pod.container_id:
        server = state.servers[pod.uid] = Server(container_id=pod.container_id or "")
    return server


async def _ask_one(
    deps: Deps, state: ServiceState, spec: InferenceServiceSpec, model: str, pod: PodView, *, statistics: bool
) -> PodView:
    server = server_of(state, pod)
    if pod.ready:
        server.load_error = None
        if server.version is None:
            await _version(deps, server, pod)
        await verify(deps, state, spec, model, pod)
    else:
        server.settings = None
        await _why_not_ready(deps, state, server, model, pod)
    rows, queue = await _counters(deps, model, pod) if statistics else ((), None)
    return replace(
        pod,
        settings=server.settings,
        loaded_by_api=server.loaded,
        load_error=_error(deps, state, server),
        batch_statistics=tuple(rows),
        queue=queue,
        server_version=server.version,
    )


async def _version(deps: Deps, server: Server, pod: PodView) -> None:
    try:
        server.version = await deps.triton.version(pod.ip or "")
    except TritonError as error:
        log.info("version not read", pod=pod.name, error=str(error))


async def _counters(deps: Deps, model: str, pod: PodView) -> tuple[Sequence[BatchStatistic], LiveQueue | None]:
    """What the server has executed, and what waits in it. Executions that cannot be read make the queue useless, too:
    together they say what arrived.
    """
    ip = pod.ip or ""
    try:
        rows = await deps.triton.statistics(ip, model)
    except TritonError as error:
        log.info("no statistics", pod=pod.name, error=str(error))
        return (), None
    try:
        return rows, await deps.triton.queue(ip, model)
    except TritonError as error:
        log.info("no live queue", pod=pod.name, error=str(error))
        return rows, None


def _error(deps: Deps, state: ServiceState, server: Server) -> str | None:
    if server.load_error:
        return server.load_error
    since = deps.clock() - deps.tuning.retry_refused_seconds
    wanted = state.last_settings
    if wanted is not None and wanted != server.settings and wanted in server.refused:
        why, when = server.refused[wanted]
        if when > since:
            return why
    return f"{PROBE_FAILED}{server.probe_error}" if server.probe_error else None


async def verify(
    deps: Deps, state: ServiceState, spec: InferenceServiceSpec, model: str, pod: PodView, *, again: bool = False
) -> BatchSettings | None:
    """Settings that the server reports, from memory while they are fresh; and one probe per container and load."""
    server, now = server_of(state, pod), deps.clock()
    if pod.ip is None or state.key is None:
        return None
    if server.settings is None or again or now - server.verified >= deps.tuning.verify_seconds:
        try:
            server.settings = await deps.triton.settings(pod.ip, model, key=state.key)
            server.verified = now
        except TritonError as error:
            server.settings = None
            log.info("settings not verified", pod=pod.name, error=str(error))
            return None
    if spec.model.probe is Probe.INFERENCE and (again or not server.probed):
        await _probe(deps, server, spec, model, pod)
    return server.settings


async def _probe(deps: Deps, server: Server, spec: InferenceServiceSpec, model: str, pod: PodView) -> None:
    try:
        await deps.triton.probe(pod.ip or "", model, spec.model.version)
        server.probe_error, server.probed = None, True
    except TritonRefused as error:
        # Asked again with the next load or verification, for a fault of the moment would stand for ever.
        server.probe_error = str(error)
    except TritonError as error:
        log.info("probe not answered", pod=pod.name, error=str(error))


async def _why_not_ready(deps: Deps, state: ServiceState, server: Server, model: str, pod: PodView) -> None:
    now = deps.clock()
    if now - server.load_error_at < deps.tuning.load_error_seconds:
        return
    server.load_error_at = now
    try:
        error = await deps.triton.load_error(pod.ip or "", model, key=state.key or "")
    except TritonError as problem:  # not listening yet: it says nothing until the model has loaded or failed
        log.debug("server does not answer yet", pod=pod.name, error=str(problem))
        server.load_error = None
        return
    server.load_error = None if error and _still_loading(error) else error


def _still_loading(error: str) -> bool:
    return error == "the model is LOADING"
