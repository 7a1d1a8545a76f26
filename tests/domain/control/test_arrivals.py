"""What the servers' own counters say of the arrivals between two samples."""

import dataclasses
import random

import pytest
from throughline.api.batching import BatchSettings
from throughline.domain.control.estimate.arrivals import with_sample
from throughline.domain.control.estimate.forecast import dispersion, follow, forecast
from throughline.domain.control.loop import decide
from throughline.domain.control.observe.counters import Counted, Seen, since_last_sample
from throughline.domain.control.state import ControllerState
from throughline.domain.control.tuning import MOST_GROWTH, MOST_GROWTH_AGAIN, SAMPLES
from throughline.domain.observed import BatchStatistic, LiveQueue

from .views import NOW, metrics, pod, view

SETTINGS = BatchSettings(max_batch_size=8)


def asked(name, executed, pending=None, cancelled=0, *, ready_seconds=600.0, m=None):
    """A pod whose server has executed so many single requests in all, and holds `pending`."""
    return dataclasses.replace(
        pod(name, m, SETTINGS, ready_seconds=ready_seconds),
        batch_statistics=(BatchStatistic(1, executed, executed * 1000),) if executed else (),
        queue=None if pending is None else LiveQueue(pending, cancelled),
    )


def between(before, after, seconds=5.0):
    counted = Counted(
        {p.uid: Seen(p.settings, p.batch_statistics, 100.0, p.queue) for p in before if p.batch_statistics}, 100.0
    )
    return since_last_sample(counted, after, seconds)


def test_what_arrived_was_executed_or_waits_or_was_given_up():
    found = between([asked("a", 1000, 10, 4)], [asked("a", 1500, 210, 54)])
    assert found.executed_items == 500
    assert found.queued == 200 + 50


def test_a_queue_that_shrinks_is_no_arrival():
    assert between([asked("a", 1000, 300)], [asked("a", 1500, 100)]).queued == -200


@pytest.mark.parametrize("side", [0, 1])
def test_a_server_that_does_not_say_makes_the_queue_unknown_and_not_empty(side):
    samples = [[asked("a", 1000, 0), asked("b", 1000, 0)], [asked("a", 1500, 0), asked("b", 1500, 0)]]
    samples[side][1] = dataclasses.replace(samples[side][1], queue=None)
    found = between(*samples)
    assert found.executed_items == 1000
    assert found.queued is None


def test_a_server_that_was_restarted_tells_nothing_of_its_queue():
    assert between([asked("a", 1000, 0, 80)], [asked("a", 1500, 5, 0)]).queued is None


def test_a_new_pod_began_at_nothing():
    found = between([asked("a", 1000, 0)], [asked("a", 1500, 0), asked("b", 40, 60, ready_seconds=3.0)])
    assert found.executed_items == 540
    assert found.queued == 60


def test_a_new_pod_that_has_executed_nothing_yet_counts_as_that():
    """Taken to be like its peers, it would make the arrivals as many times as large as there are new pods."""
    old = asked("a", 1000, 0, m=metrics(100.0)), asked("a", 1500, 0, m=metrics(100.0))
    new = [asked(f"n{i}", 0, 0, ready_seconds=2.0) for i in range(5)]
    assert between([old[0]], [old[1], *new]).executed_items == 500
    unasked = [dataclasses.replace(p, queue=None) for p in new]
    assert between([old[0]], [old[1], *unasked]).executed_items == 3000, "those that did not answer are"


def samples(*rates):
    found = []
    for i, rate in enumerate(rates):
        found.append(follow(found[-1] if found else None, 10.0 * i, 10.0, rate))
    return found


def test_a_jump_is_taken_to_go_on_and_more_so_where_it_jumps_again():
    calm = [200.0] * (2 * SAMPLES + 1)
    assert forecast(samples(*calm, 520.0), 50.0).ahead == pytest.approx(MOST_GROWTH * 520)
    assert forecast(samples(*calm, 520.0, 900.0), 50.0).ahead == pytest.approx(MOST_GROWTH_AGAIN * 900)
    assert forecast(samples(*calm, 240.0), 5.0).ahead == pytest.approx(240 + 20), "as it went, where that is less"


def seen(*steps, seconds=10.0):
    """Arrivals per second of each sample; each step: the pods, as `asked` makes them."""
    state = ControllerState()
    for i, pods in enumerate(steps):
        at = NOW + i * seconds
        made = view(*pods, settings=SETTINGS, now_seconds=at, metrics_time_seconds=at, replicas=len(pods))
        _, state = decide(made, state)
    return [sample.per_second for sample in state.estimated.samples]


def serving(name, executed):
    return asked(name, executed, 0, m=metrics(100.0))


def leaving(name):
    """As the shell shows it: nothing is asked of a server that goes."""
    return dataclasses.replace(pod(name, None, SETTINGS), terminating=True)


BOTH = [(serving("a", 1000 * i), serving("b", 1000 * i)) for i in range(3)]
CALM = [200.0, 200.0]


def test_while_a_pod_drains_what_the_others_serve_is_not_all():
    drains = (serving("a", 3000), leaving("b"))
    gone = (serving("a", 4000),)
    whole = (serving("a", 6000),)
    assert seen(*BOTH) == CALM
    assert seen(*BOTH, drains) == [*CALM, 200.0]
    assert seen(*BOTH, drains, gone) == [*CALM, 200.0, 200.0], "it may have served until just before"
    assert seen(*BOTH, drains, gone, whole) == [*CALM, 200.0, 200.0, 200.0]


def test_what_comes_back_from_a_pod_that_drains_is_counted_at_once():
    assert seen(*BOTH, (serving("a", 4000), leaving("b"))) == [*CALM, 200.0]
    assert seen(*BOTH, (serving("a", 6000), leaving("b")))[2:] == [400.0], "and so is more"


def test_a_pod_that_died_had_served_a_part():
    assert seen(*BOTH, (serving("a", 3000),)) == [*CALM, 200.0]
    assert seen(*BOTH, (serving("a", 3000),), (serving("a", 4000),))[2:] == [200.0, 100.0], "from then on it is all"


def test_without_a_pod_that_leaves_less_is_less():
    assert seen(*BOTH, (serving("a", 2500), serving("b", 2500)))[2:] == [100.0]


def test_arrivals_that_were_burstier_for_a_while_are_not_taken_to_be_so_for_ever():
    draw = random.Random(1)
    samples, found = (), 2.0
    for i in range(64):
        samples = with_sample(samples, 10.0 * i, 10.0, max(0.0, draw.gauss(40.0, 2.0)))
        found = dispersion(samples, found)
    assert found == 1.0
