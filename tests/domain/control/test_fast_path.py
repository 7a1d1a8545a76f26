"""The fast path decides what a full pass would, or nothing; and breaking it shows."""

import dataclasses
import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from throughline.api.batching import BatchSettings
from throughline.api.status import InferenceServiceStatus
from throughline.domain.control import fast_path
from throughline.domain.control.act.state import ActState
from throughline.domain.control.estimate import closed_loop
from throughline.domain.control.estimate.estimates import EstimatorState
from throughline.domain.control.loop import decide
from throughline.domain.control.observe.observation import ObserverState
from throughline.domain.control.tuning import MEMORY_SECONDS, SAME
from throughline.domain.observed import BatchStatistic, LiveQueue, Unavailable
from world import World, linear


class Asked(World):
    """Its servers say what waits in them."""

    def view(self):
        view = super().view()
        waiting = {p.name: len(p.queue) for p in self.pods}
        pods = tuple(dataclasses.replace(p, queue=LiveQueue(waiting[p.name], 0)) for p in view.pods)
        return dataclasses.replace(view, pods=pods)


@functools.cache
def calm(rate=60.0, alpha=40, beta=2):
    """(view, state) of a service at its next sample, after it has come to rest."""
    world = Asked(linear(alpha, beta), rate, minReplicas=2)
    world.run(420)
    for _ in range(60):
        world.run(5, deciding=False)
        view = world.view()
        if fast_path.fast_path(view, world.state) is not None:
            return view, world.state
        world.decide()
    raise AssertionError("it does not come to rest")


def full_pass(view, state):
    return decide(view, state._replace(stable=None))


def shown(decision):
    return (
        decision.replicas,
        decision.settings,
        decision.pod_settings,
        decision.control,
        decision.slo,
        decision.requeue_seconds,
        [(c.type, c.status, c.reason, c.message) for c in decision.conditions],
        decision.records,
    )


def changed(view, *, metrics=None, pods=None, **values):
    serving = tuple(
        dataclasses.replace(
            p, **(pods or {}), metrics=dataclasses.replace(p.metrics, **(metrics(p.metrics) if metrics else {}))
        )
        for p in view.pods
    )
    return dataclasses.replace(view, pods=serving, **values)


def executed(view, state, share, cost=1.0):
    """The view, with `share` of what was executed since the last sample, each taking `cost` of the time it did."""
    pods = []
    for p in view.pods:
        old = {r.batch_size: r for r in state.observed.counted.seen[p.uid].statistics}
        rows = []
        for row in p.batch_statistics:
            before = old.get(row.batch_size, BatchStatistic(row.batch_size, 0, 0))
            more = round((row.executions - before.executions) * share)
            mean_ns = 1e6 * (40 + 2 * row.batch_size)
            rows.append(
                BatchStatistic(
                    row.batch_size, before.executions + more, before.compute_ns + round(more * mean_ns * cost)
                )
            )
        pods.append(dataclasses.replace(p, batch_statistics=tuple(rows)))
    return dataclasses.replace(view, pods=tuple(pods))


def test_a_calm_service_is_decided_on_the_fast_path():
    view, state = calm()
    decision, after = decide(view, state)
    assert decision is state.stable.decision
    assert after.estimated.service_times is state.estimated.service_times
    assert len(after.estimated.samples) == min(64, len(state.estimated.samples) + 1)


def test_a_suspicion_of_closed_loop_clients_that_comes_or_goes_is_for_full_passes(monkeypatch):
    view, state = calm()
    monkeypatch.setattr(fast_path, "waits", lambda *_: True)
    assert fast_path.fast_path(view, state) is None
    known = state.stable._replace(problem=state.stable.problem._replace(may_be_closed_loop=True))
    assert fast_path.fast_path(view, state._replace(stable=known)) is not None
    monkeypatch.setattr(closed_loop, "waits", lambda *_: True)
    _, after = full_pass(view, state)
    assert after.estimated.closed_loop.undecided
    assert after.stable is None, "the next sample confirms or clears it"


