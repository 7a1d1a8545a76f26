"""How the pods are reached, and by whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from throughline.domain.manifests import names

if TYPE_CHECKING:
    from throughline.domain.manifests.names import Identity
    from throughline.domain.manifests.options import RenderOptions
    from throughline.domain.observed import Manifest

SCRAPE_INTERVAL = "5s"  # the loop looks at windows of several samples, and reacts within one or two of them
NODE_LOCAL_DNS = "169.254.20.10/32"  # NodeLocal DNSCache is no pod, so no selector finds it


def service(identity: Identity) -> Manifest:
    """One address for all pods of the service."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": names.metadata(identity, names.service_name(identity.name)),
        "spec": {
            "type": "ClusterIP",
            "selector": names.selector(identity.name),
            "ports": [
                # h2c tells gateways and meshes to balance per request, not per connection.
                {**_port("grpc", names.GRPC_PORT), "appProtocol": "kubernetes.io/h2c"},
                _port("http", names.HTTP_PORT),
                _port("metrics", names.METRICS_PORT),
            ],
        },
    }


def _port(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "port": number, "protocol": "TCP", "targetPort": name}


def network_policy(identity: Identity, options: RenderOptions) -> Manifest:
    """In: inference from any pod of the cluster, metrics from Prometheus. Out: DNS alone.

    Triton's control API shares port 8000 with inference; the key protects that, no policy could. The model is
    mounted, so the server has nothing to fetch, and code inside a model cannot call out. Policies add up: a model
    that must reach something gets that by a policy of the user's own.
    """
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": names.metadata(identity, names.base_name(identity.name)),
        "spec": {
            "podSelector": {"matchLabels": names.selector(identity.name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [{"namespaceSelector": {}}], "ports": _ports(names.GRPC_PORT, names.HTTP_PORT)},
                _metrics_rule(options),
            ],
            "egress": [dns_rule()],
        },
    }


def dns_rule() -> dict[str, Any]:
    """Out to the cluster's DNS, wherever that is."""
    return {
        "to": [{"namespaceSelector": {}}, {"ipBlock": {"cidr": NODE_LOCAL_DNS}}],
        "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
    }


def _metrics_rule(options: RenderOptions) -> dict[str, Any]:
    ports = {"ports": _ports(names.METRICS_PORT)}
    if not options.prometheus_namespaces:
        return ports
    # The operator's own namespace too: its Prometheus may run there, and so does whoever looks into a missing metric.
    allowed = sorted({*options.prometheus_namespaces, options.operator_namespace})
    expression = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": allowed}
    return {"from": [{"namespaceSelector": {"matchExpressions": [expression]}}], **ports}


def _ports(*numbers: int) -> list[dict[str, Any]]:
    return [{"protocol": "TCP", "port": number} for number in numbers]


def pod_monitor(identity: Identity, options: RenderOptions) -> Manifest:
    """For the Prometheus operator, which adds the labels namespace and pod to every series by itself."""
    metadata = names.metadata(identity, names.base_name(identity.name))
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {**metadata, "labels": {**dict(options.pod_monitor_labels), **metadata["labels"]}},
        "spec": {
            "selector": {"matchLabels": names.selector(identity.name)},
            "podTargetLabels": [names.SERVICE_LABEL, names.REVISION_LABEL, names.POOL_LABEL],
            "podMetricsEndpoints": [{"port": "metrics", "path": "/metrics", "interval": SCRAPE_INTERVAL}],
        },
    }
