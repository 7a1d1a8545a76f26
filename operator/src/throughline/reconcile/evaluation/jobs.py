"""Jobs and their pods, as far as their end is concerned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from throughline.domain.evaluation.attempt import JobView, PodReport
from throughline.domain.manifests import evaluation, scorer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from throughline.domain.manifests import Identity
    from throughline.reconcile.context import Deps

_STEPS = (scorer.PREDICTOR, scorer.CONTAINER)  # before the evaluator's last, in that order
MAX_SAID = 1000  # characters of a scorer's last words


def of_run(deps: Deps, identity: Identity, run: str) -> list[dict[str, Any]]:
    """The service's Jobs that bear the run's name, but for those that are being deleted."""
    found = []
    for job in deps.objects.children(identity.namespace, identity.name, "Job"):
        metadata = job["metadata"]
        if metadata["labels"].get(evaluation.RUN_LABEL) == run and not metadata.get("deletionTimestamp"):
            found.append(job)
    return found


def end_of(job: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The condition that says how it ended; None while it runs."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] in {"Complete", "Failed"} and c["status"] == "True"), None)


def view(job: Mapping[str, Any], attempt: int) -> JobView:
    """The Job as decisions take it."""
    metadata, end = job["metadata"], end_of(job)
    return JobView(
        name=metadata["name"],
        uid=metadata["uid"],
        attempt=attempt,
        ended=None if end is None else end["type"],
        reason=(end or {}).get("reason") or "",
        message=(end or {}).get("message") or "",
    )


async def pod(deps: Deps, namespace: str, job: JobView, container: str) -> PodReport | None:
    """The Job's newest pod. Read, not watched: it lives for minutes, and only its last words count."""
    pods = await deps.kube.list("v1", "Pod", namespace, label_selector=f"batch.kubernetes.io/controller-uid={job.uid}")
    if not pods:
        return None
    newest = max(pods, key=lambda p: (p["metadata"].get("creationTimestamp") or "", p["metadata"]["name"]))
    return _report(newest, container)


def _report(pod: Mapping[str, Any], container: str) -> PodReport:
    status = pod.get("status") or {}
    statuses = {s["name"]: s for s in status.get("containerStatuses") or ()}
    steps = {s["name"]: s for s in status.get("initContainerStatuses") or () if s["name"] in _STEPS}
    own = statuses.get(container) or {}
    state, last = own.get("state") or {}, own.get("lastState") or {}
    own_end = state.get("terminated") or last.get("terminated")
    ended = own_end or _ended(steps.get(scorer.PREDICTOR))
    at_work = {name for name, step in steps.items() if "running" in (step.get("state") or {})}
    idle = not at_work and "running" not in state and "terminated" not in state
    return PodReport(
        name=pod["metadata"]["name"],
        namespace=pod["metadata"]["namespace"],
        container=container if own_end or not ended else scorer.PREDICTOR,
        words=ended.get("message") or "",
        waiting=_waiting(status, state) if idle else "",
        exit_code=ended.get("exitCode"),
        restarts=int(own.get("restartCount") or 0),
        scoring=scorer.CONTAINER in at_work,
        scorer_failed=_scorer_failed(_ended(steps.get(scorer.CONTAINER))),
    )


def _ended(step: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """How a step ended; nothing where it did not."""
    return ((step or {}).get("state") or {}).get("terminated") or {}


def _scorer_failed(ended: Mapping[str, Any]) -> str:
    """In words; nothing where it did not fail. What it said is the user's text: on one line, and of that the end."""
    if not ended.get("exitCode"):
        return ""
    reason = ended.get("reason") or "Error"
    how = f"the scorer ended with exit code {ended.get('exitCode')}" + ("" if reason == "Error" else f" ({reason})")
    if reason == "OOMKilled":
        how += "; raise spec.task.scorer.resources.limits.memory"
    printable = "".join(c if c.isprintable() else " " for c in ended.get("message") or "")
    said = " ".join(printable.split())
    return f"{how}: {said if len(said) <= MAX_SAID else f'…{said[-MAX_SAID:]}'}" if said else how


def _waiting(status: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """Why the container does not run: the pod's end, the scheduler's reason, a step before it, or its own."""
    if status.get("phase") == "Failed" and status.get("message"):  # such as an eviction
        return f"{status.get('reason')}: {status['message']}"
    scheduled = next((c for c in status.get("conditions") or () if c["type"] == "PodScheduled"), None)
    if scheduled is not None and scheduled.get("status") == "False":
        return f"{scheduled.get('reason')}: {scheduled.get('message')}"
    for step in status.get("initContainerStatuses") or ():
        known = step.get("state") or {}
        if known.get("waiting"):
            return f"{step['name']}: {_said(known['waiting'])}"
        ended = _ended(step)
        if ended.get("exitCode"):
            return f"{step['name']} ended with exit code {ended['exitCode']}"
        if not ended and step["name"] not in _STEPS and not step.get("started"):
            return f"{step['name']} starts"
    return _said(state.get("waiting") or {"reason": "Pending"})


def _said(waiting: Mapping[str, Any]) -> str:
    message = waiting.get("message")
    return f"{waiting.get('reason')}: {message}" if message else str(waiting.get("reason"))
