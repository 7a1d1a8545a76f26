"""The proof of a full batch, on one pod and before requests fill one.

The settings are loaded so that the server executes requests alone as before, and takes one of many rows: the
operator's. Only when that is answered as each row alone is, the batcher is turned on; then the rows are asked again at
once, as requests of their own. Where any of it fails, the pod gets back what it had.

What is executed for it teaches nothing of service times: the load that follows begins Triton's statistics anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog

from throughline.api.model import Probe
from throughline.domain.manifests import batches
from throughline.domain.observed import FailedProof
from throughline.ports import TritonError, TritonRefused
from throughline.reconcile.servers import server_of
from throughline.reconcile.settings_text import as_reported

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from throughline.api.batching import BatchSettings
    from throughline.api.status import BlockedBy
    from throughline.domain.observed import PodView, ServiceView
    from throughline.ports import Proof
    from throughline.reconcile.context import Deps, ServiceState

log = structlog.get_logger("proof")

SMALLEST = 2


class Load(Protocol):
    """Loads settings on the pod; `proving`: so that requests of callers are executed alone."""

    async def __call__(self, settings: BatchSettings, *, proving: bool = False) -> None: ...


def needed(state: ServiceState, view: ServiceView, settings: BatchSettings) -> bool:
    """Whether nothing has shown yet that this model revision answers so large a batch, and something may be asked."""
    if view.spec.model.probe is not Probe.INFERENCE or not batches(view.spec.model, settings):
        return False
    return settings.max_batch_size > proven(state, view)


def proven(state: ServiceState, view: ServiceView) -> int:
    """Rows of the largest batch that was proved of this model revision."""
    control = view.status.control
    written = control.proven_batch if control.model_hash == view.model_hash else 0
    return max(written, state.proven[1] if state.proven[0] == view.model_hash else 0)


async def load(
    deps: Deps, state: ServiceState, view: ServiceView, model: str, pod: PodView, settings: BatchSettings, put: Load
) -> bool:
    """Load the settings on the pod and prove them; False: the proof failed, and the pod has what it had.

    Raises TritonRefused where the server refuses the settings, TritonError where there is no verdict: it has what it
    had then, too.
    """
    before = pod.settings if pod.settings is not None and pod.settings.max_batch_size > 0 else view.settings or settings
    try:
        await put(settings, proving=True)
        found = await _prove(deps, view, model, pod, settings.max_batch_size)
        if found.fault is None:
            await put(settings)
            found = await _answered(deps.triton.prove_together(pod.ip or "", model, view.spec.model.version, found))
    except TritonError:
        if server_of(state, pod).settings != as_reported(view.spec.model, before):  # else the server has kept it
            await back(before, pod, put)
        raise
    if found.fault is None:
        _passed(state, view, found, pod)
        return True
    _failed(state, found, found.fault, pod)
    await back(before, pod, put)
    return False


async def in_force(deps: Deps, state: ServiceState, view: ServiceView, model: str) -> None:
    """Prove what serves already and was never proved, as it is: of a model that has come with the settings of its
    predecessor, or an operator that asks for the first time.

    Its batcher may put the rows that are asked alone together with those of callers. Answers that cannot be compared
    are then no proof, so they are asked again, seldom.
    """
    settings, now = view.settings, deps.clock()
    if settings is None or now < state.in_force_after or not needed(state, view, settings):
        return
    pod = next((p for p in view.serving if p.revision == view.model_hash and p.settings == settings), None)
    if pod is None:
        return
    state.in_force_after = now + deps.tuning.retry_proof_seconds
    try:
        found = await _prove(deps, view, model, pod, settings.max_batch_size)
        if found.fault is None:
            found = await _answered(deps.triton.prove_together(pod.ip or "", model, view.spec.model.version, found))
    except TritonError as error:
        log.info("no proof yet", pod=pod.name, error=str(error))
        return
    if found.fault is not None:
        _failed(state, found, found.fault, pod)
    elif found.compared:
        _passed(state, view, found, pod)
    else:
        state.in_force_after = now + deps.tuning.again_in_force_seconds
        log.info("batch not compared", pod=pod.name, rows=found.rows, why=found.words)


async def _prove(deps: Deps, view: ServiceView, model: str, pod: PodView, rows: int) -> Proof:
    """Where so many rows fail, the fewest that can be a batch are asked, too: then no other size need be tried."""
    version = view.spec.model.version
    found = await _answered(deps.triton.prove(pod.ip or "", model, version, rows))
    if found.fault is None or rows <= SMALLEST:
        return found
    try:
        fewest = await deps.triton.prove(pod.ip or "", model, version, SMALLEST)
    except TritonError:
        return found
    return found if fewest.fault is None else fewest


def _passed(state: ServiceState, view: ServiceView, found: Proof, pod: PodView) -> None:
    log.info("batch proved", pod=pod.name, rows=found.rows, compared=found.compared, why_not=found.words or None)
    state.proven = (view.model_hash, max(found.rows, proven(state, view)))


def _failed(state: ServiceState, found: Proof, fault: BlockedBy, pod: PodView) -> None:
    log.warning("batch not proved", pod=pod.name, rows=found.rows, fault=fault.value, words=found.words)
    state.failed_proof = FailedProof(found.rows, fault, found.words)


async def _answered(proof: Awaitable[Proof]) -> Proof:
    """That a server does not answer a question is no refusal of the settings."""
    try:
        return await proof
    except TritonRefused as error:
        raise TritonError(f"no verdict: {error}") from error


async def back(before: BatchSettings, pod: PodView, put: Load) -> None:
    """What the pod had; where that cannot be loaded now, its settings are seen to differ at the next pass."""
    try:
        await put(before)
    except TritonError as error:
        log.warning("not loaded again after the proof", pod=pod.name, settings=before.to_wire(), error=str(error))
