"""One network as fp32, as int8 and distilled, on census rows of people, through real Triton, before it may serve.

The gate lets in what is as good. It keeps out a quantized one whose confidence is wrong though its answers are not, and
a small one that is good enough on the whole and not for people with a disability. No request fails meanwhile.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from e2e.stack import census_models, models, storage
from e2e.stack.objects import apply, condition, get, items, until
from e2e.stack.traffic import Requests
from e2e.stack.watching import SERVICE_LABEL, Api, scratch
from tests import census

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

CLAIM, NAME, SECONDS = "census", "census", 240.0
GOOD, BAD = ("int8", "distilled"), {"int8-three-rows": "expectedCalibrationError", "distilled-small": "disability"}
SHOWN = ("accuracy", "expectedCalibrationError", "auroc")


@pytest.fixture(scope="module")
def api(local: Cluster, product: Cluster) -> Iterator[Api]:
    with scratch(product, "variants") as api:
        folder = storage.install(local, CLAIM, api.namespace)
        for name, model in census_models.variants().items():
            target = folder / "census" / name / "1"
            target.mkdir(parents=True)
            (target / "model.onnx").write_bytes(model)
        pq.write_table(census.codes(census.year(2017)), folder / "rows.parquet")
        suite = census_models.suite("census", api.namespace, CLAIM, "rows.parquet")
        service = models.service(
            NAME, census_models.spec_model(CLAIM, "fp32"), pool="cpu", slo_ms=1000, namespace=api.namespace,
            evaluation={"suites": [{"name": "census"}], "gate": "Enforce"},
        )  # fmt: skip
        apply(local, [suite, service])
        try:
            yield api
        finally:
            local.kubectl("delete", "pv", f"{api.namespace}-{CLAIM}", "--wait=false", check=False)


def runs(local: Cluster, api: Api) -> list[dict[str, Any]]:
    """Those that have ended, oldest first."""
    found = items(local, "evaluationruns", api.namespace, f"{SERVICE_LABEL}={NAME}")
    ended = [r for r in found if condition(r, "Succeeded").get("status") in {"True", "False"}]
    return sorted(ended, key=lambda r: r["status"]["completed"])


def row(local: Cluster, api: Api, variant: str, run: dict[str, Any]) -> str:
    """A line of the table, from the stored result."""
    stored = get(local, "configmap", run["metadata"]["name"], api.namespace)
    assert stored is not None
    result = json.loads(stored["data"]["result.json"])
    by_name = {e["metric"]: e for e in result["metrics"]}
    cells = [f"{by_name[m]['value']:.4f} [{by_name[m]['low']:.4f}, {by_name[m]['high']:.4f}]" for m in SHOWN]
    (gap,) = result["gaps"]
    cells.append(f"{gap['value']:.4f} [{gap['low']:.4f}, {gap['high']:.4f}]")
    return " | ".join([f"{variant:16}", *cells, run["status"]["verdict"]])


def test_good_variants_serve_and_bad_ones_are_kept_out(local: Cluster, api: Api) -> None:
    api.until_condition(NAME, "AccuracyPassing", "True", "AllPassed", seconds=SECONDS)
    api.until_ready(NAME)
    requests = Requests(api, NAME, width=len(census.FEATURES)).start()
    tried = ["fp32"]
    for variant in GOOD:
        tried.append(variant)
        api.patch(NAME, {"model": census_models.spec_model(CLAIM, variant)})
        until(f"{variant} judged", lambda: len(runs(local, api)) == len(tried), seconds=SECONDS)
        api.until_condition(NAME, "AccuracyPassing", "True", "AllPassed", seconds=SECONDS)
        wanted = runs(local, api)[-1]["spec"]["specHash"]
        revision = lambda: {p["metadata"]["labels"]["throughline.io/revision"] for p in api.ready_pods(NAME)}  # noqa: E731
        api.until(f"{variant} to serve", lambda: revision() == {wanted}, NAME, seconds=SECONDS)  # noqa: B023
    api.until_ready(NAME)
    uids = api.uids(NAME)
    for variant, named in BAD.items():
        tried.append(variant)
        api.patch(NAME, {"model": census_models.spec_model(CLAIM, variant)})
        until(f"{variant} judged", lambda: len(runs(local, api)) == len(tried), seconds=SECONDS)
        said = api.until_condition(NAME, "AccuracyPassing", "False", "RevisionHeldBack")
        assert named in said["message"]
        assert "accuracy is" not in said["message"], "on the whole it is good enough"
        api.until_condition(NAME, "Ready", "True")
    requests.stop()
    print("\nvariant          | " + " | ".join([*SHOWN, "accuracy gap by disability", "verdict"]))
    print("\n".join(row(local, api, v, r) for v, r in zip(tried, runs(local, api), strict=True)))
    verdicts = [r["status"]["verdict"] for r in runs(local, api)]
    assert verdicts == ["Passed", "Passed", "Passed", "Failed", "Failed"]
    assert api.uids(NAME) == uids
    assert requests.answered > 0
    assert requests.failed == []
