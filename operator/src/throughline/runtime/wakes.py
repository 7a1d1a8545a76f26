"""Which keys are to be looked at when an object has changed. No rule here says what has changed: a look tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from throughline.domain.manifests import POOL_LABEL, SERVICE_LABEL, label_value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from throughline.reconcile.context import Key
    from throughline.runtime.queue import WorkQueue
    from throughline.runtime.store import Store

CHILD_DELAY_SECONDS = 0.2  # a rollout changes pods and Deployment many times a second; one look tells it all
POOL_DELAY_SECONDS = 2.0
OF_EVALUATION = frozenset({"Job", "EvaluationRun", "ModelRevision"})


@dataclass(slots=True)
class Wakes:
    """The rules, over the queues that they fill."""

    store: Store
    services: WorkQueue[Key]
    evaluations: WorkQueue[Key]
    pools: WorkQueue[str]
    _labels: dict[Key, str] = field(default_factory=dict, init=False)  # (namespace, label value) → name

    def __call__(self, obj: Mapping[str, Any]) -> None:
        kind, metadata = obj["kind"], obj["metadata"]
        namespace, name = metadata.get("namespace") or "", metadata["name"]
        if kind == "InferenceService":
            self._labels[(namespace, label_value(name))] = name
            self._both((namespace, name))
            pool = (obj.get("status") or {}).get("pool")
            if pool:
                self.pools.add(pool, POOL_DELAY_SECONDS)
        elif kind == "ServingPool":
            self.pools.add(name)
            self._all(lambda spec: _names(spec.get("placement"), "pools", name))
        elif kind == "Node":
            for _, pool in self.store.names("ServingPool"):
                self.pools.add(pool, POOL_DELAY_SECONDS)
        elif kind == "EvaluationSuite":
            self._all(lambda spec: _names(spec.get("evaluation"), "suites", name), namespace)
        elif kind == "ModelApproval":
            self._both((namespace, (obj.get("spec") or {}).get("service") or ""))
        else:
            self._owner(kind, namespace, metadata.get("labels") or {})

    def _both(self, key: Key) -> None:
        self.services.add(key)
        self.evaluations.add(key)

    def _owner(self, kind: str, namespace: str, labels: Mapping[str, str]) -> None:
        label = labels.get(SERVICE_LABEL, "")
        key = (namespace, self._labels.get((namespace, label), label))
        if kind in OF_EVALUATION:
            self._both(key)
            return
        self.services.add(key, CHILD_DELAY_SECONDS)
        if POOL_LABEL in labels:
            self.pools.add(labels[POOL_LABEL], POOL_DELAY_SECONDS)

    def _all(self, concerned: Callable[[Mapping[str, Any]], bool], namespace: str | None = None) -> None:
        """Services whose spec says so."""
        for service in self.store.all("InferenceService"):
            metadata = service["metadata"]
            if namespace in {None, metadata["namespace"]} and concerned(service.get("spec") or {}):
                self._both((metadata["namespace"], metadata["name"]))


def _names(part: Mapping[str, Any] | None, items: str, name: str) -> bool:
    """Whether one of the items has the name. What the API server let through may still be of another version."""
    return any(isinstance(i, dict) and i.get("name") == name for i in (part or {}).get(items) or ())
