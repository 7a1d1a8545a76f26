"""The world in memory: an API server with server-side apply per field manager, and Triton servers that answer."""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from throughline.adapters.triton import parse_settings
from throughline.domain.manifests import RenderOptions
from throughline.domain.observed import LiveQueue, MetricsFrame, PodMetrics, Unavailable
from throughline.ports import ApiError, Page, Proof, TritonError, TritonRefused
from throughline.reconcile.cluster import Cluster
from throughline.reconcile.context import Deps, Tuning
from throughline.reconcile.evaluation.guard import ApprovalGuard
from throughline.runtime.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from throughline.api.batching import BatchSettings
    from throughline.domain.observed import BatchStatistic

NOW = 1_700_000_000.0
KEYS = {"containers": "name", "initContainers": "name", "env": "name", "volumes": "name"}
SERVICE = "throughline.io/inferenceservice"


def merge(live: Any, old: Any, new: Any) -> Any:
    """Server-side apply of `new` by a manager that applied `old` before: maps merge, lists are replaced."""
    if not isinstance(new, dict):
        return copy.deepcopy(new)
    result = dict(live) if isinstance(live, dict) else {}
    for name in (old or {}) if isinstance(old, dict) else ():
        if name not in new:
            result.pop(name, None)
    for name, value in new.items():
        result[name] = merge(result.get(name), (old or {}).get(name) if isinstance(old, dict) else None, value)
    return result


def fields_of(name: str, value: Any) -> dict[str, Any]:
    """Of what was applied, as FieldsV1: lists that are merged by a key in their items, all others as a whole."""
    if isinstance(value, dict):
        return {f"f:{k}": fields_of(k, v) for k, v in value.items()}
    key = KEYS.get(name)
    if not isinstance(value, list) or key is None:
        return {}
    return {f"k:{json.dumps({key: item[key]})}": {".": {}, **fields_of("", item)} for item in value}


def _spec_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return fields_of("", {"spec": manifest.get("spec", {})})


def edited(name: str, before: Any, after: Any) -> Any:
    """The parts of `after` that `before` says otherwise."""
    if isinstance(before, dict) and isinstance(after, dict):
        return {k: edited(k, before.get(k), v) for k, v in after.items() if before.get(k) != v}
    key = KEYS.get(name)
    if key is None or not isinstance(before, list) or not isinstance(after, list):
        return after
    known = {item[key]: item for item in before}
    return [{key: i[key], **edited("", known.get(i[key], {}), i)} for i in after if known.get(i[key]) != i]


def without(fields: dict[str, Any], taken: dict[str, Any]) -> dict[str, Any]:
    """What is left of owned fields when others have taken some over."""
    left = {}
    for name, below in fields.items():
        if name not in taken or name == ".":
            left[name] = below
        elif taken[name] and (rest := without(below, taken[name])):
            left[name] = rest
    return left


