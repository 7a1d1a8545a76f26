"""What would happen to each object of the files, and to what the operator makes of them. Nothing is written.

The operator's own functions read, judge, decide, render and compare. What the API server's admission would make of an
object is asked for as a dry run.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from throughline.adapters.kube import resource_path
from throughline.api.batching import BatchingMode
from throughline.cli.reading import FORBIDDEN, NOT_FOUND, Reading, warnings_in
from throughline.domain import diff
from throughline.domain.changes import Action, Change
from throughline.domain.formatting import count
from throughline.domain.manifests import secret_name
from throughline.domain.ownership import FIELD_MANAGER
from throughline.domain.records import settings_text
from throughline.ports import ApiError
from throughline.reconcile import children
from throughline.reconcile.context import ServiceState
from throughline.reconcile.gather import parse_spec
from throughline.reconcile.outlook import look

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from throughline.reconcile.context import Deps
    from throughline.reconcile.outlook import Outlook

SERVICE, POOL = "InferenceService", "ServingPool"
NO_UID = "00000000-0000-0000-0000-000000000000"  # of a resource that is not on the cluster yet
MANAGER = "throughline-plan"  # of dry runs of the files' own resources
SHOWN_FIELDS = 4
TEMPLATE = "spec.template"
# Of kinds from which nothing is rendered; all others are records that the operator itself makes.
PURPOSES = {
    POOL: "services may be placed there",
    SERVICE: "what must hold, and where it may run",
    "EvaluationSuite": "services may be judged by it",
    "ModelApproval": "a decision on a revision",
}


@dataclass(slots=True)
class Plan:
    """All of it, in the order in which it would happen."""

    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def refused(self) -> bool:
        """Whether something would not be accepted."""
        return any(change.action is Action.REFUSE for change in self.changes)

    @property
    def replaced(self) -> list[str] | None:
        """Names of the Deployments whose pods are replaced; None: none of them is there yet."""
        there = [c for c in self.changes if c.kind == "Deployment" and c.action in {Action.UPDATE, Action.KEEP}]
        return [c.name for c in there if replaces_pods(c)] if there else None


def replaces_pods(change: Change) -> bool:
    """Whether the pods of a Deployment are replaced: its template changes."""
    rolls = any(path.startswith(TEMPLATE) for path in change.fields)
    return change.kind == "Deployment" and change.action is Action.UPDATE and rolls


async def plan_for(resources: Sequence[dict[str, Any]], reading: Reading, namespace: str) -> Plan:
    """The plan for valid resources; without a cluster all would be created."""
    await reading.begin()
    planner = _Planner(reading, namespace, Plan(notes=reading.notes))
    for resource in sorted(resources, key=lambda r: r["kind"] == SERVICE):  # a service needs its pools and suites
        await planner.resource(resource)
    return planner.plan


@dataclass(slots=True)
class _Planner:
    """One run of the command."""

    reading: Reading
    namespace: str
    plan: Plan

    async def resource(self, declared: dict[str, Any]) -> None:
        """A resource of the files, and everything that a service would own."""
        if declared["kind"] != POOL:
            declared = {**declared, "metadata": {"namespace": self.namespace, **declared["metadata"]}}
        live = await self.reading.get(declared)
        change = await self._declared(declared, live)
        self.plan.changes.append(change)
        if change.action is Action.REFUSE:
            return
        if declared["kind"] == SERVICE:
            unchanged = change.action is Action.KEEP and live is not None
            wanted = live["spec"] if live and unchanged else _with_scale(declared["spec"], live or {})
            await self._service(declared, live, wanted)
        else:
            self.reading.declare(declared)

    async def _declared(self, declared: dict[str, Any], live: Mapping[str, Any] | None) -> Change:
        """What becomes of the resource itself, after the API server's defaults and admission."""
        reply: Mapping[str, Any] = {}
        try:
            reply = await self._tried(declared)
        except ApiError as error:
            if error.status == FORBIDDEN:
                self.plan.notes.append(
                    f"you may not write {declared['kind']} {declared['metadata']['name']}: {error.message}"
                )
            elif error.status == NOT_FOUND:
                return Change(Action.REFUSE, declared, f"{error.message}: create the namespace first")
            elif error.terminal:
                return Change(Action.REFUSE, declared, error.message)
            else:
                raise
        if live is None:
            purpose = PURPOSES.get(declared["kind"], "a record, which the operator makes")
            return Change(Action.CREATE, declared, purpose)
        stored, wanted = {"spec": live.get("spec")}, {"spec": _with_scale(declared["spec"], live)}
        fields = diff.differences({"spec": reply.get("spec", declared["spec"])}, stored)
        other = set(diff.differences(wanted, stored))
        removed = [path for path in diff.differences(stored, wanted) if path not in other]
        if not fields and not removed:
            return Change(Action.KEEP, declared, "the spec is as it is live")
        told = [f"changes {_shown(fields)}"] if fields else []
        told += [f"removes {_shown(removed)}"] if removed else []
        return Change(Action.UPDATE, declared, " and ".join(told), (*fields, *removed))

    async def _tried(self, declared: Mapping[str, Any]) -> dict[str, Any]:
        """The API server's answer to a dry run; empty without a cluster or a name."""
        metadata, kube = declared["metadata"], self.reading.kube
        if kube is None or not metadata.get("name"):
            return {}
        path = resource_path(declared["apiVersion"], declared["kind"], metadata.get("namespace"), metadata["name"])
        query = {"fieldManager": MANAGER, "force": "true", "dryRun": "All", "fieldValidation": "Strict"}
        return await kube.request(
            "PATCH", path, query=query, body=declared, content_type="application/apply-patch+yaml"
        )

    async def _service(
        self, declared: dict[str, Any], live: Mapping[str, Any] | None, wanted: Mapping[str, Any]
    ) -> None:
        metadata = {"name": "", "uid": NO_UID, **(live or {}).get("metadata", {}), **declared["metadata"]}
        service = {**declared, "status": (live or {}).get("status") or {}, "metadata": metadata, "spec": wanted}
        namespace, name = metadata["namespace"], metadata["name"]
        watched = self.reading.settings.watched_namespaces
        if watched and namespace not in watched:
            self.plan.notes.append(f"the operator does not watch namespace {namespace}: {name} stays as it is")
        await self.reading.service(namespace, name)
        deps, state = self.reading.deps(), ServiceState(uid=metadata["uid"])
        with warnings_in(self.plan.notes if self.reading.kube is not None else []):
            spec = parse_spec(state, service)
            if spec is None:
                self.plan.changes[-1] = Change(Action.REFUSE, declared, state.problem or "not valid")
                return
            outlook = await look(deps, state, service, spec)
            if outlook.seen.refusal is not None:
                self.plan.changes[-1] = Change(Action.REFUSE, declared, outlook.seen.refusal.message)
                return
            await self._secret(namespace, name, waits=outlook.judgement.refusal is not None)
            found = await _children(deps, outlook)
            self.plan.changes += [await self._foreseen(change) for change in found]
        self._note(name, outlook)

    async def _secret(self, namespace: str, name: str, *, waits: bool) -> None:
        metadata = {"namespace": namespace, "name": secret_name(name)}
        manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
        try:
            live = await self.reading.get(manifest)
        except ApiError as error:
            if error.status != FORBIDDEN:
                raise
            self.plan.notes.append(f"you may not read Secret {secret_name(name)}; it is made where it is missing")
            return
        purpose = "random key of Triton's control API, made once"
        made = Action.WAIT if waits else Action.CREATE
        action, why = (made, purpose) if live is None else (Action.KEEP, "it exists")
        self.plan.changes.append(Change(action, manifest, why))

    async def _foreseen(self, change: Change) -> Change:
        """The update as it would be stored, after admission."""
        kube = self.reading.kube
        if change.action is not Action.UPDATE or kube is None:
            return change
        fields = list(change.fields)
        try:
            reply = await kube.dry_run(change.manifest, field_manager=FIELD_MANAGER)
        except ApiError as error:
            if not error.terminal:
                raise
            if error.status != FORBIDDEN:
                return replace(change, action=Action.REFUSE, why=f"the API server refuses it: {error.message}")
            self.plan.notes.append(
                f"you may not try {change.kind} {change.name}, so what admission makes of it is not known"
            )
        else:
            fields = diff.differences(_confirmed(change.manifest, reply), await self.reading.get(change.manifest) or {})
        why = f"changes {_shown(fields)}" if fields else "only the mark of what was applied last is renewed"
        if change.kind == "Deployment":
            rolls = any(path.startswith(TEMPLATE) for path in fields)
            why += "; pods are replaced one by one" if rolls else "; no pod is replaced"
        return replace(change, why=why, fields=tuple(fields))

    def _note(self, name: str, outlook: Outlook) -> None:
        view, decision = outlook.seen.view, outlook.decision
        if view.pool is not None:
            self.plan.notes.append(f"{name} goes to pool {view.pool.name}: {outlook.seen.why_there}")
        if view.spec.evaluation is not None and outlook.judgement.refusal is None:
            self.plan.notes.append(f"{name}: {outlook.judgement.update.message}")
        if view.replicas is not None and decision.replicas not in {None, view.replicas}:
            self.plan.notes.append(f"{name} is scaled from {view.replicas} to {count(decision.replicas, 'replica')}")
        if outlook.seen.storage_missing and self.reading.kube is not None:
            self.plan.notes.append(outlook.seen.storage_missing)


