"""A cluster in memory for `throughline plan`: with the operator's own Deployment, and where writing is an error."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from throughline.cli.planning import Plan, plan_for
from throughline.cli.reading import Reading
from throughline.settings import load

from tests.reconcile.fakes import FakeKube, World

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from throughline.domain.changes import Change
    from throughline.ports import ApiError

OPERATOR_NAMESPACE = "throughline-system"


class PlanKube(FakeKube):
    """With discovery, dry runs of the files' own resources, and rights that may be missing."""

    def __init__(self) -> None:
        super().__init__()
        self.denied: dict[str, ApiError] = {}  # "get KIND", "list KIND", "dry run"
        self.dry_runs: list[str] = []
        self.kinds = {"InferenceService"}

    async def serves(self, api_version: str, kind: str) -> bool:
        return kind in self.kinds

    async def get(self, api_version: str, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None:
        if f"get {kind}" in self.denied:
            raise self.denied[f"get {kind}"]
        return await super().get(api_version, kind, namespace, name)

    async def list(
        self, api_version: str, kind: str, namespace: str | None = None, *, label_selector: str = ""
    ) -> Sequence[dict[str, Any]]:
        if f"list {kind}" in self.denied:
            raise self.denied[f"list {kind}"]
        return await super().list(api_version, kind, namespace, label_selector=label_selector)

    async def request(self, method: str, path: str, *, query: Mapping[str, str], **_: Any) -> dict[str, Any]:
        assert method == "PATCH"
        assert query["dryRun"] == "All"
        self.dry_runs.append(path)
        if "dry run" in self.denied:
            raise self.denied["dry run"]
        return {}


def operator(**env: str) -> dict[str, Any]:
    variables = [{"name": f"THROUGHLINE_{k.upper()}", "value": v} for k, v in env.items()]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "throughline",
            "namespace": OPERATOR_NAMESPACE,
            "labels": {"app.kubernetes.io/part-of": "throughline", "app.kubernetes.io/component": "operator"},
        },
        "spec": {"template": {"spec": {"containers": [{"name": "operator", "env": variables}]}}},
    }


def cluster(*objects: dict[str, Any], **env: str) -> World:
    """With an operator that was installed with these settings."""
    world = World(PlanKube())
    world.kube.seed(operator(**env))
    for each in objects:
        world.add(each)
    return world


def installed(world: World, **env: str) -> None:
    """The operator's Deployment, and what the operator renders with."""
    world.kube.seed(operator(**env))
    settings = load({"operator_namespace": OPERATOR_NAMESPACE, **env}, {})
    world.deps = replace(world.deps, options=settings.render_options(pod_monitors=False))


async def made(world: World | None, *resources: dict[str, Any], namespace: str = "vision", **given: str) -> Plan:
    """The plan for these resources; nothing is written on the way."""
    kube = world.kube if world is not None else None
    before = list(kube.writes) if kube is not None else []
    plan = await plan_for(resources, Reading(kube, given), namespace)  # type: ignore[arg-type]
    assert kube is None or kube.writes == before
    return plan


def actions(plan: Plan) -> dict[tuple[str, str], str]:
    return {(c.kind, c.name): c.action.value for c in plan.changes}


def change(plan: Plan, kind: str) -> Change:
    return next(c for c in plan.changes if c.kind == kind)