class FakeKube:
    """KubePort. `writes` is what an audit log would show, `admission` what changes an object before it is stored."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.applied: dict[tuple[tuple[str, str, str], str, str], dict[str, Any]] = defaultdict(dict)
        self.writes: list[tuple[str, str, str]] = []  # (verb, kind, name)
        self.reads: list[tuple[str, str]] = []
        self.events: list[dict[str, Any]] = []
        self.logs: dict[tuple[str, str], str] = {}  # (namespace, pod)
        self.edits: dict[tuple[str, str, str], dict[str, Any]] = {}  # what somebody else wrote, as FieldsV1
        self.admission: Callable[[dict[str, Any]], None] = lambda _obj: None
        self.fail: Callable[[str, str, str], ApiError | None] = lambda _verb, _kind, _name: None
        self._version = 100

    def _next(self) -> str:
        self._version += 1
        return str(self._version)

    def _write(self, verb: str, kind: str, name: str) -> None:
        error = self.fail(verb, kind, name)
        if error is not None:
            raise error
        self.writes.append((verb, kind, name))

    def seed(self, obj: dict[str, Any]) -> dict[str, Any]:
        """An object that somebody else made, or changed."""
        obj = copy.deepcopy(obj)
        metadata = obj["metadata"]
        metadata.setdefault("uid", f"uid-{obj['kind']}-{metadata['name']}")
        metadata.setdefault("creationTimestamp", "2023-11-14T22:13:20Z")  # NOW
        metadata["resourceVersion"] = self._next()
        self.objects[(obj["kind"], metadata.get("namespace", ""), metadata["name"])] = obj
        return obj

    async def get(self, api_version: str, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None:
        self.reads.append((kind, name))
        ref = (kind, namespace or "", name)
        return self._told(ref) if ref in self.objects else None

    def _told(self, ref: tuple[str, str, str]) -> dict[str, Any]:
        """The object as a reply shows it: with whose each field is."""
        found = copy.deepcopy(self.objects[ref])
        edits = self.edits.get(ref, {})
        managers = [
            {"manager": manager, "operation": "Apply", "fieldsV1": without(_spec_of(fields), edits)}
            for (of, manager, subresource), fields in self.applied.items()
            if of == ref and not subresource
        ]
        if managers and edits:
            managers.append({"manager": "kubectl-edit", "operation": "Update", "fieldsV1": edits})
        if managers:
            found["metadata"].setdefault("managedFields", managers)
        return found

    async def list(
        self, api_version: str, kind: str, namespace: str | None = None, *, label_selector: str = ""
    ) -> Sequence[dict[str, Any]]:
        self.reads.append((kind, "*"))
        wanted = [part.partition("=") for part in label_selector.split(",") if part]
        return [
            copy.deepcopy(o)
            for (k, ns, _), o in self.objects.items()
            if k == kind
            and (namespace is None or ns == namespace)
            and all(
                labels.get(key) == value if equals else key in labels
                for labels in [o["metadata"].get("labels") or {}]
                for key, equals, value in wanted
            )
        ]

    async def pages(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[Page]:
        yield Page(await self.list(api_version, kind, namespace), str(self._version))

    async def apply(self, manifest: Mapping[str, Any], *, field_manager: str, subresource: str = "") -> dict[str, Any]:
        metadata, kind = manifest["metadata"], manifest["kind"]
        self._write("apply", f"{kind}/{subresource}" if subresource else kind, metadata["name"])
        ref = (kind, metadata.get("namespace", ""), metadata["name"])
        live = self.objects.get(ref)
        if live is None and subresource:
            raise ApiError(404, "NotFound", f"{kind} {metadata['name']} not found")
        fields = copy.deepcopy(dict(manifest)) if not subresource else {subresource: manifest[subresource]}
        for server_owned in ("uid", "resourceVersion"):
            fields.get("metadata", {}).pop(server_owned, None)
        merged = merge(live or {}, self.applied[(ref, field_manager, subresource)], fields)
        if live is None and kind == "Deployment":
            merged["spec"].setdefault("replicas", 1)
        self.admission(merged)
        if live is not None and merged == live:
            return self._told(ref)
        self.applied[(ref, field_manager, subresource)] = fields
        self.edits.pop(ref, None)
        self.seed(merged)
        return self._told(ref)

    async def serves(self, api_version: str, kind: str) -> bool:
        return kind != "PodMonitor"

    async def dry_run(self, manifest: Mapping[str, Any], *, field_manager: str) -> dict[str, Any]:
        tried = copy.deepcopy({k: v for k, v in vars(self).items() if k not in {"fail", "admission", "events"}})
        before, vars(self)["fail"] = vars(self)["fail"], lambda *_: None
        try:
            return await self.apply(manifest, field_manager=field_manager)
        finally:
            vars(self).update(tried, fail=before)

    async def delete(self, api_version: str, kind: str, namespace: str | None, name: str, *, uid: str = "") -> None:
        self._write("delete", kind, name)
        self.objects.pop((kind, namespace or "", name), None)

    async def log(self, namespace: str, pod: str, container: str) -> str:
        if (namespace, pod) not in self.logs:
            raise ApiError(404, "NotFound", f"pod {pod} not found")
        return self.logs[(namespace, pod)]

    async def emit(self, regarding: Mapping[str, Any], *, type_: str, reason: str, message: str, action: str) -> None:
        self.events.append({"type": type_, "reason": reason, "message": message, "action": action})


class FakeTriton:
    """TritonPort. Each address has the settings that its last load gave it."""

    def __init__(self) -> None:
        self.loaded: dict[str, BatchSettings] = {}
        self.loads: list[tuple[str, dict[str, Any]]] = []
        self.calls: list[tuple[str, str]] = []
        self.refuse: Callable[[str, Mapping[str, Any]], str | None] = lambda _ip, _config: None
        self.down: set[str] = set()
        self.probe_error: str | None = None
        self.index_error: str | None = None
        self.server_version = "2.60.0"
        self.proof: Callable[[BatchSettings, int], Proof] = lambda _loaded, rows: Proof(rows)
        self.together: Callable[[Proof], Proof] = lambda proof: proof

    def _reach(self, what: str, ip: str) -> None:
        self.calls.append((what, ip))
        if ip in self.down:
            raise TritonError(f"{what} at {ip}: refused")

    async def load(self, ip: str, model: str, config: Mapping[str, Any], *, key: str) -> None:
        self._reach("load", ip)
        assert key, "the control API is behind a key"
        refusal = self.refuse(ip, config)
        if refusal:
            raise TritonRefused(refusal)
        assert {"name", "backend", "max_batch_size", "instance_group"} <= config.keys(), "a partial config breaks it"
        self.loads.append((ip, dict(config)))
        self.loaded[ip] = parse_settings(config)

    async def version(self, ip: str) -> str:
        self._reach("version", ip)
        return self.server_version

    async def settings(self, ip: str, model: str, *, key: str) -> BatchSettings:
        self._reach("settings", ip)
        return self.loaded[ip]

    async def probe(self, ip: str, model: str, version: int) -> None:
        self._reach("probe", ip)
        if self.probe_error:
            raise TritonRefused(self.probe_error)

    async def prove(self, ip: str, model: str, version: int, rows: int) -> Proof:
        self._reach("prove", ip)
        return self.proof(self.loaded[ip], rows)

    async def prove_together(self, ip: str, model: str, version: int, proof: Proof) -> Proof:
        self._reach("prove_together", ip)
        return self.together(proof)

    async def statistics(self, ip: str, model: str) -> Sequence[BatchStatistic]:
        self._reach("statistics", ip)
        return ()

    async def queue(self, ip: str, model: str) -> LiveQueue:
        self._reach("queue", ip)
        return LiveQueue(pending=3, cancelled=0)

    async def load_error(self, ip: str, model: str, *, key: str) -> str | None:
        self._reach("load_error", ip)
        return self.index_error


class Hooks:
    def decided(self, action: str) -> None: ...
    def transitioned(self, type_: str, status: str) -> None: ...
    def evaluated(self, outcome: str) -> None: ...
    def observed(self, key: Any, conditions: Any) -> None: ...
    def forgotten(self, key: Any) -> None: ...


class World:
    """A cluster with one pool, and the store that watches would keep."""

    def __init__(self, kube: FakeKube | None = None) -> None:
        self.kube, self.triton, self.store = kube or FakeKube(), FakeTriton(), Store()
        self.now = NOW
        self.metrics: MetricsFrame | Unavailable = MetricsFrame(NOW, 60)
        self.deps = Deps(
            kube=self.kube,
            triton=self.triton,
            objects=self.store,
            cluster=Cluster(self.kube, self.store, lambda: self.now),
            guard=ApprovalGuard(self.kube, lambda: self.now),
            hooks=Hooks(),
            options=RenderOptions(default_image="triton:test", operator_namespace="throughline"),
            frame=lambda: self.metrics,
            tuning=Tuning(),
            clock=lambda: self.now,
        )
        self.add(node("n1"))
        self.add(pool("gpu"))

    def add(self, obj: dict[str, Any]) -> dict[str, Any]:
        """Into the API server by somebody else, and seen by the watch."""
        ref = (obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        if ref in self.kube.objects:
            before = self.kube.objects[ref].get("spec", {})
            self.kube.edits[ref] = fields_of("", edited("", {"spec": before}, {"spec": obj.get("spec", {})}))
        stored = self.kube.seed(obj)
        self.store.put(stored)
        return stored

    def remove(self, kind: str, namespace: str, name: str) -> None:
        gone = self.kube.objects.pop((kind, namespace, name))
        self.store.delete({**gone, "metadata": {**gone["metadata"], "resourceVersion": self.kube._next()}})

    def live(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any]:
        return copy.deepcopy(self.kube.objects[(kind, namespace, name)])

    def sync(self) -> None:
        """The watch catches up with the API server."""
        for obj in self.kube.objects.values():
            self.store.put(obj)

    def conditions(self, name: str = "m") -> dict[str, tuple[str, str]]:
        found = self.live("InferenceService", name)["status"]["conditions"]
        return {c["type"]: (c["status"], c["reason"]) for c in found}

    def message(self, type_: str, name: str = "m") -> str:
        found = self.live("InferenceService", name)["status"]["conditions"]
        return next(c["message"] for c in found if c["type"] == type_)


def node(name: str, gpus: int = 4) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"pool": "gpu", "kubernetes.io/arch": "amd64"}},
        "spec": {},
        "status": {
            "allocatable": {"cpu": "8", "memory": "32Gi", "pods": "110", "nvidia.com/gpu": str(gpus)},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pool(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "throughline.io/v1alpha1",
        "kind": "ServingPool",
        "metadata": {"name": name, "generation": 1},
        "spec": {
            "nodeSelector": {"pool": "gpu"},
            "accelerator": {"resource": "nvidia.com/gpu"},
            "costPerHour": "2",
            **spec,
        },
    }


def service(name: str = "m", *, generation: int = 1, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "throughline.io/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "default", "generation": generation},
        "spec": {
            "model": {"storage": {"uri": "pvc://models/m"}, "backend": "python"},
            "slo": {"latencyP99Milliseconds": 100},
            "placement": {"pools": [{"name": "gpu"}]},
            **spec,
        },
    }


def pod(name: str, revision: str, *, ip: str, owner: str = "m", ready: bool = True, **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {SERVICE: owner, "throughline.io/revision": revision, "pod-template-hash": "h1"},
        },
        "spec": {
            "nodeName": "n1",
            "containers": [{"name": "triton", "resources": {"requests": {"nvidia.com/gpu": "1"}}}],
        },
        "status": {
            "phase": "Running",
            "podIP": ip,
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {
                    "type": "Ready",
                    "status": "True" if ready else "False",
                    "lastTransitionTime": "2023-11-14T20:00:00Z",
                },
            ],
            "containerStatuses": [
                {
                    "name": "triton",
                    "ready": ready,
                    "restartCount": 0,
                    "containerID": f"containerd://{name}",
                    "state": {"running": {}},
                }
            ],
            **status,
        },
    }


def metrics(rate: float = 100.0, **changes: Any) -> PodMetrics:
    values: dict[str, Any] = {
        "success_rate": rate,
        "failure_rate": 0.0,
        "items_rate": rate,
        "executions_rate": rate,
        "request_us_rate": rate * 5000,
        "queue_us_rate": rate * 500,
        "compute_us_rate": rate * 4200,
        "pending": 0.0,
        "pending_growth_rate": 0.0,
        "p99_us": 8000.0,
        "age_seconds": 3.0,
    }
    return PodMetrics(**{**values, **changes})
