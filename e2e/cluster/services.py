"""kube-proxy, and CoreDNS as the service kube-dns; both outside pods, so that no image is needed for them."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from . import network

if TYPE_CHECKING:
    import pathlib

    from .control_plane import ControlPlane
    from .processes import Processes

DNS_READY = "http://127.0.0.1:8181/ready"
PROXY_BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "kube-proxy"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node-proxier"},
    "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "system:kube-proxy"}],
}
DNS_ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "system:coredns"},
    "rules": [
        {"apiGroups": [""], "resources": ["services", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ],
}
DNS_BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "system:coredns"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
    "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "dns"}],
}
DNS_PORTS = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
# The labels are those NetworkPolicies of real clusters select DNS by.
DNS_SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
    "spec": {"clusterIP": network.DNS_SERVICE, "ports": DNS_PORTS},
}
DNS_ENDPOINTS = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"kubernetes.io/service-name": "kube-dns"}},
    "addressType": "IPv4",
    "ports": DNS_PORTS,
    "endpoints": [{"addresses": [network.CONTROL_PLANE], "conditions": {"ready": True}}],
}


def start(plane: ControlPlane, processes: Processes, kube: pathlib.Path, node: str) -> None:
    api, rbac = plane.api(), "/apis/rbac.authorization.k8s.io/v1"
    for path, value in (
        (f"{rbac}/clusterrolebindings", PROXY_BINDING),
        (f"{rbac}/clusterroles", DNS_ROLE),
        (f"{rbac}/clusterrolebindings", DNS_BINDING),
        ("/api/v1/namespaces/kube-system/services", DNS_SERVICE),
        ("/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices", DNS_ENDPOINTS),
    ):
        api.create(path, value)
    # All nodes share the sandbox's network: one proxy's rules serve them all.
    flags = [
        f"--kubeconfig={plane.write_kubeconfig('kube-proxy', 'system:kube-proxy')}",
        "--proxy-mode=nftables",
        f"--cluster-cidr={network.POD_RANGE}",
        f"--hostname-override={node}",
        # The limit belongs to the whole machine, which is not ours to tune.
        "--conntrack-max-per-core=0",
        "--metrics-bind-address=127.0.0.1:10249",
    ]
    processes.start("kube-proxy", [kube, "kube-proxy", *flags])
    kubeconfig = plane.write_kubeconfig("dns", "dns")
    corefile = plane.directory / "Corefile"
    corefile.write_text(
        f".:53 {{\n errors\n ready 127.0.0.1:8181\n"
        f" kubernetes cluster.local {{\n  kubeconfig {kubeconfig}\n }}\n cache 5\n}}\n"
    )
    processes.start("coredns", [kube, "coredns", "-conf", corefile])


def is_dns_ready() -> bool:
    try:
        with urllib.request.urlopen(DNS_READY, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False
