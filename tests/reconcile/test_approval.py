"""Approvals against the world in memory: whose word counts, and of which files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from throughline.reconcile.evaluation.guard import LOOK_AGAIN_SECONDS

from tests.domain.evaluation.cases import digest
from tests.reconcile.judging import FILES, KEY, Scene, meta

if TYPE_CHECKING:
    from tests.reconcile.fakes import World

POLICY = Path(__file__).resolve().parents[2] / "manifests/approval/policy.yaml"


def install_policy(world: World) -> None:
    for document in yaml.safe_load_all(POLICY.read_text()):
        world.add(document)


def approve(scene: Scene, name: str, decision: str, files: str = FILES["digest"]) -> None:
    (revision,) = scene.all("ModelRevision")
    spec = {
        "service": "m", "revision": revision["metadata"]["name"], "artifactDigest": files, "decision": decision,
        "approvedBy": "ann", "reason": "as I see it",
    }  # fmt: skip
    metadata = {**meta(name), "creationTimestamp": f"2026-01-0{len(scene.all('ModelApproval')) + 1}T00:00:00Z"}
    made = {"apiVersion": "throughline.io/v1alpha1", "kind": "ModelApproval", "metadata": metadata, "spec": spec}
    scene.world.add(made)


async def test_no_approval_counts_while_the_policy_is_not_there(scene: Scene) -> None:
    scene.declare(approval="Required")
    await scene.judge()
    approve(scene, "yes", "Approved")
    await scene.passes()
    assert scene.served() is None
    assert "the admission policy of manifests/approval is not installed" in scene.world.message("AccuracyPassing")
    install_policy(scene.world)
    wait = await scene.evaluate(KEY)
    assert wait is not None
    assert wait <= LOOK_AGAIN_SECONDS, "nothing else would wake it"
    scene.world.now += wait
    await scene.passes()
    assert scene.served() == "m/1"


async def test_approval_of_these_very_files_lets_it_in_and_a_rejection_keeps_it_out(scene: Scene) -> None:
    install_policy(scene.world)
    scene.declare(approval="Required")
    await scene.judge()
    assert scene.world.conditions()["AccuracyPassing"] == ("Unknown", "AwaitingApproval")
    approve(scene, "of-others", "Approved", digest("f"))
    await scene.passes()
    assert scene.served() is None
    approve(scene, "no", "Rejected")
    await scene.passes()
    assert scene.world.conditions()["AccuracyPassing"] == ("False", "Rejected")
    assert scene.served() is None
    approve(scene, "yes", "Approved")
    await scene.passes()
    assert scene.served() == "m/1"
    assert scene.all("ModelRevision")[0]["status"]["approval"]["name"] == "yes"
