"""Looks at the samples: rendered where declared, taken over once, withdrawn when declared no more."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from throughline.api.batching import BatchSettings
from throughline.domain.manifests import drift
from throughline.domain.manifests.evaluation import RUN_LABEL

from tests.reconcile.fakes import SERVICE, pod, service

if TYPE_CHECKING:
    from tests.reconcile.judging import Scene

GOVERNANCE = {
    "owner": "tests", "purpose": "tests", "legalBasis": "NotPersonalData", "regions": ["eu"], "retentionDays": 1,
}  # fmt: skip
MONITORING = {
    "sampling": {
        "oneIn": 10, "fields": [{"name": "X"}], "salt": {"name": "salt"}, "retentionMinutes": 60,
        "storage": {"claimName": "samples"}, "governance": GOVERNANCE,
    },
    "drift": {"baseline": {"source": {"configMap": {"name": "rows", "key": "rows.csv"}}, "governance": GOVERNANCE}},
}  # fmt: skip


def salted(scene: Scene, value: bytes | None = b"s" * 32, key: str = "salt") -> None:
    """The Secret, in the API server alone: it is not watched."""
    if value is None:
        scene.world.kube.objects.pop(("Secret", "default", "salt"), None)
        return
    data = {key: base64.b64encode(value).decode()}
    scene.world.kube.seed(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "salt", "namespace": "default"}, "data": data}
    )


def declare(scene: Scene, generation: int, monitoring: dict[str, Any] | None, *, salt: bool = True) -> None:
    if salt:
        salted(scene)
    made = service(generation=generation, **({} if monitoring is None else {"monitoring": monitoring}))
    live = scene.world.kube.objects.get(("InferenceService", "default", "m"))
    if live is not None:
        made = {**live, "metadata": {**live["metadata"], "generation": generation}, "spec": made["spec"]}
    scene.world.add(made)


def looked(scene: Scene, name: str, at: str, outcome: str) -> None:
    """A Job of the CronJob that has ended, and its pod."""
    metadata = {"name": name, "namespace": "default", "labels": {RUN_LABEL: drift.RUN, SERVICE: "m"}}
    end = {"type": "Complete", "status": "True", "lastTransitionTime": at}
    made = scene.world.add(
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "status": {"conditions": [end]}}
    )
    words = json.dumps({"exitCode": 0, "outcome": outcome, "message": f"x0 after {name}", "rows": 500})
    status = {
        "containerStatuses": [{"name": drift.CONTAINER, "state": {"terminated": {"exitCode": 0, "message": words}}}]
    }
    owner = {"batch.kubernetes.io/controller-uid": made["metadata"]["uid"]}
    about = {"name": f"{name}-x", "namespace": "default", "labels": owner}
    scene.world.kube.seed({"apiVersion": "v1", "kind": "Pod", "metadata": about, "status": status})


async def test_a_look_is_taken_over_once_and_the_newest_counts(scene: Scene) -> None:
    declare(scene, 1, MONITORING)
    await scene.passes()
    (cron,) = scene.all("CronJob")
    assert cron["spec"]["jobTemplate"]["metadata"]["labels"][RUN_LABEL] == drift.RUN
    assert scene.world.conditions()["DriftWithinBounds"] == ("Unknown", "NotLookedAt")
    looked(scene, "one", "2023-11-14T22:13:20Z", "Passed")
    await scene.passes()
    assert scene.world.conditions()["DriftWithinBounds"] == ("True", "WithinBounds")
    looked(scene, "two", "2023-11-14T22:14:20Z", "Failed")
    await scene.passes()
    assert scene.world.conditions()["DriftWithinBounds"] == ("False", "Drifted")
    assert "x0 after two" in scene.world.message("DriftWithinBounds")
    # Its pod and Job go; what was found stays. At rest nothing is read or written.
    scene.world.remove("Job", "default", "two")
    writes, reads = list(scene.world.kube.writes), len(scene.world.kube.reads)
    await scene.passes()
    scene.restart()
    await scene.passes(1)
    assert scene.world.conditions()["DriftWithinBounds"] == ("False", "Drifted")
    assert scene.world.kube.writes == writes
    assert [r for r in scene.world.kube.reads[reads:] if r[0] == "Pod" and r[1] != "*"] == []


async def test_what_is_declared_no_more_is_withdrawn(scene: Scene) -> None:
    declare(scene, 1, MONITORING)
    await scene.passes()
    declare(scene, 2, None)
    await scene.passes()
    assert scene.all("CronJob") == []
    assert scene.world.conditions()["DriftWithinBounds"] == ("Unknown", "NotConfigured")


async def test_nothing_is_sampled_or_looked_at_outside_its_regions(scene: Scene) -> None:
    elsewhere = {**MONITORING["sampling"], "governance": {**GOVERNANCE, "regions": ["us"]}}
    declare(scene, 1, {**MONITORING, "sampling": elsewhere})
    await scene.passes()
    assert scene.all("CronJob") == []
    assert sidecars(scene) == []
    assert scene.world.conditions()["DriftWithinBounds"] == ("Unknown", "RegionNotAllowed")
    assert "kept and read in us, and the pool is in eu" in scene.world.message("DriftWithinBounds")


def sidecars(scene: Scene) -> list[str]:
    spec = scene.all("Deployment")[0]["spec"]["template"]["spec"]
    return [c["name"] for c in spec.get("initContainers", ()) if c.get("restartPolicy") == "Always"]


@pytest.mark.parametrize(
    ("value", "key", "said"),
    [
        (None, "salt", "Secret salt does not exist in namespace default"),
        (b"s" * 32, "pepper", "Secret salt has no key salt"),
        (b"s" * 31, "salt", "Secret salt has 31 bytes under salt"),
    ],
)
async def test_without_a_salt_it_is_said_and_the_service_is_left_as_it_is(
    scene: Scene, value: bytes | None, key: str, said: str
) -> None:
    declare(scene, 1, None, salt=False)
    await scene.passes()
    before = scene.all("Deployment")[0]["spec"]["template"]
    salted(scene, value, key)
    declare(scene, 2, MONITORING, salt=False)
    await scene.passes()
    assert scene.world.conditions()["DriftWithinBounds"] == ("Unknown", "SaltMissing")
    message = scene.world.message("DriftWithinBounds")
    assert said in message
    assert message.endswith("with 32 random bytes or more, which stay the same; until then nothing is sampled")
    assert scene.all("Deployment")[0]["spec"]["template"] == before
    assert scene.all("CronJob") == []
    salted(scene)
    await scene.passes()
    assert scene.all("CronJob") == []  # not asked at every pass
    scene.world.now += 16
    await scene.passes()
    assert scene.world.conditions()["DriftWithinBounds"] == ("Unknown", "NotLookedAt")
    assert sidecars(scene) == ["sample"]
    assert len(scene.all("CronJob")) == 1


async def test_a_salt_that_was_there_is_not_read_again_until_a_pod_waits_for_it(scene: Scene) -> None:
    declare(scene, 1, MONITORING)
    await scene.passes()
    salted(scene, None)
    scene.world.now += 3600
    reads = len(scene.world.kube.reads)
    await scene.passes()
    assert [r for r in scene.world.kube.reads[reads:] if r[0] == "Secret"] == []
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "salt" not found'}
    sidecar = {"name": "sample", "restartCount": 0, "state": {"waiting": waiting}}
    server = {"name": "triton", "restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}}
    revision = scene.all("Deployment")[0]["spec"]["template"]["metadata"]["labels"]["throughline.io/revision"]
    stuck = pod("m-1", revision, ip="", ready=False, initContainerStatuses=[sidecar], containerStatuses=[server])
    scene.world.add(stuck)
    await scene.passes()
    assert scene.world.conditions()["DriftWithinBounds"] == ("Unknown", "SaltMissing")
    assert scene.world.message("DriftWithinBounds").endswith("a new pod cannot start until it is")
    assert scene.world.conditions()["WorkloadReady"] == ("False", "ContainerConfigError")
    assert 'secret "salt" not found' in scene.world.message("WorkloadReady")
    # It is sampled already: to take that away would replace the pods that run.
    assert sidecars(scene) == ["sample"]
    assert len(scene.all("CronJob")) == 1


async def serving(scene: Scene, version: str) -> None:
    """One ready pod."""
    revision = scene.all("Deployment")[0]["spec"]["template"]["metadata"]["labels"]["throughline.io/revision"]
    scene.world.triton.server_version = version
    scene.world.triton.loaded["10.0.0.1"] = BatchSettings(max_batch_size=1)
    scene.world.add(pod("m-1", revision, ip="10.0.0.1"))
    await scene.passes()


async def test_servers_that_are_too_old_to_be_sampled_are_told(scene: Scene) -> None:
    declare(scene, 1, MONITORING)
    await scene.passes()
    await serving(scene, "2.51.0")
    assert scene.world.conditions()["DriftWithinBounds"] == ("Unknown", "ServerTooOld")
    message = scene.world.message("DriftWithinBounds")
    assert message.startswith("nothing is sampled: Triton 2.51.0 is older than spec.monitoring.sampling.minimum")
    assert "minimumServerVersion 2.58.0" in message
    assert scene.world.triton.calls.count(("version", "10.0.0.1")) == 1
    # A new process knows no versions at first, and says nothing else meanwhile.
    writes = list(scene.world.kube.writes)
    scene.restart()
    await scene.passes()
    assert scene.world.kube.writes == writes
    looked(scene, "one", "2023-11-14T22:13:20Z", "Unknown")
    await scene.passes()
    assert scene.world.conditions()["DriftWithinBounds"] == ("Unknown", "ServerTooOld")
    assert scene.world.message("DriftWithinBounds").endswith("the last look: x0 after one")


async def test_sampling_alone_is_told_to_be_off_too(scene: Scene) -> None:
    declare(scene, 1, {"sampling": MONITORING["sampling"]})
    await scene.passes()
    assert scene.world.conditions()["DriftWithinBounds"] == ("Unknown", "NotConfigured")
    await serving(scene, "2.51.0")
    assert scene.world.conditions()["DriftWithinBounds"] == ("Unknown", "ServerTooOld")


async def test_a_server_is_asked_for_its_version_once_also_where_nothing_is_sampled(scene: Scene) -> None:
    declare(scene, 1, None)
    await scene.passes()
    await serving(scene, "2.51.0")
    await scene.passes()
    assert scene.world.triton.calls.count(("version", "10.0.0.1")) == 1, "all servers may be too old to work"
    assert scene.world.conditions()["DriftWithinBounds"] == ("Unknown", "NotConfigured")


async def test_a_baseline_on_the_claim_of_the_samples_leaves_their_state_writable(scene: Scene) -> None:
    source = {"pvc": {"claimName": "samples", "path": "rows.csv"}}
    declare(scene, 1, {**MONITORING, "drift": {"baseline": {"source": source, "governance": GOVERNANCE}}})
    await scene.passes()
    looks = scene.all("CronJob")[0]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    claims = [v for v in looks["volumes"] if "persistentVolumeClaim" in v]
    assert claims == [{"name": "storage", "persistentVolumeClaim": {"claimName": "samples"}}]
    of_claim = {m["mountPath"]: m.get("readOnly", False) for m in looks["containers"][0]["volumeMounts"]
                if m["name"] == "storage"}  # fmt: skip
    assert of_claim == {"/storage": False, "/data": True}
