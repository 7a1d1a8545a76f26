"""Closed-loop clients are told apart from open-loop arrivals by their response to a change."""

import dataclasses

import pytest
from closed_loop_world import ClosedLoopWorld, HostWorld, Server
from test_closed_loop import CLIENTS, share_of_the_best, spec
from throughline.api.batching import BatchSettings
from throughline.api.status import Trial
from throughline.domain.control.act import rollout
from throughline.domain.control.act.watch import Outcome, Verdict
from throughline.domain.control.estimate import closed_loop
from throughline.domain.control.estimate.closed_loop import ClosedLoop, Load, responded, slowed, update
from throughline.domain.control.model.service_time_model import ServiceTimeModel
from throughline.domain.control.observe.demand import Demand
from throughline.domain.control.tuning import SAMPLES
from views import BATCHED, PROBLEM, UNBATCHED, context_of, metrics, pod, view

BEFORE = Load(100.0, "1/0×1", 1, 63.0, 370.0)

# As on a real GPU (docs/gpu.md): kernels of 5.5 ms are launched while the device works, which takes 0.32 ms per item.
GPU = Server(0, 320, parallel=1, host=5500, gap=1500, back=1000, launches=True)

# A network that computes on the cores of a host.
HOST = Server(2200, 320, parallel=2, gap=300, back=1500)


@pytest.mark.parametrize(
    ("at_seconds", "in_flight", "per_second", "detected"),
    [
        (125.0, 64.0, 2220.0, True),  # six times as much for as many
        (125.0, 60.0, 240.0, True),  # and two thirds
        (125.0, 64.0, 500.0, False),  # that may be chance
        (125.0, 25.0, 2220.0, False),  # a burst that is served now
        (125.0, 90.0, 2220.0, False),  # more than before have come
        (300.0, 64.0, 2220.0, False),  # another hour's load
    ],
)
def test_as_many_in_flight_while_much_more_is_served_are_closed_loop_clients(
    at_seconds, in_flight, per_second, detected
):
    assert responded(BEFORE, Load(at_seconds, "64/0×2", 1, in_flight, per_second)) is detected


@pytest.mark.parametrize(
    ("at_seconds", "settings", "pods", "in_flight", "per_second", "expected"),
    [
        (160.0, "1/0×1", 1, 126.0, 372.0, True),
        (160.0, "1/0×1", 1, 126.0, 250.0, False),  # clients who wait get less
        (160.0, "1/0×1", 1, 64.0, 372.0, False),
        (160.0, "1/0×1", 1, 126.0, 500.0, False),  # more have come
        (160.0, "8/0×1", 1, 126.0, 372.0, False),
        (160.0, "1/0×1", 2, 126.0, 372.0, False),
        (400.0, "1/0×1", 1, 126.0, 372.0, False),  # that was another hour
    ],
)
def test_as_much_served_with_more_in_flight_takes_longer_for_a_reason_of_its_own(
    at_seconds, settings, pods, in_flight, per_second, expected
):
    assert slowed(BEFORE, Load(at_seconds, settings, pods, in_flight, per_second)) is expected


CURVE = ServiceTimeModel(4_000.0, 200.0)
WIDE = BatchSettings(max_batch_size=64)


def looks(known, in_flight, per_second, number, begin, *, saturated=True, given_up=0.0):
    """After so many looks at a server whose queue is stationary, one each 15 s."""
    for i in range(number):
        mean_us, each = 1e6 * in_flight / per_second, [per_second] * 4
        demand = Demand(
            *each, 0.0, given_up, 1.0, in_flight, mean_us, None, saturated=saturated, overloaded=False,
            queue_stationary=True, mean_batch=None, skew=1.0, unloaded=(),
        )  # fmt: skip
        known = update(known, begin + 15.0 * i, demand, CURVE, WIDE, 1, 60.0)
    return known


def test_a_neighbour_makes_no_closed_loop_clients_of_arrivals_however_long_it_stays():
    calm = looks(ClosedLoop(), 6.0, 700.0, 8, 0.0)
    assert not calm.samples
    assert looks(ClosedLoop(), 24.0, 700.0, 8, 0.0).sure
    assert not looks(calm, 24.0, 700.0, 40, 120.0).samples


def test_below_saturation_more_in_flight_is_a_suspicion_in_three_samples_and_no_certainty():
    once = looks(ClosedLoop(), 24.0, 700.0, SAMPLES - 1, 0.0, saturated=False)
    assert once.undecided
    assert not once.possible
    known = looks(once, 24.0, 700.0, 9, 60.0, saturated=False)
    assert known.possible
    assert not known.sure
    assert not known.undecided
    assert not looks(known, 6.0, 700.0, 1, 300.0, saturated=False).possible


def test_a_neighbour_makes_no_suspicion_either():
    calm = looks(ClosedLoop(), 6.0, 700.0, 8, 0.0, saturated=False)
    assert not looks(calm, 24.0, 700.0, 40, 120.0, saturated=False).suspected


@pytest.mark.parametrize("sure", [True, False])
def test_what_is_served_judges_a_change_only_where_clients_are_sure(monkeypatch, sure):
    """Of open-loop arrivals 2 % less come by chance: 14 % of good changes at 100 requests a second were taken back."""
    asked = {}
    monkeypatch.setattr(rollout, "judge", lambda *_, **k: asked.update(k) or Verdict(Outcome.WATCHING, ""))
    ctx = context_of(view(pod("a", metrics(100), BATCHED), settings=BATCHED))
    problem = PROBLEM._replace(closed_loop=sure, may_be_closed_loop=True)
    trial = Trial(settings=BATCHED, previous=UNBATCHED, started="2023-11-14T22:13:20Z")
    rollout.advance(dataclasses.replace(ctx, problem=problem), trial, ())
    assert asked["closed_loop"] is sure


