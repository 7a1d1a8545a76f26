"""An upgrade of the operator replaces no pod that need not change.

upgrade/0.1.0.yaml holds the Deployments that 0.1.0 applied for these three services.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from throughline.api.pods import PodIDs
from throughline.domain.diff import APPLIED_HASH, needs_apply, with_hash
from throughline.domain.manifests import MODEL_FILES, RenderOptions, render
from throughline.domain.manifests.form import ANNOTATION
from throughline.domain.manifests.options import SCRAPE

from tests.api.monitoring import SAMPLING
from tests.domain.manifest_cases import IDENTITY, OPTIONS, SETTINGS, pool, spec

POOL = pool(region="eu-west-1")
DIGEST = "sha256:" + "d" * 64
SERVICES: dict[str, tuple[dict[str, Any], str | None]] = {
    "running": ({}, None),
    "sampled": ({"monitoring": {"sampling": SAMPLING}}, None),
    "evaluated": ({}, DIGEST),
}
BEFORE = replace(OPTIONS, evaluator_image="example/evaluator:0.1.0")
UPGRADED = replace(OPTIONS, evaluator_image="example/evaluator:0.2.0")
DOCUMENTS = yaml.safe_load_all((Path(__file__).parent / "upgrade" / "0.1.0.yaml").read_text())
LIVE = dict(zip(SERVICES, DOCUMENTS, strict=True))


def rendered(
    service: str,
    live: dict[str, Any] | None,
    options: RenderOptions = UPGRADED,
    *,
    surge: bool = False,
    digest: str | None = None,
    **changes: Any,
) -> dict[str, Any]:
    declared, judged = SERVICES[service]
    made = render(
        IDENTITY, spec(**declared, **changes), "gpu", POOL, SETTINGS, options,
        surge=surge, digest=digest or judged, live=live,
    )  # fmt: skip
    return with_hash(next(m for m in made if m["kind"] == "Deployment"))


def applied(manifest: dict[str, Any], live: dict[str, Any]) -> dict[str, Any]:
    """The live object after the manifest was applied: what was not ours stays."""
    after = copy.deepcopy(manifest)
    after["metadata"] |= {k: v for k, v in live["metadata"].items() if k not in after["metadata"]}
    return after


def evaluator_images(deployment: dict[str, Any]) -> set[str]:
    pod = deployment["spec"]["template"]["spec"]
    return {c["image"] for c in pod.get("initContainers", ()) if c["name"] != MODEL_FILES}


def template_metadata(deployment: dict[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = deployment["spec"]["template"]["metadata"]
    return metadata


@pytest.mark.parametrize("surge", [True, False])
@pytest.mark.parametrize("service", SERVICES)
def test_the_template_of_0_1_0_stays_as_it_is(service: str, *, surge: bool) -> None:
    live = LIVE[service]
    after = rendered(service, live, surge=surge)
    assert after["spec"] == live["spec"]


@pytest.mark.parametrize("service", SERVICES)
def test_one_write_marks_the_form_and_none_follows(service: str) -> None:
    live = LIVE[service]
    after = rendered(service, live)
    assert needs_apply(after, live) is not None
    assert needs_apply(rendered(service, applied(after, live)), applied(after, live)) is None


@pytest.mark.parametrize("service", SERVICES)
def test_another_evaluator_image_replaces_no_pod_of_this_version_either(service: str) -> None:
    live = rendered(service, None, BEFORE)
    after = rendered(service, live)
    assert needs_apply(after, live) is None
    assert evaluator_images(after) <= {"example/evaluator:0.1.0"}


@pytest.mark.parametrize("service", ["sampled", "evaluated"])
@pytest.mark.parametrize("change", [{"runtime": {"drainSeconds": 30}}, {"model": {"version": 2}}])
def test_pods_that_are_replaced_anyway_take_the_present_form(service: str, change: dict[str, Any]) -> None:
    for live in (LIVE[service], rendered(service, None, BEFORE)):
        after = rendered(service, live, **change)
        assert evaluator_images(after) == {"example/evaluator:0.2.0"}
        assert needs_apply(after, live) is not None


def test_a_removed_field_counts_as_a_change_though_the_live_object_still_has_it() -> None:
    live = rendered("sampled", None, BEFORE, runtime={"env": [{"name": "A", "value": "1"}]})
    assert evaluator_images(rendered("sampled", live)) == {"example/evaluator:0.2.0"}


def test_another_digest_takes_the_present_form() -> None:
    after = rendered("evaluated", LIVE["evaluated"], digest="sha256:" + "e" * 64)
    assert evaluator_images(after) == {"example/evaluator:0.2.0"}


def test_whoever_removes_the_mark_asks_for_the_present_form() -> None:
    live = rendered("sampled", None, BEFORE)
    del live["metadata"]["annotations"][ANNOTATION]
    assert evaluator_images(rendered("sampled", live)) == {"example/evaluator:0.2.0"}


@pytest.mark.parametrize("mark", ["{", "[]", '{"version":99}', '{"version":"1"}', '{"evaluatorImage":1,"version":1}'])
def test_a_mark_that_cannot_be_read_is_as_none(mark: str) -> None:
    live = rendered("sampled", None, BEFORE)
    live["metadata"]["annotations"][ANNOTATION] = mark
    assert evaluator_images(rendered("sampled", live)) == {"example/evaluator:0.2.0"}


def test_an_image_that_somebody_edited_is_set_back_and_not_taken_over() -> None:
    live = rendered("sampled", None, BEFORE)
    live["spec"]["template"]["spec"]["initContainers"][1]["image"] = "example/other:1"
    after = rendered("sampled", live)
    assert evaluator_images(after) == {"example/evaluator:0.1.0"}
    assert needs_apply(after, live) is not None


def test_an_image_that_admission_rewrote_does_not_hide_what_was_applied() -> None:
    live = rendered("sampled", None, BEFORE)
    for container in live["spec"]["template"]["spec"]["initContainers"]:
        container["image"] = f"mirror.example/{container['image']}"
    assert evaluator_images(rendered("sampled", live)) == {"example/evaluator:0.1.0"}


@pytest.mark.parametrize("service", SERVICES)
def test_pods_stay_when_prometheus_comes_to_find_them_by_a_pod_monitor(service: str) -> None:
    monitored = replace(UPGRADED, pod_monitor=True)
    for live in (LIVE[service], rendered(service, None, BEFORE)):
        after = rendered(service, live, monitored)
        assert after["spec"] == live["spec"]
        assert needs_apply(rendered(service, applied(after, live), monitored), applied(after, live)) is None
        assert "annotations" not in template_metadata(rendered(service, live, monitored, runtime={"drainSeconds": 30}))


@pytest.mark.parametrize("service", SERVICES)
def test_pods_stay_when_pod_monitors_are_made_no_more(service: str) -> None:
    live = rendered(service, None, replace(UPGRADED, pod_monitor=True))
    assert "annotations" not in template_metadata(live)
    assert needs_apply(rendered(service, live), live) is None
    assert SCRAPE in template_metadata(rendered(service, live, runtime={"drainSeconds": 30}))["annotations"]


def test_without_an_evaluator_sampling_stops_and_the_load_check_stays() -> None:
    none = replace(OPTIONS, evaluator_image="")
    assert evaluator_images(rendered("sampled", rendered("sampled", None, BEFORE), none)) == set()
    assert evaluator_images(rendered("evaluated", LIVE["evaluated"], none)) == {"example/evaluator:0.1.0"}


def test_the_strategy_changes_with_the_next_rollout_alone() -> None:
    live = rendered("running", None, surge=True)
    assert rendered("running", live, surge=False)["spec"] == live["spec"]
    after = rendered("running", live, surge=False, runtime={"drainSeconds": 30})
    assert after["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


# What docs/upgrade.md names → of a service before and after the change: spec, pool, options, digest. {}: as it was
SAMPLED = {"monitoring": {"sampling": SAMPLING}}
OTHER_SAMPLING = {"monitoring": {"sampling": {**SAMPLING, "oneIn": 10}}}
REPLACING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "`settings.defaultTritonImage`": ({}, {"options": replace(UPGRADED, default_image="example/triton:other")}),
    "`spec.model`, all but `probe`": ({}, {"spec": {"model": {"version": 2}}}),
    "`spec.runtime`": ({}, {"spec": {"runtime": {"drainSeconds": 30}}}),
    "a pool's `nodeSelector`": ({}, {"pool": {"nodeSelector": {"zone": "a"}}}),
    "`tolerations`": ({}, {"pool": {"tolerations": [{"key": "team", "operator": "Exists", "effect": "NoSchedule"}]}}),
    "`accelerator`": ({}, {"pool": {"accelerator": {"resource": "amd.com/gpu"}}}),
    "`architecture`": ({}, {"pool": {"architecture": "arm64"}}),
    "`image`": ({}, {"pool": {"image": "example/triton:pool"}}),
    "`runtime` |": ({}, {"pool": {"runtime": {"priorityClassName": "high"}}}),
    "`settings.podIds`": ({}, {"options": replace(UPGRADED, pod_ids=PodIDs.ASSIGNED)}),
    "`spec.monitoring.sampling`, declared": ({}, {"spec": SAMPLED}),
    "changed or removed": ({"spec": SAMPLED}, {"spec": OTHER_SAMPLING}),
    "or removed": ({"spec": SAMPLED}, {}),
    "a pool's `region`, for services with `spec.monitoring.sampling`": (
        {"spec": SAMPLED},
        {"spec": SAMPLED, "pool": {"region": "us-east-1"}},
    ),
    "`spec.evaluation.loadCheck`": ({}, {"digest": DIGEST}),
    "another admitted digest": ({"digest": DIGEST}, {"digest": "sha256:" + "e" * 64}),
}
EVALUATION = {"suites": [{"name": "fairness"}], "gate": "Enforce"}
KEEPING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "`spec.slo`": ({}, {"spec": {"slo": {"latencyP99Milliseconds": 50}}}),
    "`spec.scaling`": ({}, {"spec": {"scaling": {"maxReplicas": 20}}}),
    "`spec.batching`": ({}, {"spec": {"batching": {"mode": "Recommend"}}}),
    "`spec.model.probe`": ({}, {"spec": {"model": {"probe": "ConfigOnly"}}}),
    "`costPerHour`": ({}, {"pool": {"costPerHour": "2"}}),
    "`tier`": ({}, {"pool": {"tier": "Edge"}}),
    "`capacity`": ({}, {"pool": {"capacity": {"maxReplicas": 3}}}),
    "its `region` for services that are not sampled": ({}, {"pool": {"region": "us-east-1"}}),
    "`spec.evaluation`, all but": ({}, {"spec": {"evaluation": EVALUATION}}),
    "`settings.evaluatorImage`": (
        {"digest": DIGEST},
        {"digest": DIGEST, "options": replace(UPGRADED, evaluator_image="example/evaluator:0.3.0")},
    ),
}


def after_change(before: dict[str, Any], after: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pod templates of before and after."""

    def made(change: dict[str, Any], live: dict[str, Any] | None) -> dict[str, Any]:
        serving = pool(**{"region": "eu-west-1", **change.get("pool", {})})
        manifests = render(
            IDENTITY, spec(**change.get("spec", {})), "gpu", serving, SETTINGS, change.get("options", UPGRADED),
            surge=False, digest=change.get("digest"), live=live,
        )  # fmt: skip
        return with_hash(next(m for m in manifests if m["kind"] == "Deployment"))

    first = made(before, None)
    return first["spec"]["template"], made(after, first)["spec"]["template"]


def section(heading: str) -> str:
    page = (Path(__file__).resolve().parents[2] / "docs" / "upgrade.md").read_text()
    return " ".join(page.partition(f"## {heading}")[2].partition("\n## ")[0].split())


@pytest.mark.parametrize("change", REPLACING)
def test_what_the_page_says_replaces_pods_does(change: str) -> None:
    assert change in section("What does replace pods, one by one")
    before, after = after_change(*REPLACING[change])
    assert before != after


@pytest.mark.parametrize("change", KEEPING)
def test_what_the_page_says_keeps_pods_does(change: str) -> None:
    assert change in section("What does not")
    before, after = after_change(*KEEPING[change])
    assert before == after


def test_the_applied_hash_of_0_1_0_is_there() -> None:
    assert all(APPLIED_HASH in live["metadata"]["annotations"] for live in LIVE.values())
    assert all(ANNOTATION not in live["metadata"]["annotations"] for live in LIVE.values())
