"""A new user follows README.md: Helm, the tour, Helm again, and all removed. Each command is run as README.md has it,
but for the placeholders below; e2e/readme.py says which commands are not run, and why. It comes last in a run, since it
removes the kinds, too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from e2e import helm, readme
from e2e.stack import load, models, prometheus, up
from e2e.stack.objects import apply, condition, get, items, until
from e2e.stack.watching import SERVICE_LABEL

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

NAME = "tour"
COMMAND_SECONDS = 120.0
WATCH_SECONDS = 10
WATCH_ENDED = 124
START = "1/0×1"  # the batch settings that a service starts with, as the tour says


@pytest.fixture
def fresh(crds: Cluster) -> Cluster:
    """The cluster without an operator, with a Prometheus where README.md says that there is one."""
    if not crds.is_local:
        pytest.skip("removes Throughline from its cluster; KUBECONFIG names yours")
    prometheus.install(crds)
    helm.uninstall_chart(crds.kubeconfig)
    crds.kubectl("delete", "tis,tpool", "--all", "--all-namespaces")
    crds.kubectl("delete", "configmap", models.STORAGE, "--ignore-not-found")  # of the product's own fixtures
    return crds


@dataclass
class Reader:
    """Types what README.md says, in the shell, in the repository's root."""

    cluster: Cluster
    folder: Path
    placeholders: dict[str, str]
    load: subprocess.Popen[bytes] | None = None
    typed: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, cluster: Cluster, folder: Path) -> Reader:
        operator = helm.image_values(cluster.images["operator"])["image"]
        values = {
            "image.tag": operator["tag"],
            "settings.defaultTritonImage": cluster.images["triton"],
            "settings.metricsWindowSeconds": up.METRICS_WINDOW_SECONDS,
            "settings.metricsPollSeconds": up.POLL_SECONDS,
            "settings.decisionIntervalSeconds": up.POLL_SECONDS,
        }
        more = ",".join(f"{name}={value}" for name, value in values.items())
        placeholders = {
            "REGISTRY/throughline/operator": f"{operator['repository']},{more}",
            readme.TOUR_FILE: str(folder / readme.TOUR_FILE),
        }
        programs = {
            "kubectl": cluster.kubectl_command,
            "helm": [sys.executable, "-m", "e2e.helm"],
            "throughline": [sys.executable, "-m", "throughline"],
        }
        for name, command in programs.items():
            path = folder / name
            path.write_text('#!/bin/sh\nexec {} "$@"\n'.format(" ".join(f"'{word}'" for word in command)))
            path.chmod(0o755)
        return cls(cluster, folder, placeholders)

    def shell(self, text: str) -> list[str]:
        return ["bash", "-c", readme.filled(text, self.placeholders)]

    def type(self, text: str) -> str:
        """What the command prints; it must succeed."""
        self.typed.append(text)
        shell = self.shell(text)
        if text in readme.WATCHES:
            shell = ["timeout", str(WATCH_SECONDS), *shell]
        path = f"{self.folder}:{os.environ['PATH']}"
        done = subprocess.run(
            shell,
            cwd=readme.ROOT,
            env={**os.environ, "PATH": path, "KUBECONFIG": str(self.cluster.kubeconfig)},
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        print(f"$ {text}\n{done.stdout}{done.stderr}")
        allowed = {0, WATCH_ENDED} if text in readme.WATCHES else {0}
        assert done.returncode in allowed, f"{text}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def type_in_pod(self, text: str) -> None:
        """The load, from a pod that has perf_analyzer; it goes on while the tour does."""
        self.typed.append(text)
        place = ("exec", "-n", "default", "load", "--")
        self.load = subprocess.Popen(
            [*self.cluster.kubectl_command, *place, *self.shell(text)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def start_again(self) -> None:
        """The load, if it gave up: whether it does depends on when its server was killed."""
        if self.load is not None and self.load.poll() is not None:
            self.type_in_pod(next(text for text in self.typed if "perf_analyzer" in text))

    def status(self) -> dict[str, object]:
        return dict((get(self.cluster, "tis", NAME) or {}).get("status") or {})

    def ready(self) -> bool:
        found = get(self.cluster, "tis", NAME) or {}
        current = (found.get("status") or {}).get("observedGeneration") == found["metadata"]["generation"]
        return current and condition(found, "Ready").get("status") == "True"

    def servers(self) -> dict[str, str]:
        """Pods of the service that are to stay: uid → name."""
        found = items(self.cluster, "pods", selector=f"{SERVICE_LABEL}={NAME}")
        return {
            p["metadata"]["uid"]: p["metadata"]["name"] for p in found if not p["metadata"].get("deletionTimestamp")
        }

    def summary(self) -> str:
        batch = self.status().get("batch")
        return str(batch.get("summary", "")) if isinstance(batch, dict) else ""

    def recommended(self, text: str) -> list[str]:
        words = self.type(text).split()
        return words if len(words) == 2 else []


def follow_the_tour(reader: Reader) -> None:
    """Steps 1 to 7: every command in order, and after it what the tour says of it."""
    cluster = reader.cluster
    (reader.folder / readme.TOUR_FILE).write_text(readme.tour_file())
    for part in readme.of(readme.TOUR):
        text = part.text
        if part.is_manifest or text.startswith("kubectl delete"):
            continue
        if "perf_analyzer" in text:
            reader.type_in_pod(text)
        elif "jsonpath" in text:
            assert until("a recommendation", lambda text=text: reader.recommended(text), seconds=300, every=5)
        elif text in readme.WATCHES:
            until("larger batches", lambda: reader.summary() not in {"", START}, seconds=240)
            assert NAME in reader.type(text)
        else:
            said = reader.type(text)
            if text.startswith("kubectl apply"):
                until(f"{NAME} to be ready", reader.ready, seconds=180)
                assert reader.summary() == START
            elif text.startswith("kubectl get tis"):
                assert START in said
            elif text.startswith("kubectl describe"):
                assert "Events:" in said
            elif text.startswith("throughline explain"):
                assert "DECISION" in said
                kill_a_server(cluster, reader)
    assert reader.load is not None, "the tour has a load"
    assert any(text in readme.WATCHES for text in reader.typed), "the tour has its reader watch"


def kill_a_server(cluster: Cluster, reader: Reader) -> None:
    """Step 6, the first line of its table."""
    settings = reader.summary()
    killed = next(iter(reader.servers().values()))
    cluster.kubectl("delete", "pod", killed, "--grace-period=0", "--force")
    until(f"{NAME} to be ready again", reader.ready, seconds=120)
    assert reader.summary() == settings or reader.summary() != START, "the new server has the settings in force"
    reader.start_again()


def test_a_new_user_installs_follows_the_tour_and_uninstalls(fresh: Cluster, tmp_path: Path) -> None:
    reader = Reader.of(fresh, tmp_path)
    (install,) = [part.text for part in readme.of(readme.INSTALL)]
    reader.type(install)
    apply(fresh, [load.pod(fresh, "load", "default")])
    fresh.kubectl("wait", "--for=condition=Ready", "pod/load", "--timeout=60s")

    follow_the_tour(reader)
    for part in readme.of("Troubleshooting"):
        reader.type(part.text)

    # The operator alone is removed, and comes back by the same command: Helm takes the CRDs that it kept.
    (uninstall,) = [part.text for part in readme.of(readme.UNINSTALL) if not part.fenced]
    servers = reader.servers()
    reader.type(uninstall)
    assert servers.keys() <= reader.servers().keys(), "the servers go on"
    assert reader.status(), "the service stays"
    reader.type(install)
    until(f"{NAME} to be served again", reader.ready, seconds=120)

    fresh.kubectl("delete", "pod", "load", "--grace-period=0", "--force")
    for part in (p for p in readme.of(readme.TOUR) if p.text.startswith("kubectl delete")):
        reader.type(part.text)
    until("the servers to end", lambda: not reader.servers(), seconds=120)
    for part in (p for p in readme.of(readme.UNINSTALL) if p.fenced):
        reader.type(part.text)
    left = fresh.kubectl("get", "crd", "-o", "name").stdout.split()
    assert not [name for name in left if name.endswith(".throughline.io")]
