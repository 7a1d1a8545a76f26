"""The whole cluster, run confined (confined.py): with its first process, the kernel ends all, containers too."""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import sys
import threading
import time
from typing import TYPE_CHECKING

from . import built, network, services
from .built import Built
from .confined import read_arguments
from .control_plane import ControlPlane
from .errors import ClusterError
from .node import KINDS, Node, ready_condition
from .processes import Processes

if TYPE_CHECKING:
    from .channel import Channel, Message

CHECK_SECONDS = 0.5


class Sandbox:
    def __init__(self, directory: pathlib.Path, channel: Channel, listener: int, from_built: Built) -> None:
        self._directory, self._channel, self._listener = directory, channel, listener
        self._built = from_built
        self._kube = pathlib.Path(from_built.kube)
        self._processes = Processes(directory / "logs")
        self._nodes: dict[str, Node] = {}

    def start(self, host_port: int) -> None:
        network.set_up(len(KINDS))
        plane = ControlPlane.prepare(self._directory, [kind.name for kind in KINDS])
        api = plane.api()
        (self._directory / built.FILE).write_text(self._built.to_json())
        self._nodes = {
            kind.name: Node(kind, index, self._directory, self._kube, self._processes, api)
            for index, kind in enumerate(KINDS)
        }
        with concurrent.futures.ThreadPoolExecutor() as pool:
            starting = pool.submit(plane.start, self._processes, self._kube)
            for node in self._nodes.values():
                node.start_containerd(pathlib.Path(self._built.store), self._built.images["pause"])
                node.prepare_kubelet(plane)
            starting.result()
        self._channel.send(progress="the API server answers")
        for node in self._nodes.values():
            node.start_kubelet()
        services.start(plane, self._processes, self._kube, KINDS[0].name)
        self._processes.start(
            "forward", [self._kube, "forward", str(self._listener), network.API_ADDRESS], [self._listener]
        )
        self._processes.wait_until(
            "nodes",
            lambda: all(ready_condition(api.get(f"/api/v1/nodes/{n}")).get("status") == "True" for n in self._nodes),
        )
        for node in self._nodes.values():
            node.declare_resources()
        self._processes.wait_until("DNS", services.is_dns_ready)
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self._processes.wait_until("the default service account", lambda: bool(api.get(account)))
        plane.write_kubeconfig("host", "admin", f"127.0.0.1:{host_port}")

    def serve(self) -> None:
        """Answer the caller's requests until a process ends that should not."""
        threading.Thread(target=self._answer, daemon=True).start()
        while True:
            self._processes.check()
            time.sleep(CHECK_SECONDS)

    def _answer(self) -> None:
        while (request := self._channel.receive()) is not None:
            try:
                self._perform(request)
            except (ClusterError, OSError, KeyError) as error:
                self._channel.send(error=f"{request}: {error}")
            else:
                self._channel.send(done=True)

    def _perform(self, request: Message) -> None:
        node = self._nodes[request["node"]]
        match request["do"]:
            case "kill-kubelet":
                node.kill_kubelet()
            case "start-kubelet":
                node.restart_kubelet()
            case unknown:
                raise ClusterError(f"unknown request {unknown}")


def main(argv: list[str]) -> None:
    _, directory, channel, (listener, host_port, record) = read_arguments(argv)
    sandbox = Sandbox(directory, channel, int(listener), Built.from_json(record))
    try:
        sandbox.start(int(host_port))
        channel.send(ready=True)
        sandbox.serve()
    except (ClusterError, OSError) as error:
        channel.send(error=str(error))
    # Threads may still wait for processes that are to be ended with us.
    os._exit(1)


def run_as_first_process(argv: list[str]) -> None:
    """Wait for every orphan, of which containerd's shims make many: they fall to a pid namespace's first process."""
    child = os.fork()
    if child == 0:
        main(argv)
    while True:
        pid, status = os.wait()
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    run_as_first_process(sys.argv[1:])
