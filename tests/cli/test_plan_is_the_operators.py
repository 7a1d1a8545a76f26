"""`throughline plan` says what the operator then does: one rendering, one comparison."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from throughline.cli.plan import _summary
from throughline.domain.changes import Action
from throughline.domain.ownership import FIELD_MANAGER
from throughline.ports import ApiError

from tests.cli.planned import change, cluster, installed, made
from tests.domain.manifest_cases import CASES, load
from tests.reconcile.fakes import node, service
from tests.reconcile.judging import KEY, Scene
from tests.reconcile.test_admission import mirrored
from tests.reconcile.test_monitoring import MONITORING, salted

if TYPE_CHECKING:
    from throughline.cli.planning import Plan

NAMES = ("plain", "sampled", "m")
IMAGES = {"default_triton_image": "triton:test", "evaluator_image": "evaluator:1"}
# Records of the operator, and what no plan is about.
RECORDS = {"InferenceService/status", "ModelRevision", "ModelRevision/status", "EvaluationRun", "EvaluationRun/status"}


@pytest.fixture
def scene() -> Scene:
    """A service without a gate, a sampled one, and one that a suite judges and whose pods check the model's files."""
    scene = Scene(cluster())
    installed(scene.world, **IMAGES)
    scene.restart()
    salted(scene)
    scene.world.add(service("plain"))
    scene.world.add(service("sampled", monitoring=MONITORING))
    scene.declare(loadCheck="Digest")
    return scene


async def running(scene: Scene) -> Scene:
    await scene.judge()
    for _ in range(3):
        await serve_all(scene)
    return scene


async def serve_all(scene: Scene) -> None:
    for name in NAMES:
        await scene.serve(("default", name))
    scene.world.sync()


def declared(scene: Scene, **changes: Any) -> list[dict[str, Any]]:
    """The files, as they were applied; with other specs by name."""
    found = [scene.world.live("InferenceService", name) for name in NAMES]
    return [
        {k: one[k] for k in ("apiVersion", "kind", "spec")}
        | {"metadata": {k: one["metadata"][k] for k in ("name", "namespace")}}
        | ({"spec": {**one["spec"], **changes[name]}} if (name := one["metadata"]["name"]) in changes else {})
        for one in found
    ]


def foretold(plan: Plan) -> set[tuple[str, str, str]]:
    verbs = {Action.CREATE: "apply", Action.UPDATE: "apply", Action.DELETE: "delete"}
    return {
        (verbs[c.action], c.kind, c.name) for c in plan.changes if c.action in verbs and c.kind != "InferenceService"
    }


async def done(scene: Scene, resources: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """What an operator writes that has just come, once the files are applied."""
    world = scene.world
    for resource in resources:
        live = world.live("InferenceService", resource["metadata"]["name"])
        if live["spec"] != resource["spec"]:
            generation = live["metadata"]["generation"] + 1
            world.add({**live, "spec": resource["spec"], "metadata": {**live["metadata"], "generation": generation}})
    before = len(world.kube.writes)
    scene.restart()
    await serve_all(scene)
    return {w for w in world.kube.writes[before:] if w[1] not in RECORDS}


def node_of(pool: dict[str, Any]) -> dict[str, Any]:
    """With room for every replica, and what the case of all fields asks of a node."""
    made, spec = node("large"), pool["spec"]
    made["metadata"]["labels"] |= {"zone": "a", "driver": "550"}
    made["metadata"]["labels"] |= {"kubernetes.io/arch": spec.get("architecture", "amd64"), **spec["nodeSelector"]}
    made["status"]["allocatable"] |= {"cpu": "640", "memory": "4Ti", "ephemeral-storage": "4Ti"}
    made["status"]["allocatable"][spec.get("accelerator", {}).get("resource", "nvidia.com/gpu")] = "64"
    return made


@pytest.mark.parametrize("case", CASES)
async def test_a_new_service_is_rendered_alike(case: str) -> None:
    made_of, pool = load(case, "input.yaml"), load(case, "pool.yaml")
    made_of["metadata"].setdefault("generation", 1)
    namespace, name = made_of["metadata"]["namespace"], made_of["metadata"]["name"]
    scene = Scene(cluster(pool, node_of(pool)))
    installed(scene.world, **IMAGES)
    scene.restart()
    scene.world.add(made_of)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "fraud-salt", "namespace": namespace}}
    scene.world.kube.seed({**secret, "data": {"salt": base64.b64encode(b"s" * 32).decode()}})
    plan = await made(scene.world, made_of, namespace=namespace)
    await scene.serve((namespace, name))
    applied = [
        fields
        for ((kind, _, _), manager, subresource), fields in scene.world.kube.applied.items()
        if manager == FIELD_MANAGER and not subresource and kind != "Secret"
    ]
    assert applied
    assert [c.manifest for c in plan.changes if c.action is Action.CREATE and c.kind != "Secret"] == applied


