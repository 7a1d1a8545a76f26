"""The operator comes back with another image of the evaluator: serving pods stay, what runs next uses it."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.reconcile.fakes import service
from tests.reconcile.test_monitoring import MONITORING, declare, salted

if TYPE_CHECKING:
    from tests.reconcile.judging import Scene


def upgrade(scene: Scene, image: str) -> None:
    scene.world.deps = replace(scene.world.deps, options=replace(scene.world.deps.options, evaluator_image=image))
    scene.restart()


async def test_a_running_a_sampled_and_an_evaluated_service_keep_their_pods(scene: Scene) -> None:
    salted(scene)
    scene.world.add(service("plain"))
    scene.world.add(service("sampled", monitoring=MONITORING))
    scene.declare(loadCheck="Digest")
    for name in ("plain", "sampled"):
        await scene.serve(("default", name))
    await scene.judge()
    before = {d["metadata"]["name"]: copy.deepcopy(d) for d in scene.all("Deployment")}
    assert len(before) == 3
    assert before["m"]["spec"]["template"]["spec"]["initContainers"][1]["image"] == "evaluator:test"
    upgrade(scene, "evaluator:next")
    for name in ("plain", "sampled", "m"):
        await scene.serve(("default", name))
    assert {d["metadata"]["name"]: d for d in scene.all("Deployment")} == before
    (cron,) = scene.all("CronJob")
    (container,) = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "evaluator:next"


async def test_nothing_is_written_at_rest_on_the_form_of_before(scene: Scene) -> None:
    declare(scene, 1, MONITORING)
    await scene.passes()
    upgrade(scene, "evaluator:next")
    await scene.passes()
    writes = list(scene.world.kube.writes)
    scene.restart()
    await scene.passes()
    assert scene.world.kube.writes == writes
