"""Evaluations against the world in memory: what is begun, taken over, kept out and let in; and nothing at rest."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from throughline.evaluator.job import result_line
from throughline.lineage import canonical
from throughline.ports import ApiError

from tests.domain.evaluation.cases import digest
from tests.reconcile.fakes import SERVICE, pod
from tests.reconcile.judging import FILES, KEY, Scene, meta

REVISION = "throughline.io/revision"


async def test_nothing_serves_before_it_has_passed(scene: Scene) -> None:
    scene.declare()
    await scene.passes()
    assert scene.served() is None
    assert scene.world.conditions()["Accepted"] == ("False", "AwaitingEvaluation")
    assert scene.world.conditions()["AccuracyPassing"] == ("Unknown", "NotEvaluated")
    assert [r["spec"]["reason"] for r in scene.all("EvaluationRun")] == ["Revision"]
    scene.end()
    await scene.passes()
    assert scene.served() == "m/1"
    assert scene.world.conditions()["AccuracyPassing"] == ("True", "AllPassed")
    (run,), (revision,) = scene.all("EvaluationRun"), scene.all("ModelRevision")
    assert (run["status"]["verdict"], run["status"]["metrics"][0]["value"]) == ("Passed", "0.9")
    stored = scene.world.live("ConfigMap", run["metadata"]["name"])["data"]["result.json"]
    assert canonical.digest_bytes(stored.encode()) == run["status"]["resultDigest"]
    assert (revision["spec"]["artifact"], revision["status"]["conditions"][0]["status"]) == (FILES, "True")
    assert scene.all("Job") == []
    assert KEY in scene.woken


async def test_a_worse_model_is_kept_out_and_the_old_one_serves_on(scene: Scene) -> None:
    scene.declare()
    await scene.judge()
    scene.declare(uri="pvc://models/worse", generation=2)
    await scene.judge("Failed", exit_code=1, message="accuracy is too low", artifact={**FILES, "digest": digest("b")})
    assert scene.served() == "m/1"
    assert scene.world.conditions()["AccuracyPassing"] == ("False", "RevisionHeldBack")
    assert "accuracy is too low" in scene.world.message("AccuracyPassing")
    assert scene.world.conditions()["Accepted"] == ("True", "Valid")
    ledger = scene.world.live("InferenceService", "m")["status"]["decisions"]
    assert [d["reason"] for d in ledger if d["action"] == "Evaluate"] == ["RevisionHeldBack", "AllPassed"]
    # Set back, the old one needs no new evaluation; a third that passes gets in.
    scene.declare(generation=3)
    await scene.passes()
    assert scene.world.conditions()["AccuracyPassing"] == ("True", "AllPassed")
    assert len(scene.all("EvaluationRun")) == 2
    scene.declare(uri="pvc://models/better", generation=4)
    await scene.judge(artifact={**FILES, "digest": digest("c")})
    assert scene.served() == "better/1"


async def test_with_gate_report_it_serves_at_once_and_the_verdict_is_only_said(scene: Scene) -> None:
    scene.declare(gate="Report")
    await scene.passes()
    assert scene.served() == "m/1"
    scene.end("Failed", exit_code=1, message="accuracy is too low")
    await scene.passes()
    assert scene.world.conditions()["AccuracyPassing"] == ("False", "BoundMissed")
    assert scene.served() == "m/1"


async def test_nothing_is_written_at_rest_nor_after_a_restart(scene: Scene) -> None:
    scene.declare()
    await scene.judge()
    before = list(scene.world.kube.writes)
    await scene.passes()
    scene.restart()
    await scene.passes()
    assert scene.world.kube.writes == before


async def test_nothing_is_written_while_the_evaluator_works(scene: Scene) -> None:
    scene.declare()
    await scene.passes()
    scene.pod(scene.job, "p", {"running": {}})
    await scene.passes(1)
    before = list(scene.world.kube.writes)
    await scene.passes()
    assert scene.world.kube.writes == before
    (run,) = scene.all("EvaluationRun")
    assert run["status"]["conditions"][0]["reason"] == "Running"


@pytest.mark.parametrize("stage", ["EvaluationRun", "Job", "EvaluationRun/status", "ConfigMap", "ModelRevision"])
async def test_a_crash_after_any_write_leads_to_the_same_one_result(scene: Scene, stage: str) -> None:
    """The write went through and its writer died; its successor knows nothing."""
    scene.declare()
    failed = []
    apply = scene.world.kube.apply

    async def crashing(manifest: Any, **how: Any) -> Any:
        stored = await apply(manifest, **how)
        kind = f"{manifest['kind']}/{how['subresource']}" if how.get("subresource") else manifest["kind"]
        if kind == stage and len(failed) < 2:
            failed.append(kind)
            raise ApiError(0, "Unreachable", "cut")
        return stored

    scene.world.kube.apply = crashing  # type: ignore[method-assign]
    for end in (False, True):
        if end:
            scene.end()
        for _ in range(12):
            try:
                await scene.evaluate(KEY)
            except ApiError:
                scene.restart()
            scene.world.sync()
    await scene.passes()
    assert failed
    (run,), (_,) = scene.all("EvaluationRun"), scene.all("ModelRevision")
    assert (run["status"]["verdict"], run["status"]["attempts"]) == ("Passed", 1)
    assert scene.served() == "m/1"


async def test_a_job_that_is_gone_is_begun_again_and_not_for_ever(scene: Scene) -> None:
    scene.declare(retries=1)
    for attempt in (1, 2):
        await scene.passes()
        assert scene.job["metadata"]["name"].endswith(f"-{attempt}")
        scene.world.remove("Job", "default", scene.job["metadata"]["name"])
    await scene.passes()
    (run,) = scene.all("EvaluationRun")
    assert (run["status"]["conditions"][0]["status"], run["status"]["conditions"][0]["reason"]) == ("False", "JobLost")
    assert scene.world.conditions()["AccuracyPassing"] == ("Unknown", "EvaluationFailed")
    # Deleting the run has it run again.
    scene.world.remove("EvaluationRun", "default", run["metadata"]["name"])
    await scene.judge()
    assert scene.served() == "m/1"


@pytest.mark.parametrize("how", ["no pod", "no words", "no log", "another result", "half a result"])
async def test_a_result_that_is_not_whole_is_never_taken(scene: Scene, how: str) -> None:
    scene.declare(retries=0)
    await scene.passes()
    scene.end()
    pod = f"{scene.job['metadata']['name']}-x"
    if how == "no pod":
        scene.world.kube.objects.pop(("Pod", "default", pod))
    elif how == "no words":
        status = scene.world.kube.objects[("Pod", "default", pod)]["status"]["containerStatuses"][0]
        status["state"]["terminated"]["message"] = "Killed"
    elif how == "no log":
        scene.world.kube.logs.clear()
    elif how == "another result":
        scene.world.kube.logs[("default", pod)] = result_line(
            b'{"rows": 1, "metrics": [], "seed": 1, "resamples": 1, "confidencePercent": 95}'
        )
    else:
        scene.world.kube.logs[("default", pod)] = scene.world.kube.logs[("default", pod)][:-40]
    await scene.passes()
    (run,) = scene.all("EvaluationRun")
    assert run["status"]["conditions"][0]["reason"] == "ResultLost"
    assert "verdict" not in run["status"]
    assert scene.served() is None


async def test_bad_input_is_named_and_not_tried_again(scene: Scene) -> None:
    scene.declare()
    await scene.passes()
    words = {"exitCode": 2, "outcome": None, "message": "rows.csv: there is no such file", "rows": 0}
    scene.pod(scene.job, "p", {"terminated": {"exitCode": 0, "message": json.dumps(words)}})
    scene.finish(scene.job, "Complete")
    await scene.passes()
    (run,) = scene.all("EvaluationRun")
    assert run["status"]["conditions"][0]["reason"] == "BadInput"
    assert "rows.csv: there is no such file" in scene.world.message("AccuracyPassing")
    assert scene.all("Job") == []


async def test_a_job_that_failed_says_what_the_evaluator_said_last(scene: Scene) -> None:
    scene.declare()
    await scene.passes()
    words = json.dumps({"exitCode": 3, "outcome": None, "message": "no answer from the server", "rows": 0})
    scene.pod(scene.job, "p", {"terminated": {"exitCode": 3, "message": words}})
    scene.finish(scene.job, "Failed", "BackoffLimitExceeded")
    await scene.passes()
    assert "no answer from the server" in scene.world.message("AccuracyPassing")


async def test_what_is_missing_is_waited_for_and_said(scene: Scene) -> None:
    scene.world.remove("PersistentVolumeClaim", "default", "data")
    scene.declare()
    await scene.passes()
    (run,) = scene.all("EvaluationRun")
    said = run["status"]["conditions"][0]
    assert (said["status"], said["reason"]) == ("Unknown", "Waiting")
    assert "PersistentVolumeClaim data does not exist" in said["message"]
    assert scene.all("Job") == []
    scene.world.add({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta("data")})
    await scene.judge()
    assert scene.served() == "m/1"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("spec/dataset/governance/regions", ["us"]), "RegionNotAllowed"),
        (("spec/metrics", []), "SuiteNotFound"),
    ],
)
async def test_what_may_not_be_run_is_not_and_says_why(scene: Scene, change: Any, reason: str) -> None:
    scene.suite("s", change)
    scene.declare()
    await scene.passes()
    assert scene.all("EvaluationRun") == []
    assert scene.world.conditions()["AccuracyPassing"] == ("Unknown", reason)


async def test_without_an_evaluator_nothing_is_run_and_it_says_so(scene: Scene) -> None:
    scene.world.deps = replace(scene.world.deps, options=replace(scene.world.deps.options, evaluator_image=""))
    scene.restart()
    scene.declare(gate="Report")
    await scene.passes()
    assert scene.all("EvaluationRun") == []
    assert scene.world.conditions()["AccuracyPassing"] == ("Unknown", "EvaluatorMissing")
    assert scene.served() == "m/1"


async def test_a_changed_suite_is_run_anew_and_what_was_admitted_stays(scene: Scene) -> None:
    scene.declare()
    await scene.judge()
    scene.suite("s", ("spec/minimumSliceSize", 77))
    await scene.judge("Failed", exit_code=1, message="accuracy is too low")
    assert [r["spec"]["reason"] for r in scene.all("EvaluationRun")] == ["Revision", "Suite"]
    assert scene.world.conditions()["AccuracyPassing"] == ("False", "BoundMissed")
    assert scene.served() == "m/1"


async def test_files_that_were_overwritten_are_told(scene: Scene) -> None:
    scene.declare()
    await scene.judge()
    scene.suite("s", ("spec/minimumSliceSize", 77))
    await scene.judge(artifact={**FILES, "digest": digest("b")})
    assert scene.world.conditions()["AccuracyPassing"] == ("False", "ArtifactChanged")


async def test_one_run_at_a_time_and_each_suite_must_pass(scene: Scene) -> None:
    scene.suite("t")
    scene.declare(suites=[{"name": "s"}, {"name": "t"}])
    await scene.passes()
    assert len(scene.all("EvaluationRun")) == len(scene.all("Job")) == 1
    scene.end()
    await scene.passes()
    assert [r["spec"]["suite"] for r in scene.all("EvaluationRun")] == ["s", "t"]
    assert scene.served() is None
    scene.end()
    await scene.passes()
    assert scene.served() == "m/1"


async def test_a_schedule_judges_what_serves_and_tells_the_starts_it_missed(scene: Scene) -> None:
    scene.declare(suites=[{"name": "s", "schedule": "0 * * * *"}])
    await scene.judge()
    scene.world.now += 3 * 3600
    await scene.passes()
    runs = scene.all("EvaluationRun")
    assert [(r["spec"]["reason"], r["spec"].get("missed", 0)) for r in runs] == [("Revision", 0), ("Schedule", 2)]


async def test_what_nobody_wants_any_more_is_stopped(scene: Scene) -> None:
    scene.declare()
    await scene.passes()
    scene.declare(uri="pvc://models/other", generation=2)
    await scene.passes()
    assert [r["spec"]["model"]["storage"]["uri"] for r in scene.all("EvaluationRun")] == ["pvc://models/other"]
    live = scene.world.kube.objects[("InferenceService", *KEY)]
    spec = {k: v for k, v in live["spec"].items() if k != "evaluation"}
    scene.world.add({**live, "metadata": {**live["metadata"], "generation": 3}, "spec": spec})
    await scene.passes()
    assert scene.all("EvaluationRun") == []
    assert scene.world.conditions()["AccuracyPassing"] == ("Unknown", "NotConfigured")
    assert scene.served() == "other/1"


async def test_its_pods_get_none_of_the_services_requests(scene: Scene) -> None:
    scene.declare()
    await scene.passes()
    labels = scene.job["spec"]["template"]["metadata"]["labels"]
    assert SERVICE not in labels
    assert REVISION not in labels


async def test_pods_compare_the_files_where_that_is_declared(scene: Scene) -> None:
    scene.declare(loadCheck="Digest")
    await scene.judge()
    spec = scene.all("Deployment")[0]["spec"]["template"]["spec"]
    _, check = spec["initContainers"]
    assert f"--digest={FILES['digest']}" in check["args"]
    assert check["image"] == "evaluator:test"
    assert {m["mountPath"] for m in check["volumeMounts"]} == {"/models/m/1"}
    scene.declare(generation=2)
    await scene.passes()
    (_,) = scene.all("Deployment")[0]["spec"]["template"]["spec"]["initContainers"]


async def test_a_pod_whose_files_are_others_is_told_in_its_own_words(scene: Scene) -> None:
    scene.declare(loadCheck="Digest")
    await scene.judge()
    revision = scene.all("Deployment")[0]["spec"]["template"]["metadata"]["labels"][REVISION]
    said = {"exitCode": 1, "message": "the model's files have sha256:b"}
    check = {
        "name": "load-check", "restartCount": 3, "lastState": {"terminated": said},
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}},
    }  # fmt: skip
    server = {"name": "triton", "ready": False, "restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}}
    scene.world.add(pod("m-0", revision, ip="", ready=False, initContainerStatuses=[check], containerStatuses=[server]))
    await scene.passes()
    assert scene.world.conditions()["WorkloadReady"] == ("False", "CrashLooping")
    message = scene.world.message("WorkloadReady")
    assert "the model's files have sha256:b" in message
    assert "-c load-check --previous" in message
