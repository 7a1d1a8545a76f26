"""Drift on the real cluster, of census rows and of what real Triton answered to them.

Nothing is reported of a stream that has not drifted, young people only are noticed, and labels that changed their
meaning are noticed by late labels alone.

What is stored is made by the sampler's own code from the requests and the answers. Only the way from Triton's trace
files to that code is missing: the wheel's server does not trace reliably, and test_sampling.py has that way.
"""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from scipy import stats
from throughline.api.base import Outcome
from throughline.api.drift import Distance
from throughline.api.driftresult import DriftResult
from throughline.api.monitoring import Sampling
from throughline.domain.evaluation.attempt import RESULT_LINE
from throughline.evaluator.sampling.rows import FIXED, Rows
from throughline.evaluator.sampling.store import Store, batch_name
from throughline.evaluator.sampling.traces import Sampled, Tensor

from e2e.stack import census_models, evaluation, models, storage
from e2e.stack.objects import apply, until_ended
from e2e.stack.watching import scratch
from tests import census

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from e2e.cluster import Cluster
    from e2e.stack.watching import Api

pytestmark = pytest.mark.e2e

NAME, SECONDS = "census", 240.0
# Of this test alone: a claim's directory is the same in every namespace of a cluster.
CLAIM, MODEL_CLAIM = "drift", "drift-model"
SALT = b"0123456789abcdef" * 2
BATCH = 300  # rows of a request
SEED = 0
# All of one year, which the network was not trained on, in random order: what comes first is the baseline, and every
# window is of other rows of the same people's kind.
YEAR, BASELINE_ROWS = 2016, 18_000
WINDOWS, WINDOW_ROWS = 50, 900
WINDOWS_PER_LOOK = 13  # one look judges 16 at most
DECLARED_PERCENT = 5
# The detector sees the first ones before the labels change their meaning, and the other ones after.
BEFORE_ROWS, AFTER_ROWS, LABELLED_WINDOW_ROWS = 12_000, 9_000, 3_000
FLIPPED_AGES, FLIPPED_SHARE = (45, 65), 0.5
OTHER_YEAR, YOUNG_BELOW, YOUNG_ROWS = 2018, 30, 4_200
LIKE_ROWS = 6_000  # undrifted rows that the operator finds at first
CLASSES = ["0", "1"]
GOVERNANCE = {"owner": "t", "purpose": "t", "legalBasis": "Consent", "regions": ["local"], "retentionDays": 1}
SAMPLING = {
    # The sidecar runs and adds nothing of its own: not one request is traced, which any server survives.
    "oneIn": 1_000_000_000,
    "minimumServerVersion": "2.51.0",
    "fields": [
        {"name": "X", "columns": [{"name": name, "index": place} for place, name in enumerate(census.FEATURES)]},
        {"name": "probabilities"},
    ],
    "useRequestId": True,
    "salt": {"name": "salt"},
    "retentionMinutes": 1440,
    "storage": {"claimName": CLAIM, "path": "samples"},
    "governance": GOVERNANCE,
}
PREDICTIONS = {"columns": ["probabilities.0", "probabilities.1"], "classes": CLASSES}
BASELINE = {
    "source": {"pvc": {"claimName": CLAIM, "path": "data/baseline.parquet"}},
    "labelColumn": census.LABEL,
    "governance": GOVERNANCE,
}
LABELS = {
    "dataset": {
        "source": {"pvc": {"claimName": CLAIM, "path": "data/labels.parquet"}},
        "idColumn": "request",
        "labelColumn": census.LABEL,
        "governance": GOVERNANCE,
    },
    "itemColumn": "item",
    "windowRows": LABELLED_WINDOW_ROWS,
}
# Age is a number; the others are codes, which only look like numbers.
KINDS = [
    {"name": name, "kind": "Continuous" if name in {"AGEP", "prediction.confidence"} else "Categorical"}
    for name in (*census.FEATURES, "prediction.class", "prediction.confidence")
]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Rows in requests of BATCH, their true labels, and what the server answered."""

    name: str
    first: int  # row of all that were asked, which names the request
    rows: NDArray[np.float32]  # [N, features]
    labels: NDArray[np.int64]  # [N]
    answers: NDArray[np.float64]  # [N, classes], with the six digits that Triton traces

    def part(self, first: int, end: int) -> Traffic:
        """Rows from there on: whole requests."""
        assert first % BATCH == 0
        cut = slice(first, end)
        return Traffic(self.name, self.first + first, self.rows[cut], self.labels[cut], self.answers[cut])

    def requests(self) -> Iterator[tuple[str, slice]]:
        for start in range(0, len(self.rows), BATCH):
            yield f"{self.name}-{self.first + start}", slice(start, min(start + BATCH, len(self.rows)))

    def sampled(self) -> list[Sampled]:
        """As the sampler reads them out of Triton's traces."""
        made = []
        for request, cut in self.requests():
            rows, answers = self.rows[cut].astype(np.float64), self.answers[cut]
            tensors = {
                name: Tensor("FP32", values.shape, values.ravel())
                for name, values in (("X", rows), ("probabilities", answers))
            }
            made.append(Sampled(NAME, request, tensors))
        return made

    def label_table(self) -> pa.Table:
        """As a business system has them: by the request's id and the place in it, not by what is stored of it."""
        cases = [(request, item) for request, cut in self.requests() for item in range(cut.stop - cut.start)]
        ids, items = zip(*cases, strict=True)
        return pa.table({"request": ids, "item": items, census.LABEL: self.labels.astype(str)})


