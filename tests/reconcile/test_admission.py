"""A mutating policy changes what is applied: the operator leaves it so, heals what people edit, and writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs
from throughline.reconcile.cluster import VIEW_SECONDS
from throughline.reconcile.service import ServiceReconciler

from tests.reconcile.fakes import node, service
from tests.reconcile.scene import KEY

if TYPE_CHECKING:
    from tests.reconcile.fakes import World


def mirrored(obj: dict[str, Any]) -> None:
    """A policy that takes images from a mirror, and injects a label, a default and a sidecar."""
    if obj["kind"] != "Deployment":
        return
    obj["metadata"].setdefault("labels", {})["team"] = "a"
    pod = obj["spec"]["template"]["spec"]
    pod["priorityClassName"] = "default"
    for container in pod["containers"]:
        container["image"] = f"mirror/{container['image'].removeprefix('mirror/')}"
    if all(c["name"] != "mesh" for c in pod["containers"]):
        pod["containers"].append({"name": "mesh", "image": "mirror/mesh"})


async def served(world: World) -> None:
    world.kube.admission = mirrored
    world.add(service())
    reconcile = ServiceReconciler(world.deps)
    for _ in range(3):
        await reconcile(KEY)
        world.sync()
    assert world.live("Deployment", "m")["spec"]["template"]["spec"]["containers"][0]["image"] == "mirror/triton:test"


async def restarted(world: World) -> list[tuple[str, str, str]]:
    """What an operator writes that has just come."""
    before = len(world.kube.writes)
    reconcile = ServiceReconciler(world.deps)
    for _ in range(3):
        world.sync()
        await reconcile(KEY)
    return world.kube.writes[before:]


async def test_what_admission_rewrites_is_left_and_said_once(world: World) -> None:
    with capture_logs() as lines:
        await served(world)
        assert await restarted(world) == []
    told = [line for line in lines if line["event"].startswith("admission rewrites")]
    assert [line["log_level"] for line in told] == ["warning", "warning"], "once by each operator"
    assert told[0]["fields"] == {"Deployment/m": ("spec.template.spec.containers[triton].image",)}


async def test_what_people_edit_is_healed_all_the_same(world: World) -> None:
    await served(world)
    live = world.live("Deployment", "m")
    grace = live["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    live["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 1
    world.add(live)
    assert ("apply", "Deployment", "m") in await restarted(world)
    assert world.live("Deployment", "m")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == grace


async def test_a_rewritten_image_does_not_change_the_strategy(world: World) -> None:
    """Nothing is to be rolled out, so that a pool without room is no reason to write."""
    await served(world)
    world.add(node("n1", gpus=1))
    world.now += VIEW_SECONDS
    assert [w for w in await restarted(world) if w[1] == "Deployment"] == []
