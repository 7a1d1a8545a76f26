"""Against llm-d WVA's docs/saturation-analyzer.md, with the busy share in place of KV-cache use."""

import pytest
from looks import SETTINGS, ScriptedLook, step
from throughline.simulate.autoscalers.hpa import utilization
from throughline.simulate.autoscalers.wva import Wva


def wva(*, low=1, high=20, **kw):
    return Wva(SETTINGS, utilization, low, high, **kw)


@pytest.mark.parametrize(
    ("busy", "per_pod", "wanted"),
    [
        (0.65, 1.0, 4),  # spare 0.15 and 4: enough, but not on three
        (0.75, 1.0, 5),  # spare 0.05 is below 0.1
        (0.65, 2.5, 5),  # spare 2.5 is below 3
        (0.95, 0.0, 5),  # saturated by use
        (0.10, 9.0, 5),  # saturated by queue
        (0.70, 2.0, 4),  # exactly the triggers
    ],
)
def test_one_more_when_the_spare_capacity_is_short(busy, per_pod, wanted):
    assert step(wva(), ScriptedLook(replicas=4, ready=4, busy=busy, waiting=4 * per_pod)) == wanted


@pytest.mark.parametrize(
    ("replicas", "busy", "per_pod", "wanted"),
    [
        (4, 0.5, 1.0, 3),  # on three: 0.67 and 1.3, spare 0.13 and 3.7
        (4, 0.53, 1.0, 4),  # on three: 0.707, spare 0.093
        (4, 0.1, 1.6, 4),  # on three: 2.13 waiting, spare 2.87
        (2, 0.34, 0.0, 1),
        (2, 0.36, 0.0, 2),
        (1, 0.0, 0.0, 1),  # one alone is never removed
    ],
)
def test_one_fewer_only_when_the_rest_keeps_its_spare(replicas, busy, per_pod, wanted):
    look = ScriptedLook(replicas=replicas, ready=replicas, busy=busy, waiting=replicas * per_pod)
    assert step(wva(), look) == wanted


def test_it_moves_by_one_each_half_minute():
    scaler, look = wva(), ScriptedLook(replicas=2, ready=2, busy=1.0, waiting=1000.0)
    assert [step(scaler, look) for _ in range(5)] == [3, 3, 4, 4, 5]


def test_nothing_while_pods_start():
    scaler, look = wva(), ScriptedLook(replicas=3, ready=2, busy=1.0, waiting=100.0)
    assert [step(scaler, look) for _ in range(4)] == [3, 3, 3, 3]
    assert [step(scaler, look, ready=3) for _ in range(2)] == [4, 4]


def test_it_decides_on_the_peak_of_the_last_minute():
    scaler, look = wva(), ScriptedLook(replicas=4, ready=4, busy=0.6, waiting=0.0)
    step(scaler, look)
    assert step(scaler, look, busy=0.9) == 4  # between two decisions, but seen
    assert step(scaler, look, busy=0.1) == 5
    # The peak at 15 s is in the window until 75 s, the decision at 60 s is the last to see it.
    assert [step(scaler, look) for _ in range(4)] == [5, 6, 6, 5]


def test_without_metrics_it_goes_on_for_a_minute_and_then_holds():
    scaler, look = wva(), ScriptedLook(replicas=2, ready=2, busy=1.0, waiting=0.0)
    step(scaler, look)
    assert [step(scaler, look, busy=None) for _ in range(8)] == [3, 4, 4, 4, 4, 4, 4, 4]


def test_bounds():
    assert step(wva(high=4), ScriptedLook(replicas=4, ready=4, busy=1.0, waiting=0.0)) == 4
    assert step(wva(low=4), ScriptedLook(replicas=4, ready=4, busy=0.0, waiting=0.0)) == 4
