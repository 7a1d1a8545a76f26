"""Batch settings onto running servers: by a load with the full configuration, verified, one pod after another.

Level-triggered: what a server reports is compared with what it should have, so a crash between any two steps is made
good by the next pass. New durable settings are loaded on one pod before they are written, so that settings that Triton
refuses never reach the ConfigMap that a restarted pod would read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from throughline.api.status import BlockedBy
from throughline.domain.control.optimise.blocked import Blocked
from throughline.domain.manifests import proof_config, triton_config
from throughline.ports import TritonError, TritonRefused
from throughline.reconcile import proof
from throughline.reconcile.servers import server_of, verify
from throughline.reconcile.settings_text import as_proving, as_reported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.api.batching import BatchSettings
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.api.status import RejectedSettings
    from throughline.domain.decision import Decision
    from throughline.domain.observed import PodView, PoolView, ServiceView
    from throughline.reconcile.context import Deps, ServiceState

log = structlog.get_logger("batch")

# The parameter of the model's configuration that differs for each repair. No backend knows it.
STAMP = "throughline.io/loaded-again"


@dataclass(frozen=True, slots=True)
class Loading:
    """What one pass did."""

    refused: bool = False  # durable settings that no pod has taken yet: keep the old ones
    unfinished: bool = False  # some pod is not as it should be: look again soon
    loaded: bool = False  # some server has new settings


def differing(
    spec: InferenceServiceSpec, decision: Decision, pods: Sequence[PodView], revision: str
) -> list[tuple[PodView, BatchSettings]]:
    """Pods of the revision whose server reports other settings than it should have, those of a trial first."""
    found = []
    for pod in pods:
        # A pod whose settings could not be read is left alone: it may have them.
        if not pod.ready or pod.terminating or pod.revision != revision or pod.settings is None:
            continue
        wanted = decision.pod_settings.get(pod.uid, decision.settings)
        if as_reported(spec.model, pod.settings) != as_reported(spec.model, wanted):
            found.append((pod, wanted))
    return sorted(found, key=lambda item: (item[0].uid not in decision.pod_settings, item[0].name))


async def load(
    deps: Deps,
    state: ServiceState,
    view: ServiceView,
    model: str,
    pool: PoolView,
    todo: Sequence[tuple[PodView, BatchSettings]],
    *,
    rejected: Sequence[RejectedSettings],
    until: float,
) -> Loading:
    """Load the settings on each pod; stops at the first refusal or failed proof, and when the time is up."""
    spec = view.spec
    unfinished = loaded = False
    for pod, settings in todo:
        if deps.clock() >= until:
            log.info("settings not on every pod yet", model=model)
            return Loading(unfinished=True, loaded=loaded)
        server = server_of(state, pod)
        _, when = server.refused.get(settings, ("", float("-inf")))
        if deps.clock() - when < deps.tuning.retry_refused_seconds or is_blocked(state, rejected, settings):
            return Loading(refused=True, loaded=loaded)
        put = partial(_load_one, deps, state, spec, model, pool, pod)
        try:
            if not proof.needed(state, view, settings):
                await put(settings)
            elif deps.clock() < state.proof_after:
                return await _wait(view, pod, put, loaded=loaded)
            else:
                state.proof_after = deps.clock() + deps.tuning.retry_proof_seconds
                if not await proof.load(deps, state, view, model, pod, settings, put):
                    return Loading(refused=True, loaded=loaded)
                state.proof_after = 0.0
            loaded = True
        except TritonRefused as error:
            log.warning("settings refused", pod=pod.name, settings=settings.to_wire(), error=str(error))
            server.refused[settings] = (str(error), deps.clock())
            server.settings = None
            state.newly_refused[settings] = str(error)
            return Loading(refused=True, loaded=loaded)
        except TritonError as error:
            log.warning("settings not loaded", pod=pod.name, settings=settings.to_wire(), error=str(error))
            server.settings = None
            unfinished = True
    return Loading(unfinished=unfinished, loaded=loaded)


def is_blocked(state: ServiceState, rejected: Sequence[RejectedSettings], settings: BatchSettings) -> bool:
    """Whether a server has refused these, or a smaller batch was not proved: of this model they are not asked again."""
    if state.failed_proof is not None and settings.max_batch_size >= state.failed_proof.rows:
        return True
    by = Blocked(tuple(rejected)).by(settings)
    return by is not None and by.blocked_by is not BlockedBy.WORSE and by.until is None


async def _wait(view: ServiceView, pod: PodView, put: proof.Load, *, loaded: bool) -> Loading:
    """There was no verdict, and it is not time to try again. A pod that a proof left behind gets what is in force."""
    if pod.settings is not None and pod.settings.max_batch_size == 0 and view.settings is not None:
        await proof.back(view.settings, pod, put)
    return Loading(refused=True, loaded=loaded)


async def repair(
    deps: Deps,
    state: ServiceState,
    spec: InferenceServiceSpec,
    model: str,
    pool: PoolView,
    pods: Sequence[PodView],
    decision: Decision,
) -> None:
    """Load the model again, whole, on the pods that are to be repaired: once for each repair that was ordered. Nothing
    of it says anything about the settings.
    """
    for pod in pods:
        started = decision.reloads.get(pod.uid)
        server = server_of(state, pod)
        if started is None or server.repaired == started or pod.settings is None or not pod.ready:
            continue
        server.repaired = started
        try:
            await _load_one(deps, state, spec, model, pool, pod, pod.settings, stamp=started)
        except TritonError as error:
            server.settings = None
            log.warning("not repaired", pod=pod.name, error=str(error))


async def _load_one(
    deps: Deps,
    state: ServiceState,
    spec: InferenceServiceSpec,
    model: str,
    pool: PoolView,
    pod: PodView,
    settings: BatchSettings,
    *,
    stamp: str | None = None,
    proving: bool = False,
) -> None:
    """`stamp`: loads the whole model though nothing has changed. Triton leaves a model as it is whose configuration is
    the same. `proving`: so that a full batch can be proved.
    """
    rendered = proof_config if proving else triton_config
    config = rendered(spec.model, model, settings, accelerator=pool.spec.accelerator)
    if stamp is not None:
        config["parameters"] = {**config.get("parameters", {}), STAMP: {"string_value": stamp}}
    if state.key is None or pod.ip is None:
        raise TritonError("the control key or the pod's address is not known")
    log.info("load", pod=pod.name, settings=settings.to_wire(), repair=stamp, proving=proving)
    await deps.triton.load(pod.ip, model, config, key=state.key)
    server_of(state, pod).loaded = stamp is None  # the next configuration is without the stamp: a whole load again
    reported = await verify(deps, state, spec, model, pod, again=True)
    if reported is None:
        raise TritonError("the settings could not be verified after the load")
    if reported != (as_proving(settings) if proving else as_reported(spec.model, settings)):
        raise TritonRefused(f"the server reports {reported.to_wire()} after the load")
    if (server := server_of(state, pod)).probe_error:
        raise TritonRefused(f"an inference of zeros fails after the load: {server.probe_error}")