@settings(max_examples=300, deadline=None)
@given(
    st.floats(0.0, 4.0), st.floats(0.2, 4.0), st.floats(0.05, 6.0), st.floats(0, 40), st.floats(-5, 5),
    st.floats(0.0, 2.0), st.floats(4, 70), st.booleans(), st.sampled_from([40.0, 60.0, 120.0]),
)  # fmt: skip
def test_the_fast_path_decides_as_a_full_pass_does(share, traffic, late, pending, growth, cancelled, later, even, rate):
    view, state = calm(rate)
    first = view.pods[0].metrics

    def measured(m):
        factor = traffic if even or m is first else 1.0
        return {
            "success_rate": m.success_rate * factor,
            "items_rate": m.items_rate * factor,
            "executions_rate": m.executions_rate * factor,
            "request_us_rate": m.request_us_rate * factor * late,
            "compute_us_rate": m.compute_us_rate * factor,
            "p99_us": m.p99_us * late,
            "pending": pending,
            "pending_growth_rate": growth,
            "cancelled_rate": cancelled,
        }

    seen = changed(executed(view, state, share), metrics=measured)
    queue = LiveQueue(round(pending), round(cancelled)) if even else None
    pods = tuple(dataclasses.replace(p, queue=queue) for p in seen.pods)
    seen = dataclasses.replace(seen, pods=pods, now_seconds=state.observed.counted.updated_seconds + later)
    found = fast_path.fast_path(seen, state)
    decision, after = full_pass(seen, state)
    if found is not None:
        assert shown(found[0]) == shown(decision)
        assert found[1].acted.needed == after.acted.needed
        stable, after = found[1].estimated, after.estimated
        assert stable.samples == after.samples
        assert stable.in_flight == pytest.approx(after.in_flight)
        assert [e.settings for e in stable.bias.own] == [e.settings for e in after.bias.own]
        known = [stable.bias.of(e.settings) for e in stable.bias.own]
        assert known == pytest.approx([after.bias.of(e.settings) for e in after.bias.own], rel=0.02)


def _pods(view, **values):
    return dataclasses.replace(view, pods=(dataclasses.replace(view.pods[0], **values), *view.pods[1:]))


OTHER = BatchSettings(max_batch_size=3)
DEPARTURES = {
    "metrics gone": lambda v, _: dataclasses.replace(v, metrics_unavailable=Unavailable("PrometheusUnreachable", "x")),
    "no metrics of a pod": lambda v, _: _pods(v, metrics=None),
    "another spec": lambda v, _: dataclasses.replace(
        v, spec=v.spec.model_copy(update={"scaling": v.spec.scaling.model_copy(update={"max_replicas": 9})})
    ),
    "another status": lambda v, _: dataclasses.replace(v, status=InferenceServiceStatus()),
    "a smaller pool": lambda v, _: dataclasses.replace(v, pool=dataclasses.replace(v.pool, capacity_replicas=1)),
    "no pool": lambda v, _: dataclasses.replace(v, pool=None),
    "replicas": lambda v, _: dataclasses.replace(v, replicas=3),
    "settings": lambda v, _: dataclasses.replace(v, settings=OTHER),
    "settings of a pod": lambda v, _: _pods(v, settings=OTHER),
    "another model": lambda v, _: dataclasses.replace(v, model_hash="other"),
    "settings refused": lambda v, _: dataclasses.replace(v, refused_settings=((OTHER, "no"),)),
    "another window": lambda v, _: dataclasses.replace(v, metrics_window_seconds=30.0),
    "a memory limit": lambda v, _: dataclasses.replace(v, memory_limited=True),
    "a pod less": lambda v, _: dataclasses.replace(v, pods=v.pods[1:]),
    "a pod that goes": lambda v, _: _pods(v, terminating=True),
    "another pod": lambda v, _: _pods(v, uid="new"),
    "a pod that has restarted": lambda v, _: _pods(v, ready_seconds=1.0),
    "counters that were reset": lambda v, _: _pods(
        v, batch_statistics=tuple(BatchStatistic(r.batch_size, 1, 1) for r in v.pods[0].batch_statistics)
    ),
    "counters gone": lambda v, _: _pods(v, batch_statistics=()),
    "a batch size never seen": lambda v, _: _pods(
        v, batch_statistics=(*v.pods[0].batch_statistics, BatchStatistic(999, 1, 1))
    ),
    "p99 over the SLO": lambda v, _: changed(v, metrics=lambda _m: {"p99_us": 1.1e6}),
    "p99 unknown": lambda v, _: changed(v, metrics=lambda _m: {"p99_us": None}),
    "no traffic": lambda v, _: changed(v, metrics=lambda _m: {"success_rate": 0.0, "request_us_rate": 0.0}),
    "a pod without load": lambda v, _: _pods(v, metrics=dataclasses.replace(v.pods[0].metrics, success_rate=0.1)),
    "busy instances": lambda v, _: changed(v, metrics=lambda m: {"executions_rate": 1e3 * m.executions_rate}),
    "a jump": lambda v, m: executed(v, m, 40.0),
    "slower executions": lambda v, m: executed(v, m, 10.0, 1.3 + SAME),
    "faster executions": lambda v, m: executed(v, m, 10.0, 0.7 - SAME),
    "a minute": lambda v, _: dataclasses.replace(v, now_seconds=v.now_seconds + MEMORY_SECONDS),
}


