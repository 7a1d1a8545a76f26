"""Batch settings onto running servers: by a load with the full configuration, verified, one pod after another.

Level-triggered: what a server reports is compared with what it should have, so a crash between any two steps is made
good by the next pass. New durable settings are loaded on one pod before they are written, so that settings that Triton
refuses never reach the ConfigMap that a restarted pod would read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from throughline.domain.manifests import triton_config
from throughline.ports import TritonError, TritonRefused
from throughline.reconcile.servers import server_of, verify
from throughline.reconcile.settings_text import as_reported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.api.batching import BatchSettings
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.domain.decision import Decision
    from throughline.domain.observed import PodView, PoolView
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
    spec: InferenceServiceSpec,
    model: str,
    pool: PoolView,
    todo: Sequence[tuple[PodView, BatchSettings]],
    *,
    until: float,
) -> Loading:
    """Load the settings on each pod; stops at the first refusal and when the time is up."""
    unfinished = loaded = False
    for pod, settings in todo:
        if deps.clock() >= until:
            log.info("settings not on every pod yet", model=model)
            return Loading(unfinished=True, loaded=loaded)
        server = server_of(state, pod)
        _, when = server.refused.get(settings, ("", float("-inf")))
        if deps.clock() - when < deps.tuning.retry_refused_seconds:
            return Loading(refused=True, loaded=loaded)
        try:
            await _load_one(deps, state, spec, model, pool, pod, settings)
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
) -> None:
    """`stamp`: loads the whole model though nothing has changed. Triton leaves a model as it is whose configuration is
    the same.
    """
    config = triton_config(spec.model, model, settings, accelerator=pool.spec.accelerator)
    if stamp is not None:
        config["parameters"] = {**config.get("parameters", {}), STAMP: {"string_value": stamp}}
    if state.key is None or pod.ip is None:
        raise TritonError("the control key or the pod's address is not known")
    log.info("load", pod=pod.name, settings=settings.to_wire(), repair=stamp)
    await deps.triton.load(pod.ip, model, config, key=state.key)
    server_of(state, pod).loaded = stamp is None  # the next configuration is without the stamp: a whole load again
    reported = await verify(deps, state, spec, model, pod, again=True)
    if reported is None:
        raise TritonError("the settings could not be verified after the load")
    if reported != as_reported(spec.model, settings):
        raise TritonRefused(f"the server reports {reported.to_wire()} after the load")
    if (server := server_of(state, pod)).probe_error:
        raise TritonRefused(f"an inference of zeros fails after the load: {server.probe_error}")
