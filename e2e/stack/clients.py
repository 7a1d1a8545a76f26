"""Closed-loop clients that check each answer, which perf_analyzer does not, and go on when a request fails."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from e2e.stack.load import pod
from e2e.stack.objects import apply

if TYPE_CHECKING:
    from e2e.stack.watching import Api

PORT = 9000
# The waiting model answers a row with its sum: each request has a row that no other one has at that time.
SCRIPT = """
import http.client, http.server, itertools, json, sys, threading, time
model, clients = sys.argv[1], int(sys.argv[2])
lock, counts, words = threading.Lock(), {"answered": 0, "wrong": 0, "failed": 0}, {"wrong": "", "failed": ""}
def count(kind, word=""):
    with lock:
        counts[kind] += 1
        if word:
            words[kind] = word[:300]
def ask(connection, row):
    tensor = {"name": "X", "datatype": "FP32", "shape": [1, len(row)], "data": row}
    connection.request("POST", f"/v2/models/{model}/versions/1/infer", json.dumps({"inputs": [tensor]}))
    response = connection.getresponse()
    return response.status, response.read().decode(errors="replace")
def client(number):
    connection = None
    for turn in itertools.count():
        row = [float(number), float(turn % 1000 * clients), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
        try:
            connection = connection or http.client.HTTPConnection(model, 8000, timeout=60)
            status, text = ask(connection, row)
        except (OSError, http.client.HTTPException) as error:
            connection = None
            count("failed", repr(error))
            time.sleep(0.1)
            continue
        if status != 200:
            count("failed", f"{status} {text}")
            continue
        (found,) = json.loads(text)["outputs"][0]["data"]
        count("answered")
        if found != sum(row):
            count("wrong", f"{found} for the sum of {row}")
class Report(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with lock:
            body = json.dumps({**counts, "last_wrong": words["wrong"], "last_failed": words["failed"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
for number in range(clients):
    threading.Thread(target=client, args=(number,), daemon=True).start()
http.server.ThreadingHTTPServer(("", 9000), Report).serve_forever()
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """Of all requests so far; a wrong answer is an answer, too. With the words of the last ones."""

    answered: int
    wrong: int
    failed: int
    last_wrong: str
    last_failed: str

    @property
    def failed_share(self) -> float:
        return self.failed / max(1, self.answered + self.failed)


class Clients:
    """So many clients of a waiting model, by HTTP from a pod of their own, for as long as the block."""

    def __init__(self, api: Api, model: str, count: int) -> None:
        self.api, self.model, self.count = api, model, count
        self.name = f"clients-{model}"

    def __enter__(self) -> Self:
        made = pod(self.api.cluster, self.name, self.api.namespace)
        (container,) = made["spec"]["containers"]
        container |= {
            "image": self.api.cluster.images["triton"],
            "command": ["python3", "-c", SCRIPT, self.model, str(self.count)],
            "readinessProbe": {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1},
        }
        apply(self.api.cluster, [made])
        place = (f"pod/{self.name}", "-n", self.api.namespace, "--timeout=60s")
        self.api.cluster.kubectl("wait", "--for=condition=Ready", *place)
        return self

    def __exit__(self, *_: object) -> None:
        self.api.cluster.kubectl("delete", "pod", self.name, "-n", self.api.namespace, "--wait=false", check=False)

    def counts(self) -> Counts:
        path = f"/api/v1/namespaces/{self.api.namespace}/pods/{self.name}:{PORT}/proxy/"
        status, body = self.api.send("GET", path)
        if status != 200:
            raise OSError(f"{self.name}: {status} {body[:300]!r}")
        return Counts(**json.loads(body))
