"""Accepted, WorkloadReady and ModelReady: chains of small checks, the first that objects gives reason and message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from throughline.api.base import ConditionStatus
from throughline.api.scaling import ScalingMode
from throughline.domain import absent_pods, commands, refusals
from throughline.domain.condition_types import ACCEPTED, MODEL_READY, WORKLOAD_READY
from throughline.domain.decision import ConditionUpdate
from throughline.domain.formatting import count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from throughline.domain.observed import PodView, ServiceView
    from throughline.domain.placement import Refusal

MESSAGE_LIMIT = 1500
# Field and fix of what the user can do something about; the cause follows in the words of whoever found it.
PULL_FIX = "cannot pull {image}: correct spec.runtime.image (or the pool's spec.image), or add its pull secret"
LOAD_FIX = "correct spec.model (backend, version, tensors, parameters) or the files of spec.model.storage"
PROBE_FIX = "correct spec.model.inputs, or set spec.model.probe to ConfigOnly where zeros are no valid input"
SCHEDULE_FIX = "(lower spec.runtime.resources, add nodes, or list another pool)"
LASTS = "it counts again once it has run longer than a restart's back-off"
PULL_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "RegistryUnavailable",
        "ImageInspectError",
        "SignatureValidationFailed",
    }
)
CONFIG_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
CRASH_REASONS = frozenset({"CrashLoopBackOff"})
LOOPING_RESTARTS = 2
FIRST_BACK_OFF_SECONDS, LONGEST_BACK_OFF_SECONDS = 10, 300
# How the shell marks a failed probe inference in PodView.load_error.
PROBE_FAILED = "probe inference failed: "

# What a check finds: status, reason, message.
Finding = tuple[ConditionStatus, str, str]
_FALSE, _TRUE, _UNKNOWN = ConditionStatus.FALSE, ConditionStatus.TRUE, ConditionStatus.UNKNOWN


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the checks look at."""

    view: ServiceView
    refusal: Refusal | None
    storage_missing: str | None

    @property
    def pods(self) -> tuple[PodView, ...]:
        return tuple(p for p in self.view.pods if not p.terminating)

    @property
    def current(self) -> tuple[PodView, ...]:
        """Pods of the model revision that the spec asks for."""
        return tuple(p for p in self.pods if p.revision == self.view.model_hash)

    @property
    def still_serving(self) -> str:
        """The end of a message about a failure: who serves all the same."""
        old = sum(p.ready for p in self.pods if p.revision != self.view.model_hash)
        same = sum(p.ready for p in self.current)
        if old:
            return f"; the previous revision still serves on {count(old, 'pod')}"
        return f"; {_serve(same)}" if same else "; nothing serves"

    @property
    def incomplete(self) -> bool:
        """Whether pods of the current revision are still missing."""
        return len(self.current) < (self.view.replicas or 0)

    @property
    def pool_name(self) -> str:
        return self.view.pool.name if self.view.pool else self.view.status.pool or "?"


def workload_conditions(
    view: ServiceView, refusal: Refusal | None, *, storage_missing: str | None = None
) -> tuple[ConditionUpdate, ...]:
    """Whether the spec is accepted, its pods are as they should be, and the model answers.

    `storage_missing`: what of spec.model.storage.uri is not there (for instance "claim models does not exist"), None
    when it is.
    """
    seen = _Seen(view, refusal, storage_missing)
    return (
        _accepted(refusal),
        _update(WORKLOAD_READY, _first(_WORKLOAD_CHECKS, seen), end=absent_pods.leftovers(view)),
        _update(MODEL_READY, _first(_MODEL_CHECKS, seen)),
    )


def settled(pod: PodView) -> bool:
    """Ready, and not only for the moment between two crashes.

    A pod that restarted must have been ready for longer than the kubelet would wait before the next restart: twice as
    long each time, five minutes at most. So a server that crashes after a while is never counted.
    """
    if not pod.ready or pod.terminating:
        return False
    if pod.restarts == 0:
        return True
    wait: int = FIRST_BACK_OFF_SECONDS << min(pod.restarts, 8)
    return pod.ready_seconds >= min(LONGEST_BACK_OFF_SECONDS, wait)


