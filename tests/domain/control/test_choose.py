import pytest
from hypothesis import given
from hypothesis import strategies as st
from throughline.api.batching import Batching, BatchSettings
from throughline.domain.control.model.bounds import clamp, lower_bounds
from throughline.domain.control.model.service_time_model import ServiceTimeModel
from throughline.domain.control.optimise.choose import candidates, choose, search
from throughline.domain.control.predict.outcome import Problem, evaluate


def problem(curve, demand, *, slo_ms=100, max_replicas=20, in_flight=8.0):
    return Problem(
        curve=curve,
        slo_us=slo_ms * 1000.0,
        demand_per_second=demand,
        in_flight_per_replica=in_flight,
        biases=(),
        spreads=(),
        default_bias=1.0,
        dispersion=1.0,
        price_per_hour=2.0,
        max_replicas=max_replicas,
        min_replicas=1,
    )


def best(curve, demand, *, batching=None, seen=64, **kw):
    batching = batching or Batching()
    p = problem(curve, demand, **kw)
    space = candidates(batching, lower_bounds(batching), seen, p.slo_us)
    return choose([evaluate(p, s) for s in space])


def test_a_model_that_batches_well_needs_one_replica_where_unbatched_it_needs_many():
    batched = best(ServiceTimeModel(4000, 200), 2380)
    unbatched = evaluate(problem(ServiceTimeModel(4000, 200), 2380), BatchSettings(max_batch_size=1))
    assert batched.replicas == 1
    assert batched.settings.max_batch_size >= 8
    assert unbatched.needed >= 10


def test_a_model_that_batches_badly_needs_replicas():
    assert best(ServiceTimeModel(1000, 2000, 1.0), 3333).replicas >= 7


def test_a_tight_slo_keeps_batches_small():
    tight = best(ServiceTimeModel(1000, 2000), 100, slo_ms=12)
    assert tight.feasible
    assert tight.p99_us <= 12_000


def test_no_setting_meets_an_slo_below_one_execution():
    candidate = best(ServiceTimeModel(50_000, 1000), 10, slo_ms=20)
    assert candidate.needed is None
    assert not candidate.feasible


def test_where_replicas_lack_the_most_is_made_of_those_there_are():
    candidate = best(ServiceTimeModel(4000, 200), 100_000, max_replicas=2)
    assert not candidate.feasible
    assert candidate.replicas == 2
    assert candidate.capacity_per_second >= 3000


def test_instances_are_not_taken_where_they_do_not_help():
    assert best(ServiceTimeModel(4000, 200, 1.0), 500).settings.instances == 1


def test_batches_beyond_what_was_seen_are_reached_in_steps():
    sizes = {s.max_batch_size for s in candidates(Batching(), lower_bounds(Batching()), 1, 100_000)}
    assert max(sizes) == 8
    assert {s.instances for s in candidates(Batching(), lower_bounds(Batching()), 1, 100_000)} == {1}


bounds = st.builds(
    lambda b, d, i: Batching.model_validate(
        {
            "maxBatchSize": {"min": min(b), "max": max(b)},
            "maxQueueDelayMicroseconds": {"min": min(d), "max": max(d)},
            "instances": {"min": min(i), "max": max(i)},
        }
    ),
    st.tuples(st.integers(1, 256), st.integers(1, 256)),
    st.tuples(st.integers(0, 50_000), st.integers(0, 50_000)),
    st.tuples(st.integers(1, 16), st.integers(1, 16)),
)


@given(bounds, st.integers(0, 300), st.integers(1, 1000))
def test_every_candidate_is_within_the_bounds(batching, seen, slo_ms):
    for settings in candidates(batching, lower_bounds(batching), seen, slo_ms * 1000):
        assert clamp(settings, batching) == settings