async def _children(deps: Deps, outlook: Outlook) -> list[Change]:
    """What the operator makes of them now, and why."""
    judgement, seen, _, decision = outlook
    assert seen.view.pool is not None  # noqa: S101 - no refusal, so there is one
    wanted = children.wanted(seen, judgement, decision, seen.view.pool, decision.settings)
    found = await children.changes(deps, wanted)
    if judgement.refusal is not None:  # no model may serve: nothing is made, and what runs is left as it is
        why = f"no model may serve yet: {judgement.refusal.message}"
        left = {Action.CREATE: Action.WAIT}
        return [replace(c, action=left.get(c.action, Action.KEEP), why=why, fields=()) for c in found]
    purposes = _purposes(outlook)
    return [replace(c, why=purposes.get(c.kind, c.why)) if c.action is Action.CREATE else c for c in found]


def _purposes(outlook: Outlook) -> dict[str, str]:
    view, decision = outlook.seen.view, outlook.decision
    first = view.spec.scaling.min_replicas if decision.replicas is None else decision.replicas
    settings = settings_text(decision.settings)
    return {
        "ServiceAccount": "an account without any right, for the pods",
        "ConfigMap": f"config.pbtxt of model revision {view.model_hash}: {settings} ({_origin(outlook)})",
        "NetworkPolicy": "who may reach the servers",
        "Service": "one address for all replicas",
        "PodDisruptionBudget": "a node drain takes one replica at a time",
        "Deployment": f"the servers; starts with {count(first, 'replica')}",
        "PodMonitor": "for the Prometheus operator",
        "CronJob": "looks at the samples for drift",
    }


