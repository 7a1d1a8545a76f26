from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import helm_python
import pytest
import yaml
from throughline.api.crd import KINDS
from throughline.runtime.metrics import Metrics
from throughline.settings import PREFIX, Settings

from e2e.helm import image_values
from tools import generate

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "throughline"
# Everything that a value can switch on.
ALL = {
    "replicas": 2,
    "priorityClassName": "high",
    "global": {"imagePullSecrets": ["pull"]},
    "commonLabels": {"team": "ml"},
    "podLabels": {"sidecar": "no"},
    "podAnnotations": {"a": "b"},
    "settings": {
        "namespaces": ["a", "b"],
        "evaluatorImage": "registry/evaluator:1",
        "podMonitorLabels": {"release": "kps", "team": "ml"},
    },
    "prometheus": {
        "basicAuth": {"secretName": "login"},
        "ca": {"configMapName": "authorities"},
        "clientCertificate": {"secretName": "client"},
        "headers": {"X-Scope-OrgID": "a|b"},
        "headersSecretName": "more",
        "parameters": {"dedup": "true", "partial_response": "false"},
    },
    "podDisruptionBudget": {"enabled": True},
    "networkPolicy": {
        "metricsFrom": [{"namespaceSelector": {}}],
        "apiServerCidrs": ["10.0.0.1/32"],
        "extraEgress": [{"ports": [{"port": 4317}]}],
    },
    "metrics": {
        "podMonitor": {"enabled": True},
        "serviceMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
    },
    "extraEnv": [{"name": "A", "value": "b"}],
    "extraArgs": ["--log-format=text"],
    "extraVolumes": [{"name": "x", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "x", "mountPath": "/x"}],
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
    "serviceAccount": {"annotations": {"a": "b"}},
    "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-x"}}],
}


@pytest.fixture(scope="module")
def chart() -> Iterator[helm_python.Chart]:
    with helm_python.Chart.load(CHART) as loaded:
        yield loaded


def render(
    chart: helm_python.Chart, values: dict[str, Any] | None = None, *, name: str = "throughline"
) -> list[dict[str, Any]]:
    chart.validate_schema(values or {})
    rendered = chart.render(values or {}, name=name, namespace="throughline-system")
    texts = (text for path, text in sorted(rendered.items()) if path.endswith(".yaml"))
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def only(documents: list[dict[str, Any]], kind: str, name: str = "") -> dict[str, Any]:
    found = [d for d in documents if d["kind"] == kind and name in d["metadata"]["name"]]
    assert len(found) == 1, f"{kind} {name}: {[d['metadata']['name'] for d in found]}"
    return found[0]