@pytest.mark.parametrize("what", DEPARTURES)
def test_what_departs_is_for_a_full_pass(what):
    view, state = calm()
    other = DEPARTURES[what](view, state)
    assert fast_path.fast_path(other, state) is None
    assert shown(decide(other, state)[0]) == shown(full_pass(other, state)[0])


def test_it_is_not_stable_while_something_is_under_way():
    world = World(linear(40, 2), 60.0, minReplicas=2)
    for _ in range(60):
        world.run(5)
        if world.status.control.trial is not None or any(c.reason == "Converging" for c in world.decision.conditions):
            assert world.state.stable is None


def test_what_the_fast_path_did_not_learn_is_learned_by_the_next_full_pass():
    view, state = calm()
    _, after = decide(view, state)
    later = dataclasses.replace(view, now_seconds=view.now_seconds + MEMORY_SECONDS)
    _, learned = decide(later, after)
    before = sum(t.executions for t in state.estimated.service_times.totals.values())
    come = sum(row.executions for p in view.pods for row in p.batch_statistics) - sum(
        row.executions for p in view.pods for row in state.estimated.service_times.pods[p.uid].seen.statistics
    )
    fade = 0.5 ** ((later.now_seconds - state.estimated.service_times.updated_seconds) / 240.0)
    assert come > 0
    assert sum(t.executions for t in learned.estimated.service_times.totals.values()) >= before * fade + come - 2


def test_the_fast_path_changes_its_fields_and_leaves_the_rest():
    _, state = calm()
    for part, names in (
        (state, ("observed", "estimated", "acted", "stable")),
        (state.observed, ObserverState._fields[:3]),
        (state.estimated, EstimatorState._fields[:4]),
        (state.acted, ActState._fields[:1]),
    ):
        other = {name: object() for name in names}
        assert part.after_fast_path(**other) == part._replace(**other)
        assert part.after_fast_path(**{name: getattr(part, name) for name in names}) == part


# ---------------------------------------------------------------------------- broken on purpose


def test_a_fast_path_that_ignores_latency_is_seen(monkeypatch):
    view, state = calm()
    slow = DEPARTURES["p99 over the SLO"](view, state)
    monkeypatch.setattr(fast_path, "_calm", lambda *_: True)
    monkeypatch.setattr(fast_path, "_bias", lambda *_: state.estimated.bias)  # which sees it, too
    assert shown(decide(slow, state)[0]) != shown(full_pass(slow, state)[0])


def test_a_fast_path_that_ignores_the_spec_is_seen(monkeypatch):
    view, state = calm()
    scaling = view.spec.scaling.model_copy(update={"min_replicas": 4})
    other = dataclasses.replace(view, spec=view.spec.model_copy(update={"scaling": scaling}))
    monkeypatch.setattr(fast_path, "_same", lambda *_: True)
    assert shown(decide(other, state)[0]) != shown(full_pass(other, state)[0])


def test_a_fast_path_that_ignores_the_demand_is_seen(monkeypatch):
    view, state = calm()
    crowd = executed(view, state, 400.0)
    monkeypatch.setattr(fast_path, "_target_demand", lambda *_: 1.0)
    assert shown(decide(crowd, state)[0]) != shown(full_pass(crowd, state)[0])


def test_the_error_budget_is_spent_on_the_fast_path_as_in_a_full_pass():
    """Else all requests since the last full pass count as late as those of the next one."""
    view, state = calm()
    _, fast = fast_path.fast_path(view, state)
    _, full = full_pass(view, state)
    assert fast.estimated.budget == full.estimated.budget
    assert fast.estimated.budget.updated_seconds == view.now_seconds
