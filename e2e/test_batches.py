"""Models that must not be batched: one that fails for each batch, one that mixes up the rows of a batch. Closed-loop
clients, who would have their answers sooner in batches, never notice.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from e2e.stack import models
from e2e.stack.clients import Clients
from e2e.stack.objects import apply, condition
from e2e.stack.scenario import Watch
from e2e.stack.watching import Api, pause, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

FAILS, MIXES = "fails-in-batches", "mixes-rows"
CLIENTS = 64
# One item after the other is 8.2 ms each: 64 clients wait half a second, five times the SLO.
ALPHA_US, BETA_US, SLO_MS = 8_000, 200, 100
FAILED_SHARE = 0.001
# Two metrics windows, in which something might be tried again.
AFTERWARDS_SECONDS = 40.0
TOLD_SECONDS = 180.0


@dataclass
class Scene:
    api: Api
    clients: dict[str, Clients]
    watches: dict[str, Watch]

    def told(self, name: str, reason: str, words: str) -> None:
        """BatchTuned has the reason with these words, while the clients' load goes on, and keeps it."""

        def found() -> dict[str, Any]:
            return condition(self.api.service(name), "BatchTuned")

        self.api.until(f"BatchTuned: {reason}", lambda: found().get("reason") == reason, name, seconds=TOLD_SECONDS)
        assert words in found()["message"], found()
        pause(AFTERWARDS_SECONDS)
        assert found()["reason"] == reason, found()

    def largest_in_force(self, name: str) -> int:
        """Of all that the status has named since the load began."""
        return max(s.settings[0] for s in self.watches[name].samples)


@pytest.fixture(scope="module")
def scene(product: Cluster) -> Iterator[Scene]:
    """Both services at once, each with its clients."""
    broken = {FAILS: {"fail_above_batch": 1}, MIXES: {"mixes_rows": 1}}
    with scratch(product, "batches") as api, ExitStack() as stack:
        for name, parameters in broken.items():
            model = models.waiting_model(ALPHA_US, BETA_US, **parameters)
            scaling = {"minReplicas": 1, "maxReplicas": 1}
            service = models.service(name, model, pool="cpu", slo_ms=SLO_MS, namespace=api.namespace, scaling=scaling)
            apply(product, [service])
        for name in broken:
            api.until_ready(name)
        watches = {name: Watch(product, name, namespace=api.namespace) for name in broken}
        clients = {name: Clients(api, name, CLIENTS) for name in broken}
        for name in broken:
            stack.enter_context(watches[name].running())
            stack.enter_context(clients[name])
        yield Scene(api, clients, watches)


def test_a_model_that_fails_for_each_batch_is_not_batched(scene: Scene) -> None:
    """The batch that fails is tried before a client's request is in one (K4)."""
    scene.told(FAILS, "BatchesFail", "batches fail")
    counts = scene.clients[FAILS].counts()
    print(counts)
    assert counts.answered > 0
    assert counts.failed_share <= FAILED_SHARE, counts
    assert scene.largest_in_force(FAILS) <= 1


def test_a_model_that_mixes_rows_is_not_batched(scene: Scene) -> None:
    """Answers to differing rows, alone and together, are compared before clients' rows are together (K16)."""
    scene.told(MIXES, "RowsMixed", "mixed up in batches")
    counts = scene.clients[MIXES].counts()
    print(counts)
    assert counts.answered > 0
    assert (counts.wrong, counts.failed) == (0, 0), counts
    assert scene.largest_in_force(MIXES) <= 1
