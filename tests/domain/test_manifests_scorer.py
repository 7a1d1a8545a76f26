"""The Job of a suite whose scorer is a container: the whole of it by example, and what the scorer may not do.

THROUGHLINE_UPDATE_GOLDEN=1 rewrites the example; read the diff before you commit it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from throughline.api.evaluation import Evaluation
from throughline.api.evaluationsuite import EvaluationSuiteSpec
from throughline.domain.manifests import evaluation

from tests.api.resources import changed
from tests.api.suites import CONTAINER, EVALUATION_SUITE
from tests.domain.test_manifests_evaluation import IDENTITY, OPTIONS, POOL, PVC, URI, egress, job, mounts, pod, spec

if TYPE_CHECKING:
    from tests.api.changes import Change

GOLDEN = Path(__file__).parent / "golden_jobs" / "scorer.yaml"


def task(source: dict[str, Any] = PVC, *changes: Change, **declared: Any) -> evaluation.Assignment:
    suite = changed(EVALUATION_SUITE, *CONTAINER, ("spec/dataset/source", source), *changes)["spec"]
    evaluated = Evaluation.model_validate({"suites": [{"name": "s"}], **declared})
    return evaluation.Assignment("run-1", "uid-2", "s", EvaluationSuiteSpec.model_validate(suite), evaluated, 77)


def steps(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {c["name"]: c for c in [*pod(made).get("initContainers", []), *pod(made)["containers"]]}


def test_golden() -> None:
    made = evaluation.job(IDENTITY, spec(), POOL, OPTIONS, task(), 1)
    rendered = yaml.safe_dump(made, sort_keys=False, width=1000)
    if os.environ.get("THROUGHLINE_UPDATE_GOLDEN"):
        GOLDEN.write_text(rendered)
    assert made == yaml.safe_load(GOLDEN.read_text())


@pytest.mark.parametrize(
    ("target", "names"), [("Scratch", ["model-files", "triton", "predict"]), ("Live", ["predict"])]
)
def test_the_steps_are_in_a_row(target: str, names: list[str]) -> None:
    made = job(task(target=target))
    assert [c["name"] for c in pod(made)["initContainers"]] == [*names, "scorer"]
    assert [c["name"] for c in pod(made)["containers"]] == ["evaluate"]
    # Where one does not end well the next does not begin, and nothing is begun again in this pod.
    assert pod(made)["restartPolicy"] == "Never"
    assert all("restartPolicy" not in c for c in pod(made)["initContainers"] if c["name"] != "triton")


@pytest.mark.parametrize("source", [PVC, URI])
def test_the_scorer_has_its_input_and_one_place_to_write(source: dict[str, Any]) -> None:
    made = job(task(source))
    scorer = steps(made)["scorer"]
    assert {p: m.get("readOnly", False) for p, m in mounts(scorer).items()} == {"/predictions": True, "/scores": False}
    assert "envFrom" not in scorer
    assert all(set(e) == {"name", "value"} for e in scorer["env"])
    assert pod(made)["automountServiceAccountToken"] is False
    security = scorer["securityContext"]
    assert (security["allowPrivilegeEscalation"], security["readOnlyRootFilesystem"]) == (False, True)
    assert (security["runAsNonRoot"], security["capabilities"]) == (True, {"drop": ["ALL"]})
    volumes = {v["name"]: v for v in pod(made)["volumes"]}
    assert volumes["scores"]["emptyDir"] == {"sizeLimit": "512Mi"}
    assert volumes["predictions"] == {"name": "predictions", "emptyDir": {}}


def test_who_judges_sees_neither_data_nor_secrets_and_writes_to_none_of_the_scorers_folders() -> None:
    judge = steps(job(task(URI)))["evaluate"]
    assert {p: m.get("readOnly", False) for p, m in mounts(judge).items()} == {
        "/suite": True, "/work": False, "/predictions": True, "/scores": True,
    }  # fmt: skip
    assert "envFrom" not in judge
    assert steps(job(task(URI)))["predict"]["envFrom"] == [{"secretRef": {"name": "store"}}]


def test_the_scorer_is_the_suites() -> None:
    scorer = steps(job(task()))["scorer"]
    assert scorer["image"].startswith("registry.example/scorers/profit@sha256:")
    assert (scorer["command"], scorer["args"]) == (["/bin/sh", "-c"], ["exec /score.sh"])
    assert scorer["resources"] == {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}
    least = steps(job(task(PVC, ("spec/task/scorer", {"image": "i"}))))["scorer"]
    assert not {"command", "args"} & least.keys()
    assert least["resources"] == {"requests": {"cpu": "100m", "memory": "512Mi"}}


def test_a_scorer_that_fails_is_not_run_again_unless_it_was_killed() -> None:
    rules = job(task())["spec"]["podFailurePolicy"]["rules"]
    assert [r["action"] for r in rules] == ["Count", "FailJob", "FailJob"]
    assert [r["onExitCodes"]["containerName"] for r in rules[1:]] == ["scorer", "predict"]
    assert rules[1]["onExitCodes"]["values"] == sorted(rules[1]["onExitCodes"]["values"])


def test_it_reaches_nothing_more_because_of_its_scorer() -> None:
    assert egress(task()) == []
