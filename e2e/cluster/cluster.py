"""The cluster as the demo, the tests and the benchmarks use it."""

from __future__ import annotations

import abc
import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

from . import built, leftovers, network, prerequisites
from .built import Built
from .cache import INSTANCE_VARIABLE, Cache
from .confined import Confined, Progress
from .errors import ClusterError, PrerequisiteMissing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

IMAGES = ("operator", "evaluator", "triton", "prometheus", "perf")
# Only there for the test of an upgrade from another build.
EARLIER = ("operator-before", "evaluator-before")
KUBECONFIG = "host.kubeconfig"
KUBELET_SECONDS = 90.0


def ignore(_text: str) -> None:
    pass


class Cluster(abc.ABC):
    """A running cluster: the sandbox of this machine, or the user's own where KUBECONFIG is set."""

    is_local: bool
    kubeconfig: pathlib.Path
    images: Mapping[str, str]
    audit_log: pathlib.Path | None
    binary: pathlib.Path

    @classmethod
    @contextlib.contextmanager
    def start(cls, progress: Progress = ignore) -> Iterator[Cluster]:
        """Build what is not built yet, start the cluster, and end it with the block, however that is left."""
        if os.environ.get("KUBECONFIG"):
            yield UserCluster()
            return
        with LocalCluster.started(progress) as cluster:
            yield cluster

    def kubectl(
        self,
        *args: str,
        input: str | None = None,  # noqa: A002 - as subprocess.run names it
        check: bool = True,
        timeout_seconds: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            [*self.kubectl_command, *args],
            input=input,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
        if check and result.returncode != 0:
            raise ClusterError(f"kubectl {' '.join(args)}: {result.stderr.strip()}")
        return result

    @property
    @abc.abstractmethod
    def kubectl_command(self) -> list[str]:
        """What to put before kubectl's arguments, for callers that start it themselves (port-forward, logs -f)."""

    @abc.abstractmethod
    def kill_kubelet(self, node: str) -> None:
        """End a node's kubelet as a crash would; its pods go on."""

    @abc.abstractmethod
    def start_kubelet(self, node: str) -> None:
        """Start a killed kubelet again and wait until it has reported its node ready."""

    @abc.abstractmethod
    def node_path(self, name: str) -> pathlib.Path:
        """A directory that host and nodes see at the same path, for hostPath volumes."""

    @abc.abstractmethod
    def network_command(self, *argv: str) -> list[str]:
        """The command line that runs `argv` where pod and service addresses, and cluster DNS, answer."""

    @abc.abstractmethod
    def run_in_network(self, *argv: str) -> subprocess.Popen[str]:
        """Start a command there, its output piped; it ends with the cluster at the latest."""


class LocalCluster(Cluster):
    is_local = True

    def __init__(self, directory: pathlib.Path, confined: Confined | None = None) -> None:
        record = Built.from_json((directory / built.FILE).read_text())
        self.directory = directory
        self.kubeconfig = directory / KUBECONFIG
        self.audit_log = directory / "audit.log"
        self.binary = pathlib.Path(record.kube)
        self.images = {name: record.images[name] for name in (*IMAGES, *EARLIER) if name in record.images}
        self._confined = confined

    @classmethod
    @contextlib.contextmanager
    def started(cls, progress: Progress) -> Iterator[LocalCluster]:
        cache = Cache.of_environment()
        record = prepare(cache, progress)
        with contextlib.ExitStack() as stack:
            # Opened here, outside the sandbox's network, and handed in: the one way from the host to the API server.
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            arguments = (str(listener.fileno()), str(listener.getsockname()[1]), record.to_json())
            confined = Confined(
                cache, "cluster", "e2e.cluster.sandbox", *arguments, own_network=True, fds=(listener.fileno(),)
            )
            stack.callback(confined.close)
            listener.close()
            confined.wait_for("ready", progress)
            yield cls(confined.directory, confined)

    @property
    def kubectl_command(self) -> list[str]:
        return [str(self.binary), "kubectl", f"--kubeconfig={self.kubeconfig}"]

    def wait_for_end(self) -> str:
        return self._owned.wait_for_end()

    def kill_kubelet(self, node: str) -> None:
        self._owned.request(KUBELET_SECONDS, do="kill-kubelet", node=node)

    def start_kubelet(self, node: str) -> None:
        self._owned.request(KUBELET_SECONDS, do="start-kubelet", node=node)

    def node_path(self, name: str) -> pathlib.Path:
        path = self.directory / "volumes" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def network_command(self, *argv: str) -> list[str]:
        pid = (self.directory / "pid").read_text()
        # Cluster DNS for this command alone: the mount is in a namespace of its own.
        script = f'mount --bind "{self._resolver()}" "$(realpath /etc/resolv.conf)" && exec "$@"'
        spaces = ["nsenter", f"--net=/proc/{pid}/ns/net", "unshare", "--mount", "--propagation", "private"]
        marked = ["env", f"{INSTANCE_VARIABLE}={self.directory.name}"]
        return [*marked, *spaces, "sh", "-c", script, "sh", *argv]

    def run_in_network(self, *argv: str) -> subprocess.Popen[str]:
        return subprocess.Popen(self.network_command(*argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def _resolver(self) -> pathlib.Path:
        path = self.directory / "resolv.conf"
        if not path.exists():
            domains = "default.svc.cluster.local svc.cluster.local cluster.local"
            path.write_text(f"nameserver {network.DNS_SERVICE}\nsearch {domains}\noptions ndots:5\n")
        return path

    @property
    def _owned(self) -> Confined:
        if self._confined is None:
            raise ClusterError("only the process that started the cluster can do this")
        return self._confined


class UserCluster(Cluster):
    """What KUBECONFIG names: nothing of it is started or stopped, and its nodes are out of reach."""

    is_local = False

    def __init__(self) -> None:
        self.kubeconfig = pathlib.Path(os.environ["KUBECONFIG"])
        self.audit_log = None
        found = shutil.which("kubectl")
        if found is None:
            raise PrerequisiteMissing("KUBECONFIG is set, but there is no kubectl on the PATH")
        self.binary = pathlib.Path(found)
        variables = {name: f"THROUGHLINE_IMAGE_{name.upper()}" for name in IMAGES}
        missing = [variable for variable in variables.values() if not os.environ.get(variable)]
        if missing:
            raise PrerequisiteMissing(
                f"KUBECONFIG is set: name the images your cluster can pull in {', '.join(missing)}"
            )
        self.images = {name: os.environ[variable] for name, variable in variables.items()}

    @property
    def kubectl_command(self) -> list[str]:
        return [str(self.binary)]

    def kill_kubelet(self, node: str) -> None:  # noqa: ARG002
        raise self._out_of_reach()

    def start_kubelet(self, node: str) -> None:  # noqa: ARG002
        raise self._out_of_reach()

    def node_path(self, name: str) -> pathlib.Path:  # noqa: ARG002
        raise self._out_of_reach()

    def network_command(self, *argv: str) -> list[str]:  # noqa: ARG002
        raise self._out_of_reach()

    def run_in_network(self, *argv: str) -> subprocess.Popen[str]:  # noqa: ARG002
        raise self._out_of_reach()

    @staticmethod
    def _out_of_reach() -> ClusterError:
        return ClusterError("this needs the nodes of the local cluster; KUBECONFIG names another")


def prepare(cache: Cache, progress: Progress) -> Built:
    """Check the machine, remove what a killed run left, and build what is missing."""
    prerequisites.check(cache)
    for name in leftovers.sweep(cache):
        progress(f"removed what {name} left")
    wanted = Built.wanted(cache)
    if wanted.exists():
        return wanted
    confined = Confined(cache, "build", "e2e.cluster.building", own_network=False)
    try:
        return Built.from_json(confined.wait_for("done", progress)["done"])
    finally:
        confined.close()
