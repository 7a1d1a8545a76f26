import pytest
from throughline.api.status import Trial
from throughline.domain.control.act.watch import Outcome, judge
from throughline.domain.control.observe.demand import measure
from throughline.domain.times import rfc3339
from views import BATCHED, NOW, UNBATCHED, metrics, pod, view

SLO_US = 100_000.0


def trial(*, on=None, age=40.0, mean=None, rate=None):
    return Trial(
        settings=BATCHED,
        previous=UNBATCHED,
        pod=on,
        started=rfc3339(NOW - age),
        baseline_mean_microseconds=mean,
        baseline_rate_per_second=rate,
    )


def outcome(seen, change):
    return judge(seen, change, measure(seen, SLO_US), SLO_US).outcome


def everywhere(m):
    return view(pod("a", m, BATCHED), settings=BATCHED)


def test_nothing_is_judged_while_the_window_holds_what_was_before():
    assert outcome(everywhere(metrics(latency_us=90_000)), trial(age=10, mean=5000, rate=100)) is Outcome.WATCHING


@pytest.mark.parametrize(
    ("latency", "rate", "expected"),
    [
        (5_000, 100, Outcome.PASSED),
        (90_000, 100, Outcome.ROLLBACK),  # slower at the same load
        (90_000, 200, Outcome.PASSED),  # slower, but twice the load
        (20_000, 100, Outcome.PASSED),  # slower, yet far within the SLO
    ],
)
def test_the_whole_service_is_compared_with_what_was_before(latency, rate, expected):
    seen = everywhere(metrics(rate, latency_us=latency))
    assert outcome(seen, trial(mean=10_000, rate=100)) is expected


def test_under_overload_what_is_served_is_compared_not_how_long_the_queue_has_grown():
    change = trial(mean=3_000_000, rate=100)
    better = everywhere(metrics(300, latency_us=9_000_000, compute_us=20_000, batch=6))
    worse = everywhere(metrics(50, latency_us=9_000_000, compute_us=20_000))
    assert outcome(better, change) is Outcome.PASSED
    assert outcome(worse, change) is Outcome.ROLLBACK


@pytest.mark.parametrize(
    ("served", "latency", "expected"),
    [
        (105, 9_500, Outcome.PASSED),
        (99, 10_100, Outcome.PASSED),  # noise
        (90, 11_100, Outcome.NO_GAIN),  # as many clients get less, far within the SLO though it is
        (50, 10_000, Outcome.PASSED),  # half of them have gone
        (90, 90_000, Outcome.ROLLBACK),  # nine times as many, and slower than before
    ],
)
def test_for_closed_loop_clients_throughput_is_compared(served, latency, expected):
    seen = everywhere(metrics(served, latency_us=latency))
    change = trial(mean=10_000, rate=100)
    assert judge(seen, change, measure(seen, SLO_US), SLO_US, closed_loop=True).outcome is expected


def test_failures_are_the_settings_fault():
    assert outcome(everywhere(metrics(failures=1.0)), trial(mean=5000, rate=100)) is Outcome.ROLLBACK


def peers(tried, others=None):
    others = others or metrics()
    return view(pod("a", tried, BATCHED), pod("b", others), pod("c", others))


def test_the_pod_under_trial_is_compared_with_its_peers():
    assert outcome(peers(metrics()), trial(on="a")) is Outcome.COMMIT
    assert outcome(peers(metrics(latency_us=90_000)), trial(on="a")) is Outcome.ROLLBACK
    assert outcome(peers(metrics(latency_us=90_000), metrics(latency_us=90_000)), trial(on="a")) is Outcome.COMMIT
    assert outcome(peers(metrics(failures=2.0)), trial(on="a")) is Outcome.ROLLBACK
    assert outcome(peers(metrics(failures=2.0), metrics(failures=2.0)), trial(on="a")) is Outcome.COMMIT


@pytest.mark.parametrize(
    ("tried", "others", "expected"),
    [
        (110, 85, Outcome.NO_GAIN),  # it gained what its peers have lost, and less
        (110, 97, Outcome.COMMIT),
        (100, 95, Outcome.COMMIT),  # noise
    ],
)
def test_for_a_canary_too_the_throughput_of_closed_loop_clients_is_compared(tried, others, expected):
    def of(served):  # as many in flight on each pod
        return metrics(served, latency_us=1e6 / served)

    seen = peers(of(tried), of(others))
    change = trial(on="a", mean=10_000, rate=300)
    assert judge(seen, change, measure(seen, SLO_US), SLO_US, closed_loop=True).outcome is expected
    assert judge(seen, change, measure(seen, SLO_US), SLO_US).outcome is Outcome.COMMIT


def test_a_trial_whose_pod_is_gone_is_given_up_without_blame():
    assert outcome(view(pod("b", metrics()), pod("c", metrics())), trial(on="a")) is Outcome.CANCEL
    assert outcome(view(pod("a", metrics(), BATCHED)), trial(on="a")) is Outcome.CANCEL


def test_a_trial_that_cannot_be_judged_ends():
    assert outcome(peers(None), trial(on="a", age=100)) is Outcome.WATCHING
    assert outcome(peers(None), trial(on="a", age=700)) is Outcome.CANCEL


def test_a_refusal_is_final():
    seen = view(pod("a", metrics()), refused_settings=((BATCHED, "invalid"),))
    verdict = judge(seen, trial(age=1), None, SLO_US)
    assert verdict.outcome is Outcome.ROLLBACK
    assert "invalid" in verdict.message


def test_settings_not_yet_on_every_pod_are_not_judged():
    seen = view(pod("a", metrics(), BATCHED), pod("b", metrics(), UNBATCHED), settings=BATCHED)
    assert outcome(seen, trial(mean=5000, rate=100)) is Outcome.WATCHING
