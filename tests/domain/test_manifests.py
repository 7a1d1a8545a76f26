import json
import re
from typing import Any

import pytest
from throughline.api.batching import BatchSettings
from throughline.domain.manifests import (
    SERVICE_LABEL,
    Identity,
    RenderOptions,
    config_map_name,
    deployment_name,
    foreign_owner,
    label_value,
    render_secret,
    replicas_patch,
    secret_name,
    service_name,
)

from tests.domain.manifest_cases import CASES, IDENTITY, OPTIONS, SETTINGS, objects, pool, render_case, spec

LABEL = re.compile(r"[a-z0-9A-Z]([-a-z0-9A-Z_.]{0,61}[a-z0-9A-Z])?")
RFC1035 = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def container(rendered: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return rendered["Deployment"]["spec"]["template"]["spec"]["containers"][0]


def pod(rendered: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return rendered["Deployment"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("case", CASES)
def test_pods_are_admitted_under_the_restricted_pod_security_standard(case: str):
    """The checks of pod-security-admission's policy/restricted, as far as a field exists here."""
    template = next(m for m in render_case(case) if m["kind"] == "Deployment")["spec"]["template"]["spec"]
    security = template["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security.get("runAsUser") != 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(template)
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    for volume in template["volumes"]:
        assert set(volume) - {"name"} <= allowed
    for each in [*template["containers"], *template.get("initContainers", ())]:
        context = each["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True
        assert context["runAsNonRoot"] is True
        assert "privileged" not in context
        assert not any("hostPort" in port for port in each.get("ports", ()))


@pytest.mark.parametrize("case", CASES)
def test_everything_is_owned_labelled_and_named_within_the_limits(case: str):
    for manifest in render_case(case):
        metadata = manifest["metadata"]
        (owner,) = metadata["ownerReferences"]
        assert (owner["kind"], owner["controller"], owner["blockOwnerDeletion"]) == ("InferenceService", True, True)
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "throughline"
        assert all(LABEL.fullmatch(value) for value in metadata["labels"].values())
        if manifest["kind"] in {"Service", "Deployment"}:
            assert RFC1035.fullmatch(metadata["name"])


@pytest.mark.parametrize("case", CASES)
def test_selectors_find_the_pods(case: str):
    by_kind = {m["kind"]: m for m in render_case(case)}
    labels = by_kind["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert all(LABEL.fullmatch(value) for value in labels.values())
    for selector in (
        by_kind["Deployment"]["spec"]["selector"]["matchLabels"],
        by_kind["Service"]["spec"]["selector"],
        by_kind["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        by_kind["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector == {SERVICE_LABEL: labels[SERVICE_LABEL]}


@pytest.mark.parametrize("case", CASES)
def test_mounts_and_volumes_belong_together(case: str):
    template = next(m for m in render_case(case) if m["kind"] == "Deployment")["spec"]["template"]["spec"]
    mounts = template["containers"][0]["volumeMounts"]
    beside = [m["name"] for each in template.get("initContainers", ()) for m in each["volumeMounts"]]
    assert {*(m["name"] for m in mounts), *beside} == {v["name"] for v in template["volumes"]}
    assert len({v["name"] for v in template["volumes"]}) == len(template["volumes"])
    config = next(m for m in mounts if m["name"] == "config")
    assert "subPath" not in config, "a file mounted by subPath is never updated"
    volumes = {v["name"]: v for v in template["volumes"]}
    config_maps = [m["metadata"]["name"] for m in render_case(case) if m["kind"] == "ConfigMap"]
    assert [volumes["config"]["configMap"]["name"]] == config_maps


def test_tuning_changes_the_config_map_in_place_and_nothing_else():
    before = objects()
    after = objects(settings=BatchSettings(max_batch_size=64, max_queue_delay_microseconds=9, instances=4))
    assert [kind for kind in before if before[kind] != after[kind]] == ["ConfigMap"]
    assert before["ConfigMap"]["metadata"] == after["ConfigMap"]["metadata"]


def test_a_new_model_gets_a_new_config_map_and_a_rollout():
    before, after = objects(), objects(spec(model={"version": 2}))
    assert before["ConfigMap"]["metadata"]["name"] != after["ConfigMap"]["metadata"]["name"]
    assert before["Deployment"]["spec"]["template"] != after["Deployment"]["spec"]["template"]
    assert before["Deployment"]["spec"]["selector"] == after["Deployment"]["spec"]["selector"]


@pytest.mark.parametrize(
    "change",
    [
        {"slo": {"latencyP99Milliseconds": 5, "throughputPerSecond": 9}},
        {"scaling": {"minReplicas": 3, "mode": "Off"}},
        {"batching": {"mode": "Recommend", "maxBatchSize": {"max": 4}}},
        {"placement": {"pools": [{"name": "gpu"}, {"name": "other"}]}},
        {"model": {"probe": "ConfigOnly"}},
    ],
)
def test_what_only_the_loop_needs_changes_no_object(change: dict):
    assert objects(spec(**change)) == objects()


def test_replicas_belong_to_the_scaler_alone():
    assert "replicas" not in objects()["Deployment"]["spec"]
    patch = replicas_patch(deployment_name("resnet"), "vision", 3)
    assert patch == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "resnet", "namespace": "vision"},
        "spec": {"replicas": 3},
    }


def test_surge_follows_the_room_in_the_pool():
    strategy = [objects(surge=s)["Deployment"]["spec"]["strategy"]["rollingUpdate"] for s in (True, False)]
    assert strategy == [{"maxSurge": 1, "maxUnavailable": 0}, {"maxSurge": 0, "maxUnavailable": 1}]


def test_the_startup_probe_lasts_as_long_as_the_model_may_load():
    probe = container(objects(spec(runtime={"startTimeoutSeconds": 61})))["startupProbe"]
    assert 61 <= probe["periodSeconds"] * probe["failureThreshold"] < 65


def test_ready_is_the_model_and_alive_is_the_server():
    of = container(objects(spec(model={"name": "M.1"})))
    assert of["readinessProbe"]["httpGet"]["path"] == "/v2/models/M.1/ready"
    assert {of[p]["httpGet"]["path"] for p in ("livenessProbe", "startupProbe")} == {"/v2/health/live"}
    assert "--load-model=M.1" in of["args"]


@pytest.mark.parametrize("drain", [0, 1, 600])
def test_the_grace_period_covers_drain_and_exit(drain: int):
    rendered = objects(spec(runtime={"drainSeconds": drain}))
    exit_timeout = next(
        int(a.split("=")[1]) for a in container(rendered)["args"] if a.startswith("--exit-timeout-secs")
    )
    assert pod(rendered)["terminationGracePeriodSeconds"] > drain + exit_timeout
    expected = {"preStop": {"sleep": {"seconds": drain}}} if drain else None
    assert container(rendered).get("lifecycle") == expected


def test_the_control_api_is_behind_the_key_and_health_is_not():
    args = container(objects())["args"]
    restricted = [a for a in args if a.startswith(("--http-restricted-api", "--grpc-restricted-protocol"))]
    assert len(restricted) == 2
    for argument in restricted:
        apis, _, header = argument.partition("=")[2].partition(":")
        assert set(apis.split(",")) == {"model-repository", "shared-memory", "trace", "logging"}
        assert header == "throughline-control-key=$(THROUGHLINE_CONTROL_KEY)"
    (variable,) = [e for e in container(objects())["env"] if e["name"] == "THROUGHLINE_CONTROL_KEY"]
    assert variable["valueFrom"] == {"secretKeyRef": {"name": secret_name("resnet"), "key": "key"}}
    secret = render_secret(IDENTITY, "k")
    assert (secret["metadata"]["name"], secret["data"]) == ("resnet-control", {"key": "aw=="})


def test_nobody_replaces_the_key_and_names_are_unique():
    env = container(
        objects(spec(runtime={"env": [{"name": "THROUGHLINE_CONTROL_KEY", "value": "x"}, {"name": "HOME"}]}))
    )["env"]
    assert [e["name"] for e in env] == ["THROUGHLINE_CONTROL_KEY", "HOME"]
    assert "valueFrom" in env[0]
    assert env[1] == {"name": "HOME"}, "an empty value is stored as none"


@pytest.mark.parametrize(
    ("runtime", "pool_image", "expected"),
    [
        ({"image": "a"}, "b", "a"),
        ({}, "b", "b"),
        ({}, None, "example/triton:default"),
    ],
)
def test_the_nearest_image_wins(runtime: dict, pool_image: str | None, expected: str):
    changes = {"image": pool_image} if pool_image else {}
    assert container(objects(spec(runtime=runtime), pool(**changes)))["image"] == expected


def test_the_accelerator_is_asked_for_in_requests_and_limits():
    resources = container(objects(serving_pool=pool(accelerator={"countPerReplica": 2})))["resources"]
    assert resources == {"requests": {"nvidia.com/gpu": "2"}, "limits": {"nvidia.com/gpu": "2"}}


def test_an_account_of_the_user_is_used_and_none_is_made():
    rendered = objects(spec(runtime={"serviceAccountName": "mine"}))
    assert "ServiceAccount" not in rendered
    assert pod(rendered)["serviceAccountName"] == "mine"
    ours = objects()
    assert ours["ServiceAccount"]["automountServiceAccountToken"] is False
    assert pod(ours)["automountServiceAccountToken"] is False
    assert pod(ours)["serviceAccountName"] == ours["ServiceAccount"]["metadata"]["name"]


@pytest.mark.parametrize(
    ("uri", "volume", "sub_path"),
    [
        ("pvc://claim/a/b", {"persistentVolumeClaim": {"claimName": "claim", "readOnly": True}}, "a/b"),
        ("pvc://claim/a/", {"persistentVolumeClaim": {"claimName": "claim", "readOnly": True}}, "a"),
        ("pvc://claim", {"persistentVolumeClaim": {"claimName": "claim", "readOnly": True}}, None),
        ("pvc://claim/", {"persistentVolumeClaim": {"claimName": "claim", "readOnly": True}}, None),
        ("configmap://small", {"configMap": {"name": "small"}}, None),
    ],
)
def test_the_model_is_mounted_read_only(uri: str, volume: dict, sub_path: str | None):
    rendered = objects(spec(model={"storage": {"uri": uri}}))
    (mount,) = [m for m in container(rendered)["volumeMounts"] if m["name"] == "storage"]
    (source,) = [v for v in pod(rendered)["volumes"] if v["name"] == "storage"]
    path = "/mnt/model" if "persistentVolumeClaim" in volume else "/models/resnet/1"
    assert (mount["mountPath"], mount["readOnly"], mount.get("subPath")) == (path, True, sub_path)
    assert source == {"name": "storage", **volume}


def test_metrics_may_be_read_by_all_or_by_the_named_namespaces():
    def sources(options: RenderOptions) -> Any:
        rules = objects(options=options)["NetworkPolicy"]["spec"]["ingress"]
        (rule,) = [r for r in rules if r["ports"] == [{"protocol": "TCP", "port": 8002}]]
        return rule.get("from")

    assert sources(OPTIONS) is None
    (source,) = sources(RenderOptions("i", "operator", prometheus_namespaces=("monitoring",)))
    (expression,) = source["namespaceSelector"]["matchExpressions"]
    assert expression["values"] == ["monitoring", "operator"]


def test_a_server_can_resolve_names_and_reach_nothing_else():
    policy = objects()["NetworkPolicy"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert [p["port"] for rule in policy["egress"] for p in rule["ports"]] == [53, 53]


def test_a_pod_monitor_only_where_the_crd_is():
    assert "PodMonitor" not in objects()
    monitor = objects(options=RenderOptions("i", "o", pod_monitor=True))["PodMonitor"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {p["name"] for p in container(objects())["ports"]}


@pytest.mark.parametrize("name", ["a", "resnet", "a.b", "1model", "x" * 63, "x" * 64, "x" * 253, "a." * 126 + "a"])
def test_names_of_any_length_become_valid_and_stay_apart(name: str):
    assert RFC1035.fullmatch(service_name(name))
    assert LABEL.fullmatch(label_value(name))
    assert len(config_map_name(name, "0123456789")) <= 253
    other = name[:-1] + ("b" if name[-1] != "b" else "c")
    assert service_name(name) != service_name(other)
    assert label_value(name) != label_value(other)


def test_a_name_with_a_dot_does_not_meet_the_one_with_a_dash():
    assert service_name("a.b") != service_name("a-b")
    assert service_name("resnet") == "resnet"


def test_an_object_of_somebody_else_is_recognised():
    mine = objects()["Deployment"]
    assert foreign_owner(mine, IDENTITY) is None
    assert foreign_owner(mine, Identity("resnet", "vision", "another uid")) == "InferenceService resnet"
    assert foreign_owner({"metadata": {"name": "resnet"}}, IDENTITY) == "nobody's (it has no controller)"


def test_rendering_is_a_function_of_its_input_and_plain_json():
    assert json.dumps(objects()) == json.dumps(objects())
    assert objects(settings=SETTINGS) == json.loads(json.dumps(objects(settings=SETTINGS)))
