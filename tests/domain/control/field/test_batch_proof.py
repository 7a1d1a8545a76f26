"""Batches that fail, mix rows up or are refused: what the loop does of what servers and proofs say."""

import dataclasses

import pytest
from throughline.api.batching import BatchSettings
from throughline.api.inferenceservice import InferenceServiceSpec
from throughline.api.status import BlockedBy, RejectedSettings, Trial
from throughline.domain.control.act.watch import Outcome, judge
from throughline.domain.control.estimate.estimates import EstimatorState, estimate
from throughline.domain.control.estimate.service_time import ServiceTimeEstimator
from throughline.domain.control.observe.counters import Counted, Failed, Seen, failed_since
from throughline.domain.control.observe.demand import measure
from throughline.domain.control.observe.observation import ObserverState, observe
from throughline.domain.control.optimise.blocked import Blocked, blocked
from throughline.domain.observed import BatchStatistic, FailedProof, LiveQueue
from throughline.domain.times import rfc3339, unix_seconds
from views import BATCHED, NOW, UNBATCHED, metrics, pod, view, warm
from world import World, linear

BATCHES_WELL = linear(40, 2)
HOURS = 12 * 3600.0


class Faulty(World):
    """A model that fails each batch of more than one, and may not be probed."""

    def __init__(self, *args, probe="ConfigOnly", **kw):
        super().__init__(*args, **kw)
        wire = self.spec.to_wire()
        wire["model"]["probe"] = probe
        self.spec = InferenceServiceSpec.model_validate(wire)

    def metrics(self, pod):
        pod.failing = pod.settings.max_batch_size > 1
        return super().metrics(pod)


class Refusing(World):
    """A server that refuses batches of 8 and more."""

    def __init__(self, *args, **kw):
        super().__init__(*args, **kw)
        self.asked = []
        self.refuse = Beyond()

    def decide(self):
        super().decide()
        self.asked += [settings for settings, _ in self.refused]


class Beyond:
    def __contains__(self, settings):
        return settings.max_batch_size >= 8


def sizes(world):
    """max_batch_size of each change of the settings, newest last."""
    return [d.settings.max_batch_size for d in reversed(world.status.decisions) if d.action in {"Batch", "Rollback"}]


def test_failures_end_a_change_at_the_next_poll_and_no_larger_batch_is_tried():
    """K4, where nothing may be sent to prove it."""
    world = Faulty(BATCHES_WELL, 20)
    world.run(300)
    while world.status.control.trial is not None:
        world.run(5)
    tried = sizes(world)
    assert tried, "a change was made"
    larger = [size for size in tried if size > 1]
    assert larger == sorted(larger, reverse=True), "none larger than one that failed"
    rolled = next(d for d in reversed(world.status.decisions) if d.action == "Rollback")
    assert "fail since the change" in rolled.message
    changed = next(d for d in reversed(world.status.decisions) if d.action == "Batch")
    assert unix_seconds(rolled.time) - unix_seconds(changed.time) <= 10, "the window of 20 s has not passed"
    assert world.condition("BatchTuned").reason == "BatchesFail"
    assert "batches fail: " in world.condition("BatchTuned").message
    entries = world.status.control.rejected
    assert all(e.until is None for e in entries if e.blocked_by is BlockedBy.BATCHES_FAIL)


def trial(*, on=None, age=5.0, before=0):
    return Trial(
        settings=BATCHED, previous=UNBATCHED, pod=on, started=rfc3339(NOW - age), baseline_mean_microseconds=5000,
        baseline_rate_per_second=100, baseline_failed_permille=before,
    )  # fmt: skip


def outcome(seen, change, since=None):
    verdict = judge(seen, change, measure(seen, 1e5), 1e5, since=since or {})
    return verdict.outcome, verdict.failing


@pytest.mark.parametrize(
    ("failures", "before", "expected"),
    [
        (20.0, 0, (Outcome.ROLLBACK, True)),
        (20.0, 200, (Outcome.WATCHING, False)),  # as many failed before
        (0.2, 0, (Outcome.WATCHING, False)),  # chance
    ],
)
def test_failures_are_judged_before_the_window_has_passed(failures, before, expected):
    """K4."""
    seen = view(pod("a", metrics(failures=failures), BATCHED), settings=BATCHED)
    assert outcome(seen, trial(before=before)) == expected


def test_failures_of_peers_without_the_change_are_not_its_fault():
    seen = view(pod("a", metrics(failures=20.0), BATCHED), pod("b", metrics(failures=20.0)))
    assert outcome(seen, trial(on="a")) == (Outcome.WATCHING, False)


def test_the_servers_own_counters_are_asked_before_prometheus_has_seen_it():
    """K4."""
    seen = view(pod("a", metrics(), BATCHED), settings=BATCHED)
    assert outcome(seen, trial(), {"a": Failed(300.0, 200.0, 5.0)}) == (Outcome.ROLLBACK, True)
    assert outcome(seen, trial(), {"a": Failed(3.0, 200.0, 5.0)}) == (Outcome.WATCHING, False)