class Bed:
    """A service of the census network, whose samples are written here, and looks at them in pods."""

    def __init__(self, cluster: Cluster, api: Api) -> None:
        self.cluster, self.api, self.namespace = cluster, api, api.namespace
        target = storage.install(cluster, MODEL_CLAIM, self.namespace) / "census" / "fp32" / "1"
        target.mkdir(parents=True, exist_ok=True)
        (target / "model.onnx").write_bytes(census_models.full().SerializeToString())
        self.folder: Path = storage.install(cluster, CLAIM, self.namespace)
        for name in ("data", "samples", "stream", "concept"):
            shutil.rmtree(self.folder / name, ignore_errors=True)  # of a run before on this cluster
            (self.folder / name).mkdir()
            (self.folder / name).chmod(0o777)  # the pods' user is not ours
        self.rows = Rows(Sampling.model_validate(SAMPLING), SALT, NAME, batched=True)
        self.at = time.time() - 6 * 3600  # of the next file

    def serve(self) -> None:
        service = models.service(
            NAME, census_models.spec_model(MODEL_CLAIM, "fp32"), pool="cpu", slo_ms=1000,
            namespace=self.namespace, monitoring={"sampling": SAMPLING}, scaling={"mode": "Off"},
            batching={"mode": "Fixed", "fixed": {"maxBatchSize": BATCH}},
        )  # fmt: skip
        meta = {"name": "salt", "namespace": self.namespace}
        salt = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"salt": SALT.decode()}}
        apply(self.cluster, [salt, service])
        self.api.until_ready(NAME, seconds=SECONDS)

    def ask(self, name: str, rows: NDArray[np.float32], labels: NDArray[np.int64]) -> Traffic:
        """Every row through the server."""
        asked = Traffic(name, 0, rows, labels, np.empty((len(rows), len(CLASSES))))
        for request, cut in asked.requests():
            values = rows[cut].tolist()
            tensor = {"name": "X", "datatype": "FP32", "shape": [len(values), len(values[0])], "data": values}
            body = {"id": request, "inputs": [tensor]}
            status, answer = self.api.triton("POST", NAME, f"models/{NAME}/infer", body)
            assert status == 200, answer
            (output,) = json.loads(answer)["outputs"]
            assert output["name"] == "probabilities"
            asked.answers[cut] = np.array([float(f"{v:g}") for v in output["data"]]).reshape(-1, len(CLASSES))
        return asked

    def send(self) -> None:
        """All rows: the baseline, the stream that is like it, and one that is not."""
        rng = np.random.default_rng(SEED)
        rows, labels = census_models.matrix(YEAR)
        order = rng.permutation(len(rows))[: BASELINE_ROWS + WINDOWS * WINDOW_ROWS]
        both = self.ask("request", rows[order], labels[order])
        self.write_baseline(both.part(0, BASELINE_ROWS))
        self.stream = both.part(BASELINE_ROWS, len(order))
        rows, labels = census_models.matrix(OTHER_YEAR)
        young = np.flatnonzero(rows[:, census.FEATURES.index("AGEP")] < YOUNG_BELOW)
        young = rng.permutation(young)[:YOUNG_ROWS]
        self.young = self.ask("young", rows[young], labels[young])

    def write(self, folder: str, traffic: Traffic) -> None:
        """A file for each three requests, a minute apart, in the order of the stream."""
        store = Store(self.folder / folder, retention_minutes=1440, most_bytes=2**30)
        sampled = traffic.sampled()
        for start in range(0, len(sampled), 3):
            table = self.rows.table([(self.at, one) for one in sampled[start : start + 3]])
            assert table is not None
            store.write(batch_name(self.at, "census"), table)
            self.at += 60
        assert not self.rows.counts, "none was refused"

    def write_baseline(self, traffic: Traffic) -> None:
        """With the columns of the samples, and labels."""
        table = self.rows.table([(self.at, one) for one in traffic.sampled()])
        assert table is not None
        table = table.drop_columns([field.name for field in FIXED])
        table = table.append_column(census.LABEL, pa.array(traffic.labels.astype(str)))
        parquet.write_table(table, self.folder / "data" / "baseline.parquet")

    def write_labels(self, *traffic: Traffic) -> None:
        """All that are known so far."""
        table = pa.concat_tables([one.label_table() for one in traffic])
        parquet.write_table(table, self.folder / "data" / "labels.parquet")

    def look(
        self, name: str, folder: str, *, state: str = "/work/state.json", **declared: Any
    ) -> tuple[DriftResult, str]:
        """One look in a pod like those of the operator's CronJob; (result, last words)."""
        monitoring = {"sampling": SAMPLING, "predictions": PREDICTIONS, **declared}
        (self.folder / "data" / f"{name}.json").write_text(json.dumps(monitoring))
        pod = evaluation.evaluator(
            self.cluster,
            self.namespace,
            name,
            command=[
                *("python3", "-m", "throughline.evaluator.watching", "--job", "--output=/work/out"),
                *(f"--monitoring=/claim/data/{name}.json", f"--storage=/storage/{folder}"),
                *(f"--state={state}", "--data-root=/claim", "--labels-root=/claim"),
            ],
            env=[{"name": "THROUGHLINE_SALT", "valueFrom": {"secretKeyRef": {"name": "salt", "key": "salt"}}}],
            volumeMounts=[
                {"name": "claim", "mountPath": "/claim", "readOnly": True},
                {"name": "claim", "mountPath": "/storage"},
                {"name": "work", "mountPath": "/work"},
            ],
        )
        (claim,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "claim"]
        claim["persistentVolumeClaim"] = {"claimName": CLAIM}
        apply(self.cluster, [pod])
        end = until_ended(self.cluster, name, self.namespace, seconds=SECONDS)
        log = self.cluster.kubectl("logs", name, "-n", self.namespace).stdout
        words = json.loads(end["message"])
        assert (end["exitCode"], words["outcome"] is not None) == (0, True), words
        line = log.splitlines()[-1]
        assert line.startswith(RESULT_LINE), log
        result = DriftResult.model_validate_json(gzip.decompress(base64.b64decode(line.removeprefix(RESULT_LINE))))
        assert words["outcome"] == result.outcome
        return result, str(words["message"])


