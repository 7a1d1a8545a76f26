"""Against KEDA's Prometheus scaler and the HPA's external metrics of type AverageValue."""

import pytest
from looks import SETTINGS, ScriptedLook, step
from throughline.simulate.autoscalers.fixed import Fixed
from throughline.simulate.autoscalers.keda import Fallback, Keda, in_flight, served_rate


def keda(query=None, threshold=100.0, *, low=1, high=50, **kw):
    return Keda(SETTINGS, query or served_rate(), threshold, low, high, **kw)


def test_replicas_are_the_total_over_the_threshold_rounded_up():
    assert step(keda(), ScriptedLook(replicas=4, ready=4, served=701.0)) == 8
    assert step(keda(in_flight, 8.0), ScriptedLook(replicas=4, ready=4, flying=41.0)) == 6


def test_pods_not_ready_count_as_replicas():
    # A total says nothing about pods: 4 more that start are 4 more, unlike in the HPA's metrics per pod.
    look = ScriptedLook(replicas=8, ready=4, served=850.0)
    assert step(keda(), look) == 8


@pytest.mark.parametrize(("served", "wanted"), [(1100.0, 10), (1101.0, 12), (900.0, 10)])
def test_within_a_tenth_of_the_target_nothing_changes(served, wanted):
    assert step(keda(), ScriptedLook(replicas=10, ready=10, served=served)) == wanted


def test_the_rate_is_that_of_its_window():
    asked = []

    class Asked(ScriptedLook):
        def served_per_second(self, window_seconds):
            asked.append(window_seconds)
            return 100.0

    step(keda(served_rate(120.0)), Asked())
    assert asked == [120.0]


def test_scale_up_and_down_are_the_hpas():
    scaler, look = keda(), ScriptedLook(replicas=2, ready=2, served=4000.0)
    assert [step(scaler, look) for _ in range(4)] == [6, 12, 24, 40]
    assert [step(scaler, look, served=100.0) for _ in range(19)] == [40] * 19
    assert step(scaler, look) == 1


def test_a_failing_query_holds():
    look = ScriptedLook(replicas=7, ready=7, served=None)
    assert [step(keda(), look) for _ in range(40)] == [7] * 40


def test_fallback_replicas_come_after_more_failures_than_the_threshold_in_a_row():
    scaler = keda(fallback=Fallback(failure_threshold=3, replicas=9))
    look = ScriptedLook(replicas=4, ready=4, served=None)
    assert [step(scaler, look) for _ in range(3)] == [4, 4, 4]
    assert step(scaler, look, served=400.0) == 4
    assert [step(scaler, look, served=None) for _ in range(4)] == [4, 4, 4, 8]
    assert step(scaler, look) == 9


def test_null_values_ignored_are_zero():
    scaler = keda(ignore_null_values=True, low=2)
    look = ScriptedLook(replicas=4, ready=4, served=400.0)
    step(scaler, look)
    assert [step(scaler, look, served=None) for _ in range(20)][-2:] == [4, 2]


def test_fixed_replicas_stay():
    look = ScriptedLook(replicas=1, busy=1.0)
    assert step(Fixed(SETTINGS, 3), look) == 3
    assert Fixed(SETTINGS, 3).decide(look).replicas is None
