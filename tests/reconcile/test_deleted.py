"""What somebody deletes is forgotten: nothing of it piles up, and what takes its place starts anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from throughline.ports import ApiError

from tests.reconcile.judging import KEY

if TYPE_CHECKING:
    from tests.reconcile.judging import Scene


async def test_nothing_is_kept_of_runs_and_records_that_were_deleted(scene: Scene) -> None:
    scene.declare()
    await scene.judge()
    gone = {(kind, o["metadata"]["name"]) for kind in ("EvaluationRun", "ModelRevision") for o in scene.all(kind)}
    reconciles = (scene.evaluate._states[KEY].service, scene.serve._states[KEY])
    assert all(state.parsed.keys() >= gone for state in reconciles)
    for kind, name in gone:
        scene.world.remove(kind, "default", name)
    scene.declare(uri="pvc://models/other", generation=2)
    await scene.passes()
    assert not any(state.parsed.keys() & gone for state in reconciles)


@pytest.mark.parametrize("kind", ["EvaluationRun", "ModelRevision"])
async def test_what_is_deleted_before_its_status_is_written_is_made_again(scene: Scene, kind: str) -> None:
    scene.declare()
    failed = []

    def gone(verb: str, what: str, name: str) -> ApiError | None:
        if (verb, what) != ("apply", f"{kind}/status") or failed:
            return None
        failed.append(name)
        del scene.world.kube.objects[(kind, "default", name)]
        return ApiError(404, "NotFound", "gone")

    scene.world.kube.fail = gone
    await scene.judge()
    assert failed
    assert scene.served() == "m/1"
