from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from throughline.domain.observed import MetricsFrame, SeriesFacts, Unavailable
from throughline.runtime.health import STALLED_SECONDS, Health
from throughline.runtime.metrics import Metrics
from throughline.runtime.poller import Poller

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.domain.observed import PodKey


async def test_a_loop_that_does_not_turn_is_not_alive() -> None:
    now = 0.0
    health = Health(clock=lambda: now)
    beat = asyncio.create_task(health.beat())
    await asyncio.sleep(0)
    assert health.report(ready=False)[0] == 200
    now = STALLED_SECONDS + 1
    assert health.report(ready=False)[0] == 503
    beat.cancel()


def test_ready_waits_for_more_than_alive() -> None:
    health = Health()
    health.ready["sync Pod"] = lambda: "first list"
    assert health.report(ready=False)[0] == 200
    status, text = health.report(ready=True)
    assert status == 503
    assert "[-] sync Pod: first list" in text


class Source:
    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.diagnosed: list[list[PodKey]] = []

    async def frame(self) -> MetricsFrame | Unavailable:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    async def diagnose(self, frame: MetricsFrame, pods: Sequence[PodKey]) -> MetricsFrame:
        self.diagnosed.append(list(pods))
        return dataclasses.replace(frame, series=SeriesFacts(up=dict.fromkeys(pods)))


async def test_metrics_that_nobody_refreshes_go_stale() -> None:
    now = 0.0
    poller = Poller(Source(MetricsFrame(0, 60)), Metrics(), 15, clock=lambda: now)
    assert isinstance(poller.frame(), Unavailable)
    await poller.poll()
    assert isinstance(poller.frame(), MetricsFrame)
    now = 46.0
    assert isinstance(poller.frame(), Unavailable)


async def test_the_poller_survives_what_nobody_foresaw() -> None:
    poller = Poller(Source(ValueError("odd"), MetricsFrame(0, 60)), Metrics(), 0.001)
    task = asyncio.create_task(poller.run())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(task), 0.05)
    task.cancel()
    assert isinstance(poller.source, Source)
    assert poller.source.answers == []


async def test_prometheus_is_asked_why_only_while_metrics_are_missing() -> None:
    lacking = [[], [("default", "p")]]
    source = Source(MetricsFrame(0, 60), MetricsFrame(0, 60, warnings=("a store is gone",)))
    metrics = Metrics()
    poller = Poller(source, metrics, 15, lacking=lambda _: lacking.pop(0))
    await poller.poll()
    assert source.diagnosed == []
    await poller.poll()
    assert source.diagnosed == [[("default", "p")]]
    frame = poller.frame()
    assert isinstance(frame, MetricsFrame)
    assert frame.series.up == {("default", "p"): None}
    assert metrics.registry.get_sample_value("throughline_metrics_source_warnings") == 1