@pytest.fixture(scope="module")
def bed(local: Cluster, product: Cluster) -> Iterator[Bed]:
    with scratch(product, "drift") as api:
        try:
            made = Bed(local, api)
            made.serve()
            made.send()
            # From here on the operator looks each minute, by the policy as it comes, and finds something at once.
            made.write("samples", made.stream.part(0, LIKE_ROWS))
            drift = {"schedule": "* * * * *", "predictions": PREDICTIONS, "drift": {"baseline": BASELINE}}
            api.patch(NAME, {"monitoring": drift})
            yield made
        finally:
            volumes = [f"{api.namespace}-{claim}" for claim in (CLAIM, MODEL_CLAIM)]
            local.kubectl("delete", "pv", *volumes, "--wait=false", check=False)


def test_no_more_undrifted_windows_are_reported_than_declared(bed: Bed) -> None:
    """Fifty windows, each of rows that are in no other, and in several looks, each of which goes on from the last.

    By no smallest distance, so that only the declared rate keeps alarms down. At that rate there are more of them than
    `allowed` in one of twenty such streams at most, if windows are independent; they share the baseline, which is
    twenty times as long as each of them, so nearly.
    """
    distances = {"minimumPsi": "0", "minimumAuc": "0"}
    policy = {"windowRows": WINDOW_ROWS, "falseAlarmPercent": str(DECLARED_PERCENT), "columns": KINDS, **distances}
    reports = []
    for first in range(0, WINDOWS, WINDOWS_PER_LOOK):
        end = min(first + WINDOWS_PER_LOOK, WINDOWS)
        bed.write("stream", bed.stream.part(first * WINDOW_ROWS, end * WINDOW_ROWS))
        drift = {"baseline": BASELINE, "policy": policy}
        result, _ = bed.look(f"stream-{first}", "stream", state="/storage/stream/state.json", drift=drift)
        assert (len(result.windows), result.skipped_windows, result.waiting_rows, result.lost_rows) == (
            end - first, 0, 0, 0,
        )  # fmt: skip
        reports += [window.report for window in result.windows]
    assert len(reports) == WINDOWS
    assert {(r.reference_rows, r.window_rows) for r in reports} == {(BASELINE_ROWS, WINDOW_ROWS)}
    alarms = sum(report.outcome is Outcome.FAILED for report in reports)
    allowed = int(stats.binom.ppf(0.95, WINDOWS, DECLARED_PERCENT / 100))
    least = min(finding.adjusted_p_value for report in reports for finding in report.findings)
    print(
        f"\n{alarms} of {WINDOWS} undrifted windows of {WINDOW_ROWS} rows reported at a declared {DECLARED_PERCENT} % "
        f"(at most {allowed}), by {len(reports[0].findings)} tests each; the least adjusted p-value is {least:.4f}"
    )
    assert alarms <= allowed
    # The same tests by the policy as it comes, 1 % and large enough to matter: none at all.
    floors = {Distance.POPULATION_STABILITY_INDEX: 0.1, Distance.AREA_UNDER_CURVE: 0.55}
    findings = [finding for report in reports for finding in report.findings]
    assert not [f for f in findings if f.adjusted_p_value <= 0.01 and f.distance >= floors[f.distance_measure]]


