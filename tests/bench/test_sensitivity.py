"""The sweep changes what it says it changes, and nothing for good; and no number tunes the loop elsewhere."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from throughline.domain.control import tuning

from bench import sensitivity
from bench.sensitivity import MOST_CONSTANTS, Constant, Effect, constants, markdown

ROOT = Path(tuning.__file__).parent
DOCUMENT = Path(__file__).parents[2] / "docs" / "tuning.md"
# A half, of half lives and middles; and what keeps a division from zero.
UNITS = {0.5, 1e-6, 1e-9}
# Numbers that stages name and that tune nothing: of other software, of a formula, of texts, and bounds of what is kept.
FACTS = {
    "act/state.py": {"CHANGES_KEPT"},
    "act/texts.py": {"CONTENTION_SHOWN"},
    "estimate/analogues.py": {"NOTHING"},
    "estimate/bias.py": {"OWN_KEPT"},
    "estimate/forecast.py": {"SAMPLES_KEPT"},
    "estimate/season.py": {"BINS_KEPT"},
    "estimate/service_time_fit.py": {"ONE_SIZE", "SEGMENT_LIMITS"},
    "explain/conditions.py": {"MOST_ADVISED"},
    "explain/failing.py": {"NAMED"},
    "explain/slo.py": {"BUDGET_STEPS"},
    "model/queueing.py": {
        "TAIL", "MAX_FEEDBACK", "_NORMAL_99", "_LOG_TAIL", "_TRICKLE", "_BISECTIONS", "_UNEVEN", "_MERGED",
        "_CLOSED_EARLY", "_CLOSED_TAIL",
    },
    "observe/counters.py": {"STATISTICS_PODS"},
    "observe/demand.py": {"IDLE_PER_SECOND"},
    "observe/observation.py": {"SUMMARY_SECONDS"},
    "observe/series.py": {"FIRST_SCRAPES_SECONDS", "SCRAPES_A_WINDOW", "NAMED"},
    "optimise/blocked.py": {"MAX_REASON"},
    "optimise/choose.py": {"QUEUE_DELAYS_MICROSECONDS"},
    "optimise/proposal.py": {"JUDGED_KEPT"},
    "predict/outcome.py": {"WHOLE"},
}  # fmt: skip


def modules():
    for file in sorted(ROOT.rglob("*.py")):
        if file.name != "tuning.py":
            yield str(file.relative_to(ROOT)), ast.parse(file.read_text())


def numbers(node):
    return [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and type(n.value) in (int, float)]


def assigned(tree):
    return [node for node in tree.body if isinstance(node, ast.Assign)]


def test_there_are_few_constants_and_the_document_has_each():
    names = [c.name for c in constants()]
    assert len(names) == len(set(names)) <= MOST_CONSTANTS
    rows = [line.split("|")[1].strip() for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")]
    assert [name for name in rows if name.isupper()] == names


def test_no_stage_names_a_number_that_tunes_it():
    named = {}
    for name, tree in modules():
        found = {
            n.id
            for node in assigned(tree)
            if numbers(node.value) and not isinstance(node.value, ast.Call)
            for target in node.targets
            for n in ast.walk(target)
            if isinstance(n, ast.Name)
        }
        found |= {"_LOG_TAIL"} if name == "model/queueing.py" else set()
        if found:
            named[name] = found
    assert named == FACTS


def test_no_share_or_factor_tunes_the_loop_without_a_name():
    hidden = {}
    for name, tree in modules():
        outside = {id(n) for node in assigned(tree) for n in ast.walk(node)}
        values = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in outside]
        if found := {v for v in values if isinstance(v, float) and not v.is_integer()} - UNITS:
            hidden[name] = found
    assert hidden == {}


@pytest.mark.parametrize(
    ("value", "factor", "expected"), [(0.2, 0.5, 0.1), (4, 0.5, 2), (1, 0.5, 0), (1, 2.0, 2), (3, 2.0, 6)]
)
def test_half_and_twice(value, factor, expected):
    assert Constant("N", value).times(factor) == expected


def test_a_change_reaches_every_module_also_the_defaults_that_are_made_of_it():
    code = (
        "import bench.tuned as t; t.main('AGAIN_SECONDS', '7.0', []);"
        "from throughline.domain.control.act import rollout, state;"
        "print(rollout.AGAIN_SECONDS, state.Growth(1, 1.0, 1.0, None).pause_seconds)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout.splitlines() == ["{}", "7.0 7.0"]
    assert tuning.AGAIN_SECONDS != 7.0


def test_the_table_shows_what_moves_and_leaves_the_rest_empty(monkeypatch):
    def measured(constant, factor, traces):
        moved = constant is not None and constant.name == "MEMORY_SECONDS" and factor == 2.0
        return {name: [50.0, 1.5 if moved else 0.5] for name in traces}

    monkeypatch.setattr(sensitivity, "_measure", measured)
    wanted = [c for c in constants() if c.name in {"MEMORY_SECONDS", "SAME"}]
    found = sensitivity.sweep(wanted, ["one"])
    same, memory = wanted
    assert found[memory] == {(0.5, "one"): Effect(1.0, 0.0), (2.0, "one"): Effect(1.0, 1.0)}
    assert all(effect.nothing for effect in found[same].values())
    unseen, shown = markdown(found, ["one"]).splitlines()[-2:]
    assert "1.00 +1.00" in shown
    assert "+" not in unseen


def test_a_run_of_the_sweep_gives_cost_and_lateness():
    command = [sys.executable, "-m", "bench.tuned", "NOISE", "0.02", "poisson"]
    plain = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    cost, late = plain["poisson"]
    assert cost > 10
    assert late < 1
