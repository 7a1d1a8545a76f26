"""What the operator would see: its own settings, its options, and the objects of one service, read once."""

from __future__ import annotations

import argparse
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import structlog
from pydantic import ValidationError

from throughline import settings as operator_settings
from throughline.api.base import API_VERSION
from throughline.cli.cluster import NoClusterError
from throughline.domain.manifests import SERVICE_LABEL, label_value
from throughline.domain.observed import Unavailable
from throughline.ports import ApiError
from throughline.reconcile.cluster import Cluster
from throughline.reconcile.context import Deps
from throughline.reconcile.evaluation.guard import ApprovalGuard
from throughline.reconcile.watched import CHILDREN, EVALUATION, POD_MONITOR
from throughline.runtime.store import Store, version_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, MutableMapping, Sequence

    from throughline.adapters.kube import Kube
    from throughline.ports import Page, TritonPort
    from throughline.reconcile.context import Hooks

FORBIDDEN, NOT_FOUND = 403, 404
OPERATOR_SELECTOR = "app.kubernetes.io/part-of=throughline,app.kubernetes.io/component=operator"
# Of the operator's settings all but those of its way to Prometheus: some of these need a Secret or each other.
SETTINGS = tuple(
    name
    for name in operator_settings.Settings.model_fields
    if not name.startswith("prometheus_") or name == "prometheus_namespaces"
)
WRITES_NOTHING = "plan writes nothing"
NO_METRICS = Unavailable(
    "PrometheusUnreachable", "plan asks no Prometheus, and shows settings and replicas as they are in force"
)


@dataclass(slots=True)
class Reading:
    """One reading of a cluster, or of none. `notes`: what could not be read, and what was taken instead."""

    kube: Kube | None
    given: Mapping[str, str] = field(default_factory=dict)  # settings that the command line names
    notes: list[str] = field(default_factory=list)
    store: Store = field(default_factory=Store)
    settings: operator_settings.Settings = field(default_factory=operator_settings.Settings)
    pod_monitors: bool = False

    async def begin(self) -> None:
        """What the operator was installed with, the pools, and the nodes."""
        if self.kube is None:
            self.notes.append("no cluster is asked: an operator with default settings is assumed")
            self.settings = operator_settings.load(self.given, {})
            return
        if not await self.kube.serves(API_VERSION, "InferenceService"):
            raise NoClusterError("the cluster has no InferenceService resource: install Throughline first")
        self.settings = await self._installed(self.kube)
        self.pod_monitors = await self.kube.serves(*POD_MONITOR)
        for pool in await self.kube.list(API_VERSION, "ServingPool"):
            self.store.put(pool)
        await self._list_if_allowed("v1", "Node", "free capacity is not known")
        await self._list_if_allowed(API_VERSION, "InferenceService", "what others hold of a pool is not known")

    async def service(self, namespace: str, name: str) -> None:
        """The objects of one service, and what it is judged by."""
        if self.kube is None:
            return
        kinds = [*CHILDREN, POD_MONITOR] if self.pod_monitors else CHILDREN
        selector = f"{SERVICE_LABEL}={label_value(name)}"
        for version, kind in kinds:
            for found in await self.kube.list(version, kind, namespace, label_selector=selector):
                self.store.put(found)
        for version, kind, label in EVALUATION:
            await self._list_if_allowed(version, kind, "the gate is judged without", namespace, label)

    def declare(self, resource: Mapping[str, Any]) -> None:
        """A resource of the files, as if it were on the cluster."""
        metadata = resource["metadata"]
        if not metadata.get("name"):
            return
        live = self.store.get(resource["kind"], metadata.get("namespace"), metadata["name"]) or {"metadata": {}}
        known = {"uid": "", "creationTimestamp": "", **live["metadata"], **metadata}
        self.store.put({**live, **resource, "metadata": {**known, "resourceVersion": str(version_of(live) + 1)}})

    def deps(self) -> Deps:
        """For the operator's own functions; what would write fails."""
        kube = _Reads(self.kube, capacity=next(self.store.all("Node"), None) is not None)
        return Deps(
            kube=kube,
            triton=cast("TritonPort", None),  # without the key of its control API no server is asked
            objects=self.store,
            cluster=Cluster(kube, self.store, time.monotonic),
            guard=ApprovalGuard(kube, time.monotonic),
            hooks=cast("Hooks", None),  # counters of the runtime
            options=self.settings.render_options(pod_monitors=self.pod_monitors),
            frame=lambda: NO_METRICS,
        )

    async def get(self, resource: Mapping[str, Any]) -> dict[str, Any] | None:
        """The object of that name on the cluster."""
        metadata = resource["metadata"]
        if self.kube is None or not metadata.get("name"):
            return None
        return await self.kube.get(
            resource["apiVersion"], resource["kind"], metadata.get("namespace"), metadata["name"]
        )

    async def _installed(self, kube: Kube) -> operator_settings.Settings:
        try:
            deployments = await kube.list("apps/v1", "Deployment", label_selector=OPERATOR_SELECTOR)
        except ApiError as error:
            if error.status != FORBIDDEN:
                raise
            deployments = []
        if not deployments:
            self.notes.append("the operator's own settings could not be read; defaults are assumed")
            return operator_settings.load(self.given, {})
        try:
            return operator_settings.load({**_of_deployment(deployments[0]), **self.given}, {})
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
            self.notes.append(
                f"this version does not take the operator's own settings, so defaults are taken: {problems}"
            )
            return operator_settings.load(self.given, {})

    async def _list_if_allowed(
        self, version: str, kind: str, without: str, namespace: str | None = None, selector: str = ""
    ) -> None:
        assert self.kube is not None  # noqa: S101 - for the type checker
        try:
            found = await self.kube.list(version, kind, namespace, label_selector=selector)
        except ApiError as error:
            if error.status == FORBIDDEN:
                self.notes.append(f"you may not list {kind}s: {without}")
            elif error.status != NOT_FOUND:  # the CRD of a version before or after this one
                raise
            return
        for each in found:
            self.store.put(each)


