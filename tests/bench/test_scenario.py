"""The figures that the demo and the benchmarks take from the watched status."""

from types import SimpleNamespace

from e2e.stack.scenario import Phase, Sample, Watch

SETTINGS = (8, 0, 1)


def watched(*replicas, settings=SETTINGS, seconds=3.0):
    samples = [Sample(i * seconds, n, n, settings, "", "", "True", "", "") for i, n in enumerate(replicas)]
    return Watch(SimpleNamespace(), "m", samples=samples)


def load(begin_seconds, seconds):
    return Phase("4×", 100.0, seconds, SimpleNamespace(), begin_seconds)


def test_replicas_that_were_removed_and_ordered_back_are_counted_within_a_load():
    watch = watched(1, 3, 3, 2, 1, 2, 1, 2, 2)
    assert watch.ordered_back(load(0.0, 30.0)) == 2
    assert watch.ordered_back(load(0.0, 12.0)) == 0, "what comes later is of another load"
    assert watch.ordered_back(load(15.0, 30.0)) == 1, "what was removed before is, too"


def test_the_last_change_is_counted_from_the_begin_of_its_load():
    watch = watched(1, 3, 3, 3, 2, 2, 2, 2)
    assert watch.last_change_seconds(load(0.0, 30.0)) == 12.0
    assert watch.last_change_seconds(load(0.0, 9.0)) == 3.0
    assert watch.last_change_seconds(load(12.0, 9.0)) == 0.0
