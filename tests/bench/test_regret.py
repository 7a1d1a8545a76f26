"""The rows of `bench traces`: which goal a trace has, and how seeds become one figure."""

import math
from dataclasses import replace

import numpy as np
import pytest
from throughline.api.batching import BatchSettings
from throughline.simulate import traffic
from throughline.simulate.run import Case, Result
from throughline.simulate.types import Environment, Truth

from bench.beside import Outcome
from bench.regret import Row, figures, late, markdown, off_budget, over_before
from bench.traces import UnknownTraceError, chosen, demand_varies
from e2e.report import Figure, figures_table, over_seeds

SETTINGS = BatchSettings(max_batch_size=8)


def result(contender, cost, violations):
    return Result(
        contender, cost / 2, cost, 10_000, round(10_000 * violations), 0, 1.0, 0, SETTINGS, (), (), np.zeros(1, int),
        np.zeros(1),
    )  # fmt: skip


def row(seed=1, cost=10.0, violations=0.008, *, ideal=(9.0, 0.009), rivals=((12.0, 0.004),), before=None, **more):
    others = [result(f"R{i}", *each) for i, each in enumerate(rivals)]
    made = {"trace": "ramp", "varies": True, **more}
    return Row(
        seed=seed, ours=result("Throughline", cost, violations), unbatched=others, tuned=others,
        floor=result("constant, by hindsight", 11.0, 0.005), clairvoyant=result("clairvoyant", *ideal), before=before,
        **made,
    )  # fmt: skip


def figure(rows, end):
    return next(f for f in figures(rows) if f.name.endswith(end))


def test_a_figure_is_the_median_of_the_seeds_with_their_spread():
    found = figure([row(1, 9.0), row(2, 18.0), row(3, 10.8)], "cost over the clairvoyant")
    assert (found.value, found.low, found.high) == (pytest.approx(1.2), pytest.approx(1.0), pytest.approx(2.0))
    assert found.goal == "at most 1.3"
    assert found.met
    assert "1.2 (1…2)" in figures_table([found])


def test_one_seed_has_no_spread():
    found = over_seeds("a", [1.5], "×", 1.0)
    assert (found.value, found.low, found.high, found.met) == (1.5, None, None, False)


def test_late_at_most_one_per_cent_where_the_clairvoyant_keeps_it():
    assert late([row(violations=0.01)]).met
    found = late([row(violations=0.0101)])
    assert found.met is False
    assert found.goal == "at most 1"


def test_else_at_most_half_of_the_best_contenders_lateness():
    hard = {"ideal": (9.0, 0.03), "rivals": ((12.0, 0.12), (20.0, 0.08))}
    assert late([row(violations=0.04, **hard)]).met
    found = late([row(violations=0.041, **hard)])
    assert found.met is False
    assert found.goal == "at most 4"
    assert found.note == "NO; the clairvoyant cannot keep the SLO in 1 of 1"


def test_what_nobody_keeps_is_not_asked_for_below_the_slo():
    assert row(ideal=(9.0, 0.011), rivals=((12.0, 0.012),)).allowed == 0.01


def test_the_build_of_before_bounds_the_cost_where_it_kept_the_slo():
    assert over_before([row(cost=10.0, before=Outcome(10.0, 0.01))]).met
    assert over_before([row(cost=10.2, before=Outcome(10.0, 0.01))]).met is False
    broke = over_before([row(cost=20.0, before=Outcome(10.0, 0.02))])
    assert (broke.met, broke.goal, broke.value) == (None, "", 2.0)
    assert "2.00%" in broke.note
    mixed = [row(1, 10.0, before=Outcome(10.0, 0.0)), row(2, 30.0, before=Outcome(10.0, 0.02))]
    assert over_before(mixed).value == 1.0


def test_without_another_build_there_is_no_figure_of_it():
    assert not [f for f in figures([row()]) if "before" in f.name]


def test_the_distance_from_the_budget_is_a_mean_over_varying_traces_by_seed():
    rows = [
        row(1, violations=0.013), row(2, violations=0.010),
        row(1, violations=0.009, trace="wave"), row(2, violations=0.010, trace="wave"),
        row(1, violations=0.0, trace="poisson", varies=False), row(2, violations=0.0, trace="poisson", varies=False),
    ]  # fmt: skip
    (found,) = off_budget(rows)
    assert found.value == pytest.approx(0.1)
    assert (found.low, found.high) == (pytest.approx(0.0), pytest.approx(0.2))
    assert "2 traces" in found.name
    assert off_budget(rows[4:]) == []


def test_a_contender_without_violations_makes_no_division_by_zero():
    kpa = [result("KPA", 1.0, 0.0), result("KPA, tuned", 1.0, 0.0)]
    flash = replace(row(trace="flash crowd"), unbatched=kpa[:1], tuned=kpa[1:])
    assert math.isinf(figure([flash], "those of KPA").value)


def test_the_table_has_the_clairvoyant_and_the_build_of_before():
    rows = [row(1, 9.0, before=Outcome(10.0, 0.01)), row(2, 18.0, before=Outcome(10.0, 0.01))]
    head, _, line = markdown([rows]).splitlines()
    assert head.count("|") == line.count("|") == 8
    assert "9.0, 0.90% (**1.50 (1.00…2.00)×**)" in line
    assert "10.0, 1.00% (**1.35 (0.90…1.80)×**)" in line
    assert "the build of before" not in markdown([[row()]])


def case(made, **environment):
    return Case(Truth(10_000, 1_000), Environment(**environment), made, 100_000.0)


def test_some_traces_can_be_chosen_by_the_beginning_of_their_name():
    cases = [case(traffic.poisson(1.0, 60.0, seed=1, name=name)) for name in ("poisson", "on-off", "code ×292")]
    assert chosen(cases, []) == cases
    assert chosen(cases, ["code", "poisson"]) == [cases[0], cases[2]]
    with pytest.raises(UnknownTraceError, match="on-off"):
        chosen(cases, ["diurnal"])


@pytest.mark.parametrize(
    ("made", "varies"),
    [
        (traffic.poisson(20.0, 3600.0, seed=1), False),
        (traffic.node_loss(20.0, 3600.0, seed=1, pool_replicas=10, left_replicas=5), False),
        (traffic.metrics_gap(20.0, 3600.0, seed=1), True),
        (traffic.cost_drift(20.0, 3600.0, seed=1), True),
        (traffic.on_off(20.0, 3600.0, seed=1), True),
    ],
)
def test_demand_varies_with_the_requests_or_with_their_cost(made, varies):
    assert demand_varies(case(made)) is varies


def test_a_figure_without_seeds_reads_as_before():
    assert "1.5" in figures_table([Figure("a", 1.5, "s")])
    assert "…" not in figures_table([Figure("a", 1.5, "s")])
