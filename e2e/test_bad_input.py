"""What users get wrong: a condition that names the field and the fix, an Event, and what runs goes on as it was.

All mistakes are made at once, each twice: in a new service, and as a change of one that serves requests meanwhile.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from e2e.stack import models
from e2e.stack.load import Load
from e2e.stack.objects import apply, condition
from e2e.stack.traffic import Requests, SteadyLoad
from e2e.stack.watching import Api, History, pause, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

CHANGE, FLAPPING, SECONDS = "change", "flapping", 150.0
GOOD = models.waiting_model(2000, 100)
# Ends the server so many seconds after its model was loaded: at once, or after it has been ready for a while.
CRASHING = """
import os, signal, threading, time
def end():
    time.sleep({seconds})
    while True:  # until the server listens to it
        os.kill(1, signal.SIGTERM)
        time.sleep(0.1)
class TritonPythonModel:
    def initialize(self, args):
        threading.Thread(target=end, daemon=True).start()
    def execute(self, requests):
        import triton_python_backend_utils as pb
        return [pb.InferenceResponse([pb.Tensor("Y", pb.get_input_tensor_by_name(r, "X").as_numpy()[:, :1])])
                for r in requests]
"""


@dataclass(frozen=True)
class Mistake:
    """What is wrong in the spec, and what must be said of it."""

    spec: dict[str, Any]
    type: str
    reasons: tuple[str, ...]
    words: tuple[str, ...]


def model(**changes: Any) -> dict[str, Any]:
    return {"model": {**copy.deepcopy(GOOD), **changes}}


def stored(uri: str) -> dict[str, Any]:
    return model(storage={"uri": uri})


def onnx(width: int) -> dict[str, Any]:
    return {"model": models.onnx_model(width)}


RUNTIME: dict[str, Any] = {"resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}}
MISTAKES = {
    "unknown-pool": Mistake(
        {"placement": {"pools": [{"name": "nowhere"}]}},
        "Accepted", ("PoolNotFound",), ("spec.placement.pools", "nowhere", "create it or name another"),
    ),
    "no-claim": Mistake(
        stored("pvc://nothing/model"),
        "WorkloadReady", ("VolumeNotReady",), ("spec.model.storage.uri", "nothing", "does not exist"),
    ),
    "no-config-map": Mistake(
        stored("configmap://nothing"),
        "WorkloadReady", ("VolumeNotReady",), ("spec.model.storage.uri", "nothing", "does not exist"),
    ),
    "syntax-error": Mistake(
        stored("configmap://broken-model"), "ModelReady", ("ModelLoadFailed",), ("spec.model", "SyntaxError"),
    ),
    "no-file": Mistake(
        stored("configmap://empty-model"),
        "WorkloadReady", ("VolumeNotReady",), ("spec.model.storage.uri", "no key model.py"),
    ),
    "wrong-shape": Mistake(
        onnx(17), "ModelReady", ("ModelLoadFailed", "ProbeFailed"), ("spec.model", "tensors", "17"),
    ),
    "unknown-backend": Mistake(
        model(backend="nonesuch"), "ModelReady", ("ModelLoadFailed",), ("spec.model", "nonesuch"),
    ),
    "no-image": Mistake(
        {"runtime": {**RUNTIME, "image": "localhost:1/nothing:1"}},
        "WorkloadReady", ("ImagePullFailed",), ("spec.runtime.image", "localhost:1/nothing:1"),
    ),
    "crashing": Mistake(
        stored("configmap://crashing-model"),
        "WorkloadReady", ("CrashLooping",), ("restarted", "kubectl logs", "--previous"),
    ),
    "too-large": Mistake(
        {"runtime": {"resources": {"requests": {"memory": "10Ti"}}}},
        "Ready", ("PoolFull", "Unschedulable"), ("spec.runtime.resources",),
    ),
}  # fmt: skip


def service(api: Api, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """On the machine's one CPU node, on which many servers start at once: their slowness is not to be scaled for."""
    made = models.service(name, GOOD, pool="cpu", namespace=api.namespace, runtime=RUNTIME, scaling={"mode": "Off"})
    made["spec"] |= spec
    return made


