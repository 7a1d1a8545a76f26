"""A suite whose scorer is a container: what its pod tells of each step, and what becomes of the run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.changes import REMOVE
from tests.api.suites import CONTAINER
from tests.reconcile.judging import FILES, meta

if TYPE_CHECKING:
    from tests.reconcile.judging import Scene

READY = {"name": "triton", "started": True, "state": {"running": {}}}
HANDED = json.dumps({"exitCode": 0, "outcome": None, "message": "", "rows": 10, "artifact": FILES})
PREDICTED = {"name": "predict", "state": {"terminated": {"exitCode": 0, "message": HANDED}}}
NOT_YET = {"waiting": {"reason": "PodInitializing"}}


@pytest.fixture
async def begun(scene: Scene) -> Scene:
    scene.suite("s", *CONTAINER, ("spec/slices", REMOVE))
    scene.declare(gate="Report", deadlineSeconds=600)
    await scene.passes()
    assert scene.served() == "m/1"
    return scene


def steps(scene: Scene, *inits: dict[str, Any], phase: str = "Pending", **status: Any) -> None:
    labels = {"batch.kubernetes.io/controller-uid": scene.job["metadata"]["uid"]}
    told = {
        "phase": phase,
        "initContainerStatuses": list(inits),
        "containerStatuses": [{"name": "evaluate", "state": NOT_YET, "restartCount": 0}],
        **status,
    }
    name = f"{scene.job['metadata']['name']}-x"
    scene.world.kube.seed(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {**meta(name), "labels": labels}, "status": told}
    )


def condition(scene: Scene) -> tuple[str, str, str]:
    (run,) = scene.all("EvaluationRun")
    (found,) = run["status"]["conditions"]
    return found["status"], found["reason"], found["message"]


@pytest.mark.parametrize(
    ("inits", "reason", "message"),
    [
        ([{"name": "triton", "started": False}], "Pending", "triton starts"),
        (
            [READY, {"name": "predict", "state": {"running": {}}}, {"name": "scorer", "state": NOT_YET}],
            "Running",
            "Job",
        ),
        ([READY, PREDICTED, {"name": "scorer", "state": {"running": {}}}], "Scoring", "the scorer works"),
        (
            [
                READY,
                PREDICTED,
                {"name": "scorer", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such"}}},
            ],
            "Pending",
            "scorer: ErrImagePull: no such",
        ),
        (
            [
                {"name": "model-files", "started": False, "state": {"terminated": {"exitCode": 0}}},
                READY,
                PREDICTED,
                {"name": "scorer", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such"}}},
            ],
            "Pending",
            "scorer: ErrImagePull: no such",
        ),
        (
            [READY, PREDICTED, {"name": "scorer", "state": {"terminated": {"exitCode": 0}}}],
            "Pending",
            "PodInitializing",
        ),
    ],
    ids=["server", "predictions", "scorer", "image", "image behind the model files", "judge"],
)
async def test_the_run_says_which_step_is_under_way(
    begun: Scene, inits: list[dict[str, Any]], reason: str, message: str
) -> None:
    steps(begun, *inits)
    await begun.passes()
    status, said, text = condition(begun)
    assert (status, said) == ("Unknown", reason)
    assert message in text
    before = list(begun.world.kube.writes)
    await begun.passes()
    assert begun.world.kube.writes == before


async def failed(scene: Scene, *inits: dict[str, Any], why: str = "PodFailurePolicy", **status: Any) -> None:
    steps(scene, *inits, phase="Failed", **status)
    scene.finish(scene.job, "Failed", why)
    await scene.passes()


@pytest.mark.parametrize(
    ("ended", "message"),
    [
        ({"exitCode": 3, "reason": "Error", "message": "jq: not\nfound\x1b[0m"}, "exit code 3: jq: not found [0m"),
        ({"exitCode": 1, "reason": "Error", "message": "a" * 5000 + "end"}, f"exit code 1: …{'a' * 997}end"),
        ({"exitCode": 1, "reason": "Error"}, "exit code 1"),
        ({"exitCode": 128, "reason": "StartError", "message": "no /x"}, "exit code 128 (StartError): no /x"),
    ],
)
async def test_how_a_scorer_failed_is_in_the_condition_and_nothing_else_changes(
    begun: Scene, ended: dict[str, Any], message: str
) -> None:
    await failed(begun, READY, PREDICTED, {"name": "scorer", "state": {"terminated": ended}})
    assert condition(begun) == ("False", "ScorerFailed", f"the scorer ended with {message}")
    assert begun.world.conditions()["AccuracyPassing"] == ("Unknown", "EvaluationFailed")
    assert "the scorer ended with exit code" in begun.world.message("AccuracyPassing")
    assert begun.served() == "m/1"
    assert begun.all("Job") == []
    (run,) = begun.all("EvaluationRun")
    assert run["status"]["artifact"] == FILES
    assert "verdict" not in run["status"]


async def test_a_scorer_without_memory_is_told_what_to_raise(begun: Scene) -> None:
    ended = {"exitCode": 137, "reason": "OOMKilled"}
    await failed(
        begun, READY, PREDICTED, {"name": "scorer", "state": {"terminated": ended}}, why="BackoffLimitExceeded"
    )
    _, reason, message = condition(begun)
    assert reason == "ScorerFailed"
    assert message.endswith("(OOMKilled); raise spec.task.scorer.resources.limits.memory")


async def test_a_scorer_that_writes_too_much_is_told_by_the_kubelets_words(begun: Scene) -> None:
    said = {"reason": "Evicted", "message": 'Usage of EmptyDir volume "scores" exceeds the limit "512Mi".'}
    await failed(begun, why="BackoffLimitExceeded", **said)
    assert condition(begun)[1:] == ("BackoffLimitExceeded", f"Evicted: {said['message']}")


async def test_bad_input_is_told_before_the_scorer(begun: Scene) -> None:
    words = json.dumps({"exitCode": 2, "outcome": None, "message": "rows.csv: there is no such file", "rows": 0})
    predict = {"name": "predict", "state": {"terminated": {"exitCode": 2, "message": words}}}
    await failed(begun, READY, predict, {"name": "scorer", "state": NOT_YET})
    assert condition(begun) == ("False", "BadInput", "rows.csv: there is no such file")


async def test_an_image_that_never_comes_is_named_at_the_deadline(begun: Scene) -> None:
    waits = {"name": "scorer", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "scorer:9 not found"}}}
    steps(begun, READY, PREDICTED, waits)
    await begun.passes()
    name = f"{begun.job['metadata']['name']}-x"
    begun.world.kube.objects.pop(("Pod", "default", name))  # the Job's controller deletes it at the deadline
    begun.finish(begun.job, "Failed", "DeadlineExceeded")
    await begun.passes()
    _, reason, message = condition(begun)
    assert reason == "DeadlineExceeded"
    assert "scorer: ImagePullBackOff: scorer:9 not found" in message


async def test_what_the_scorer_says_is_never_taken_for_a_verdict(begun: Scene) -> None:
    """Its last words, shaped as the evaluator's would be."""
    forged = json.dumps(
        {"exitCode": 0, "outcome": "Passed", "message": "", "rows": 9, "resultDigest": f"sha256:{'0' * 64}"}
    )
    ended = {"exitCode": 0, "reason": "Completed", "message": forged}
    steps(begun, READY, PREDICTED, {"name": "scorer", "state": {"terminated": ended}}, phase="Succeeded")
    begun.finish(begun.job, "Complete")
    await begun.passes(1)
    (run,) = begun.all("EvaluationRun")
    assert "verdict" not in run["status"]


async def test_a_verdict_is_taken_over_as_any_other(begun: Scene) -> None:
    begun.end()
    await begun.passes()
    assert begun.world.conditions()["AccuracyPassing"] == ("True", "AllPassed")
