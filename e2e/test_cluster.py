import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from e2e.cluster import Cluster
from e2e.cluster.cache import REPOSITORY
from e2e.contention import parse_process

pytestmark = pytest.mark.e2e

RESTRICTED = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
END_SECONDS = 60.0


def pod(name: str, image: str, pool: str, command: list[str], gpus: int = 0) -> str:
    container = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": command}
    spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "nodeSelector": {"throughline.io/pool": pool},
        "tolerations": [{"operator": "Exists"}],
        "containers": [
            {
                **container,
                "securityContext": RESTRICTED,
                "resources": {"limits": {"nvidia.com/gpu": str(gpus)}} if gpus else {},
            }
        ],
    }
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})


def test_three_nodes_are_ready_and_gpus_are_declared(local: Cluster) -> None:
    nodes = {n["metadata"]["name"]: n for n in json.loads(local.kubectl("get", "nodes", "-o", "json").stdout)["items"]}
    assert sorted(nodes) == ["cpu-0", "edge-0", "gpu-0"]
    for node in nodes.values():
        assert {"type": "Ready", "status": "True"}.items() <= node["status"]["conditions"][-1].items()
    assert nodes["gpu-0"]["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    assert {n["metadata"]["labels"]["throughline.io/pool"] for n in nodes.values()} == {"cpu", "edge", "gpu"}


@pytest.mark.parametrize("pool", ["gpu", "cpu", "edge"])
def test_a_restricted_pod_resolves_and_reaches_a_service(local: Cluster, pool: str) -> None:
    reach = "import socket; socket.create_connection(('kubernetes.default.svc.cluster.local', 443), 10)"
    name = f"reach-{pool}"
    local.kubectl("apply", "-f", "-", input=pod(name, local.images["triton"], pool, ["python3", "-c", reach]))
    local.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", "--timeout=45s")
    local.kubectl("delete", "pod", name)


def test_host_commands_reach_services_by_name(local: Cluster) -> None:
    process = local.run_in_network("getent", "hosts", "kubernetes.default.svc.cluster.local")
    output, error = process.communicate(timeout=20)
    assert process.returncode == 0, error
    assert "10.96.0.1" in output


def test_requests_are_in_the_audit_log(local: Cluster) -> None:
    assert local.audit_log is not None
    local.kubectl("get", "configmaps", "-n", "default")
    with local.audit_log.open() as lines:
        events = [json.loads(line) for line in lines]
    requests = [(event["verb"], event.get("objectRef", {}).get("resource")) for event in events]
    assert ("list", "configmaps") in requests


def test_a_killed_kubelet_comes_back_with_its_gpus_and_its_pods(local: Cluster) -> None:
    local.kubectl("apply", "-f", "-", input=pod("holder", local.images["triton"], "gpu", ["sleep", "600"], gpus=8))
    local.kubectl("wait", "--for=condition=Ready", "pod/holder", "--timeout=45s")
    local.kill_kubelet("gpu-0")
    local.kubectl("wait", "--for=condition=Ready=Unknown", "node/gpu-0", "--timeout=60s")
    local.start_kubelet("gpu-0")
    local.kubectl("wait", "--for=condition=Ready", "node/gpu-0", "--timeout=30s")
    local.kubectl("wait", "--for=condition=Ready", "pod/holder", "--timeout=30s")
    holder = json.loads(local.kubectl("get", "pod", "holder", "-o", "json").stdout)
    assert holder["status"]["containerStatuses"][0]["restartCount"] == 0
    capacity = local.kubectl("get", "node", "gpu-0", "-o", r"jsonpath={.status.allocatable.nvidia\.com/gpu}")
    assert capacity.stdout == "8"
    local.kubectl("delete", "pod", "holder")


def traces(name: str) -> list[str]:
    """Whatever of an instance the host still has."""
    group = f"throughline-{name}"
    # Not by glob: groups of other pods go while they are listed, which os.walk passes over.
    found = [f"{parent}/{group}" for parent, folders, _ in os.walk("/sys/fs/cgroup") if group in folders]
    found += [line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if name in line]
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue  # it has just ended
        if name.encode() in words:
            found.append(words.replace(b"\0", b" ").decode(errors="replace")[:200])
    return found


def instance_of(process: subprocess.Popen[str], instances: pathlib.Path) -> pathlib.Path:
    """The cluster that a process has started: beside it others may start theirs."""
    words = []
    for child in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if parse_process((child / "stat").read_text(errors="replace")).parent == process.pid:
                words += (child / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue  # it has just ended
    (instance,) = {pathlib.Path(word) for word in words if pathlib.Path(word).parent == instances}
    return instance


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
@pytest.mark.parametrize("moment", ["api", "ready"])
def test_a_kill_at_any_moment_leaves_nothing(local: Cluster, number: signal.Signals, moment: str) -> None:
    """A second cluster, beside the first: two can be up at once."""
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    command = [sys.executable, "-m", "e2e.cluster", "up"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, env={**os.environ})
    try:
        assert process.stdout is not None
        awaited = {"api": "the API server answers", "ready": "export KUBECONFIG"}[moment]
        assert any(awaited in line for line in process.stdout)
        instance = instance_of(process, local.kubeconfig.parent.parent)
        assert traces(instance.name)
        process.send_signal(number)
        process.communicate(timeout=END_SECONDS)
    finally:
        process.kill()  # a failure before leaves no cluster, either
        process.wait()
    deadline = time.monotonic() + END_SECONDS
    while (left := traces(instance.name)) or instance.exists():
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
    assert subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout == links
