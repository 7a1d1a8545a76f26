"""What the operator costs at rest: memory, CPU and API writes, with one service and with many."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from e2e import helm
from e2e.report import Figure, at_most
from e2e.stack import models, up
from e2e.stack.audit import asked, writes
from e2e.stack.objects import apply, condition, items, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.cluster import Cluster

MANY = 100
WATCH_SECONDS = 60.0
SETTLE_SECONDS = 900.0


def process(cluster: Cluster) -> tuple[float, float]:
    """(CPU seconds so far, resident MiB) of the operator, from its own metrics."""
    path = f"/api/v1/namespaces/{helm.NAMESPACE}/pods/{up.operator_pod(cluster)}:8081/proxy/metrics"
    text = cluster.kubectl("get", "--raw", path).stdout

    def value(name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        if found is None:
            raise RuntimeError(f"the operator's metrics have no {name}")
        return float(found[1])

    return value("process_cpu_seconds_total"), value("process_resident_memory_bytes") / 2**20


def statuses(cluster: Cluster) -> dict[str, Any]:
    """Of all services, by name."""
    return {s["metadata"]["name"]: s.get("status") for s in items(cluster, "inferenceservices")}


def differences(before: Any, after: Any, path: str) -> Iterator[str]:
    """What of two documents is not the same, a line each."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from differences(before.get(key), after.get(key), f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{path}[{i}]")
    elif before != after:
        yield f"{path}: {before} → {after}"


def _watch(cluster: Cluster, count: int, progress: Callable[[str], None]) -> list[Figure]:
    shown = statuses(cluster)
    cpu_before, _ = process(cluster)
    time.sleep(WATCH_SECONDS)
    cpu_after, memory = process(cluster)
    figures = [
        Figure(f"operator memory at rest, {count} service(s)", memory, "MiB"),
        Figure(
            f"operator CPU at rest, {count} service(s)", 100 * (cpu_after - cpu_before) / WATCH_SECONDS, "% of a core"
        ),
    ]
    if cluster.audit_log is not None:
        written = writes(asked(cluster, WATCH_SECONDS))
        for what, times in written.items():
            progress(f"  written {times} times: {what}")
        if written:
            for line in differences(shown, statuses(cluster), "status"):
                progress(f"  {line}")
        figures.append(
            at_most(f"API writes in {WATCH_SECONDS:.0f} s at rest, {count} service(s)", written.total(), "writes", 0)
        )
    return figures


def _settled(cluster: Cluster, count: int) -> bool:
    found = items(cluster, "inferenceservices")
    ready = [s for s in found if condition(s, "Ready").get("status") == "True"]
    measured = [s for s in ready if condition(s, "MetricsAvailable").get("status") == "True"]
    return len(measured) == count


def run(cluster: Cluster, progress: Callable[[str], None]) -> list[Figure]:
    """Figures with 1 and with MANY idle services, all of them real servers."""
    figures: list[Figure] = []
    for count in (1, MANY):
        progress(f"at rest with {count} service(s)")
        # Spread over the two nodes that ask for no accelerator; a replica of this model needs about 100 MiB.
        services = [
            models.service(
                f"rest-{i:03d}",
                models.waiting_model(1000, 0),
                pool="cpu" if i % 2 else "edge",
                runtime={"resources": {"requests": {"cpu": "1m", "memory": "16Mi"}}},
            )
            for i in range(count)
        ]
        at = time.monotonic()
        apply(cluster, services)
        until(f"{count} services to be ready", lambda n=count: _settled(cluster, n), seconds=SETTLE_SECONDS, every=5)
        progress(f"  ready and measured after {time.monotonic() - at:.0f} s")
        time.sleep(45.0)
        figures += _watch(cluster, count, progress)
    cluster.kubectl("delete", "inferenceservices", "--all", "--wait=false")
    return figures