@given(
    st.floats(min_value=100, max_value=20_000),
    st.floats(min_value=10, max_value=5_000),
    st.floats(min_value=1, max_value=5_000),
)
def test_the_choice_is_never_dearer_than_any_feasible_point(alpha, beta, demand):
    p = problem(ServiceTimeModel(alpha, beta), demand)
    options = [evaluate(p, s) for s in candidates(Batching(), lower_bounds(Batching()), 64, p.slo_us)]
    chosen = choose(options)
    feasible = [o for o in options if o.feasible]
    if feasible:
        assert chosen.feasible
        assert chosen.cost_per_hour == min(o.cost_per_hour for o in feasible)


def test_for_closed_loop_clients_a_batch_is_no_more_than_one_instance_gets_of_them():
    p = problem(ServiceTimeModel(4000, 200), 2000, in_flight=60)._replace(closed_loop=True)
    space = candidates(Batching(), lower_bounds(Batching()), 64, p.slo_us)
    two = [s for s in space if s.instances == 2] or [
        s.model_copy(update={"instances": 2}) for s in space if s.instances == 1
    ]
    chosen = choose([evaluate(p, s) for s in two]).settings
    assert (chosen.max_batch_size, chosen.max_queue_delay_microseconds) in {(16, 0), (32, 0)}


def with_clients(demand, in_flight, **more):
    """64 clients, say, on one replica; `demand`: what they get."""
    more = {"closed_loop": True, "replicas": 1, **more}
    return problem(ServiceTimeModel(4000, 200), demand, in_flight=in_flight)._replace(**more)


EIGHT = BatchSettings(max_batch_size=8, instances=1)  # 1,250 items per second of open-loop arrivals at most


def test_closed_loop_clients_answered_in_time_need_no_replica_for_what_they_would_send_faster():
    candidate = evaluate(with_clients(1400, 64), EIGHT)
    assert evaluate(with_clients(1400, 64, closed_loop=False), EIGHT).needed == 2
    assert (candidate.needed, candidate.feasible) == (1, True)
    # 64 clients and 1,428 answers per second: 45 ms each.
    assert candidate.p99_us == pytest.approx(2 * 64e6 / candidate.closed_per_second)


def test_they_do_where_their_answers_come_late():
    assert evaluate(with_clients(1400, 100), EIGHT).needed == 2


def test_they_do_where_the_least_throughput_that_is_asked_for_is_not_reached():
    assert evaluate(with_clients(1400, 64, floor_per_second=1300), EIGHT).needed == 1
    assert evaluate(with_clients(2000, 64, floor_per_second=2000), EIGHT).needed == 2


def test_a_replica_more_than_is_needed_is_not_kept_for_them():
    assert evaluate(with_clients(500, 10, replicas=3), EIGHT).needed == 1


def test_nothing_to_choose_from_is_an_error():
    with pytest.raises(ValueError, match="empty"):
        choose([])


@given(
    st.floats(100, 50_000), st.floats(10, 5_000), st.sampled_from([0.0, 0.5, 1.0]), st.floats(1, 20_000),
    st.sampled_from([10, 50, 200, 1000]), st.integers(1, 12), st.floats(1, 200), st.booleans(), st.integers(1, 12),
    st.sampled_from([0.0, 500.0, 5000.0]),
)  # fmt: skip
def test_what_the_search_leaves_out_would_not_have_been_chosen(
    alpha, beta, contention, demand, slo_ms, most, in_flight, waiting, serving, floor
):
    p = problem(
        ServiceTimeModel(alpha, beta, contention), demand, slo_ms=slo_ms, max_replicas=most, in_flight=in_flight
    )
    p = p._replace(closed_loop=waiting, replicas=serving if waiting else 0, floor_per_second=floor)
    space = candidates(Batching(), lower_bounds(Batching()), 64, p.slo_us)
    current = evaluate(p, lower_bounds(Batching()))
    assert choose(search(p, space, current)) == choose([*(evaluate(p, s) for s in space), current])


def test_the_search_leaves_much_out():
    p = problem(ServiceTimeModel(4000, 200), 2380)
    space = candidates(Batching(), lower_bounds(Batching()), 64, p.slo_us)
    assert len(search(p, space, evaluate(p, lower_bounds(Batching())))) < len(space) / 2