def container(documents: list[dict[str, Any]]) -> dict[str, Any]:
    (result,) = only(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(result)


def test_lint_finds_no_error() -> None:
    result = helm_python.lint(str(CHART))
    assert result["errors"] == []
    assert [m for m in result["messages"] if m["severity"] > 1] == []


def test_the_default_objects(chart: helm_python.Chart) -> None:
    kinds = sorted(d["kind"] for d in render(chart))
    assert kinds == sorted(
        [
            *["CustomResourceDefinition"] * len(KINDS),
            *("ServiceAccount", "Deployment", "NetworkPolicy"),
            *("ClusterRole", "ClusterRole", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Service"),
        ]
    )


def test_everything_switched_on(chart: helm_python.Chart) -> None:
    documents = render(chart, ALL)
    for kind in ("PodDisruptionBudget", "PodMonitor", "ServiceMonitor", "PrometheusRule", "ConfigMap"):
        only(documents, kind)
    for document in documents:
        if document["kind"] != "ConfigMap":
            assert document["metadata"]["labels"]["team"] == "ml"
    assert only(documents, "ConfigMap")["metadata"]["name"] == "throughline-x"
    pod = only(documents, "Deployment")["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    assert pod["priorityClassName"] == "high"
    assert container(documents)["args"] == ["run", "--log-format=text"]


# --- values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"replica": 1},
        {"image": {"tags": "x"}},
        {"image": {"digest": "sha256:short"}},
        {"image": {"pullPolicy": "Sometimes"}},
        {"replicas": -1},
        {"settings": {"prometheusUrl": "prometheus:9090"}},
        {"settings": {"workers": 0}},
        {"settings": {"evaluatorImage": "two words"}},
        {"settings": {"namespaces": ["Upper"]}},
        {"settings": {"podMonitor": "yes"}},
        {"settings": {"podMonitorLabels": {"release": "two words"}}},
        {"settings": {"podIds": "root"}},
        {"prometheus": {"basicAuth": {"password": "x"}}},
        {"prometheus": {"headers": {"X A": "b"}}},
        {"prometheus": {"headers": {"X-A": "b,c"}}},
        {"prometheus": {"parameters": {"dedup": True}}},
        {"crds": {"keep": "yes"}},
        {"networkPolicy": {"apiServerPorts": []}},
        {"metrics": {"podMonitor": {"interval": "30"}}},
    ],
    ids=str,
)
def test_bad_values_are_refused(chart: helm_python.Chart, values: dict[str, Any]) -> None:
    with pytest.raises(helm_python.HelmValuesError):
        chart.validate_schema(values)


def test_a_parent_chart_may_share_values(chart: helm_python.Chart) -> None:
    chart.validate_schema({"global": {"anything": 1}})


def test_every_value_is_in_the_schema(chart: helm_python.Chart) -> None:
    schema = chart.schema
    assert schema is not None

    def compare(values: dict[str, Any], node: dict[str, Any], path: str) -> None:
        if "$ref" in node:
            node = schema["definitions"][node["$ref"].rsplit("/", 1)[1]]
        if "properties" not in node:
            return
        assert node["additionalProperties"] is False, path
        assert values.keys() == node["properties"].keys(), path
        for name, value in values.items():
            if isinstance(value, dict):
                compare(value, node["properties"][name], f"{path}.{name}")

    compare(chart.values, schema, "")


def test_every_value_is_described() -> None:
    """And so stands in the chart's README."""
    undescribed = [value.path for value in generate.chart_values((CHART / "values.yaml").read_text()) if not value.text]
    assert undescribed == []


def test_service_monitor_without_a_service_is_refused(chart: helm_python.Chart) -> None:
    with pytest.raises(helm_python.HelmRenderError, match="needs metrics"):
        render(chart, {"metrics": {"service": False, "serviceMonitor": {"enabled": True}}})


def test_settings_are_the_operators(chart: helm_python.Chart) -> None:
    """Every variable is a setting that the operator has, with a value that it takes."""
    documents = render(chart, ALL)
    values = {e["name"]: e.get("value", "x") for e in container(documents)["env"] if e["name"].startswith(PREFIX)}
    settings = Settings.model_validate({name.removeprefix(PREFIX).lower(): value for name, value in values.items()})
    assert settings.watched_namespaces == ("a", "b")
    assert settings.evaluator_image == "registry/evaluator:1"
    assert settings.monitor_labels == (("release", "kps"), ("team", "ml"))
    assert settings.leader_election is True
    defaults = chart.values["settings"]
    assert settings.prometheus_url == defaults["prometheusUrl"]
    assert settings.default_triton_image == defaults["defaultTritonImage"]


PROMETHEUS = "/etc/throughline/prometheus"


def projected(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sources of the volume with what Prometheus asks for."""
    volumes = {v["name"]: v for v in only(documents, "Deployment")["spec"]["template"]["spec"]["volumes"]}
    return list(volumes["prometheus"]["projected"]["sources"]) if "prometheus" in volumes else []


def test_credentials_for_prometheus_come_from_secrets(chart: helm_python.Chart) -> None:
    documents = render(chart, ALL)
    env = {e["name"].removeprefix(PREFIX): e for e in container(documents)["env"]}
    files = {e["value"] for e in env.values() if e.get("value", "").startswith(PROMETHEUS)}
    paths = {f"{PROMETHEUS}/{item['path']}" for s in projected(documents) for item in (*s.values(),)[0]["items"]}
    assert files == {*paths, f"{PROMETHEUS}-headers"}, "every file that is named is mounted"
    assert {source["name"] for s in projected(documents) for source in s.values()} == {"login", "authorities", "client"}
    assert env["PROMETHEUS_USERNAME"]["valueFrom"]["secretKeyRef"] == {"name": "login", "key": "username"}
    assert env["PROMETHEUS_HEADERS"]["value"] == "X-Scope-OrgID=a|b"
    assert env["PROMETHEUS_PARAMETERS"]["value"] == "dedup=true,partial_response=false"


@pytest.mark.parametrize(
    ("token", "source"),
    [
        ({"secretName": "s", "key": "t"}, {"secret": {"name": "s", "items": [{"key": "t", "path": "token"}]}}),
        ({"serviceAccount": True}, {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}),
    ],
    ids=["Secret", "ServiceAccount"],
)
def test_a_bearer_token(chart: helm_python.Chart, token: dict[str, Any], source: dict[str, Any]) -> None:
    documents = render(chart, {"prometheus": {"bearerToken": token}})
    assert projected(documents) == [source]
    assert {"name": "prometheus", "mountPath": PROMETHEUS, "readOnly": True} in container(documents)["volumeMounts"]
    env = {e["name"]: e.get("value") for e in container(documents)["env"]}
    assert env[f"{PREFIX}PROMETHEUS_BEARER_TOKEN_FILE"] == f"{PROMETHEUS}/token"


def test_without_credentials_nothing_is_mounted(chart: helm_python.Chart) -> None:
    assert projected(render(chart)) == []
    assert [m["name"] for m in container(render(chart))["volumeMounts"]] == ["tmp"]


@pytest.mark.parametrize(
    "values",
    [
        {"bearerToken": {"secretName": "a"}, "basicAuth": {"secretName": "b"}},
        {"bearerToken": {"secretName": "a", "serviceAccount": True}},
        {"ca": {"secretName": "a", "configMapName": "b"}},
    ],
    ids=str,
)
def test_one_kind_of_credentials(chart: helm_python.Chart, values: dict[str, Any]) -> None:
    with pytest.raises(helm_python.HelmRenderError, match="not both"):
        render(chart, {"prometheus": values})


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("https://thanos-querier.openshift-monitoring.svc:9091", 9091),
        ("https://u:p@prometheus.example.com/prefix", 443),
        ("http://prometheus", 80),
        ("http://[fd00::1]:9095/x", 9095),
    ],
)
def test_the_network_policy_lets_out_to_the_port_of_the_url(chart: helm_python.Chart, url: str, port: int) -> None:
    policy = only(render(chart, {"settings": {"prometheusUrl": url}}), "NetworkPolicy")["spec"]
    assert {port, 9090} in [{p["port"] for p in rule["ports"]} for rule in policy["egress"]]


def test_defaults_are_the_operators(chart: helm_python.Chart) -> None:
    env = {e["name"]: e.get("value") for e in container(render(chart))["env"]}
    for name, field in Settings.model_fields.items():
        value = env.get(PREFIX + name.upper())
        if value is not None and name not in {"operator_namespace", "pod_name"}:
            assert Settings.model_validate({name: value}).model_dump()[name] == field.default, name


# --- security ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [{}, ALL], ids=["default", "all"])
def test_restricted_pod_security(chart: helm_python.Chart, values: dict[str, Any]) -> None:
    documents = render(chart, values)
    pod = only(documents, "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    assert container(documents)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"name": "tmp", "mountPath": "/tmp"} in container(documents)["volumeMounts"]  # noqa: S108
    assert pod["enableServiceLinks"] is False


def rules_of(documents: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for role in documents
        if role["kind"] in {"ClusterRole", "Role"} and not role["metadata"]["name"].endswith(("-view", "-edit"))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def documented(text: str) -> set[tuple[str, str, str]]:
    """The tables in docs/rbac.md, or in a part of it."""
    rows = re.findall(r"^\| (\(core\)|`[^`]+`) \| (`[^|]+) \| ([^|]+) \|", text, re.MULTILINE)
    return {
        ("" if group == "(core)" else group.strip("`"), resource, verb)
        for group, resources, verbs in rows
        for resource in re.findall(r"`([^`]+)`", resources)
        for verb in verbs.split(", ")
    }


def test_the_operators_own_ids_are_left_to_the_cluster_too(chart: helm_python.Chart) -> None:
    def security(values: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = only(render(chart, values), "Deployment")["spec"]["template"]["spec"]["securityContext"]
        return found

    ids = {"runAsUser", "runAsGroup", "fsGroup"}
    assert "runAsUser" in security({})
    assigned = security({"settings": {"podIds": "assigned"}})
    assert not ids & assigned.keys()
    assert assigned == {k: v for k, v in security({}).items() if k not in ids}


@pytest.mark.parametrize("values", [{}, {"settings": {"namespaces": ["a"]}}], ids=["cluster", "namespaces"])
def test_rights_are_those_documented(chart: helm_python.Chart, values: dict[str, Any]) -> None:
    assert rules_of(render(chart, values)) == documented((ROOT / "docs/rbac.md").read_text())


@pytest.mark.parametrize("values", [{}, ALL], ids=["default", "all"])
def test_no_wildcard_rights(chart: helm_python.Chart, values: dict[str, Any]) -> None:
    for role in render(chart, values):
        for rule in role.get("rules", []):
            assert "*" not in [*rule.get("apiGroups", []), *rule.get("resources", []), *rule.get("verbs", [])]


def test_rights_end_at_the_namespaces_served(chart: helm_python.Chart) -> None:
    documents = render(chart, {"settings": {"namespaces": ["a", "b"]}})
    cluster = only([d for d in documents if not d["metadata"]["name"].endswith(("-view", "-edit"))], "ClusterRole")
    assert {resource for rule in cluster["rules"] for resource in rule["resources"]} == {
        *("servingpools", "servingpools/status", "nodes", "pods"),
        *("validatingadmissionpolicies", "validatingadmissionpolicybindings"),
    }
    assert {
        d["metadata"]["namespace"] for d in documents if d["kind"] == "Role" and "leader" not in d["metadata"]["name"]
    } == {*("a", "b", "default")}


def test_each_table_of_rights_is_granted_where_its_heading_says(chart: helm_python.Chart) -> None:
    documents = render(chart, {"settings": {"namespaces": ["a"]}})
    tables = {part.partition("\n")[0]: part for part in (ROOT / "docs/rbac.md").read_text().split("\n## ")[1:]}
    places = {
        "In the whole cluster, or in each namespace of `--namespaces`": ("Role", "a"),
        "Always in the whole cluster": ("ClusterRole", None),
        "In the namespace `default`, with `--namespaces`": ("Role", "default"),
        "In the operator's own namespace": ("Role", "throughline-system"),
    }
    assert tables.keys() == places.keys()
    for heading, place in places.items():
        granted = [d for d in documents if (d["kind"], d["metadata"].get("namespace")) == place]
        assert rules_of(granted) == documented(tables[heading]), heading


def test_the_rights_that_the_page_on_security_names_are_those_granted(chart: helm_python.Chart) -> None:
    documents = render(chart, {"settings": {"namespaces": ["a"]}})
    page = (ROOT / "docs/security.md").read_text()
    remaining = re.search(r"What remains for the whole cluster: (.*?);", page, re.DOTALL)
    deleted = re.search(r"It may delete (.*?), and nothing else", page, re.DOTALL)
    assert remaining is not None
    assert deleted is not None
    cluster = rules_of([d for d in documents if d["kind"] == "ClusterRole"])
    assert set(re.findall(r"`([^`]+)`", remaining[1])) == {resource for _, resource, _ in cluster}
    assert set(re.findall(r"`([^`]+)`", deleted[1])) == {r for _, r, verb in rules_of(documents) if verb == "delete"}


def test_the_lease_is_the_only_one(chart: helm_python.Chart) -> None:
    documents = render(chart, name="blue")
    role = only(documents, "Role", "leader-election")
    names = [rule["resourceNames"] for rule in role["rules"] if "get" in rule["verbs"]]
    env = {e["name"]: e.get("value") for e in container(documents)["env"]}
    assert names == [[env["THROUGHLINE_LEASE_NAME"]]]


def test_users_may_see_and_edit(chart: helm_python.Chart) -> None:
    documents = render(chart)
    view, edit = only(documents, "ClusterRole", "-view"), only(documents, "ClusterRole", "-edit")
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in edit["metadata"]["labels"]
    assert {verb for rule in view["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}
    subresources = {f"{kind.plural}/status" for kind in KINDS if kind.status is not None}
    assert {name for rule in view["rules"] for name in rule["resources"]} == {k.plural for k in KINDS} | subresources
    writes = {(name, verb) for rule in edit["rules"] for name in rule["resources"] for verb in rule["verbs"]}
    assert {name for name, verb in writes if verb in {"create", "update", "patch"}} == {
        *("inferenceservices", "evaluationsuites")
    }
    assert {name for name, _ in writes} == {"inferenceservices", "evaluationsuites", "evaluationruns"}


def test_network_policy_is_on_and_names_every_way_out(chart: helm_python.Chart) -> None:
    policy = only(render(chart), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert {p["port"] for rule in policy["egress"] for p in rule["ports"]} == {53, 443, 6443, 9090, 8000, 8002}
    assert {p["port"] for rule in policy["ingress"] for p in rule["ports"]} == {"health", "metrics"}
    assert not [d for d in render(chart, {"networkPolicy": {"enabled": False}}) if d["kind"] == "NetworkPolicy"]


# --- alerts -----------------------------------------------------------------------------------------------------


def alerts(chart: helm_python.Chart, **rule: Any) -> list[dict[str, Any]]:
    documents = render(chart, {"metrics": {"prometheusRule": {"enabled": True, **rule}}})
    (group,) = only(documents, "PrometheusRule")["spec"]["groups"]
    return list(group["rules"])


def test_alerts_use_metrics_that_the_operator_has(chart: helm_python.Chart) -> None:
    exposed = {sample for family in Metrics().registry.collect() for sample in (family.name, f"{family.name}_total")}
    for alert in alerts(chart):
        used = set(re.findall(r"throughline_\w+", alert["expr"]))
        assert used, alert["alert"]
        assert used <= exposed, alert["alert"]


def test_every_alert_has_a_runbook(chart: helm_python.Chart) -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs/alerts.md").read_text(), re.MULTILINE)
    assert [alert["alert"] for alert in alerts(chart)] == headings
    for alert in alerts(chart, runbookUrl="https://example.com/alerts"):
        assert alert["annotations"]["runbook_url"] == f"https://example.com/alerts#{alert['alert'].lower()}"
        assert {"summary", "description"} <= alert["annotations"].keys()
        assert alert["labels"]["severity"] in {"critical", "warning"}
    assert all("runbook_url" not in alert["annotations"] for alert in alerts(chart))


# --- upgrades ---------------------------------------------------------------------------------------------------


def test_a_pod_template_does_not_change_with_the_charts_version(tmp_path: Path, chart: helm_python.Chart) -> None:
    import shutil  # noqa: PLC0415

    other = tmp_path / "throughline"
    shutil.copytree(CHART, other)
    text = (other / "Chart.yaml").read_text()
    (other / "Chart.yaml").write_text(re.sub(r"^version: .*$", "version: 9.9.9", text, flags=re.MULTILINE))
    with helm_python.Chart.load(other) as newer:
        before, after = only(render(chart), "Deployment"), only(render(newer), "Deployment")
    assert before["metadata"]["labels"] != after["metadata"]["labels"]
    assert before["spec"] == after["spec"]


def test_selectors_hold_only_what_never_changes(chart: helm_python.Chart) -> None:
    documents = render(chart, ALL)
    selector = only(documents, "Deployment")["spec"]["selector"]["matchLabels"]
    assert selector == {
        "app.kubernetes.io/name": "throughline",
        "app.kubernetes.io/instance": "throughline",
        "app.kubernetes.io/component": "operator",
    }
    assert selector.items() <= only(documents, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    assert only(documents, "Service")["spec"]["selector"] == selector
    assert only(documents, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == selector


def test_crds_are_kept_on_uninstall_unless_told_otherwise(chart: helm_python.Chart) -> None:
    def policies(values: dict[str, Any]) -> list[str | None]:
        return [
            d["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
            for d in render(chart, values)
            if d["kind"] == "CustomResourceDefinition"
        ]

    assert policies({}) == ["keep"] * len(KINDS)
    assert policies({"crds": {"keep": False}}) == [None] * len(KINDS)
    assert policies({"crds": {"enabled": False}}) == []


def test_crds_are_the_generated_ones(chart: helm_python.Chart) -> None:
    for document in render(chart):
        if document["kind"] == "CustomResourceDefinition":
            generated = yaml.safe_load((ROOT / "crds" / f"{document['metadata']['name']}.yaml").read_text())
            assert document["spec"] == generated["spec"]


def test_two_releases_share_no_cluster_scoped_name(chart: helm_python.Chart) -> None:
    def cluster_names(name: str) -> set[str]:
        return {
            d["metadata"]["name"]
            for d in render(chart, {"crds": {"enabled": False}}, name=name)
            if "Cluster" in d["kind"]
        }

    assert not cluster_names("blue") & cluster_names("green")


def test_no_hooks(chart: helm_python.Chart) -> None:
    """Argo CD runs them otherwise than Helm does."""
    assert not [d for d in render(chart, ALL) if "helm.sh/hook" in d["metadata"].get("annotations", {})]


@pytest.mark.parametrize(
    ("reference", "rendered"),
    [
        ("registry:5000/a/operator:1.2", "registry:5000/a/operator:1.2"),
        ("a/b@sha256:" + "0" * 64, "a/b@sha256:" + "0" * 64),
    ],
)
def test_image_by_reference(chart: helm_python.Chart, reference: str, rendered: str) -> None:
    assert container(render(chart, image_values(reference)))["image"] == rendered


def test_default_image_is_the_app_version(chart: helm_python.Chart) -> None:
    assert container(render(chart))["image"] == f"throughline/operator:{chart.metadata['appVersion']}"


def test_an_image_without_tag_is_refused() -> None:
    with pytest.raises(ValueError, match="tag or a digest"):
        image_values("registry:5000/operator")