@dataclass
class Scene:
    """The services, and what was seen of them before and while they were changed."""

    api: Api
    history: History
    requests: dict[str, Requests]
    uids: dict[str, set[str]]


@pytest.fixture(scope="module")
def scene(product: Cluster) -> Iterator[Scene]:
    with scratch(product, "bad-input") as api:
        files = {
            "broken-model": {"model.py": "class TritonPythonModel:\n    def initialize(self args):\n"},
            "empty-model": {"readme.txt": "nothing here"},
            "crashing-model": {"model.py": CRASHING.format(seconds=0)},
            "flapping-model": {"model.py": CRASHING.format(seconds=8)},
        }
        storage = [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": n, "namespace": api.namespace}, "data": d}
            for n, d in files.items()
        ]
        apply(product, [*storage, models.onnx_storage(api.namespace, width=16, layers=1)])
        history = History(api).start()
        changed = {f"{CHANGE}-{name}": mistake for name, mistake in MISTAKES.items()}
        apply(product, [service(api, name, {}) for name in changed])
        apply(product, [service(api, name, m.spec) for name, m in MISTAKES.items()])
        apply(product, [service(api, FLAPPING, stored("configmap://flapping-model"))])
        for name in changed:
            api.until_ready(name, seconds=SECONDS)
        uids = {name: api.uids(name) for name in changed}
        requests = {name: Requests(api, name).start() for name in changed}
        for name, mistake in changed.items():
            api.patch(name, mistake.spec)
        yield Scene(api, history, requests, uids)
        for running in requests.values():
            running.stop()


def check_said(scene: Scene, name: str, mistake: Mistake) -> None:
    said = scene.api.until_condition(name, mistake.type, "False", *mistake.reasons, seconds=SECONDS)
    for word in mistake.words:
        assert word in said["message"], said
    scene.api.until_condition(name, "Ready", "False", said["reason"], seconds=SECONDS)
    now = scene.api.service(name)
    assert condition(now, "Ready")["message"] == condition(now, mistake.type)["message"]

    def told() -> bool:  # a moment after the status
        return any((e["type"], e["reason"]) == ("Warning", said["reason"]) for e in scene.api.events(name))

    scene.api.until(f"an Event {said['reason']}", told, name, seconds=SECONDS)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_new_service_says_what_is_wrong(scene: Scene, name: str) -> None:
    check_said(scene, name, MISTAKES[name])
    assert not scene.history.ever_ready(name), scene.history.seen[name]


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_change_leaves_what_runs(scene: Scene, name: str) -> None:
    changed = f"{CHANGE}-{name}"
    check_said(scene, changed, MISTAKES[name])
    ready = {p["metadata"]["uid"] for p in scene.api.ready_pods(changed)}
    assert scene.uids[changed] <= ready, scene.api.story(changed)
    assert scene.requests[changed].answered > 0
    assert scene.requests[changed].failed == []


def restarts(api: Api, name: str) -> int:
    (pod,) = api.pods(name)
    return int(pod["status"]["containerStatuses"][0]["restartCount"])


def test_a_crash_loop_is_never_ready(scene: Scene) -> None:
    """Nor is one whose pod is ready for some seconds between two crashes."""
    api = scene.api
    for name in ("crashing", FLAPPING):
        api.until("two restarts", lambda name=name: restarts(api, name) >= 2, name)  # type: ignore[misc]
    api.until_condition(FLAPPING, "Ready", "False", "CrashLooping", "RecentlyRestarted")
    pause(10)
    for name in MISTAKES:
        assert not scene.history.ever_ready(name), scene.history.seen[name]
    states = [status for status, _ in scene.history.seen[FLAPPING]]
    first = states.index("True") if "True" in states else 0
    assert "True" not in states[first + 1 :], scene.history.seen[FLAPPING]


