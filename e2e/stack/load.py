"""Load by perf_analyzer, NVIDIA's own generator, in a pod: Poisson arrivals, or callers that wait for their answers.

Both have an end: CALLERS_AT_MOST requests under way. A generator without one (its --async mode) makes a queue of many
thousands and as many connections within seconds of overload, and then measures itself.
"""

from __future__ import annotations

import gzip
import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from e2e.stack.objects import apply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from e2e.cluster import Cluster

# Each client its own connection: the library else shares one among six, which pin to few pods.
OWN_CONNECTIONS = {"TRITON_CLIENT_GRPC_CHANNEL_MAX_SHARE_COUNT": "1"}
# perf_analyzer ends after three measurement windows that agree, and with this tolerance all do.
WINDOWS = 3
TOLERANCE_PERCENT = 1_000_000
CALLERS_AT_MOST = 96
START_SECONDS = 30.0
PROFILE = "/tmp/profile.json"


@dataclass(frozen=True, slots=True)
class Result:
    """One run. `latencies_us` in the order of sending, `sent_seconds` since the first request."""

    wanted: str
    seconds: float
    sent_seconds: Sequence[float]
    latencies_us: Sequence[float]
    failed: int
    output: str

    @property
    def throughput_per_second(self) -> float:
        return len(self.latencies_us) / self.seconds if self.seconds > 0 else 0.0

    def percentile_us(self, share: float, *, since_seconds: float = 0.0) -> float:
        """Latency at that share of the requests sent after `since_seconds`; infinite where there are none."""
        chosen = sorted(
            lat for at, lat in zip(self.sent_seconds, self.latencies_us, strict=True) if at >= since_seconds
        )
        return chosen[min(len(chosen) - 1, int(share * len(chosen)))] if chosen else float("inf")


def pod(cluster: Cluster, name: str, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "nodeSelector": {"throughline.io/pool": "cpu"},
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "perf",
                    "image": cluster.images["perf"],
                    "command": ["sleep", "86400"],
                    "env": [{"name": name, "value": value} for name, value in OWN_CONNECTIONS.items()],
                    "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "8Gi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                }
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def arguments(model: str, address: str, profile: str) -> list[str]:
    """perf_analyzer's, of any load on that server, whose requests are written to `profile`. Random inputs may be NaN,
    and a profile with one in it is written empty. The version is named, since without it a reload in the middle makes
    perf_analyzer give up.
    """
    return ["-m", model, "-x", "1", "-u", f"{address}:8001", "-i", "grpc", "--input-data=zero", "--percentile=99",
            f"--profile-export-file={profile}"]  # fmt: skip


def waiting(callers: int) -> list[str]:
    """perf_analyzer's, of so many callers, each of which sends again when it has its answer."""
    return ["--sync", f"--max-threads={callers}", f"--concurrency-range={callers}"]


class Load:
    """A pod that generates load."""

    def __init__(self, cluster: Cluster, name: str = "load", namespace: str = "default") -> None:
        self.cluster, self.name, self.namespace = cluster, name, namespace

    def start(self) -> Load:
        apply(self.cluster, [pod(self.cluster, self.name, self.namespace)])
        self.cluster.kubectl("wait", "--for=condition=Ready", f"pod/{self.name}", "-n", self.namespace, "--timeout=60s")
        return self

    def stop(self) -> None:
        self.cluster.kubectl("delete", "pod", self.name, "-n", self.namespace, "--ignore-not-found", "--wait=false")

    def rate(self, model: str, per_second: float, seconds: float, **more: Any) -> Result:
        """Poisson arrivals, of as many callers as CALLERS_AT_MOST, each with a connection of its own."""
        mode = ["--sync", f"--max-threads={CALLERS_AT_MOST}", f"--request-rate-range={per_second:g}"]
        return self._run(model, f"{per_second:g}/s", seconds, [*mode, "--request-distribution=poisson"], **more)

    def concurrency(self, model: str, callers: int, seconds: float, **more: Any) -> Result:
        """So many callers, each of which sends again when it has its answer."""
        return self._run(model, f"{callers} callers", seconds, waiting(callers), **more)

    def _run(
        self,
        model: str,
        wanted: str,
        seconds: float,
        mode: Sequence[str],
        *,
        service: str = "",
        shape: str = "",
        batch: int = 1,
    ) -> Result:
        address = f"{service or model}.{self.namespace}.svc.cluster.local"
        window_ms = max(500, int(seconds * 1000 / WINDOWS))
        command = [
            "perf_analyzer", *arguments(model, address, PROFILE), *mode, f"--measurement-interval={window_ms}",
            f"--max-trials={WINDOWS}", f"--stability-percentage={TOLERANCE_PERCENT}",
            *([f"--shape={shape}"] if shape else []), "-b", str(batch),
        ]  # fmt: skip
        self._exec("rm", "-f", PROFILE, seconds=START_SECONDS)
        done = self._exec(*command, seconds=4 * seconds + START_SECONDS)
        output = (done.stdout + done.stderr).decode(errors="replace")
        packed = self._exec("gzip", "-1", "-c", PROFILE, seconds=120)
        profile = gzip.decompress(packed.stdout) if packed.returncode == 0 else b""
        if not profile.strip():
            raise RuntimeError(f"perf_analyzer left no profile: {output[-1500:]}")
        sent, latencies, failed = parse(profile)
        if done.returncode != 0 and failed == 0:
            raise RuntimeError(f"perf_analyzer failed: {output[-1500:]}")
        length = max(sent[-1] - sent[0], 1e-9) if len(sent) > 1 else seconds
        return Result(wanted, length, sent, latencies, failed, output)

    def _exec(self, *arguments: str, seconds: float) -> subprocess.CompletedProcess[bytes]:
        command = [*self.cluster.kubectl_command, "exec", "-n", self.namespace, self.name, "--", *arguments]
        return subprocess.run(command, capture_output=True, timeout=seconds, check=False)


def parse(profile: bytes) -> tuple[list[float], list[float], int]:
    """Seconds of sending since the first request, latencies in µs, and requests that got no answer."""
    requests = json.loads(profile)["experiments"][0]["requests"]
    requests.sort(key=lambda r: r["timestamp"])
    sent, latencies, failed = [], [], 0
    first = requests[0]["timestamp"] if requests else 0
    for request in requests:
        answers = request.get("response_timestamps") or []
        if not answers or request.get("success") is False:
            failed += 1
            continue
        sent.append((request["timestamp"] - first) / 1e9)
        latencies.append((answers[-1] - request["timestamp"]) / 1e3)
    return sent, latencies, failed
