"""The sandbox's network: no link to the host's, and every address of the cluster."""

from __future__ import annotations

import json
import pathlib
import subprocess

CONTROL_PLANE = "10.201.0.1"
API_PORT = 6443
API_ADDRESS = f"{CONTROL_PLANE}:{API_PORT}"
POD_RANGE = "10.244.0.0/16"
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"


def node_address(index: int) -> str:
    return f"10.202.0.{10 + index}"


def set_up(nodes: int) -> None:
    _ip("link", "set", "lo", "up")
    for address in (CONTROL_PLANE, *(node_address(index) for index in range(nodes))):
        _ip("addr", "add", f"{address}/32", "dev", "lo")
    # A route must exist before kube-proxy's rules can rewrite a packet to a service.
    _ip("route", "add", SERVICE_RANGE, "dev", "lo", "src", CONTROL_PLANE)
    pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def write_cni_configuration(directory: pathlib.Path, index: int, state: pathlib.Path) -> None:
    """Pods on point-to-point links: traffic between two pods of a node is routed too.

    On a bridge, the answer from a service's pod to a pod beside it would bypass the rules that must rewrite it,
    unless the host has the br_netfilter module.
    """
    address = {
        "type": "host-local",
        "dataDir": str(state),
        "ranges": [[{"subnet": f"10.244.{index + 1}.0/24"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins = [{"type": "ptp", "ipMasq": False, "ipam": address}]
    directory.mkdir(parents=True)
    (directory / "10-pods.conflist").write_text(json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": plugins}))


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
