"""At rest the operator writes nothing but its Lease, and asks for little: read from the API server's audit log."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from e2e.stack import models
from e2e.stack.audit import READ_VERBS, asked, writes
from e2e.stack.load import Load
from e2e.stack.objects import TimedOutError, apply, until
from e2e.stack.traffic import SteadyLoad
from e2e.stack.watching import Api, pause, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

WINDOW_SECONDS, LOADED_SECONDS, SETTLE_SECONDS = 60.0, 30.0, 240.0
IDLE, STEADY = ("idle-a", "idle-b", "idle-c"), "steady"
PER_SECOND = 20
# Of one window: the Lease every two seconds, and watches that are opened again.
READS = 60
# Measured values are rounded to two digits; a steady load may still cross a step now and then.
STATUS_WRITES = 4


@pytest.fixture(scope="module")
def api(local: Cluster, product: Cluster) -> Iterator[Api]:
    with scratch(product, "at-rest") as api:
        model = models.waiting_model(5_000, 500)
        settled = {"scaling": {"mode": "Off"}, "batching": {"mode": "Fixed", "fixed": {"maxBatchSize": 4}}}
        idle = [models.service(name, model, pool="cpu", namespace=api.namespace) for name in IDLE]
        steady = models.service(STEADY, model, pool="cpu", slo_ms=1000, namespace=api.namespace, **settled)
        apply(local, [*idle, steady])
        for name in (*IDLE, STEADY):
            api.until_ready(name)
        yield api


def test_nothing_is_written_at_rest(local: Cluster, api: Api) -> None:
    """Such a window comes soon: the services have just started, and others may just have gone."""
    pause(WINDOW_SECONDS)
    try:
        until("rest", lambda: not writes(asked(local, WINDOW_SECONDS)), seconds=SETTLE_SECONDS, every=5)
    except TimedOutError as error:
        raise AssertionError(f"{error}: {writes(asked(local, WINDOW_SECONDS))}") from None
    events = asked(local, WINDOW_SECONDS)
    reads = Counter(f"{e['verb']} {e['objectRef'].get('resource')}" for e in events)
    assert reads.total() <= READS, reads
    assert all(len(api.ready_pods(name)) == 1 for name in (*IDLE, STEADY))


def test_a_steady_load_writes_little_and_only_the_status(local: Cluster, api: Api) -> None:
    load = Load(local, namespace=api.namespace).start()
    with SteadyLoad(load, STEADY, PER_SECOND) as steady:
        api.until_condition(STEADY, "SLOMet", "True", "WithinSLO")
        pause(LOADED_SECONDS)  # until the rates are of this load alone
        pause(LOADED_SECONDS)
        events = asked(local, LOADED_SECONDS)
    found = Counter({what: n for what, n in writes(events).items() if STEADY in what})
    status = f"inferenceservices/status {api.namespace}/{STEADY}"
    print(f"written under a steady load in {LOADED_SECONDS:.0f} s: {dict(found)}")
    assert set(found) <= {status}, found
    assert found[status] <= STATUS_WRITES, found
    assert sum(e["verb"] in READ_VERBS for e in events) <= READS
    assert steady.failed == 0, steady.said
