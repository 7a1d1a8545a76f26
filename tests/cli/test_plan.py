from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from throughline import exits
from throughline.cli import plan
from throughline.domain.changes import Action
from throughline.ports import ApiError
from throughline.reconcile.service import ServiceReconciler

from tests.cli.planned import OPERATOR_NAMESPACE, PlanKube, actions, change, installed
from tests.cli.planned import cluster as empty
from tests.cli.planned import made as planned
from tests.reconcile.fakes import node

if TYPE_CHECKING:
    import pytest
    from throughline.cli.planning import Plan

    from tests.reconcile.fakes import World

EXAMPLES = Path(__file__).resolve().parents[2] / "manifests" / "examples"
FORBIDDEN = 403


def documents(name: str = "gpu") -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLES / f"{name}.yaml").read_text()))


def cluster(*objects: dict[str, Any], **env: str) -> World:
    """With nodes for the example's pool."""
    selector = documents()[0]["spec"]["nodeSelector"]
    nodes = [node(f"a10-{n}") for n in range(2)]
    for each in nodes:
        each["metadata"]["labels"] |= selector
    return empty(*nodes, *objects, **env)


async def made(world: World | None, *resources: dict[str, Any]) -> Plan:
    return await planned(world, *(resources or documents()))


async def applied() -> World:
    """A cluster on which the plan was carried out by the operator."""
    world = cluster()
    installed(world)
    pool, service = documents()
    service["metadata"] |= {"namespace": "vision", "generation": 1}
    world.add(pool)
    world.add(service)
    reconcile = ServiceReconciler(world.deps)
    for _ in range(2):
        await reconcile(("vision", "resnet50"))
        world.sync()
    return world


def kube(world: World) -> PlanKube:
    assert isinstance(world.kube, PlanKube)
    return world.kube


async def test_everything_is_new() -> None:
    result = await made(cluster())
    assert set(actions(result).values()) == {"create"}
    assert [c.manifest["kind"] for c in result.changes] == [
        *("ServingPool", "InferenceService", "Secret", "ServiceAccount", "ConfigMap"),
        *("NetworkPolicy", "Service", "PodDisruptionBudget", "Deployment"),
    ]
    assert "1/0×1 (the lower bounds, where tuning starts)" in change(result, "ConfigMap").why
    assert "starts with 2 replicas" in change(result, "Deployment").why
    assert change(result, "InferenceService").manifest["metadata"]["namespace"] == "vision"


async def test_nothing_to_do_once_it_is_done() -> None:
    result = await made(await applied())
    assert set(actions(result).values()) == {"keep"}


async def test_an_update_tells_the_fields_and_whether_pods_restart() -> None:
    world = await applied()
    pool, service = documents()
    service["spec"]["runtime"]["resources"]["limits"]["memory"] = "10Gi"
    result = await made(world, pool, service)
    assert {k[0]: v for k, v in actions(result).items() if v != "keep"} == {
        "InferenceService": "update",
        "Deployment": "update",
    }
    deployment = change(result, "Deployment")
    assert deployment.fields == tuple(
        f"spec.template.spec.{container}.resources.limits.memory"
        for container in ("initContainers[model-files]", "containers[triton]")
    )
    assert deployment.why.endswith("pods are replaced one by one")


async def test_an_update_of_the_slo_touches_no_child() -> None:
    pool, service = documents()
    service["spec"]["slo"]["latencyP99Milliseconds"] = 50
    result = await made(await applied(), pool, service)
    assert [kind for (kind, _), action in actions(result).items() if action != "keep"] == ["InferenceService"]
    assert change(result, "InferenceService").why == "changes spec.slo.latencyP99Milliseconds"


async def test_settings_in_force_are_kept() -> None:
    world = await applied()
    service = world.live("InferenceService", "resnet50", "vision")
    service["status"]["batch"] = {"settings": {"maxBatchSize": 16, "maxQueueDelayMicroseconds": 500, "instances": 2}}
    world.add(service)
    (name,) = [name for kind, _, name in world.kube.objects if kind == "ConfigMap"]
    world.remove("ConfigMap", "vision", name)
    assert "16/500µs×2 (in force now)" in change(await made(world), "ConfigMap").why


async def test_fixed_settings() -> None:
    assert "4/2ms×1 (spec.batching.fixed)" in change(await made(None, *documents("edge")), "ConfigMap").why


async def test_an_unknown_pool_is_refused_with_what_to_do() -> None:
    result = await made(cluster(), documents()[1])
    assert result.refused
    assert actions(result) == {("InferenceService", "resnet50"): "refuse"}
    assert "create it or name another" in change(result, "InferenceService").why


async def test_a_pool_on_the_cluster_will_do() -> None:
    pool, service = documents()
    assert not (await made(cluster(pool), service)).refused