def counted(name, executions, compute_ms, failed, settings=UNBATCHED):
    rows = (BatchStatistic(1, executions, int(executions * compute_ms * 1e6)),)
    return dataclasses.replace(
        pod(name, metrics(), settings), batch_statistics=rows, queue=LiveQueue(pending=0, cancelled=0, failed=failed)
    )


def test_executions_that_fail_teach_nothing():
    """K4: a batch that fails takes no time."""
    first = view(counted("a", 1000, 4.0, 0))
    state = EstimatorState(service_times=warm(ServiceTimeEstimator(), first.serving, NOW))
    seen = observe(first, first.status.control, ObserverState())
    state = estimate(seen, state).state
    (known,) = state.service_times.totals.values()
    before = known.mean_us
    second = dataclasses.replace(view(counted("a", 3000, 1.4, 1900)), now_seconds=NOW + 5)
    seen = observe(second, second.status.control, seen.state)
    assert seen.failed["a"].share > 0.5
    state = estimate(seen, state).state
    (known,) = state.service_times.totals.values()
    assert known.mean_us == pytest.approx(before)
    third = dataclasses.replace(view(counted("a", 4000, 2.05, 1900)), now_seconds=NOW + 10)
    seen = observe(third, third.status.control, seen.state)
    (known,) = estimate(seen, state).state.service_times.totals.values()
    assert known.mean_us == pytest.approx(4000, rel=0.01), "what came after is taken, what failed is not"


def test_a_server_that_has_restarted_counts_from_zero():
    before = Seen(UNBATCHED, (BatchStatistic(1, 500, 10**9),), NOW, LiveQueue(0, 0, failed=90))
    pods = [counted("a", 40, 4.0, 10)]
    found = failed_since(Counted({"a": before}, NOW), pods, NOW + 5)
    assert found["a"] == Failed(10, 30, 5.0)


def test_refused_settings_are_asked_for_once_in_a_revision_and_smaller_ones_tried():
    """K6: they were asked for again every half hour, and each load may leak memory of the GPU."""
    world = Refusing(BATCHES_WELL, 60)
    for _ in range(4):
        world.run(60)
        world.now += HOURS / 4
    assert world.asked, "larger batches were asked for"
    assert len(world.asked) <= 2
    assert 1 < world.durable.max_batch_size < 8


def test_a_failed_proof_bounds_the_batches_of_this_revision():
    """K4, K16."""
    world = World(BATCHES_WELL, 95)
    while world.status.control.trial is None:
        world.run(5)
    tried = world.durable.max_batch_size
    world.durable = UNBATCHED  # no pod has it
    failed = dataclasses.replace(world.view(), failed_proof=FailedProof(4, BlockedBy.BATCHES_FAIL, "no"))
    world.view = lambda: failed
    world.decide()
    del world.view
    assert tried >= 4
    assert world.durable.max_batch_size < 4
    for _ in range(3):
        world.run(60)
        world.now += HOURS
    assert world.durable.max_batch_size < 4
    (entry,) = [e for e in world.status.control.rejected if e.blocked_by is BlockedBy.BATCHES_FAIL]
    assert (entry.settings.max_batch_size, entry.until) == (4, None)


def test_settings_of_a_predecessor_that_fail_their_proof_are_left_at_once():
    """K16: a new revision begins with what was in force."""
    world = World(BATCHES_WELL, 30)
    world.run(5)
    world.durable = BatchSettings(max_batch_size=16)
    for p in world.pods:
        p.settings = world.durable
    mixed = dataclasses.replace(world.view(), failed_proof=FailedProof(2, BlockedBy.ROWS_MIXED, "row 2"))
    world.view = lambda: mixed
    world.decide()
    del world.view
    assert world.durable.max_batch_size == 1
    assert world.condition("BatchTuned").reason == "RowsMixed"


def test_what_holds_for_the_revision_is_kept_and_what_it_covers_is_not():
    entries = ()
    for n in range(12):
        entries = blocked(entries, BatchSettings(max_batch_size=64, max_queue_delay_microseconds=n), BlockedBy.WORSE,
                          "slow", rfc3339(NOW + n))  # fmt: skip
    assert len(entries) == 8
    entries = blocked(entries, BatchSettings(max_batch_size=32), BlockedBy.REFUSED, "no", None)
    assert [e.settings.max_batch_size for e in entries] == [32]
    assert blocked(entries, BatchSettings(max_batch_size=64), BlockedBy.BATCHES_FAIL, "no", None) == entries
    assert BatchSettings(max_batch_size=33, instances=2) in Blocked(entries)
    assert BatchSettings(max_batch_size=31, instances=2) not in Blocked(entries)
    old = RejectedSettings.model_validate(
        {"settings": {"maxBatchSize": 8}, "reason": "slow", "until": "2026-01-01T00:00:00Z"}
    )
    assert BatchSettings(max_batch_size=16) not in Blocked((old,)), "as older versions wrote it"