def served(view: ServiceView) -> bool:
    """Whether as many pods serve the current revision as spec.scaling asks for at the least, and no pod has another
    revision or pod template.
    """
    pods = [p for p in view.pods if not p.terminating]
    if any(p.revision != view.model_hash or p.elsewhere for p in pods) or len({p.template_hash for p in pods}) != 1:
        return False
    least = min(view.spec.scaling.min_replicas, view.replicas or 0)
    return sum(settled(p) for p in pods) >= max(1, least)


def _accepted(refusal: Refusal | None) -> ConditionUpdate:
    if refusal is None:
        return ConditionUpdate(ACCEPTED, _TRUE, "Valid", "")
    return ConditionUpdate(ACCEPTED, _FALSE, refusal.reason, _short(refusal.message))


def _first(checks: Sequence[Callable[[_Seen], Finding | None]], seen: _Seen) -> Finding:
    for check in checks:
        finding = check(seen)
        if finding is not None:
            return finding
    raise AssertionError("the last check of a chain always finds something")


def _update(type_: str, finding: Finding, *, end: str = "") -> ConditionUpdate:
    status, reason, message = finding
    return ConditionUpdate(type_, status, reason, _short(message) + end)


def _short(message: str) -> str:
    return message if len(message) <= MESSAGE_LIMIT else f"{message[: MESSAGE_LIMIT - 1]}…"


def _serve(pods: int) -> str:
    return f"{count(pods, 'pod')} of this revision {'serves' if pods == 1 else 'serve'} on"


# --- WorkloadReady, the cause before the effect


def _nothing_to_run(seen: _Seen) -> Finding | None:
    if seen.refusal is None or seen.pods:
        return None
    return _FALSE, "NotAccepted", f"nothing is created: {seen.refusal.message}"


def _volume_missing(seen: _Seen) -> Finding | None:
    """Pods that run have their volume already; only those that do not yet can miss it."""
    if seen.storage_missing is None or (seen.current and all(p.ready for p in seen.current)):
        return None
    uri = seen.view.spec.model.storage.uri
    return _FALSE, "VolumeNotReady", f"spec.model.storage.uri {uri}: {seen.storage_missing}{seen.still_serving}"


def _image_pull(seen: _Seen) -> Finding | None:
    pod = _waiting(seen, PULL_REASONS)
    if pod is None:
        return None
    pool_image = seen.view.pool.spec.image if seen.view.pool else None
    image = seen.view.spec.runtime.image or pool_image or "the default image"
    said = f"{pod.waiting_reason}: {pod.waiting_message or 'no details'}"
    return _FALSE, "ImagePullFailed", f"{PULL_FIX.format(image=image)} (pod {pod.name}: {said}){seen.still_serving}"


def _container_config(seen: _Seen) -> Finding | None:
    pod = _waiting(seen, CONFIG_REASONS)
    if pod is None:
        return None
    said = pod.waiting_message or pod.waiting_reason
    fix = "create what it names, or correct spec.runtime"
    return _FALSE, "ContainerConfigError", f"{fix} (pod {pod.name} cannot be created: {said}){seen.still_serving}"


def _links_broken(seen: _Seen) -> Finding | None:
    """A server that waits for a file does not say so; one that has it is ready, whatever else lies there."""
    pod = next((p for p in seen.current if p.broken_links and not p.ready), None)
    if pod is None:
        return None
    uri = seen.view.spec.model.storage.uri
    return _FALSE, "VolumeNotReady", f"spec.model.storage.uri {uri}: {pod.broken_links}{seen.still_serving}"