def flipped(traffic: Traffic) -> Traffic:
    """What employed means has changed for a share of people of these ages. Neither rows nor answers have."""
    age = traffic.rows[:, census.FEATURES.index("AGEP")]
    low, high = FLIPPED_AGES
    hit = (age >= low) & (age <= high) & (np.random.default_rng(SEED).random(len(age)) < FLIPPED_SHARE)
    return replace(traffic, labels=np.where(hit, 1 - traffic.labels, traffic.labels))


def estimated(result: DriftResult) -> tuple[str, float, float, float]:
    """(what it takes for granted, the estimate, and its interval)."""
    found = result.accuracy
    assert found is not None
    value, low, high = (one for one in (found.value, found.low, found.high) if one is not None)
    return found.assumption, value, low, high


def test_concept_drift_is_seen_by_late_labels_alone(bed: Bed) -> None:
    before = bed.stream.part(0, BEFORE_ROWS)
    after = flipped(bed.stream.part(BEFORE_ROWS, BEFORE_ROWS + AFTER_ROWS))
    drift = {"baseline": BASELINE, "policy": {"windowRows": LABELLED_WINDOW_ROWS, "columns": KINDS}}
    labelled: dict[str, Any] = {"state": "/storage/concept/state.json", "drift": drift, "labels": LABELS}
    # Labels have come so far, and all is well.
    bed.write("concept", before)
    bed.write_labels(before)
    well, _ = bed.look("labels-before", "concept", **labelled)
    assert well.outcome is Outcome.PASSED, well.message
    assert well.labels is not None
    assert (well.labels.joined, well.labels.unmatched, well.labels.ambiguous) == (BEFORE_ROWS, 0, 0)
    assert well.labels.changes == []
    _, old, _, _ = estimated(well)
    # The meaning has changed and no label has come: all is as it was, and what that cannot see is said.
    bed.write("concept", after)
    blind, words = bed.look("no-labels", "concept", drift=drift)
    assert blind.outcome is Outcome.PASSED, blind.message
    assert {window.report.outcome for window in blind.windows} == {Outcome.PASSED}
    assert len(blind.windows) == (BEFORE_ROWS + AFTER_ROWS) // LABELLED_WINDOW_ROWS
    assert "(concept drift) is not seen" in words
    assert all("concept drift" in window.report.limits for window in blind.windows)
    assumption, new, low, high = estimated(blind)
    assert "no evidence against concept drift" in assumption
    assert abs(new - old) < (high - low) / 2
    # The labels come, after their rows were judged.
    bed.write_labels(before, after)
    told, words = bed.look("labels-after", "concept", **labelled)
    assert told.outcome is Outcome.FAILED
    assert words.startswith("the error rate rose from ")
    assert told.labels is not None
    assert (told.labels.joined, told.labels.unmatched, told.labels.unlabelled) == (AFTER_ROWS, 0, 0)
    assert {window.report.outcome for window in told.windows} == {Outcome.PASSED}
    assert estimated(told)[1] == new
    noticed = told.labels.changes[0]
    truths = [[window.accuracy for window in result.labels.windows] for result in (well, told) if result.labels]
    print(
        f"\nestimated accuracy {old:.4f}, then {new:.4f} [{low:.4f}, {high:.4f}]; true, in windows of "
        f"{LABELLED_WINDOW_ROWS}: {', '.join(f'{t:.4f}' for t in truths[0])}, then "
        f"{', '.join(f'{t:.4f}' for t in truths[1])}; the labels told it {noticed.detected_at_row - BEFORE_ROWS} "
        f"labelled rows after the change: {words}"
    )
    assert noticed.worse
    assert BEFORE_ROWS < noticed.detected_at_row <= BEFORE_ROWS + LABELLED_WINDOW_ROWS
    # Before, the estimate was right. Then all of its interval is above the truth.
    assert abs(truths[0][-1] - old) < (high - low) / 2
    assert len(truths[1]) == AFTER_ROWS // LABELLED_WINDOW_ROWS
    assert max(truths[1]) < low


