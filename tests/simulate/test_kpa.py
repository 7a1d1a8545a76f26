"""Against Knative's own tests of its autoscaler (pkg/autoscaler/scaling/autoscaler_test.go) and its defaults."""

import pytest
from looks import SETTINGS, ScriptedLook, step
from throughline.simulate.autoscalers.kpa import Kpa


def kpa(target=10.0, *, low=1, high=5000, **kw):
    kw.setdefault("target_utilization", 1.0)
    return Kpa(SETTINGS, target, low, high, **kw)


def calm(replicas, stable, panic=None, *, scaler):
    """The look of a service whose autoscaler has seen its first panic end."""
    look = ScriptedLook(replicas=1, ready=1, stable=1.0, panic=1.0)
    step(scaler, look)
    look.replicas = look.ready = replicas
    look.stable, look.panic = stable, stable if panic is None else panic
    return look


def test_stable_mode_follows_the_stable_window():
    scaler = kpa()
    look = calm(1, 50.0, 10.0, scaler=scaler)
    assert step(scaler, look) == 5
    assert step(scaler, look, stable=100.0) == 10
    assert step(scaler, look, stable=50.0, panic=50.0) == 5


def test_the_target_is_70_percent_of_what_a_replica_holds():
    scaler = Kpa(SETTINGS, 10.0, 1, 100)
    assert step(scaler, calm(4, 35.0, scaler=scaler)) == 5
    assert step(scaler, calm(4, 36.0, scaler=scaler)) == 6


@pytest.mark.parametrize(("panic", "wanted"), [(190.0, 10), (191.0, 20), (400.0, 40)])
def test_panic_from_twice_the_ready_pods_target_on(panic, wanted):
    scaler = kpa()
    assert step(scaler, calm(10, 100.0, panic, scaler=scaler)) == wanted


def test_panic_ends_a_stable_window_after_the_last_surge_and_never_goes_down_before():
    scaler = kpa()
    look = calm(10, 100.0, 1000.0, scaler=scaler)
    assert step(scaler, look, seconds=0) == 100
    look.ready = 10
    start = look.now_seconds
    look.stable = look.panic = 1.0
    for after, wanted in [(30, 100), (60, 100), (61, 5)]:  # 5: at most halved, 10 being ready
        look.now_seconds = start + after
        assert step(scaler, look, seconds=0) == wanted
    look.ready = look.replicas
    assert step(scaler, look, panic=100.0) == 10  # the next panic knows nothing of the last one's 100


def test_panic_does_not_end_while_the_surge_goes_on():
    scaler = kpa(1.0)
    look = calm(10, 11.0, 25.0, scaler=scaler)
    start = look.now_seconds
    assert step(scaler, look, seconds=0) == 25
    look.now_seconds = start + 30
    look.ready = 40
    assert step(scaler, look, stable=30.0, panic=80.0, seconds=0) == 80
    look.now_seconds = start + 62
    look.ready = 80
    assert step(scaler, look, stable=50.0, panic=56.0, seconds=0) == 80
    look.now_seconds = start + 91
    assert step(scaler, look, seconds=0) == 50


def test_scale_up_and_down_are_limited_to_a_ratio_of_the_ready_pods():
    scaler = kpa(max_scale_up_rate=10.0)
    look = calm(1, 1000.0, scaler=scaler)
    assert [step(scaler, look), step(scaler, look)] == [10, 100]
    scaler = kpa()
    look = calm(100, 1.0, scaler=scaler)
    assert [step(scaler, look) for _ in range(8)] == [50, 25, 12, 6, 3, 1, 1, 1]


def test_a_small_scale_up_rate_lets_it_grow_by_one():
    scaler = kpa(1.0, max_scale_up_rate=1.1)
    assert step(scaler, calm(2, 3.0, scaler=scaler)) == 3


def test_it_starts_in_panic_with_several_replicas_so_that_it_does_not_go_down_without_history():
    scaler, look = kpa(), ScriptedLook(replicas=8, ready=8, stable=10.0, panic=10.0)
    assert [step(scaler, look, seconds=30) for _ in range(3)] == [8, 8, 8]
    assert step(scaler, look) == 4


def test_a_scale_down_delay_keeps_the_highest_of_its_window():
    scaler = kpa(scale_down_delay_seconds=10.0)
    look = calm(10, 100.0, scaler=scaler)
    step(scaler, look)
    assert [step(scaler, look, stable=60.0, panic=60.0) for _ in range(5)] == [10, 10, 10, 10, 6]


def test_bounds_and_missing_data():
    scaler = kpa(high=6, low=2)
    look = calm(3, 100.0, 30.0, scaler=scaler)
    assert step(scaler, look) == 6
    assert step(scaler, look, stable=None) == 6
    assert [step(scaler, look, stable=1.0, panic=1.0) for _ in range(3)] == [3, 2, 2]
    assert step(scaler, look, stable=500.0, panic=None) == 2
