"""From the build of before to this one: no pod is replaced, plan says so, and the operator does as plan says."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from throughline.cli.plan import _summary
from throughline.domain.changes import Action
from throughline.domain.manifests import Identity, render_secret
from throughline.domain.ownership import FIELD_MANAGER

from tests.cli.planned import PlanKube, installed, made
from tests.cli.test_plan_is_the_operators import IMAGES, NAMES, declared, done, foretold
from tests.reconcile.fakes import World
from tests.reconcile.judging import Scene
from tests.reconcile.test_monitoring import salted

# Written by the code of 0.1.0, in the world in memory.
LEFT = Path(__file__).parent / "upgrade" / "0.1.0.yaml"
MADE_BY_THE_SERVER = ("uid", "creationTimestamp", "resourceVersion")
RECORDS = {"EvaluationRun", "ModelRevision"}


@pytest.fixture
def scene() -> Scene:
    scene = Scene(World(PlanKube()))
    installed(scene.world, **IMAGES)
    salted(scene)
    for left in yaml.safe_load_all(LEFT.read_text()):
        scene.world.add(left)
        if "ownerReferences" in left["metadata"] and left["kind"] not in RECORDS:
            ref = (left["kind"], "default", left["metadata"]["name"])
            scene.world.kube.applied[(ref, FIELD_MANAGER, "")] = as_applied(left)
    for name in NAMES:
        owner = scene.world.live("InferenceService", name)["metadata"]
        scene.world.kube.seed(render_secret(Identity(name=name, namespace="default", uid=owner["uid"]), "k" * 40))
    scene.restart()
    return scene


def as_applied(left: dict[str, Any]) -> dict[str, Any]:
    manifest = copy.deepcopy({k: v for k, v in left.items() if k != "status"})
    for name in MADE_BY_THE_SERVER:
        manifest["metadata"].pop(name, None)
    if manifest["kind"] == "Deployment":
        manifest["spec"].pop("replicas", None)
    return manifest


def specs(scene: Scene) -> dict[str, Any]:
    return {name: copy.deepcopy(scene.world.live("Deployment", name)["spec"]) for name in NAMES}


@pytest.mark.parametrize("image", ["evaluator:1", "evaluator:2"])
async def test_no_pod_is_replaced_and_plan_says_exactly_that(scene: Scene, image: str) -> None:
    installed(scene.world, **{**IMAGES, "evaluator_image": image})
    before, files = specs(scene), declared(scene)
    plan = await made(scene.world, *files)
    assert plan.replaced == []
    assert _summary(plan).endswith("; no pod is replaced")
    changed = {(c.kind, c.name): c.why for c in plan.changes if c.action is not Action.KEEP}
    marked = "only the mark of what was applied last is renewed; no pod is replaced"
    assert {name: changed.pop(("Deployment", name)) for name in NAMES} == dict.fromkeys(NAMES, marked)
    assert set(changed) == {("CronJob", "sampled-monitoring")}
    assert await done(scene, files) == foretold(plan)
    assert specs(scene) == before
    assert {c.action for c in (await made(scene.world, *files)).changes} == {Action.KEEP}
