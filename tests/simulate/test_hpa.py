"""Against kubernetes.io/docs horizontal-pod-autoscale (examples, defaults) and its controller's code."""

import pytest
from looks import SETTINGS, ScriptedLook, step
from throughline.simulate.autoscalers.hpa import Hpa, Policy, Rules, queue_length, utilization


def hpa(metric=utilization, target=0.5, *, low=1, high=100, **kw):
    return Hpa(SETTINGS, metric, target, low, high, **kw)


def at(replicas, **values):
    return ScriptedLook(replicas=replicas, ready=values.pop("ready", replicas), **values)


def free(**kw):
    """No windows and no policies that bind: only the formula."""
    open_rules = Rules((Policy("Percent", 10_000, 15),), stabilization_seconds=0)
    down = Rules((Policy("Percent", 100, 15),), stabilization_seconds=0)
    return hpa(scale_up=open_rules, scale_down=down, **kw)


@pytest.mark.parametrize(
    ("replicas", "value", "target", "wanted"),
    [
        (5, 0.2, 0.1, 10),  # the documentation's examples: twice the target doubles
        (10, 0.05, 0.1, 5),  # half of it halves
        (4, 0.65, 0.5, 6),  # 5.2, rounded up
        (5, 0.98, 0.7, 7),  # 1.4 times, though in floating point 0.98 / 0.7 is a little more
    ],
)
def test_replicas_are_current_times_metric_over_target_rounded_up(replicas, value, target, wanted):
    assert step(free(target=target), at(replicas, busy=value)) == wanted


@pytest.mark.parametrize(("value", "wanted"), [(0.55, 20), (0.45, 20), (0.56, 23), (0.44, 18)])
def test_within_a_tenth_of_the_target_nothing_changes(value, wanted):
    assert step(free(), at(20, busy=value)) == wanted


def test_queue_length_is_per_ready_pod():
    assert step(free(metric=queue_length, target=5.0), at(4, waiting=40.0)) == 8


def test_scale_up_at_most_doubles_or_adds_four_in_15_s():
    scaler, look = hpa(), at(1, busy=1.0)
    # 1 + 4, then doubled, then doubled: the formula alone would ask for twice as many each time as well.
    scaler.target = 0.05
    assert [step(scaler, look) for _ in range(4)] == [5, 10, 20, 40]


def test_the_period_of_a_policy_counts_all_changes_in_it():
    up = Rules((Policy("Pods", 4, 60),), stabilization_seconds=0)
    scaler, look = hpa(scale_up=up), at(10, busy=1.0)
    assert [step(scaler, look) for _ in range(6)] == [14, 14, 14, 14, 18, 18]


def test_a_down_policy_by_percent_rounds_towards_more_deleted_pods():
    down = Rules((Policy("Percent", 10, 60),), stabilization_seconds=0)
    scaler, look = hpa(scale_down=down), at(75, busy=0.05)
    assert [step(scaler, look) for _ in range(5)] == [67, 67, 67, 67, 60]


def test_scale_down_waits_300_s_and_takes_the_highest_recommendation_of_them():
    scaler, look = hpa(), at(10, busy=0.5)
    step(scaler, look)
    assert [step(scaler, look, busy=0.2) for _ in range(4)] == [10] * 4
    # At 300 s the last recommendation of 10 has left the window; the highest left is ⌈10 × 0.2/0.5⌉ = 4.
    held = [step(scaler, look, busy=0.1) for _ in range(15)]
    assert held == [10] * 15
    assert step(scaler, look) == 4


def test_scale_up_goes_at_once_and_a_window_for_it_takes_the_lowest_recommendation():
    assert step(hpa(), at(4, busy=0.75)) == 6
    up = Rules((Policy("Percent", 100, 15),), stabilization_seconds=60)
    scaler, look = hpa(scale_up=up), at(4, busy=0.5)
    step(scaler, look)
    assert [step(scaler, look, busy=0.75) for _ in range(4)] == [4, 4, 4, 6]


def test_bounds_hold_and_are_restored_whatever_the_metric():
    assert step(hpa(high=6), at(4, busy=1.0)) == 6
    assert step(free(low=3), at(4, busy=0.0)) == 3
    assert step(hpa(high=6), at(9, busy=None)) == 6
    assert step(hpa(low=3), at(1, busy=None)) == 3


def test_it_holds_without_metrics_or_ready_pods():
    assert step(hpa(), at(4, busy=None)) == 4
    assert step(hpa(metric=queue_length, target=5.0), at(4, ready=0, waiting=40.0)) == 4


def test_pods_not_ready_count_as_idle_when_scaling_up():
    # 4 of 8 ready at twice the target: over all eight exactly the target, so nothing changes.
    assert step(hpa(), at(8, ready=4, busy=1.0)) == 8
    # 6 of 8 ready: 1.5 over all, ⌈1.5 × 8⌉.
    assert step(hpa(), at(8, ready=6, busy=1.0)) == 12
    # 2 of 8: over all they are below the target; up is not turned into down.
    assert step(free(), at(8, ready=2, busy=1.0)) == 8


def test_pods_not_ready_are_left_out_when_scaling_down():
    assert step(free(), at(8, ready=4, busy=0.25)) == 2