@pytest.mark.parametrize("name", MISTAKES)
def test_taking_it_back_heals(scene: Scene, name: str) -> None:
    """With the pods that ran all along."""
    changed = f"{CHANGE}-{name}"
    wrong = scene.api.service(changed) or {}
    good = service(scene.api, changed, {})
    # By kubectl apply of the manifest that was right: what only the mistake had set goes.
    extra = [f for f in ("image",) if f in wrong["spec"].get("runtime", {})]
    scene.api.patch(changed, {**good["spec"], "runtime": {**RUNTIME, **dict.fromkeys(extra)}})
    scene.api.until_ready(changed, seconds=SECONDS)
    assert scene.api.uids(changed) == scene.uids[changed]
    scene.requests[changed].stop()
    assert scene.requests[changed].failed == []


def refused(api: Api, obj: dict[str, Any]) -> str:
    done = api.cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(obj), check=False)
    assert done.returncode != 0
    return done.stderr


OUT_OF_RANGE: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "contradictory replicas": (
        {"scaling": {"minReplicas": 4, "maxReplicas": 2}},
        ("spec.scaling.minReplicas", "must not be above", "lower the first or raise the second"),
    ),
    "contradictory batch sizes": (
        {"batching": {"maxBatchSize": {"min": 8, "max": 4}}}, ("spec.batching.maxBatchSize.min", "must not be above"),
    ),
    "batch size out of range": (
        {"batching": {"maxBatchSize": {"max": 5000}}}, ("spec.batching.maxBatchSize.max", "4096"),
    ),
    "request above limit": (
        {"runtime": {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}}},
        ("spec.runtime.resources.requests", "raise the limit or lower the request"),
    ),
    "no quantity": (
        {"runtime": {"resources": {"requests": {"memory": "much"}}}}, ("spec.runtime.resources.requests",),
    ),
    "negative quantity": (
        {"runtime": {"resources": {"requests": {"memory": "-1Gi"}}}}, ("spec.runtime.resources.requests",),
    ),
    "no time at all": ({"slo": {"latencyP99Milliseconds": 0}}, ("spec.slo.latencyP99Milliseconds", "1")),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "words"), OUT_OF_RANGE.values(), ids=list(OUT_OF_RANGE))
def test_the_api_server_refuses_what_contradicts_itself(
    scene: Scene, spec: dict[str, Any], words: tuple[str, ...]
) -> None:
    said = refused(scene.api, service(scene.api, "refused", spec))
    assert scene.api.service("refused") is None
    changed = f"{CHANGE}-unknown-pool"
    before = (scene.api.service(changed) or {})["spec"]
    again = refused(scene.api, service(scene.api, changed, spec))
    assert (scene.api.service(changed) or {})["spec"] == before
    for word in words:
        assert word in said
        assert word in again


def test_an_slo_that_no_setting_meets(scene: Scene) -> None:
    """It serves, and is Ready; that it is too slow, and what to do, says SLOMet."""
    api = scene.api
    slow = models.service(
        "infeasible", models.waiting_model(80_000, 0), pool="cpu", slo_ms=500, namespace=api.namespace, runtime=RUNTIME,
        scaling={"maxReplicas": 2},
    )  # fmt: skip
    apply(api.cluster, [slow])
    load = Load(api.cluster, namespace=api.namespace).start()
    api.until_ready("infeasible")
    before = api.uids("infeasible")
    with SteadyLoad(load, "infeasible", 5) as steady:
        api.patch("infeasible", {"slo": {"latencyP99Milliseconds": 20}})
        said = api.until_condition("infeasible", "SLOMet", "False", "SLOInfeasible", seconds=2 * SECONDS)
        for word in ("spec.slo.latencyP99Milliseconds: 20", "raise it"):
            assert word in said["message"], said
        # The Event is written after the status.
        api.until(
            "the Event", lambda: any(e["reason"] == "SLOInfeasible" for e in api.events("infeasible")), "infeasible"
        )
        assert (api.service("infeasible") or {})["status"]["reason"] == "SLOInfeasible"
        assert condition(api.service("infeasible"), "Ready")["status"] == "True"
        api.patch("infeasible", {"slo": {"latencyP99Milliseconds": 500}})
        api.until_condition("infeasible", "SLOMet", "True")
    assert before <= api.uids("infeasible")
    assert (steady.failed, steady.starts) == (0, 1), steady.said
