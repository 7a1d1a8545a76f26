"""The demo on a machine that has other things to do: what it measures of that, and what it then judges."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from e2e import contention, demo
from e2e.cluster import ClusterError
from e2e.contention import Interval, Monitor, Process, Reading, interval, judge
from e2e.report import at_least, at_most, figures_table

QUIET = Interval(0, 5, others=0.02, idle_cores=0.1)
STOLEN = Interval(5, 10, others=0.5, idle_cores=0.0)
BUSY_BUT_ROOM = Interval(5, 10, others=0.5, idle_cores=8.0)


def reading(at: float, busy: float, idle: float, ours: float, cores: int = 2) -> Reading:
    return Reading(at, cores, busy, idle, ours)


def test_what_is_not_ours_is_others() -> None:
    seen = interval(reading(10, 100, 50, 30), reading(15, 109, 51, 34))
    assert seen == Interval(10, 15, others=0.5, idle_cores=0.2)
    assert seen.contended


def test_our_own_full_load_is_no_contention() -> None:
    assert not interval(reading(0, 0, 0, 0), reading(5, 10, 0, 9.8)).contended


def test_others_on_cores_that_we_do_not_need_are_no_contention() -> None:
    assert not interval(reading(0, 0, 0, 0, 64), reading(5, 180, 140, 20, 64)).contended


def test_a_process_that_ends_between_two_counters_makes_no_share_negative() -> None:
    assert interval(reading(0, 0, 0, 0), reading(5, 4, 6, 5)).others == 0
    assert interval(reading(0, 0, 0, 9), reading(5, 4, 6, 0)).others == pytest.approx(0.4)


def test_a_missed_goal_is_not_judged_where_others_had_the_cores() -> None:
    missed = at_most("p99", 200, "s", 180)
    figure = judge(missed, [QUIET, STOLEN], end_seconds=20, lower_is_better=True)
    assert figure.met is None
    assert "not judged: the machine was busy (for 5 s other processes used 50% of its cores)" in figures_table([figure])


def test_a_goal_that_others_make_harder_was_met_all_the_same() -> None:
    met = at_most("p99", 20, "s", 180)
    assert judge(met, [STOLEN], end_seconds=20, lower_is_better=True).met is True


def test_a_ratio_is_not_judged_since_others_may_have_slowed_its_divisor() -> None:
    gain = at_least("after over before", 13, "×", 5)
    assert judge(gain, [STOLEN], end_seconds=20, lower_is_better=False).met is None


@pytest.mark.parametrize("intervals", [[], [QUIET], [BUSY_BUT_ROOM]])
def test_a_missed_goal_is_missed_where_the_cores_were_ours(intervals: list[Interval]) -> None:
    missed = at_most("p99", 200, "s", 180)
    assert judge(missed, intervals, end_seconds=20, lower_is_better=True) == missed


def test_what_happens_after_a_phase_does_not_excuse_it() -> None:
    missed = at_most("p99", 200, "s", 180)
    assert judge(missed, [STOLEN], end_seconds=5, lower_is_better=True).met is False


def test_ours_are_all_below_the_root_and_the_kernels() -> None:
    tree = [
        Process(1, 0, 1000),
        Process(2, 0, 1),
        Process(3, 2, 10),
        Process(50, 1, 100),
        Process(51, 50, 7),
        Process(52, 51, 8),
        Process(60, 1, 5000),
    ]
    assert contention.ticks_below(50, tree) == 100 + 7 + 8 + 1 + 10


def test_the_name_of_a_process_may_hold_anything() -> None:
    line = "77 (a) R 1 (b) S 42 77 77 0 -1 4194304 9 9 9 9 1 2 30 400 20 0 1 0 14"
    assert contention.parse_process(line) == Process(77, 42, 433)


def test_steal_counts_as_busy_and_interrupts_as_neither() -> None:
    stat = "cpu  100 10 20 500 5 7 9 40 3 0\ncpu0 50 5 10 250 2 3 4 20 1 0\ncpu1 0 0 0 0 0 0 0 0 0 0\nintr 1 2\n"
    assert contention.parse_cores(stat) == (2, 170, 505)


def test_what_a_child_used_is_ours_after_its_end_too() -> None:
    """The real counters, in CPU seconds that we spent, whatever else the machine does."""
    before = contention.read(os.getpid())
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert contention.read(os.getpid()).ours - before.ours >= 0.45


@pytest.mark.parametrize(("others", "code"), [(0.0, demo.FAILED), (8.0, demo.UNDECIDED)])
def test_a_step_that_fails_on_a_busy_machine_proves_nothing(
    others: float, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    monitor = Monitor([reading(0, 0, 0, 0), reading(5, 10, 0, 10 - others)])
    assert demo.failed(ClusterError("waited 120 s for tour"), monitor) == code
    said = capsys.readouterr().err
    assert "waited 120 s for tour" in said
    assert ("80% of this machine's cores" in said) == (code == demo.UNDECIDED)


def test_each_phase_has_its_own_share() -> None:
    monitor = Monitor([reading(0, 0, 0, 0), reading(10, 20, 0, 20), reading(20, 40, 0, 30)])
    head, _, first, second = demo.busy_table(["before", "load 4×"], [0, 10, 20], monitor).splitlines()
    assert "others" in head
    assert first.split() == ["before", "0%", "0", "s"]
    assert second.split() == ["load", "4×", "50%", "10", "s"]
