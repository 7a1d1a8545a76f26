"""What tests watch: objects and servers, through one `kubectl proxy` instead of a process per question."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2e.stack import models
from e2e.stack.load import pod
from e2e.stack.objects import TimedOutError, apply, condition, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from e2e.cluster import Cluster

SERVICE_LABEL = "throughline.io/inferenceservice"
CONTROL_KEY_HEADER = "throughline-control-key"
TIMEOUT_SECONDS = 30.0
# Generous: what is waited for comes within seconds on an idle machine.
SECONDS = 120.0
_GROUP = "/apis/throughline.io/v1alpha1"


@dataclass(frozen=True, slots=True)
class Settings:
    """Batch settings as a server reports them."""

    max_batch_size: int
    queue_delay_us: int
    instances: int

    @classmethod
    def of_spec(cls, fixed: Mapping[str, int]) -> Settings:
        return cls(fixed["maxBatchSize"], fixed.get("maxQueueDelayMicroseconds", 0), fixed.get("instances", 1))


# Passes a request on as a client inside the cluster would send it. Not the API server's own proxy: that keeps its
# connections, and a server that ends waits for connections.
RELAY = """
import http.client, http.server, json
class Relay(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        host, port, verb, path, body, headers = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            connection = http.client.HTTPConnection(host, port, timeout=30)
            connection.request(verb, path, body, {**headers, "Connection": "close"})
            response = connection.getresponse()
            status, answer = response.status, response.read()
            connection.close()
        except (OSError, http.client.HTTPException) as error:
            status, answer = 599, repr(error).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"%d " % status + answer)
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 9000), Relay).serve_forever()
"""


def relay_pod(cluster: Cluster, namespace: str) -> dict[str, Any]:
    made = pod(cluster, "relay", namespace)
    (container,) = made["spec"]["containers"]
    container |= {"image": cluster.images["triton"], "command": ["python3", "-c", RELAY]}
    container["readinessProbe"] = {"httpGet": {"path": "/", "port": 9000}, "periodSeconds": 1}
    return made


@dataclass
class Api:
    """Objects of one namespace by plain HTTP; servers and services by a relay in a pod."""

    cluster: Cluster
    namespace: str
    port: int

    @classmethod
    @contextlib.contextmanager
    def of(cls, cluster: Cluster, namespace: str) -> Iterator[Api]:
        # It ends with us, also where we are killed.
        command = ["setpriv", "--pdeathsig", "TERM", *cluster.kubectl_command, "proxy", "--port=0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                yield cls(cluster, namespace, int(process.stdout.readline().strip().rsplit(":", 1)[1]))
            finally:
                process.terminate()

    def send(
        self, verb: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(verb, path, text, {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def read(self, path: str) -> Any:
        """The parsed answer; None where there is nothing."""
        status, body = self.send("GET", path)
        if status == http.client.NOT_FOUND:
            return None
        if status != http.client.OK:
            raise OSError(f"GET {path}: {status} {body[:300]!r}")
        return json.loads(body)

    def objects(self, resource: str, service: str = "", group: str = "/api/v1") -> list[dict[str, Any]]:
        selector = f"?labelSelector={SERVICE_LABEL}%3D{service}" if service else ""
        return list(self.read(f"{group}/namespaces/{self.namespace}/{resource}{selector}")["items"])

    def service(self, name: str) -> dict[str, Any] | None:
        """The InferenceService."""
        found: dict[str, Any] | None = self.read(f"{_GROUP}/namespaces/{self.namespace}/inferenceservices/{name}")
        return found

    def deployment(self, name: str) -> dict[str, Any]:
        return dict(self.read(f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{name}"))

    def pods(self, service: str) -> list[dict[str, Any]]:
        """Pods that are to stay."""
        return [p for p in self.objects("pods", service) if not p["metadata"].get("deletionTimestamp")]

    def uids(self, service: str) -> set[str]:
        return {p["metadata"]["uid"] for p in self.pods(service)}

    def ready_pods(self, service: str) -> list[dict[str, Any]]:
        return [p for p in self.pods(service) if condition(p, "Ready").get("status") == "True"]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Events about the InferenceService."""
        found = self.objects("events", group="/apis/events.k8s.io/v1")
        return [e for e in found if (e["regarding"]["kind"], e["regarding"]["name"]) == ("InferenceService", name)]

    def triton(
        self, verb: str, host: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """HTTP to a server, by a pod's address or a Service's name; 599 where no answer comes."""
        text = None if body is None else json.dumps(body)
        relay = f"/api/v1/namespaces/{self.namespace}/pods/relay:9000/proxy/"
        status, answer = self.send("POST", relay, [host, 8000, verb, f"/v2/{path}", text, dict(headers or {})])
        if status != http.client.OK:
            raise OSError(f"the relay: {status} {answer[:300]!r}")
        head, _, rest = answer.partition(b" ")
        return int(head), rest

    def settings(self, server: Mapping[str, Any], model: str) -> Settings | None:
        """What this pod's server says of itself; None while it does not answer."""
        address = server["status"].get("podIP")
        if not address:
            return None
        status, body = self.triton("GET", address, f"models/{model}/config")
        if status != http.client.OK:
            return None
        config = json.loads(body)
        batching = config.get("dynamic_batching") or {}
        delay = int(batching.get("max_queue_delay_microseconds", 0))
        return Settings(int(config["max_batch_size"]), delay, int(config["instance_group"][0]["count"]))

    def all_settings(self, service: str) -> list[Settings | None]:
        return [self.settings(p, service) for p in self.pods(service)]

    def infer(
        self, name: str, values: list[list[float]] | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """One inference through the Service of that name."""
        rows = values or [[1.0] * 8]
        shape = [len(rows), len(rows[0])]
        tensor = {"name": "X", "datatype": "FP32", "shape": shape, "data": [v for row in rows for v in row]}
        return self.triton("POST", name, f"models/{name}/infer", {"inputs": [tensor]}, headers)

    def patch(self, name: str, spec: Mapping[str, Any]) -> None:
        """Change the spec of an InferenceService; null takes a field away."""
        path = f"{_GROUP}/namespaces/{self.namespace}/inferenceservices/{name}"
        status, body = self.send("PATCH", path, {"spec": spec}, {"Content-Type": "application/merge-patch+json"})
        assert status == http.client.OK, body

    def until_condition(
        self, name: str, type_: str, status: str, *reasons: str, seconds: float = SECONDS
    ) -> dict[str, Any]:
        """The condition, once it has that status (and one of the reasons) for the present generation."""

        def check() -> dict[str, Any]:
            found = self.service(name)
            have = condition(found, type_)
            if found is None or have.get("status") != status or (reasons and have["reason"] not in reasons):
                return {}
            return have if have.get("observedGeneration") == found["metadata"]["generation"] else {}

        try:
            return until(f"{name}: {type_}={status} {'/'.join(reasons)}", check, seconds=seconds, every=0.5)
        except TimedOutError as error:
            raise TimedOutError(f"{error}; {self.story(name)}") from None

    def until_ready(self, name: str, *, replicas: int = 1, seconds: float = SECONDS) -> None:
        """Ready, with so many pods, and reached by the Service, which learns of a pod a moment after the operator."""
        self.until_condition(name, "Ready", "True", seconds=seconds)
        self.until(f"{replicas} ready pods", lambda: len(self.ready_pods(name)) == replicas, name, seconds=seconds)
        reached = lambda: self.triton("GET", name, "health/live")[0] == http.client.OK  # noqa: E731
        self.until("the Service to reach a server", reached, name)

    def until(self, what: str, check: Callable[[], Any], name: str, *, seconds: float = SECONDS) -> None:
        """As `until` of objects, with the service's conditions where it does not come."""
        try:
            until(what, check, seconds=seconds, every=0.5)
        except TimedOutError as error:
            raise TimedOutError(f"{error}; {self.story(name)}") from None

    def story(self, name: str) -> str:
        """What a wait that was in vain is told with: the conditions, and what each server has counted."""
        conditions = ((self.service(name) or {}).get("status") or {}).get("conditions") or []
        said = [f"{c['type']}={c['status']} {c['reason']}: {c['message'][:200]}" for c in conditions]
        return "; ".join([*said, *(self._counted(p) for p in self.ready_pods(name))])

    def _counted(self, pod: dict[str, Any]) -> str:
        place = ("exec", pod["metadata"]["name"], "-n", self.namespace, "-c", "triton", "--")
        read = (
            "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8002/metrics', timeout=5).read().decode())"
        )
        lines = self.cluster.kubectl(*place, "python3", "-c", read, check=False).stdout.splitlines()
        told = ("nv_inference_request_", "nv_inference_pending", "nv_inference_exec")
        return f"{pod['metadata']['name']}: " + ", ".join(line for line in lines if line.startswith(told))


@contextlib.contextmanager
def scratch(cluster: Cluster, name: str) -> Iterator[Api]:
    """A namespace of this run alone, in which restricted pod security is enforced, with the waiting model's storage."""
    namespace = f"{name}-{secrets.token_hex(3)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    meta = {"name": namespace, "labels": labels}
    apply(cluster, [{"apiVersion": "v1", "kind": "Namespace", "metadata": meta}])
    try:
        apply(cluster, [models.waiting_storage(namespace), relay_pod(cluster, namespace)])
        cluster.kubectl("wait", "--for=condition=Ready", "pod/relay", "-n", namespace, "--timeout=60s")
        with Api.of(cluster, namespace) as api:
            yield api
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false", check=False)


@dataclass
class History:
    """Every state of the InferenceServices of a namespace since the start of the watch, as (Ready, reason) by name."""

    api: Api
    seen: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def start(self) -> History:
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def ever_ready(self, name: str) -> bool:
        return any(status == "True" for status, _ in self.seen.get(name, []))

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.api.port)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", f"{_GROUP}/namespaces/{self.api.namespace}/inferenceservices?watch=1")
            for line in connection.getresponse():
                event = json.loads(line)
                ready = condition(event["object"], "Ready")
                state = (ready.get("status", ""), ready.get("reason", ""))
                states = self.seen.setdefault(event["object"]["metadata"]["name"], [])
                if not states or states[-1] != state:
                    states.append(state)


def processes(of: Mapping[str, Any], name: str | None = None) -> dict[str, int]:
    """Processes of the pod's container: id there → id here. Only where the nodes are of this machine."""
    found = [*of["status"]["containerStatuses"], *of["status"].get("initContainerStatuses", ())]
    (status,) = [s for s in found if name in {None, s["name"]}]
    container = status["containerID"].rsplit("/", 1)[1]
    ids = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if container not in (process / "cgroup").read_text():
                continue
            pids = next(x for x in (process / "status").read_text().splitlines() if x.startswith("NSpid:")).split()
            ids[pids[-1]] = int(process.name)
    return ids


def kill_container(victim: Mapping[str, Any], name: str | None = None) -> None:
    """SIGKILL to the first process of the pod's container."""
    os.kill(processes(victim, name)["1"], signal.SIGKILL)


def pause(seconds: float) -> None:
    """Where something must not happen, there is nothing to wait for but time."""
    time.sleep(seconds)