@contextmanager
def warnings_in(notes: list[str]) -> Iterator[None]:
    """What the operator would log as a warning is a note of the plan; the rest of its log is nobody's here."""
    before = structlog.get_config()

    def note(_logger: object, method: str, event: MutableMapping[str, Any]) -> str:
        if method in {"warning", "error"}:
            details = ", ".join(f"{k}: {v}" for k, v in event.items() if k != "event")
            text = f"{event['event']} ({details})" if details else str(event["event"])
            if text not in notes:
                notes.append(text)
        raise structlog.DropEvent

    structlog.configure(processors=[note])
    try:
        yield
    finally:
        structlog.configure(**before)


def _of_deployment(deployment: Mapping[str, Any]) -> dict[str, str]:
    """The settings of the operator's container: flags first, then the environment."""
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    environ = {e["name"]: e["value"] for e in container.get("env") or [] if e.get("value")}
    found = {name: environ.get(operator_settings.PREFIX + name.upper()) for name in SETTINGS}
    found["operator_namespace"] = found["operator_namespace"] or deployment["metadata"]["namespace"]
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    operator_settings.add_flags(parser)
    flags, _ = parser.parse_known_args([str(a) for a in container.get("args") or ()])
    found |= {name: vars(flags)[name] for name in SETTINGS if vars(flags)[name] is not None}
    return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class _Reads:
    """KubePort, of which only the reads are there. `capacity`: whether nodes are known, so that pods are of use."""

    kube: Kube | None
    capacity: bool

    async def get(self, api_version: str, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None:
        return None if self.kube is None else await self.kube.get(api_version, kind, namespace, name)

    async def list(
        self, api_version: str, kind: str, namespace: str | None = None, *, label_selector: str = ""
    ) -> Sequence[dict[str, Any]]:
        if self.kube is None:
            return ()
        return await self.kube.list(api_version, kind, namespace, label_selector=label_selector)

    async def pages(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[Page]:
        if self.kube is None or not self.capacity:
            raise ApiError(FORBIDDEN, "Forbidden", "no node is known")
        selectors = {"label_selector": label_selector, "field_selector": field_selector}
        async for page in self.kube.pages(api_version, kind, namespace, **selectors):
            yield page

    async def log(self, namespace: str, pod: str, container: str) -> str:
        return "" if self.kube is None else await self.kube.log(namespace, pod, container)

    async def apply(self, *_: object, **__: object) -> dict[str, Any]:
        raise RuntimeError(WRITES_NOTHING)

    async def delete(self, *_: object, **__: object) -> None:
        raise RuntimeError(WRITES_NOTHING)

    async def emit(self, *_: object, **__: object) -> None:
        raise RuntimeError(WRITES_NOTHING)
