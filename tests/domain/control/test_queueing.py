import math
import statistics

import pytest
from batcher import simulate, simulate_closed
from hypothesis import given
from hypothesis import strategies as st
from throughline.api.inferenceservice import BatchSettings
from throughline.domain.control.queueing import (
    capacity_per_second,
    closed_loop_per_second,
    mean_batch,
    p99_us,
    saturation_per_second,
)
from throughline.domain.control.service_time import Curve

CURVES = (Curve(4000, 200), Curve(1000, 2000), Curve(4000, 200, 0.5), Curve(10_000, 100))


def grid():
    for curve in CURVES:
        for size in (1, 4, 16, 64):
            for instances in (1, 2, 4):
                for delay in (0, 2000) if size > 1 else (0,):
                    yield (
                        curve,
                        BatchSettings(max_batch_size=size, max_queue_delay_microseconds=delay, instances=instances),
                    )


def test_p99_is_near_the_discrete_event_model():
    ratios = []
    for curve, settings in grid():
        for load in (0.1, 0.5, 0.8):
            rate = load * saturation_per_second(curve, settings)
            measured, _, _ = simulate(curve, settings, rate, requests=2500)
            ratios.append(p99_us(curve, settings, rate) / measured)
    ratios.sort()
    assert 0.9 < statistics.median(ratios) < 1.15
    assert ratios[len(ratios) // 20] > 0.6
    assert ratios[-len(ratios) // 20] < 1.6


def test_mean_batch_is_near_the_discrete_event_model():
    ratios = []
    for curve, settings in grid():
        if settings.max_queue_delay_microseconds or settings.max_batch_size == 1:
            continue
        rate = 0.7 * saturation_per_second(curve, settings)
        _, _, measured = simulate(curve, settings, rate, requests=2500)
        ratios.append(mean_batch(curve, settings, rate) / measured)
    ratios.sort()
    assert 0.85 < statistics.median(ratios) < 1.15
    assert ratios[0] > 0.5
    assert ratios[-1] < 1.5


@pytest.mark.parametrize("clients", [8, 16, 32, 64])
@pytest.mark.parametrize("settings", [(8, 0, 1), (64, 0, 1), (64, 1000, 1), (8, 0, 2), (32, 500, 2), (64, 0, 2)])
def test_closed_loop_throughput_is_near_the_discrete_event_model(clients, settings):
    size, delay, instances = settings
    point = BatchSettings(max_batch_size=size, max_queue_delay_microseconds=delay, instances=instances)
    curve = Curve(4000, 200)
    measured = simulate_closed(curve, point, clients, executions=1000)
    assert closed_loop_per_second(curve, point, clients) == pytest.approx(measured, rel=0.35)


curves = st.builds(
    Curve,
    st.floats(min_value=100, max_value=20_000),
    st.floats(min_value=10, max_value=5_000),
    st.floats(min_value=0, max_value=1),
)
points = st.builds(
    lambda **kw: BatchSettings(**kw),  # noqa: PLW0108 - the class's signature has the wire's names
    max_batch_size=st.integers(min_value=0, max_value=128),
    max_queue_delay_microseconds=st.sampled_from([0, 500, 5000]),
    instances=st.integers(min_value=1, max_value=8),
)


@given(curves, points, st.floats(min_value=0.01, max_value=0.9))
def test_p99_is_never_below_one_execution_and_grows_without_bound_at_saturation(curve, settings, load):
    rate = load * saturation_per_second(curve, settings)
    assert p99_us(curve, settings, rate) >= curve.service_us(1, settings.instances) * 0.999
    assert p99_us(curve, settings, saturation_per_second(curve, settings) * 1.01) == math.inf


@given(curves, points, st.floats(min_value=1_000, max_value=1_000_000))
def test_capacity_keeps_what_it_promises(curve, settings, limit_us):
    capacity = capacity_per_second(curve, settings, limit_us)
    if capacity > 0:
        assert p99_us(curve, settings, capacity) <= limit_us * 1.0001
    else:
        assert p99_us(curve, settings, 1e-6) > limit_us


@given(curves, points, st.floats(min_value=1, max_value=8))
def test_burstier_arrivals_are_never_predicted_faster(curve, settings, dispersion):
    rate = 0.6 * saturation_per_second(curve, settings)
    assert p99_us(curve, settings, rate, dispersion) >= p99_us(curve, settings, rate) * 0.9999
