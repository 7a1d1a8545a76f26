"""Another build of the product: its decisions, under this tree's simulator."""

import shutil
import zipfile
from pathlib import Path

import pytest
import throughline
from throughline.api.batching import BatchSettings
from throughline.simulate import traffic
from throughline.simulate.autopilot import Autopilot
from throughline.simulate.run import Case, run_autopilot
from throughline.simulate.types import Environment, Truth

from bench.beside import BuildFailedError, NoBuildError, checked, run_build, unpacked
from bench.traces import pool, spec

PACKAGE = Path(throughline.__file__).parent
CASE = Case(
    Truth(10_000, 1_000), Environment(pool_replicas=9), traffic.poisson(20.0, 700.0, seed=1, name="few"), 100_000.0
)
ONE = BatchSettings(max_batch_size=1, instances=1)


@pytest.fixture
def build(tmp_path):
    """This tree's own, as another one; its world cannot run."""
    ignore = shutil.ignore_patterns("__pycache__", "evaluator", "reconcile", "runtime")
    shutil.copytree(PACKAGE, tmp_path / "throughline", ignore=ignore)
    (tmp_path / "throughline" / "simulate" / "world.py").write_text("raise ImportError('the simulator of before')\n")
    return tmp_path


def pilot():
    return Autopilot(spec(CASE.slo_us, 9), pool(CASE.environment))


def change(build, text, by, module="simulate/autopilot.py"):
    path = build / "throughline" / module
    written = path.read_text()
    assert text in written
    path.write_text(written.replace(text, by))


def test_a_build_with_the_same_decisions_has_the_same_result_by_this_simulator(build):
    ours = run_autopilot(CASE, pilot(), ONE, replicas=2)
    theirs = run_build(build, CASE, pilot(), ONE, 2)
    assert (theirs.cost, theirs.violations) == (ours.cost, ours.violations)


def test_a_build_decides_by_its_own_code(build):
    change(build, "world.scale(decision.replicas)", "world.scale(7)")
    assert run_build(build, CASE, pilot(), ONE, 7).cost == pytest.approx(7 * 2.0 * 100 / 3600)


def test_a_build_that_fails_says_on_which_trace_and_why(build):
    change(build, "world.scale(decision.replicas)", "raise RuntimeError('no idea')")
    with pytest.raises(BuildFailedError, match=r"few: (.|\n)*no idea"):
        run_build(build, CASE, pilot(), ONE, 2)


def test_a_wheel_is_unpacked_and_what_holds_no_product_is_refused(tmp_path):
    wheel = tmp_path / "a.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("throughline/simulate/autopilot.py", "")
    with unpacked(wheel) as folder:
        assert (folder / "throughline").is_dir()
    with pytest.raises(NoBuildError, match="no throughline/simulate"):
        checked(tmp_path)
    wheel.write_text("")
    with pytest.raises(NoBuildError, match="no wheel"), unpacked(wheel):
        pass