async def test_where_the_operator_changes_nothing_plan_says_so(scene: Scene) -> None:
    await running(scene)
    files = declared(scene)
    plan = await made(scene.world, *files)
    assert {c.action for c in plan.changes} == {Action.KEEP}, [c for c in plan.changes if c.action is not Action.KEEP]
    assert _summary(plan).endswith("to keep; no pod is replaced")
    assert await done(scene, files) == set()


async def test_an_upgrade_replaces_no_pod(scene: Scene) -> None:
    """The next operator has another image of the evaluator: it goes into what runs next, not into live pods."""
    await running(scene)
    files = declared(scene)
    before = await made(scene.world, *files, evaluator_image="evaluator:2")  # asked before the upgrade
    installed(scene.world, **{**IMAGES, "evaluator_image": "evaluator:2"})
    plan = await made(scene.world, *files)
    assert foretold(plan) == foretold(before) == {("apply", "CronJob", change(plan, "CronJob").name)}
    assert plan.replaced == []
    assert await done(scene, files) == foretold(plan)


@pytest.mark.parametrize(
    ("changes", "replaced"),
    [
        ({"plain": {"runtime": {"drainSeconds": 7}}}, ["plain"]),
        ({"plain": {"slo": {"latencyP99Milliseconds": 70}}}, []),
        ({"plain": {"batching": {"mode": "Fixed", "fixed": {"maxBatchSize": 4}}}}, []),
        ({"sampled": {"monitoring": None}}, ["sampled"]),
        # Another model waits for its evaluation, and the one of before goes on.
        ({"m": {"model": {"storage": {"uri": "pvc://models/next"}, "backend": "python"}}}, []),
    ],
    ids=["pod", "slo", "settings", "no-samples", "gate"],
)
async def test_a_change_is_done_as_foretold(scene: Scene, changes: dict[str, Any], replaced: list[str]) -> None:
    await running(scene)
    files = declared(scene, **changes)
    for file in files:
        file["spec"] = {k: v for k, v in file["spec"].items() if v is not None}
    plan = await made(scene.world, *files)
    assert plan.replaced == replaced
    before = {d["metadata"]["name"]: d["spec"]["template"] for d in scene.all("Deployment")}
    assert await done(scene, files) == foretold(plan)
    after = {d["metadata"]["name"]: d["spec"]["template"] for d in scene.all("Deployment")}
    assert [name for name in NAMES if after[name] != before[name]] == replaced


async def test_no_model_may_serve_before_it_is_judged(scene: Scene) -> None:
    (file,) = [f for f in declared(scene) if f["metadata"]["name"] == "m"]
    plan = await made(scene.world, file)
    assert change(plan, "Deployment").action is Action.WAIT
    assert change(plan, "Deployment").why.startswith("no model may serve yet: ")
    await scene.serve(KEY)
    assert ("Deployment", "default", "m") not in scene.world.kube.objects


async def test_what_admission_rewrites_is_no_change(scene: Scene) -> None:
    scene.world.kube.admission = mirrored
    await running(scene)
    files = declared(scene)
    plan = await made(scene.world, *files)
    assert {c.action for c in plan.changes} == {Action.KEEP}
    assert change(plan, "Deployment").why == "admission rewrites spec.template.spec.containers[triton].image"
    assert await done(scene, files) == set()


async def test_an_update_is_told_as_it_is_after_admission(scene: Scene) -> None:
    scene.world.kube.admission = mirrored
    await running(scene)
    plan = await made(scene.world, *declared(scene, plain={"runtime": {"drainSeconds": 7}}))
    told = next(c for c in plan.changes if (c.kind, c.name) == ("Deployment", "plain"))
    assert told.fields
    assert not [path for path in told.fields if path.endswith("image")], "the mirror's is live already"


async def test_what_admission_refuses_is_refused(scene: Scene) -> None:
    await running(scene)
    scene.world.kube.admission = Mock(side_effect=ApiError(422, "Invalid", "quota: too much"))
    plan = await made(scene.world, *declared(scene, plain={"runtime": {"drainSeconds": 7}}))
    told = next(c for c in plan.changes if (c.kind, c.name) == ("Deployment", "plain"))
    assert told.action is Action.REFUSE
    assert told.why == "the API server refuses it: quota: too much"


async def test_what_the_scale_subresource_wrote_stays_when_files_without_it_are_applied(scene: Scene) -> None:
    await running(scene)
    files = declared(scene)
    live = scene.world.live("InferenceService", "plain")
    fields = {"f:spec": {"f:scaling": {"f:replicas": {}}}}
    live["metadata"]["managedFields"] = [{"manager": "keda", "subresource": "scale", "fieldsV1": fields}]
    scene.world.add({**live, "spec": {**live["spec"], "scaling": {"mode": "Off", "replicas": 3}}})
    files[0]["spec"]["scaling"] = {"mode": "Off"}
    assert change(await made(scene.world, *files), "InferenceService").action is Action.KEEP
    files[0]["spec"]["slo"] = {"latencyP99Milliseconds": 70}
    plan = await made(scene.world, *files)
    assert change(plan, "InferenceService").why == "changes spec.slo.latencyP99Milliseconds"
    assert "plain is scaled from 1 to 3 replicas" in plan.notes
