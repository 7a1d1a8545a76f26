"""Scorers that are containers, on the real cluster: one that scores, one that fails, one whose scores are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from e2e.stack import evaluation
from e2e.stack.bed import ROWS, SECONDS, Bed
from e2e.stack.objects import apply, condition, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

# What it may not do it tries first, and fails where it can.
SCORES = """
import json, os
from pyarrow import parquet
handed, out = os.environ["THROUGHLINE_PREDICTIONS"], os.environ["THROUGHLINE_SCORES"]
for path in (handed + "/predictions.parquet", "/x", "/tmp/x"):
    try:
        open(path, "a").close()
    except OSError:
        continue
    raise SystemExit(path + " can be written")
for path in ("/var/run/secrets/kubernetes.io", "/suite", "/data", "/models"):
    if os.path.exists(path):
        raise SystemExit(path + " is there")
request = json.load(open(handed + "/request.json"))
table = parquet.read_table(handed + "/predictions.parquet")
guesses = [row.index(max(row)) for row in table[request["prediction"]["column"]].to_pylist()]
right = [int(guess == label) for guess, label in zip(guesses, table[request["labelColumn"]].to_pylist())]
json.dump({"metrics": {"right": right}}, open(out + "/scores.json", "w"))
"""
FAILS = "import sys; sys.stderr.write('the benchmark is not installed'); sys.exit(3)"
WRONG = """
import json, os
json.dump({"metrics": {"rihgt": 1}}, open(os.environ["THROUGHLINE_SCORES"] + "/scores.json", "w"))
"""


@pytest.fixture(scope="module")
def bed(local: Cluster, product: Cluster) -> Iterator[Bed]:
    with Bed.made(local, product, "scorers") as made:
        yield made


def suite(bed: Bed, name: str, code: str, floor: str = "0.8", image: str = "") -> dict[str, Any]:
    scorer = {"image": image or bed.cluster.images["evaluator"], "command": ["python3", "-c", code]}
    made = evaluation.suite(
        name,
        task={"type": "Custom", "scorer": scorer},
        output={"tensor": "Y", "kind": "Score"},
        metrics=[{"name": "right", "floor": floor}],
        slices=[{"name": "positive", "expression": "x0 > 0"}],
        intervals={"resamples": 100},
    )
    made["metadata"]["namespace"] = bed.namespace
    return made


def test_a_container_scores_and_the_gate_goes_by_it(bed: Bed) -> None:
    api, name = bed.api, "scored"
    apply(bed.cluster, [suite(bed, "right", SCORES), bed.service(name, "good", "right", gate="Enforce")])
    (run,) = bed.ended(name)
    assert condition(run, "Succeeded")["reason"] == "VerdictPassed", run["status"]
    (metric,) = bed.result(run)["metrics"]
    assert metric["value"] == pytest.approx(bed.accuracy)
    assert metric["low"] < metric["value"] < metric["high"]
    assert run["status"]["rows"] == ROWS
    api.until_ready(name)
    (revision,) = bed.revisions(name)
    assert revision["spec"]["artifact"] == run["status"]["artifact"]

    uids = api.uids(name)
    api.patch(name, {"model": evaluation.model("bad")})
    _, failed = bed.ended(name, 2)
    assert condition(failed, "Succeeded")["reason"] == "VerdictFailed", failed["status"]
    api.until_condition(name, "AccuracyPassing", "False", "RevisionHeldBack")
    assert api.uids(name) == uids
    api.until_condition(name, "Ready", "True")
    until("the Jobs to be gone", lambda: not bed.jobs(), seconds=60)


def test_a_scorer_that_fails_is_named_and_the_service_goes_on(bed: Bed) -> None:
    api, name = bed.api, "unscored"
    service = bed.service(name, "good", "fails")
    apply(bed.cluster, [suite(bed, "fails", FAILS), suite(bed, "wrong", WRONG), service])
    api.until_ready(name)
    uids = api.uids(name)
    service["spec"]["evaluation"]["suites"] = [{"name": "fails"}, {"name": "wrong"}]
    apply(bed.cluster, [service])
    runs = {r["spec"]["suite"]: r for r in bed.ended(name, 2)}
    ends = {which: condition(run, "Succeeded") for which, run in runs.items()}
    assert {which: end["reason"] for which, end in ends.items()} == {"fails": "ScorerFailed", "wrong": "BadInput"}
    assert ends["fails"]["message"] == "the scorer ended with exit code 3: the benchmark is not installed"
    assert "scores.json: there is no right, which the suite names; did you mean 'rihgt'?" in ends["wrong"]["message"]
    assert runs["fails"]["status"]["attempts"] == 1
    assert all("verdict" not in run["status"] for run in runs.values())
    said = api.until_condition(name, "AccuracyPassing", "Unknown", "EvaluationFailed")
    assert "the scorer ended with exit code 3" in said["message"]
    assert api.uids(name) == uids
    api.until_condition(name, "Ready", "True")


def test_a_scorer_whose_image_never_comes_is_named(bed: Bed) -> None:
    api, name = bed.api, "imageless"
    absent = suite(bed, "imageless", "", image="throughline.invalid/no-such-scorer:1")
    apply(bed.cluster, [absent, bed.service(name, "good", "imageless", deadlineSeconds=60)])
    (run,) = bed.ended(name)
    end = condition(run, "Succeeded")
    assert end["reason"] == "DeadlineExceeded", run["status"]
    assert "scorer: " in end["message"]
    assert "Pull" in end["message"]
    api.until_ready(name)


def test_the_live_replicas_can_be_asked_for_a_scorer(bed: Bed) -> None:
    api, name = bed.api, "scored-live"
    service = bed.service(name, "good", "right-live", target="Live", maxRowsPerSecond=2000)
    apply(bed.cluster, [suite(bed, "right-live", SCORES), service])
    api.until_ready(name)
    (run,) = bed.ended(name)
    assert condition(run, "Succeeded")["reason"] == "VerdictPassed", run["status"]
    assert bed.result(run)["metrics"][0]["value"] == pytest.approx(bed.accuracy)
    api.until_condition(name, "AccuracyPassing", "True", "AllPassed", seconds=SECONDS)