def _crash_looping(seen: _Seen) -> Finding | None:
    unsettled = (p for p in seen.pods if p.restarts >= LOOPING_RESTARTS and not settled(p))
    pod = _waiting(seen, CRASH_REASONS) or next(unsettled, None)
    if pod is None:
        return None
    said = f": {pod.waiting_message}" if pod.waiting_message else ""
    fix = f"; `kubectl logs {pod.name} -n {seen.view.namespace} -c {pod.waiting_container} --previous` says why"
    return (
        _FALSE,
        "CrashLooping",
        f"pod {pod.name} restarted {count(pod.restarts, 'time')}{said}{fix}{seen.still_serving}",
    )


def _unschedulable(seen: _Seen) -> Finding | None:
    pod = next((p for p in seen.pods if p.unschedulable), None)
    if pod is None or not pod.unschedulable:
        return None
    pool, full = seen.pool_name, "Insufficient" in pod.unschedulable
    verdict = f"pool {pool} is full" if full else f"no node of pool {pool} takes the pod"
    closed = seen.view.pool.closed if seen.view.pool else ""
    fix = SCHEDULE_FIX if full or not closed else f"({closed})"
    return _FALSE, "Unschedulable", f"{verdict}: {pod.unschedulable} {fix}{seen.still_serving}"


def _node_silent(seen: _Seen) -> Finding | None:
    pod = next((p for p in seen.pods if p.silent_node and not p.ready), None)
    if pod is None:
        return None
    serving = sum(p.ready for p in seen.pods)
    text = f"node {pod.silent_node} of pod {pod.name} is not ready, so no traffic is sent there"
    text += f"; {count(serving, 'pod')} ready"
    return _FALSE, "NodeNotReady", f"{text}; nothing is done until the node is back or Kubernetes evicts the pod"


def _refused(seen: _Seen) -> Finding | None:
    """Pods that the API server does not let in do not exist: only the Deployment knows of them."""
    if seen.view.pods_refused is None or not seen.incomplete:
        return None
    reason, message = refusals.refused(seen.view.pods_refused, seen.view.namespace)
    return _FALSE, reason, f"{message}{seen.still_serving}"


def _ending(seen: _Seen) -> Finding | None:
    message = absent_pods.ending(seen.view)
    if message is None or sum(p.ready for p in seen.pods) >= (seen.view.replicas or 0):
        return None
    return _FALSE, "PodsFailing", f"{message}{seen.still_serving}"


def _scaled_to_zero(seen: _Seen) -> Finding | None:
    if seen.view.replicas != 0:
        return None
    if seen.view.spec.scaling.mode is ScalingMode.AUTO:
        fix = "in mode Auto the operator scales it up again; where it does not, Accepted or ScalingActive says why"
    else:
        fix = f"type `{commands.scale(seen.view, 1)}`, or set spec.scaling.mode to Auto"
    return _FALSE, "ScaledToZero", f"the Deployment has spec.replicas 0, so nothing serves; {fix}"


def _stalled(seen: _Seen) -> Finding | None:
    """The Deployment gave up waiting, and no check above has found why."""
    said = seen.view.rollout_stalled
    if said is None or (not seen.incomplete and all(p.ready for p in seen.pods)):
        return None
    pod = next((p for p in seen.current if not p.ready), None)
    fix = f"; `kubectl describe pod {pod.name} -n {seen.view.namespace}` says what it waits for" if pod else ""
    return _FALSE, "ProgressDeadlineExceeded", f"the rollout makes no progress: {said}{fix}{seen.still_serving}"


def _rolling(seen: _Seen) -> Finding | None:
    if seen.view.replicas is None:
        return _FALSE, "RolloutInProgress", "the Deployment is being created"
    stale = len(seen.pods) - len(seen.current)
    if stale:
        new = f"{count(len(seen.current), 'pod')} of model revision {seen.view.model_hash}"
        return _FALSE, "RolloutInProgress", f"{new}, {count(stale, 'pod')} of the previous one"
    if len({p.template_hash for p in seen.pods}) > 1:
        return _FALSE, "RolloutInProgress", "pods of a new pod template are replacing those of the old"
    return None