async def test_the_order_in_the_file_does_not_matter() -> None:
    assert not (await made(cluster(), *reversed(documents()))).refused


async def test_an_object_of_others_is_left_alone() -> None:
    foreign = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "resnet50", "namespace": "vision"}}
    result = await made(cluster(foreign))
    assert result.refused
    assert change(result, "Service").action is Action.REFUSE
    assert "delete or rename it" in change(result, "Service").why


async def test_what_the_api_server_refuses() -> None:
    world = cluster()
    kube(world).denied["dry run"] = ApiError(422, "Invalid", "spec.x: no")
    result = await made(world)
    assert change(result, "InferenceService").why == "spec.x: no"
    assert len(result.changes) == len(documents())


async def test_the_resource_itself_is_only_tried() -> None:
    world = cluster()
    await made(world)
    assert [path.rsplit("/", 1)[1] for path in kube(world).dry_runs] == ["gpu-a10", "resnet50"]


async def test_missing_rights_are_noted_and_no_obstacle() -> None:
    world = cluster()
    kube(world).denied = {
        "dry run": ApiError(FORBIDDEN, "Forbidden", "no"),
        "get Secret": ApiError(FORBIDDEN, "Forbidden", "no"),
        "list Node": ApiError(FORBIDDEN, "Forbidden", "no"),
        "list ModelApproval": ApiError(FORBIDDEN, "Forbidden", "no"),
    }
    result = await made(world)
    assert not result.refused
    assert any("may not write" in note for note in result.notes)
    assert any("may not read Secret" in note for note in result.notes)
    assert "you may not list Nodes: free capacity is not known" in result.notes
    assert "you may not list ModelApprovals: the gate is judged without" in result.notes


async def test_the_operators_own_settings_are_used() -> None:
    world = cluster(default_triton_image="mirror/triton:1")
    result = await made(world)
    template = change(result, "Deployment").manifest["spec"]["template"]
    assert template["spec"]["containers"][0]["image"] == "mirror/triton:1"
    odd = await made(cluster(pod_monitor="sometimes"))
    assert any(note.startswith("this version does not take the operator's own settings") for note in odd.notes)
    world.remove("Deployment", OPERATOR_NAMESPACE, "throughline")
    assert any("defaults are assumed" in note for note in (await made(world)).notes)


async def test_a_pod_monitor_where_the_cluster_has_them() -> None:
    world = cluster()
    kube(world).kinds.add("PodMonitor")
    assert change(await made(world), "PodMonitor").action is Action.CREATE


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    parser = argparse.ArgumentParser()
    plan.register(parser.add_subparsers())
    args = parser.parse_args(["plan", *arguments])
    code = args.run(args)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_offline_text(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = printed(capsys, str(EXAMPLES / "gpu.yaml"), "--offline", "-n", "vision")
    assert code == exits.OK
    assert "9 to create" in out
    assert "does not exist" not in out, "nothing was asked for"
    assert "Note: resnet50 goes to pool gpu-a10: the first listed pool that exists" in out


def test_a_suite_is_planned_beside_the_service_that_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = printed(capsys, str(EXAMPLES / "evaluation.yaml"), "--offline", "-n", "people", "-o", "json")
    assert code == exits.OK, err
    objects = {o["kind"]: o for o in json.loads(out)["objects"]}
    assert objects["EvaluationSuite"]["why"] == "services may be judged by it"
    assert objects["EvaluationSuite"]["namespace"] == "people"
    assert objects["Deployment"]["action"] == objects["Secret"]["action"] == "wait"


def test_the_input_is_read_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((EXAMPLES / "gpu.yaml").read_bytes())))
    _, out, _ = printed(capsys, "-", "--offline")
    assert "9 to create" in out


def test_offline_yaml_is_what_would_be_applied(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = printed(capsys, str(EXAMPLES / "gpu.yaml"), "--offline", "-o", "yaml")
    rendered = list(yaml.safe_load_all(out))
    assert [d["kind"] for d in rendered][:2] == ["ServingPool", "InferenceService"]
    assert "config.pbtxt" in out or "max_batch_size" in out


def test_offline_json(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = printed(capsys, str(EXAMPLES / "cpu.yaml"), "--offline", "-o", "json")
    objects = json.loads(out)["objects"]
    assert {o["action"] for o in objects} == {"create"}
    assert all(o["why"] for o in objects)


def test_invalid_files_are_not_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool, service = documents()
    service["spec"]["scaling"]["minReplicas"] = 9
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump_all([pool, service]))
    code, out, err = printed(capsys, str(file), "--offline")
    assert code == exits.REFUSED
    assert out == ""
    assert "spec.scaling.minReplicas must not be above" in err


def test_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    code, _, err = printed(capsys, str(EXAMPLES / "gpu.yaml"))
    assert code == exits.NO_ANSWER
    assert "set KUBECONFIG" in err
    assert "--offline" in err
