"""One node: containerd and a kubelet with stock behaviour, in a mount namespace and below a cgroup of their own."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from . import containerd, network, store
from .leftovers import CGROUPS, cgroup_name

if TYPE_CHECKING:
    import pathlib

    from .api import Api
    from .control_plane import ControlPlane
    from .processes import Processes

HEALTH_PORT, KUBELET_PORT = 10248, 10250
# On cgroup v1 a new cpuset is empty, and nothing can run in it, until its parent's values are written.
INHERITED_CPUSET = ("cpuset.cpus", "cpuset.mems")
CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids")


@dataclasses.dataclass(frozen=True)
class NodeKind:
    name: str
    labels: dict[str, str]
    taints: list[dict[str, str]] = dataclasses.field(default_factory=list)
    # Declared, not there: nothing that asks for it is given a device.
    declared: dict[str, str] = dataclasses.field(default_factory=dict)


KINDS = (
    NodeKind(
        "gpu-0",
        {"throughline.io/pool": "gpu", "nvidia.com/gpu.present": "true"},
        [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}],
        {"nvidia.com/gpu": "8"},
    ),
    NodeKind("cpu-0", {"throughline.io/pool": "cpu"}),
    NodeKind(
        "edge-0",
        {"throughline.io/pool": "edge", "topology.kubernetes.io/region": "edge-1"},
        [{"key": "throughline.io/edge", "value": "true", "effect": "NoSchedule"}],
    ),
)


@dataclasses.dataclass
class Node:
    kind: NodeKind
    index: int
    instance: pathlib.Path
    kube: pathlib.Path
    processes: Processes
    api: Api
    containerd_pid: int = 0

    @property
    def name(self) -> str:
        return self.kind.name

    @property
    def root(self) -> pathlib.Path:
        return self.instance / "nodes" / self.name

    @property
    def address(self) -> str:
        return network.node_address(self.index)

    def start_containerd(self, images: pathlib.Path, pause_image: str) -> None:
        store.clone(images, self.root / "var/lib/containerd")
        network.write_cni_configuration(self.root / "cni", self.index, self.root / "var/lib/cni-addresses")
        command = containerd.command(self.root, pause_image)
        self.containerd_pid = self.processes.start(f"containerd-{self.name}", command)

    def prepare_kubelet(self, plane: ControlPlane) -> None:
        pair = plane.authority.issue(
            f"kubelet-{self.name}", f"/O=system:nodes/CN=system:node:{self.name}", "serverAuth", (f"IP:{self.address}",)
        )
        plane.write_kubeconfig(self.name, f"system:node:{self.name}")
        configuration = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.address,
            "port": KUBELET_PORT,
            "healthzBindAddress": self.address,
            "healthzPort": HEALTH_PORT,
            "tlsCertFile": str(pair.certificate),
            "tlsPrivateKeyFile": str(pair.key),
            "authentication": {
                "anonymous": {"enabled": False},
                "x509": {"clientCAFile": str(plane.authority.pair.certificate)},
            },
            "authorization": {"mode": "Webhook"},
            "clusterDNS": [network.DNS_SERVICE],
            "clusterDomain": "cluster.local",
            "resolvConf": "",
            "containerRuntimeEndpoint": f"unix://{containerd.SOCKET}",
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{cgroup_name(self.instance)}/{self.name}",
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            # The disk is the host's: its filling up is no reason to evict, or to remove images that cannot be pulled.
            "evictionHard": {},
            "imageGCHighThresholdPercent": 100,
            "registerWithTaints": self.kind.taints,
        }
        (self.root / "kubelet.json").write_text(json.dumps(configuration))
        self._create_cgroup()
        self._keep_declared_resources()

    def start_kubelet(self) -> None:
        labels = ",".join(f"{key}={value}" for key, value in self.kind.labels.items())
        flags = [
            f"--config={self.root / 'kubelet.json'}",
            f"--kubeconfig={self.instance / f'{self.name}.kubeconfig'}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.address}",
            f"--node-labels={labels}",
        ]
        self.processes.start(self._kubelet, containerd.inside(self.containerd_pid, self.kube, "kubelet", *flags))

    def kill_kubelet(self) -> None:
        self.processes.kill(self._kubelet)

    def restart_kubelet(self) -> None:
        started = dt.datetime.now(dt.UTC).replace(microsecond=0)
        self.start_kubelet()
        self.processes.wait_until(f"the kubelet of {self.name}", lambda: self._reported_ready(started))
        self.declare_resources()

    def declare_resources(self) -> None:
        if self.kind.declared:
            # The kubelet derives the allocatable from the capacity, but only at its next report.
            status = {"capacity": self.kind.declared, "allocatable": self.kind.declared}
            self.api.patch(f"/api/v1/nodes/{self.name}/status", {"status": status})

    @property
    def _kubelet(self) -> str:
        return f"kubelet-{self.name}"

    def _reported_ready(self, since: dt.datetime) -> bool:
        """Whether a Ready condition was reported by the kubelet that started then, not by the one before it."""
        if not self._is_healthy():
            return False
        node = self.api.get(f"/api/v1/nodes/{self.name}")
        condition = ready_condition(node)
        heartbeat = dt.datetime.fromisoformat(condition.get("lastHeartbeatTime", "1970-01-01T00:00:00Z"))
        return condition.get("status") == "True" and heartbeat >= since

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}:{HEALTH_PORT}/healthz", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def _create_cgroup(self) -> None:
        unified = (CGROUPS / "cgroup.controllers").exists()
        hierarchies = [CGROUPS] if unified else [p for p in CGROUPS.iterdir() if p.is_dir() and p.name != "unified"]
        for hierarchy in hierarchies:
            above = hierarchy
            for part in (cgroup_name(self.instance), self.name):
                if unified:
                    self._delegate(above)
                group = above / part
                group.mkdir(exist_ok=True)
                for file in INHERITED_CPUSET:
                    if not unified and (group / file).exists():
                        (group / file).write_text((hierarchy / file).read_text())
                above = group

    @staticmethod
    def _delegate(group: pathlib.Path) -> None:
        available = (group / "cgroup.controllers").read_text().split()
        wanted = " ".join(f"+{controller}" for controller in CONTROLLERS if controller in available)
        (group / "cgroup.subtree_control").write_text(wanted)

    def _keep_declared_resources(self) -> None:
        """A kubelet that finds no device checkpoint takes the node for a new one and sets extended resources to zero.

        Between that and our next patch it would evict the pods that hold them. An empty checkpoint is what a node
        whose devices are idle has.
        """
        folder = self.root / "var/lib/kubelet/device-plugins"
        folder.mkdir(parents=True)
        (folder / "kubelet_internal_checkpoint").write_text("{}")


def ready_condition(node: dict[str, Any]) -> dict[str, Any]:
    conditions = node.get("status", {}).get("conditions", [])
    return next((condition for condition in conditions if condition["type"] == "Ready"), {})
