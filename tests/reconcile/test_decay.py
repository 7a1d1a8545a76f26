"""A model that was good and is no more: the one before serves again, or a Job makes a better one."""

from __future__ import annotations

from tests.domain.evaluation.cases import digest
from tests.reconcile.judging import FILES, Scene

CRON_JOB = {
    "apiVersion": "batch/v1",
    "kind": "CronJob",
    "metadata": {"name": "retrain", "namespace": "default"},
    "spec": {
        "schedule": "0 0 1 1 *",
        "suspend": True,
        "jobTemplate": {"metadata": {"labels": {"team": "ml"}}, "spec": {"template": {"spec": {"containers": []}}}},
    },
}


async def test_a_model_that_decayed_gives_way_to_the_one_before_where_that_is_declared(scene: Scene) -> None:
    scene.declare(onDecay="RollBack")
    await scene.judge()
    scene.declare(uri="pvc://models/newer", generation=2, onDecay="RollBack")
    scene.world.now += 60
    await scene.judge(artifact={**FILES, "digest": digest("b")})
    assert scene.served() == "newer/1"
    scene.suite("s", ("spec/minimumSliceSize", 77))
    await scene.judge("Failed", exit_code=1, message="too low", artifact={**FILES, "digest": digest("b")})
    assert scene.served() == "m/1"
    assert scene.world.conditions()["AccuracyPassing"] == ("False", "RevisionHeldBack")


async def test_decay_starts_one_job_for_each_run_that_failed(scene: Scene) -> None:
    declared = {"onDecay": "StartJob", "retrainingCronJob": "retrain"}
    scene.declare(**declared)
    await scene.judge()
    scene.suite("s", ("spec/minimumSliceSize", 77))
    await scene.judge("Failed", exit_code=1, message="too low")
    assert scene.all("Job") == []
    assert {e["reason"] for e in scene.world.kube.events} >= {"CronJobNotFound"}
    scene.world.add(CRON_JOB)
    await scene.passes()
    (job,) = scene.all("Job")
    (_, run) = scene.all("EvaluationRun")
    assert job["metadata"]["labels"] == {"team": "ml", "throughline.io/retraining-after": run["metadata"]["name"]}
    assert job["metadata"]["ownerReferences"][0]["name"] == "retrain"
    assert f"Job {job['metadata']['name']} was started" in scene.world.message("AccuracyPassing")
    scene.world.remove("Job", "default", job["metadata"]["name"])
    writes = list(scene.world.kube.writes)
    scene.restart()
    await scene.passes()
    assert scene.all("Job") == []
    assert scene.world.kube.writes == writes


async def test_a_model_that_never_was_good_starts_none(scene: Scene) -> None:
    scene.world.add(CRON_JOB)
    scene.declare(gate="Report", onDecay="StartJob", retrainingCronJob="retrain")
    await scene.judge("Failed", exit_code=1, message="too low")
    assert scene.world.conditions()["AccuracyPassing"] == ("False", "BoundMissed")
    assert scene.all("Job") == []