def test_who_gives_up_does_not_wait_for_answers():
    """A queue of requests that are given up after a while is as stationary as one of closed-loop clients."""
    assert looks(ClosedLoop(), 240.0, 700.0, 8, 0.0).sure
    assert not looks(ClosedLoop(), 240.0, 700.0, 8, 0.0, given_up=100.0).possible
    clients = looks(ClosedLoop(), 240.0, 700.0, 8, 0.0)
    reset = looks(clients, 240.0, 700.0, SAMPLES, 120.0, saturated=False, given_up=100.0)
    assert reset.sure, "as after a connection was reset: for the metrics window"
    assert not looks(clients, 240.0, 700.0, 2 * SAMPLES, 120.0, given_up=100.0).samples


def test_more_clients_on_a_server_that_gives_all_it_can_are_told():
    most = 1e6 * 64 / (4_000 + 200 * 64)
    few = looks(ClosedLoop(), 40.0, 0.99 * most, 4, 0.0)
    assert looks(few, 512.0, 0.995 * most, SAMPLES, 60.0).sure


@pytest.mark.parametrize(
    ("pods", "per_second", "detected"),
    [
        (1, 470.0, True),  # a pod is gone, and more is served
        (1, 290.0, False),  # a pod is gone since less comes
        (2, 470.0, False),  # other settings, and more comes
        (2, 290.0, True),  # other settings, and less is served of as much
        (3, 470.0, False),  # a pod has come for what comes more
        (3, 290.0, True),  # a pod has come, and less is served
        (3, 330.0, False),  # that may be chance
    ],
)
def test_what_goes_against_a_change_need_not_be_so_much(pods, per_second, detected):
    before = BEFORE._replace(pods=2)
    assert responded(before, Load(125.0, "64/0×2", pods, 63.0, per_second)) is detected


def test_few_in_flight_tell_nothing():
    before = BEFORE._replace(in_flight=4.0)
    assert not responded(before, Load(125.0, "64/0×2", 1, 4.0, 2220.0))


def test_without_a_change_nothing_is_detected():
    assert not responded(None, BEFORE)


def test_batches_from_before_a_change_tell_nothing():
    """A burst has filled batches of 40 on one pod; open-loop arrivals of the present rate would make small ones."""
    demand = Demand(
        arrivals_per_second=800.0, wanted_per_second=800.0, served_per_second=800.0, requests_per_second=800.0,
        failures_per_second=0.0, cancelled_per_second=0.0, items_per_request=1.0, in_flight=9.0, mean_us=11_000.0,
        p99_us=None, saturated=False, overloaded=False, queue_stationary=True, mean_batch=40.0, skew=1.0, unloaded=(),
    )  # fmt: skip
    settings = BatchSettings(max_batch_size=64, max_queue_delay_microseconds=0, instances=2)
    detected = [
        closed_loop.is_closed_loop(demand, ServiceTimeModel(4600, 375), settings, 3, mixed=mixed)
        for mixed in (False, True)
    ]
    assert detected == [True, False]
    given_up = demand._replace(cancelled_per_second=80.0)
    assert not closed_loop.is_closed_loop(given_up, ServiceTimeModel(4600, 375), settings, 3)


def one_replica(slo_ms=100):
    return spec(1, 1, slo_ms) | {"batching": {"instances": {"min": 1, "max": 4}}}


def test_closed_loop_clients_with_open_loop_batches_are_detected_by_their_response():
    """64 clients on two instances make batches of 20; open-loop arrivals would make 15."""
    world = ClosedLoopWorld(GPU.slower(4), clients=CLIENTS, spec=one_replica(400), start_seconds=3.0)
    world.run(120)
    assert world.state.estimated.closed_loop.clients_in_flight == pytest.approx(CLIENTS, rel=0.15)
    assert world.state.problem.closed_loop


def test_a_change_that_serves_them_less_is_taken_back():
    """One instance is predicted to do more than two, and does less."""
    world = ClosedLoopWorld(GPU.slower(4), clients=CLIENTS, spec=one_replica(400), start_seconds=3.0)
    world.run(400)
    (rejected,) = world.status.control.rejected
    assert (rejected.settings.instances, world.durable.instances) == (1, 2)
    assert share_of_the_best(world) >= 0.95
    changes = len(world.changes)
    world.run(300)
    assert len(world.changes) <= changes + 2


def test_a_trial_on_one_pod_that_takes_from_its_peer_is_taken_back():
    """The pods share a host: the pod under trial gains what the other loses, and both together lose."""

    def two_pods(most_instances):
        return {**spec(2, 2, 250), "batching": {"instances": {"min": 1, "max": most_instances}}}

    world = HostWorld(HOST, most=96, clients=CLIENTS // 2, spec=two_pods(1), start_seconds=3.0)
    world.run(300)
    before = world.durable
    world.spec = world.spec.model_validate(two_pods(2))
    world.run(200)
    back = [d.message for d in world.status.decisions if d.reason == "RolledBack"]
    assert back
    assert all("served to closed-loop clients" in message for message in back)
    assert world.durable == before
    assert world.state.estimated.closed_loop.clients_in_flight == pytest.approx(CLIENTS / 2, rel=0.15)


def test_open_loop_arrivals_that_are_batched_at_last_are_no_clients():
    world = ClosedLoopWorld(GPU.slower(4), rate=60, spec=one_replica(400), start_seconds=3.0)
    world.run(200)
    assert world.durable.max_batch_size > 1
    assert world.state.estimated.closed_loop.clients_in_flight == 0
