"""The cases of `python -m bench traces`, at a hundredth of their rate: what a row of its table is told apart by."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from throughline.simulate.loadtest import capacity, hand_tuned

from bench import cases, traces

if TYPE_CHECKING:
    from pathlib import Path

    from throughline.simulate.run import Case

SHARE = 0.01
MAX_REQUESTS = 20e6  # of one case


@pytest.fixture(scope="module")
def generated() -> dict[int, list[Case]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cases, "RATE", cases.RATE * SHARE)
        patch.setattr(cases, "LARGE_RATE", cases.LARGE_RATE * SHARE)
        return {seed: cases.generated(seed) for seed in (1, 2)}


def test_each_case_has_a_name_of_its_own(generated: dict[int, list[Case]]) -> None:
    assert [name for name, n in Counter(c.traffic.name for c in generated[1]).items() if n > 1] == []
    assert {c.traffic.name for c in generated[1]} == {c.traffic.name for c in generated[2]}
    assert {"level jumps", "holiday", "deploy", "correlated bursts", "leak"} < {c.traffic.name for c in generated[1]}
    assert {"knee at 8", "small α", "slow start", "cost doubles"} < {c.traffic.name for c in generated[1]}


def test_another_seed_makes_other_arrivals_of_the_same_kinds(generated: dict[int, list[Case]]) -> None:
    for first, second in zip(*generated.values(), strict=True):
        assert first.truth == second.truth
        assert first.environment == second.environment
        assert not np.array_equal(first.traffic.arrivals[:50], second.traffic.arrivals[:50])


def test_a_case_is_of_a_size_that_runs_and_fits_the_pool(generated: dict[int, list[Case]]) -> None:
    for c in generated[1]:
        arrivals = c.traffic.arrivals
        assert arrivals.size / SHARE < MAX_REQUESTS, c.traffic.name
        settings = hand_tuned(c.truth, c.slo_us, traces.MAX_INSTANCES)
        most = np.histogram(arrivals, np.arange(0, c.traffic.duration_seconds + 300, 300))[0].max() / 300 / SHARE
        needed = most / capacity(c.truth, settings, c.slo_us)
        assert 5 < needed < c.environment.pool_replicas / 2, f"{c.traffic.name}: {needed:.0f} replicas"


def test_what_differs_from_the_encoder_in_the_cases_of_models(generated: dict[int, list[Case]]) -> None:
    found = {c.traffic.name: c for c in generated[1]}
    assert (found["knee at 8"].truth.knee_items, found["knee at 8"].truth.alpha_us) == (8, cases.ENCODER.alpha_us)
    assert found["small α"].truth.alpha_us < found["small α"].truth.beta_us
    start = found["slow start"].environment
    assert start.pod_start_seconds == 180
    assert [(e.kind, e.value) for e in found["cost doubles"].traffic.events] == [("cost", 2.0)]


def test_recorded_traces_of_a_folder_are_scaled(tmp_path: Path) -> None:
    for name in "ba":
        (tmp_path / f"{name}.csv").write_text("time\n" + "".join(f"{n}\n" for n in range(100)))
    found = cases.recorded(tmp_path)
    assert [c.traffic.name for c in found] == ["a ×742", "b ×742"]
    assert [c.truth for c in found] == [cases.ENCODER] * 2