def test_another_kind_of_people_is_noticed_and_the_operator_says_so(bed: Bed) -> None:
    """Young people only, of another year, by the policy as it comes; by the schedule of the service, and by hand."""
    api = bed.api
    said = api.until_condition(NAME, "DriftWithinBounds", "True", "WithinBounds", seconds=SECONDS)
    assert "concept drift" in said["message"]
    uids = api.uids(NAME)
    bed.write("samples", bed.young)
    result, words = bed.look("young", "samples", drift={"baseline": BASELINE})
    outcomes = [window.report.outcome for window in result.windows]
    newest = result.windows[-1].report
    drifted = [finding for finding in newest.findings if finding.drifted]
    print(f"\n{', '.join(outcomes)}; the newest by {len(drifted)} of {len(newest.findings)} tests: {words}")
    assert outcomes == [Outcome.PASSED, Outcome.PASSED, Outcome.PASSED, Outcome.FAILED, Outcome.FAILED]
    assert {"AGEP", "MAR", None} <= {finding.column for finding in drifted}
    said = api.until_condition(NAME, "DriftWithinBounds", "False", "Drifted", seconds=SECONDS)
    print(f"the operator: {said['message']}")
    assert "AGEP (KolmogorovSmirnov" in said["message"]
    assert api.uids(NAME) == uids
    api.until_condition(NAME, "Ready", "True")