def _restarted(seen: _Seen) -> Finding | None:
    pod = next((p for p in seen.pods if p.ready and not settled(p)), None)
    if pod is None:
        return None
    return (
        _FALSE,
        "RecentlyRestarted",
        f"pod {pod.name} restarted; {LASTS}",
    )


def _too_few(seen: _Seen) -> Finding | None:
    wanted, ready = seen.view.replicas or 0, sum(p.ready for p in seen.pods)
    if ready >= wanted:
        return None
    return _FALSE, "MinimumReplicasUnavailable", f"{ready} of {count(wanted, 'replica')} ready"


def _available(seen: _Seen) -> Finding:
    return _TRUE, "Available", f"{sum(p.ready for p in seen.pods)} of {count(seen.view.replicas or 0, 'replica')} ready"


_WORKLOAD_CHECKS: tuple[Callable[[_Seen], Finding | None], ...] = (
    _nothing_to_run,
    _volume_missing,
    _image_pull,
    _container_config,
    _links_broken,
    _crash_looping,
    _unschedulable,
    _node_silent,
    _scaled_to_zero,
    _refused,
    _ending,
    _stalled,
    _rolling,
    _restarted,
    _too_few,
    _available,
)


def _waiting(seen: _Seen, reasons: frozenset[str]) -> PodView | None:
    return next((p for p in seen.pods if p.waiting_reason in reasons), None)


# --- ModelReady


def _no_pods(seen: _Seen) -> Finding | None:
    return None if seen.pods else (_UNKNOWN, "NoPods", "no pod has started yet; see WorkloadReady")


def _load_failed(seen: _Seen) -> Finding | None:
    """A pod that is ready all the same kept what it had: then it was the settings that were refused."""
    failed = [p for p in seen.current if p.load_error and not p.load_error.startswith(PROBE_FAILED)]
    pod = next((p for p in failed if not p.ready), None)
    if pod is not None:
        links = f"; {pod.broken_links}" if pod.broken_links else ""
        said = f"{LOAD_FIX}{links}; Triton on pod {pod.name}: {_short(pod.load_error or '')}"
        return _FALSE, "ModelLoadFailed", f"{said}{seen.still_serving}"
    if failed:
        pod = failed[0]
        said = _short(pod.load_error or "")
        return _FALSE, "ConfigurationRefused", f"Triton on pod {pod.name} goes on with its old settings: {said}"
    return None


def _probe_failed(seen: _Seen) -> Finding | None:
    pod = next((p for p in seen.current if p.load_error and p.load_error.startswith(PROBE_FAILED)), None)
    if pod is None:
        return None
    return _FALSE, "ProbeFailed", f"{PROBE_FIX}; pod {pod.name}: {pod.load_error}"


def _serving(seen: _Seen) -> Finding | None:
    ready = [p for p in seen.current if settled(p)]
    if not ready:
        return None
    return _TRUE, "Ready", f"{count(len(ready), 'pod')} serving model revision {seen.view.model_hash}"


def _not_running(seen: _Seen) -> Finding | None:
    pods = seen.current or seen.pods
    stuck = PULL_REASONS | CONFIG_REASONS | CRASH_REASONS
    if not all(p.unschedulable or p.waiting_reason in stuck for p in pods):
        return None
    return _FALSE, "ServerNotRunning", f"no server of this revision runs; see WorkloadReady{seen.still_serving}"


def _loading(seen: _Seen) -> Finding:
    if any(p.ready for p in seen.current):
        return (
            _FALSE,
            "Loading",
            f"the server restarted; {LASTS}",
        )
    return _FALSE, "Loading", f"Triton is loading model revision {seen.view.model_hash}{seen.still_serving}"


_MODEL_CHECKS: tuple[Callable[[_Seen], Finding | None], ...] = (
    _no_pods,
    _load_failed,
    _probe_failed,
    _serving,
    _not_running,
    _loading,
)
