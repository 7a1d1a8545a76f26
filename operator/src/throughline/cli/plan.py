"""`throughline plan FILE`: what would be created or changed, and why, before anything is.

Renders with the operator's own code and compares with what is live, by the operator's own measure. Nothing is
written: the resource itself is sent to the API server as a dry run, so that admission has its say too.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from throughline import exits
from throughline import settings as operator_settings
from throughline.adapters.kube import resource_path
from throughline.api.base import API_VERSION
from throughline.api.inferenceservice import BatchingMode, InferenceServiceSpec
from throughline.api.servingpool import ServingPoolSpec
from throughline.api.status import InferenceServiceStatus
from throughline.cli import cluster, output, validate
from throughline.domain.control.choose import clamp, lower_bounds
from throughline.domain.control.text import settings_text
from throughline.domain.diff import differences, needs_apply, with_hash
from throughline.domain.formatting import count
from throughline.domain.manifests import (
    Identity,
    RenderOptions,
    config_map_name,
    deployment_name,
    foreign_owner,
    model_hash,
    render,
    secret_name,
    served_name,
)
from throughline.domain.observed import PoolView
from throughline.domain.placement import Refusal, choose_pool
from throughline.ports import ApiError
from throughline.reconcile.settings_text import from_config_map

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from throughline.adapters.kube import Kube
    from throughline.api.inferenceservice import BatchSettings

SERVICE, POOL = "InferenceService", "ServingPool"
FORBIDDEN, NOT_FOUND = 403, 404
NO_UID = "00000000-0000-0000-0000-000000000000"  # of a resource that is not on the cluster yet
OPERATOR_SELECTOR = "app.kubernetes.io/part-of=throughline,app.kubernetes.io/component=operator"
SHOWN_FIELDS = 4
# Of kinds from which nothing is rendered; all others are records that the operator itself makes.
PURPOSES = {"EvaluationSuite": "services may be judged by it", "ModelApproval": "a decision on a revision"}


class Action(StrEnum):
    """What would happen to one object."""

    CREATE = "create"
    UPDATE = "update"
    KEEP = "keep"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Change:
    """One object, what would happen to it and why."""

    action: Action
    manifest: Mapping[str, Any]
    why: str
    fields: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The object's name, or the beginning of it."""
        return str(self.manifest["metadata"].get("name") or self.manifest["metadata"].get("generateName", ""))

    def to_wire(self) -> dict[str, Any]:
        """For -o json."""
        return {
            "action": self.action.value,
            "apiVersion": self.manifest["apiVersion"],
            "kind": self.manifest["kind"],
            "namespace": self.manifest["metadata"].get("namespace"),
            "name": self.name,
            "why": self.why,
            "fields": list(self.fields),
            "manifest": self.manifest,
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

    def text(self) -> str:
        """For people."""
        rows = [(c.action.value, c.manifest["kind"], c.name, c.why) for c in self.changes]
        counts = {action: sum(c.action is action for c in self.changes) for action in Action}
        summary = ", ".join(f"{count} to {action.value}" for action, count in counts.items() if count)
        return "\n".join(
            [output.table(("ACTION", "KIND", "NAME", "WHY"), rows), "", *(f"Note: {n}" for n in self.notes), summary]
        )

    def to_wire(self) -> dict[str, Any]:
        """For -o json."""
        return {"objects": [change.to_wire() for change in self.changes], "notes": self.notes}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "plan",
        help="what would be created or changed on the cluster, and why; writes nothing",
        description="Renders what the operator would make of the files, and compares it with the cluster. "
        "Exit code: 0 fine, 1 something would be refused, 2 nothing to plan, 3 no answer of the cluster.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="YAML or JSON file, directory, or - for the input")
    parser.add_argument("-n", "--namespace", help="of resources that name none (default: as kubectl)")
    parser.add_argument("--offline", action="store_true", help="ask no cluster: show all that is rendered")
    output.add_output_flag(parser, formats=("text", "json", "yaml"))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the plan."""
    report, resources = validate.read_and_check(args.files)
    for finding in report.findings:
        print(finding, file=sys.stderr)
    for warning in report.warnings:
        print(warning.as_warning(), file=sys.stderr)
    if report.code != exits.OK:
        if not report.findings:
            print("error: no object of throughline.io in these files", file=sys.stderr)
        return report.code
    try:
        plan = asyncio.run(_plan(args, resources))
    except (cluster.NoClusterError, ApiError) as error:
        print(f"error: {error} (--offline shows what is rendered)", file=sys.stderr)
        return exits.NO_ANSWER
    _print(plan, args.output)
    return exits.REFUSED if plan.refused else exits.OK


def _print(plan: Plan, form: str) -> None:
    if form == "text":
        print(plan.text())
    elif form == "json":
        print(output.structured(plan.to_wire(), "json"))
    else:
        print(output.structured([change.manifest for change in plan.changes], "yaml"))


async def _plan(args: argparse.Namespace, resources: Sequence[dict[str, Any]]) -> Plan:
    if args.offline:
        return await plan_for(resources, None, args.namespace or "default")
    async with cluster.cluster() as kube:
        return await plan_for(resources, kube, args.namespace or cluster.default_namespace())


async def plan_for(resources: Sequence[dict[str, Any]], kube: Kube | None, namespace: str) -> Plan:
    """The plan for valid resources; without a cluster all would be created."""
    planner = _Planner(kube, namespace, Plan())
    await planner.prepare()
    for resource in sorted(resources, key=lambda r: r["kind"] != POOL):  # a service needs its pools
        if resource["kind"] == POOL:
            await planner.pool(resource)
        elif resource["kind"] == SERVICE:
            await planner.service(resource)
        else:
            await planner.other(resource)
    return planner.plan


@dataclass(slots=True)
class _Planner:
    """One run of the command."""

    kube: Kube | None
    namespace: str
    plan: Plan
    options: RenderOptions = field(default_factory=lambda: RenderOptions("", ""))
    pools: dict[str, PoolView] = field(default_factory=dict)

    async def prepare(self) -> None:
        """What the operator on the cluster was installed with, and the pools that are there."""
        if self.kube is None:
            self.options = _options(operator_settings.load({}), monitors=False)
            return
        if not await self.kube.serves(API_VERSION, SERVICE):
            raise cluster.NoClusterError("the cluster has no InferenceService resource: install Throughline first")
        installed = await self._operator()
        monitors = await self.kube.serves("monitoring.coreos.com/v1", "PodMonitor")
        self.options = _options(installed, monitors=monitors)
        for live in await self.kube.list(API_VERSION, POOL):
            self._know(live)

    async def _operator(self) -> operator_settings.Settings:
        assert self.kube is not None  # noqa: S101 - for the type checker
        try:
            deployments = await self.kube.list("apps/v1", "Deployment", label_selector=OPERATOR_SELECTOR)
        except ApiError as error:
            if error.status != FORBIDDEN:
                raise
            deployments = []
        if not deployments:
            self.plan.notes.append("the operator's own settings could not be read; defaults are assumed")
            return operator_settings.load({})
        pod = deployments[0]["spec"]["template"]["spec"]["containers"][0]
        environ = {e["name"]: e["value"] for e in pod.get("env") or [] if e.get("value")}
        environ[f"{operator_settings.PREFIX}OPERATOR_NAMESPACE"] = deployments[0]["metadata"]["namespace"]
        return operator_settings.load({}, environ)

    def _know(self, resource: Mapping[str, Any]) -> None:
        name = resource["metadata"].get("name", "")
        spec = ServingPoolSpec.model_validate(resource["spec"])
        # Whether there is room is the operator's to say: it sees every pod.
        nodes = int((resource.get("status") or {}).get("nodes") or 0)
        self.pools[name] = PoolView(name=name, spec=spec, capacity_replicas=None, nodes=nodes)

    async def pool(self, resource: dict[str, Any]) -> None:
        """A ServingPool: services may be placed there; nothing is created for it."""
        await self._resource(resource, "services may be placed there")
        self._know(resource)

    async def other(self, resource: dict[str, Any]) -> None:
        """What makes no objects: a suite, an approval, a record."""
        resource = {**resource, "metadata": {"namespace": self.namespace, **resource["metadata"]}}
        await self._resource(resource, PURPOSES.get(resource["kind"], "a record, which the operator makes"))

    async def service(self, resource: dict[str, Any]) -> None:
        """An InferenceService, and everything that it would own."""
        resource = {**resource, "metadata": {"namespace": self.namespace, **resource["metadata"]}}
        live = await self._resource(resource, "what must hold, and where it may run")
        if self.plan.changes[-1].action is Action.REFUSE:
            return
        spec = InferenceServiceSpec.model_validate(resource["spec"])
        status = InferenceServiceStatus.model_validate((live or {}).get("status") or {})
        choice = choose_pool(spec, self.pools, status.pool)
        if isinstance(choice, Refusal):
            self.plan.changes[-1] = Change(Action.REFUSE, resource, choice.message)
            return
        metadata = resource["metadata"]
        uid = str((live or {}).get("metadata", {}).get("uid", NO_UID))
        identity = Identity(name=metadata.get("name", ""), namespace=metadata["namespace"], uid=uid)
        self.plan.notes.append(f"{identity.name} goes to pool {choice.pool.name}: {choice.why}")
        await self._children(identity, spec, status, choice.pool)

    async def _resource(self, resource: dict[str, Any], purpose: str) -> dict[str, Any] | None:
        live = await self._get(resource)
        refusal = await self._refusal(resource)
        if refusal:
            self.plan.changes.append(Change(Action.REFUSE, resource, refusal))
        elif live is None:
            self.plan.changes.append(Change(Action.CREATE, resource, purpose))
        else:
            self.plan.changes.append(_compared(resource, {"spec": resource["spec"]}, live, "the spec is as it is live"))
        return live

    async def _refusal(self, resource: dict[str, Any]) -> str | None:
        """What the API server says to the resource, as a dry run."""
        name = resource["metadata"].get("name")
        if self.kube is None or not name:
            return None
        try:
            await _dry_run(self.kube, resource)
        except ApiError as error:
            if error.status == FORBIDDEN:
                self.plan.notes.append(f"you may not write {resource['kind']} {name}: {error.message}")
                return None
            if error.status == NOT_FOUND:
                return f"{error.message}: create the namespace first"
            if error.terminal:
                return error.message
            raise
        return None

    async def _children(
        self, identity: Identity, spec: InferenceServiceSpec, status: InferenceServiceStatus, pool: PoolView
    ) -> None:
        revision = model_hash(spec, served_name(spec, identity.name))
        settings, origin = await self._settings(identity, spec, status, revision)
        deployment = await self._get(
            _reference("apps/v1", "Deployment", identity.namespace, deployment_name(identity.name))
        )
        await self._secret(identity)
        surge = deployment is None or _surges(deployment)
        for rendered in render(
            identity, spec, pool.name, pool.spec, settings, self.options, surge=surge, live=deployment
        ):
            manifest = with_hash(rendered)
            live = await self._get(manifest)
            self.plan.changes.append(self._child(manifest, live, identity, _purposes(spec, settings, origin, revision)))

    async def _settings(
        self, identity: Identity, spec: InferenceServiceSpec, status: InferenceServiceStatus, revision: str
    ) -> tuple[BatchSettings, str]:
        batching = spec.batching
        if batching.mode is BatchingMode.FIXED and batching.fixed is not None:
            return batching.fixed, "spec.batching.fixed"
        name = config_map_name(identity.name, revision)
        live = await self._get(_reference("v1", "ConfigMap", identity.namespace, name))
        in_force = (from_config_map(live) if live else None) or status.batch.settings
        if in_force is None:
            return lower_bounds(batching), "the lower bounds, where tuning starts"
        kept = clamp(in_force, batching)
        return kept, "in force now" if kept == in_force else "in force now, moved into the bounds"

    async def _secret(self, identity: Identity) -> None:
        manifest = _reference("v1", "Secret", identity.namespace, secret_name(identity.name))
        try:
            live = await self._get(manifest)
        except ApiError as error:
            if error.status != FORBIDDEN:
                raise
            self.plan.notes.append(
                f"you may not read Secret {secret_name(identity.name)}; it is made where it is missing"
            )
            return
        purpose = "random key of Triton's control API, made once"
        action, why = (Action.CREATE, purpose) if live is None else (Action.KEEP, "it exists")
        self.plan.changes.append(Change(action, manifest, why))

    def _child(
        self, manifest: dict[str, Any], live: dict[str, Any] | None, identity: Identity, purposes: Mapping[str, str]
    ) -> Change:
        if live is None:
            return Change(Action.CREATE, manifest, purposes.get(manifest["kind"], ""))
        owner = foreign_owner(live, identity)
        if owner is not None:
            return Change(Action.REFUSE, manifest, f"it is {owner}: delete or rename it, or name the service otherwise")
        if needs_apply(manifest, live) is None:
            return Change(Action.KEEP, manifest, "it is as it should be")
        return _compared(manifest, manifest, live, "only the mark of what was applied last is renewed")

    async def _get(self, manifest: Mapping[str, Any]) -> dict[str, Any] | None:
        metadata = manifest["metadata"]
        if self.kube is None or not metadata.get("name"):
            return None
        return await self.kube.get(
            manifest["apiVersion"], manifest["kind"], metadata.get("namespace"), metadata["name"]
        )


def _compared(manifest: Mapping[str, Any], wanted: Mapping[str, Any], live: Mapping[str, Any], same: str) -> Change:
    fields = tuple(differences(wanted, live))
    if not fields:
        return Change(Action.UPDATE if manifest is wanted else Action.KEEP, manifest, same)
    more = f" and {len(fields) - SHOWN_FIELDS} more" if len(fields) > SHOWN_FIELDS else ""
    why = f"changes {', '.join(fields[:SHOWN_FIELDS])}{more}"
    if manifest["kind"] == "Deployment":
        rolls = any(path.startswith("spec.template") for path in fields)
        why += "; pods are replaced one by one" if rolls else "; no pod restarts"
    return Change(Action.UPDATE, manifest, why, fields)


def _purposes(spec: InferenceServiceSpec, settings: BatchSettings, origin: str, revision: str) -> dict[str, str]:
    requested = spec.scaling.requested_replicas
    first = spec.scaling.min_replicas if requested is None else requested
    return {
        "ServiceAccount": "an account without any right, for the pods",
        "ConfigMap": f"config.pbtxt of model revision {revision}: {settings_text(settings)} ({origin})",
        "NetworkPolicy": "who may reach the servers",
        "Service": "one address for all replicas",
        "PodDisruptionBudget": "a node drain takes one replica at a time",
        "Deployment": f"the servers; starts with {count(first, 'replica')}",
        "PodMonitor": "for the Prometheus operator",
    }


async def _dry_run(kube: Kube, resource: Mapping[str, Any]) -> None:
    metadata = resource["metadata"]
    path = resource_path(resource["apiVersion"], resource["kind"], metadata.get("namespace"), metadata["name"])
    query = {"fieldManager": "throughline-plan", "force": "true", "dryRun": "All", "fieldValidation": "Strict"}
    await kube.request("PATCH", path, query=query, body=resource, content_type="application/apply-patch+yaml")


def _options(settings: operator_settings.Settings, *, monitors: bool) -> RenderOptions:
    wanted = settings.pod_monitor == "always" or (settings.pod_monitor == "auto" and monitors)
    return RenderOptions(
        default_image=settings.default_triton_image,
        operator_namespace=settings.operator_namespace,
        prometheus_namespaces=settings.metrics_readers,
        pod_monitor=wanted,
        pod_monitor_labels=settings.monitor_labels,
        pod_ids=settings.ids_of_pods,
    )


def _reference(api_version: str, kind: str, namespace: str, name: str) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"namespace": namespace, "name": name}}


def _surges(deployment: Mapping[str, Any]) -> bool:
    rolling = ((deployment.get("spec") or {}).get("strategy") or {}).get("rollingUpdate") or {}
    return rolling.get("maxSurge") not in {0, "0", "0%"}
