"""A real Prometheus in a pod, discovering through the Kubernetes API under its own service account."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from e2e.stack.objects import apply, until

if TYPE_CHECKING:
    from e2e.cluster import Cluster

NAMESPACE = "monitoring"
URL = f"http://prometheus.{NAMESPACE}.svc:9090"
SECURED = "prometheus-secured"
SECURED_HOST = f"{SECURED}.{NAMESPACE}.svc"
SCRAPE_SECONDS = 5
LABELS = {"app.kubernetes.io/name": "prometheus"}

_POD_LABELS = [
    {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
    {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
]


def _pods(job: str) -> dict[str, Any]:
    """Every pod with the annotations."""
    annotation = "__meta_kubernetes_pod_annotation_prometheus_io"
    return {
        "job_name": job,
        "kubernetes_sd_configs": [{"role": "pod"}],
        "relabel_configs": [
            {"source_labels": [f"{annotation}_scrape"], "action": "keep", "regex": "true"},
            {"source_labels": ["__meta_kubernetes_pod_phase"], "action": "keep", "regex": "Running"},
            {
                "source_labels": ["__meta_kubernetes_pod_ip", f"{annotation}_port"],
                "separator": ":",
                "target_label": "__address__",
            },
            *_POD_LABELS,
        ],
    }


def _config(*jobs: str) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "scrape_timeout": "4s"},
        "scrape_configs": [
            *(_pods(job) for job in jobs),
            {
                "job_name": "cadvisor",
                "scheme": "https",
                "tls_config": {"ca_file": "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"},
                "bearer_token_file": "/var/run/secrets/kubernetes.io/serviceaccount/token",
                "kubernetes_sd_configs": [{"role": "node"}],
                "relabel_configs": [
                    {"target_label": "__address__", "replacement": "kubernetes.default.svc:443"},
                    {
                        "source_labels": ["__meta_kubernetes_node_name"],
                        "target_label": "__metrics_path__",
                        "replacement": "/api/v1/nodes/$1/proxy/metrics/cadvisor",
                    },
                ],
                "metric_relabel_configs": [
                    {
                        "source_labels": ["__name__"],
                        "action": "keep",
                        "regex": "container_memory_working_set_bytes|container_spec_memory_limit_bytes",
                    }
                ],
            },
        ],
    }


def manifests(image: str) -> list[dict[str, Any]]:
    meta = {"name": "prometheus", "namespace": NAMESPACE, "labels": LABELS}
    container = {
        "name": "prometheus",
        "image": image,
        "args": ["--config.file=/config/prometheus.json", "--storage.tsdb.path=/data"],
        "ports": [{"name": "http", "containerPort": 9090}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": "http"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "config", "mountPath": "/config"}, {"name": "data", "mountPath": "/data"}],
    }
    pod = {
        "serviceAccountName": "prometheus",
        "nodeSelector": {"throughline.io/pool": "cpu"},
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "prometheus"}}, {"name": "data", "emptyDir": {}}],
    }
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "prometheus"},
        "rules": [
            {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["nodes/proxy", "nodes/metrics"], "verbs": ["get"]},
        ],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "prometheus"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "prometheus"},
        "subjects": [{"kind": "ServiceAccount", "name": "prometheus", "namespace": NAMESPACE}],
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        role,
        binding,
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": meta,
            # JSON is YAML, which is all that Prometheus asks of its configuration.
            "data": {"prometheus.json": json.dumps(_config("pods"))},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": LABELS},
                "template": {"metadata": {"labels": LABELS}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": LABELS, "ports": [{"name": "http", "port": 9090}]},
        },
    ]


def secured(image: str, certificate: str, key: str, user: str, bcrypt: str, probe: str) -> list[dict[str, Any]]:
    """A second one beside it, behind TLS and basic auth, that finds each pod twice. `probe`: basic auth of the kubelet.

    PEM texts; the account is the first one's.
    """
    text = json.dumps(manifests(image)[4:]).replace(
        '"name": "prometheus", "namespace"', f'"name": "{SECURED}", "namespace"'
    )
    configuration, deployment, service = json.loads(text)
    web = {
        "tls_server_config": {"cert_file": "/config/tls.crt", "key_file": "/config/tls.key"},
        "basic_auth_users": {user: bcrypt},
    }
    configuration["data"] = {
        "prometheus.json": json.dumps(_config("pods", "pods-again")),
        "web.json": json.dumps(web),
        "tls.crt": certificate,
        "tls.key": key,
    }
    labels = {"app.kubernetes.io/name": SECURED}
    spec = deployment["spec"]
    spec["selector"]["matchLabels"] = spec["template"]["metadata"]["labels"] = service["spec"]["selector"] = labels
    pod = spec["template"]["spec"]
    pod["volumes"][0]["configMap"]["name"] = SECURED
    (container,) = pod["containers"]
    container["args"].append("--web.config.file=/config/web.json")
    authorization = {"name": "Authorization", "value": f"Basic {probe}"}
    container["readinessProbe"]["httpGet"] |= {"scheme": "HTTPS", "httpHeaders": [authorization]}
    return [configuration, deployment, service]


def install(cluster: Cluster) -> None:
    """Apply it and wait until it answers."""
    apply(cluster, manifests(cluster.images["prometheus"]))
    until("Prometheus", lambda: ready(cluster), seconds=90)


def ready(cluster: Cluster, name: str = "prometheus") -> bool:
    out = cluster.kubectl("get", "deployment", name, "-n", NAMESPACE, "-o", "jsonpath={.status.readyReplicas}").stdout
    return out == "1"
