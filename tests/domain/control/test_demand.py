import pytest
from throughline.domain.control.observe.demand import measure, utilization
from throughline.domain.control.tuning import MOST_GROWTH_AGAIN
from views import metrics, pod, view

SLO_US = 100_000.0


def full(rate=240.0, **kw):
    """One instance that is always busy: 4.2 ms each, one at a time."""
    return metrics(rate, compute_us=4166.0, latency_us=300_000.0, **kw)


def test_no_metrics_is_unknown_and_not_zero():
    assert measure(view(pod("a"), pod("b")), SLO_US) is None


def test_rates_are_summed_over_the_pods():
    demand = measure(view(pod("a", metrics(100)), pod("b", metrics(50))), SLO_US)
    assert demand.arrivals_per_second == demand.wanted_per_second == 150
    assert not demand.saturated
    assert demand.p99_us == 10_000


def test_a_growing_queue_takes_in_more_than_is_served():
    demand = measure(view(pod("a", full(pending=2000, growth=700))), SLO_US)
    assert demand.arrivals_per_second == pytest.approx(940)
    assert demand.wanted_per_second >= 940 + 2000 / 20
    assert demand.saturated


def test_closed_loop_clients_would_send_more():
    found = metrics(240, compute_us=4166.0, latency_us=150_000.0, pending=35, growth=0.0)
    demand = measure(view(pod("a", found)), SLO_US)
    assert demand.arrivals_per_second == pytest.approx(240)
    # 36 in flight in 100 ms are 360 a second, which Little's law gives
    assert demand.wanted_per_second == pytest.approx(360, rel=0.02)


def test_what_they_would_send_is_bounded_per_step():
    demand = measure(view(pod("a", full(pending=71, growth=0.0))), SLO_US)
    assert demand.wanted_per_second == pytest.approx(240 * MOST_GROWTH_AGAIN), "72 in 100 ms would be 720"


def test_a_queue_that_is_worked_off_fast_enough_asks_for_nothing_more():
    demand = measure(view(pod("a", full(pending=1000, growth=-100))), SLO_US)
    assert demand.wanted_per_second == demand.arrivals_per_second


def test_a_busy_server_within_its_slo_is_not_short_of_anything():
    demand = measure(view(pod("a", metrics(240, compute_us=4166, latency_us=9000, pending=1))), SLO_US)
    assert demand.saturated
    assert demand.wanted_per_second == 240


def test_utilization_is_the_busy_share_of_the_instances():
    assert utilization(pod("a", full()), 1) == pytest.approx(1.0, rel=0.01)
    assert utilization(pod("a", metrics(120, compute_us=4166)), 1) == pytest.approx(0.5, rel=0.01)
    assert utilization(pod("a"), 1) == 0.0


def test_on_two_gpus_there_are_twice_as_many_instances_to_be_busy():
    assert utilization(pod("a", full()), 2) == pytest.approx(0.5, rel=0.01)


def test_a_pod_that_gets_no_load_is_named_once_it_had_time():
    pods = (pod("a", metrics(100)), pod("b", metrics(100)))
    assert measure(view(*pods, pod("c", metrics(0.0))), SLO_US).unloaded == ("c",)
    assert measure(view(*pods, pod("c", metrics(0.0), ready_seconds=5)), SLO_US).unloaded == ()


def test_uneven_load_is_counted_by_its_busiest_pod():
    assert measure(view(pod("a", metrics(150)), pod("b", metrics(50))), SLO_US).skew == pytest.approx(1.5)
    assert measure(view(pod("a", metrics(100)), pod("b", metrics(100))), SLO_US).skew == 1.0


def test_idle_is_when_nothing_comes_and_nothing_waits():
    assert measure(view(pod("a", metrics(0.0))), SLO_US).idle
    assert not measure(view(pod("a", metrics(0.0, pending=5))), SLO_US).idle
    assert not measure(view(pod("a", metrics(0.0, failures=1.0))), SLO_US).idle


def test_a_queue_that_neither_grows_nor_shrinks_is_still():
    assert measure(view(pod("a", full(pending=64, growth=2))), SLO_US).queue_stationary
    assert not measure(view(pod("a", full(pending=64, growth=100))), SLO_US).queue_stationary
    assert measure(view(pod("a", metrics(100, batch=4.0))), SLO_US).mean_batch == pytest.approx(4.0)
