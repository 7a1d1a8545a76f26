"""The sweep over the constants of the control loop changes what it says it changes, and nothing for good."""

import ast
import contextlib
from pathlib import Path

import pytest
from throughline.domain.control.estimate import bias, forecast
from throughline.domain.control.model import queueing
from throughline.domain.control.observe import observation
from throughline.domain.control.optimise import choose

from bench import sensitivity
from bench.sensitivity import Constant, Effect, changed, constants, importers, markdown

UNITS = {0.5, 1e-6, 1e-9}  # a half, of half lives and middles; and what keeps a division from zero
FOUND = {f"{c.module}.{c.name}": c for c in constants()}


def test_every_number_that_a_stage_names_is_swept():
    for name in (
        "model.queueing.MAX_UTILIZATION",
        "estimate.forecast.JUMP_SIGMAS",
        "act.watch.LESS",
        "loop.REQUEUE_SECONDS",
    ):
        assert name in FOUND
    assert FOUND["estimate.bias.RELEVANT_SHARES"].value == bias.RELEVANT_SHARES
    assert not any(name.startswith(("explain.", "observe.series")) for name in FOUND)


@pytest.mark.parametrize(
    ("value", "factor", "expected"),
    [(0.2, 0.5, 0.1), (4, 0.5, 2), (1, 0.5, 0), (1, 2.0, 2), ((0.4, 0.8), 2.0, (0.8, 1.6)), (3, 2.0, 6)],
)
def test_half_and_twice(value, factor, expected):
    assert Constant("m", "N", value).times(factor) == expected


def test_a_change_reaches_every_module_that_uses_it_and_ends():
    summary = FOUND["observe.observation.SUMMARY_SECONDS"]
    assert {m.__name__.rsplit(".", 1)[-1] for m in importers(summary)} >= {"observation", "bias", "watch", "estimates"}
    before = choose.MAX_UTILIZATION
    with changed(FOUND["model.queueing.MAX_UTILIZATION"], 0.5):
        assert queueing.MAX_UTILIZATION == choose.MAX_UTILIZATION == before / 2
    assert queueing.MAX_UTILIZATION == choose.MAX_UTILIZATION == before
    seen = []
    with contextlib.suppress(ZeroDivisionError), changed(summary, 2.0):
        seen = [observation.SUMMARY_SECONDS, bias.SUMMARY_SECONDS]
        raise ZeroDivisionError
    assert seen == [120.0, 120.0]
    assert observation.SUMMARY_SECONDS == bias.SUMMARY_SECONDS == 60.0


def test_what_was_worked_out_with_the_other_value_is_forgotten():
    from throughline.api.batching import BatchSettings  # noqa: PLC0415
    from throughline.domain.control.model.service_time_model import ServiceTimeModel  # noqa: PLC0415

    asked = ServiceTimeModel(1000.0, 100.0), BatchSettings(max_batch_size=8), 1e6
    whole = queueing.capacity_per_second(*asked)
    with changed(FOUND["model.queueing.MAX_UTILIZATION"], 0.5):
        assert queueing.capacity_per_second(*asked) == pytest.approx(whole / 2, rel=0.01)
    assert queueing.capacity_per_second(*asked) == whole


def test_the_table_shows_what_moves_and_leaves_the_rest_empty(monkeypatch):
    monkeypatch.setattr(sensitivity, "run_one", lambda _: (50.0, 0.5 + (forecast.LEVEL_SECONDS > 200.0)))
    monkeypatch.setattr(sensitivity, "_start", lambda name: name)
    monkeypatch.setattr(sensitivity, "ProcessPoolExecutor", Here)
    wanted = [FOUND["estimate.forecast.LEVEL_SECONDS"], FOUND["estimate.forecast.JUMP_SHARE"]]
    found = sensitivity.sweep(wanted, ["one"])
    assert found[wanted[0]] == {(0.5, "one"): Effect(1.0, 0.0), (2.0, "one"): Effect(1.0, 1.0)}
    assert all(effect.nothing for effect in found[wanted[1]].values())
    level, unseen = markdown(found, ["one"]).splitlines()[-2:]
    assert "1.00 +1.00" in level
    assert "+" not in unseen


class Here:
    """As an executor, in this process."""

    def __init__(self, _workers):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def map(self, function, jobs):
        return [function(job) for job in jobs]


def test_no_share_or_factor_tunes_the_loop_without_a_name():
    hidden = {}
    root = Path(sensitivity.package.__file__).parent
    for file in root.rglob("*.py"):
        tree = ast.parse(file.read_text())
        named = {id(n) for a in tree.body if isinstance(a, ast.Assign) for n in ast.walk(a)}
        numbers = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in named]
        if found := {n for n in numbers if isinstance(n, float) and not n.is_integer()} - UNITS:
            hidden[str(file.relative_to(root))] = found
    assert hidden == {}