def _origin(outlook: Outlook) -> str:
    view = outlook.seen.view
    if view.spec.batching.mode is BatchingMode.FIXED:
        return "spec.batching.fixed"
    in_force = view.settings or view.status.batch.settings
    if in_force is None:
        return "the lower bounds, where tuning starts"
    return "in force now" if in_force == outlook.decision.settings else "in force now, moved into the bounds"


def _with_scale(spec: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a file, with what the scale subresource wrote: to apply the file does not take that away."""
    written = ((live.get("spec") or {}).get("scaling") or {}).get("replicas")
    managers = (live.get("metadata") or {}).get("managedFields") or ()
    if written is None or all(m.get("subresource") != "scale" for m in managers):
        return dict(spec)
    return {**spec, "scaling": {"replicas": written, **(spec.get("scaling") or {})}}


def _confirmed(manifest: Mapping[str, Any], reply: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of the reply that the manifest is about."""
    return {name: reply.get(name) for name in manifest if name != "metadata"} | {
        "metadata": {k: (reply.get("metadata") or {}).get(k) for k in manifest["metadata"]}
    }


def _shown(fields: Sequence[str]) -> str:
    more = f" and {len(fields) - SHOWN_FIELDS} more" if len(fields) > SHOWN_FIELDS else ""
    return f"{', '.join(fields[:SHOWN_FIELDS])}{more}"
