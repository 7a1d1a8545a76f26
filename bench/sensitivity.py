"""How much each constant of the control loop matters: three traces with half and with twice its value.

A constant whose change does nothing on any trace is of a situation that these do not have, or not needed.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from throughline.domain.control import tuning
from throughline.simulate.arena import UNBATCHED, first_replicas
from throughline.simulate.autopilot import Autopilot
from throughline.simulate.loadtest import hand_tuned
from throughline.simulate.run import run_autopilot

from bench.cases import generated
from bench.traces import MAX_INSTANCES, chosen, pool, spec
from e2e.report import Figure, at_most, table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from throughline.simulate.run import Case

TRACES = ("flash crowd", "on-off", "deploy")
FACTORS = (0.5, 2.0)
MOST_CONSTANTS = 45
# What moves cost by a smaller share, and the late share by fewer points, does nothing.
NOTHING_COST, NOTHING_POINTS = 0.001, 0.01
WORKERS = 2


class Constant(NamedTuple):
    name: str
    value: float

    def times(self, factor: float) -> float:
        """So many times its value; a whole number stays one, and changes by at least one."""
        value = self.value
        if isinstance(value, int):
            return max(value + 1, round(factor * value)) if factor > 1.0 else min(value - 1, round(factor * value))
        return factor * value


class Effect(NamedTuple):
    """Of one change on one trace: cost over what it was, and points of the late or lost share more."""

    cost: float
    points: float

    @property
    def nothing(self) -> bool:
        return abs(self.cost - 1.0) < NOTHING_COST and abs(self.points) < NOTHING_POINTS


def constants() -> list[Constant]:
    """Every number that tunes the control loop, in the order of its module."""
    tree = ast.parse(Path(tuning.__file__).read_text())
    targets = [t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)]
    return [Constant(name, getattr(tuning, name)) for name in targets]


@lru_cache
def _start(name: str) -> tuple[Case, int]:
    """The trace, and the replicas that it starts with."""
    case = next(c for c in generated() if c.traffic.name == name)
    return case, first_replicas(case, hand_tuned(case.truth, case.slo_us, MAX_INSTANCES))


def run_one(name: str) -> tuple[float, float]:
    """(cost, late or lost share in per cent) of the product on that trace."""
    case, replicas = _start(name)
    pilot = Autopilot(spec(case.slo_us, case.environment.pool_replicas), pool(case.environment))
    found = run_autopilot(case, pilot, UNBATCHED, replicas=replicas)
    return found.cost, 100 * found.violations


def _measure(constant: Constant | None, factor: float, traces: Sequence[str]) -> dict[str, list[float] | None]:
    """By trace, as of `run_one`; None: the code does not run with that value."""
    name, value = ("", "0") if constant is None else (constant.name, json.dumps(constant.times(factor)))
    command = [sys.executable, "-m", "bench.tuned", name, value, *traces]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, list[float] | None] = json.loads(done.stdout)
    return found


def sweep(wanted: Sequence[Constant], traces: Sequence[str]) -> dict[Constant, dict[tuple[float, str], Effect | None]]:
    """The effect of each change."""
    jobs: list[tuple[Constant | None, float]] = [(None, 1.0), *product(wanted, FACTORS)]
    with ThreadPoolExecutor(WORKERS) as executor:
        plain, *found = executor.map(lambda job: _measure(*job, traces), jobs)
    effects: dict[Constant, dict[tuple[float, str], Effect | None]] = {constant: {} for constant in wanted}
    for (constant, factor), measured in zip(product(wanted, FACTORS), found, strict=True):
        for name, result in measured.items():
            before = plain[name]
            known = result is not None and before is not None
            effect = Effect(result[0] / before[0], result[1] - before[1]) if known else None
            effects[constant][factor, name] = effect
    return effects


def markdown(effects: dict[Constant, dict[tuple[float, str], Effect | None]], traces: Sequence[str]) -> str:
    """Cost over what it was, and points of lateness more, at half and at twice the value."""
    rows = [["constant", "value", *(f"{name} {'½' if factor < 1 else '2'}×" for name in traces for factor in FACTORS)]]
    for constant, found in effects.items():
        cells = [found[factor, name] for name in traces for factor in FACTORS]
        shown = ["fails" if e is None else "" if e.nothing else f"{e.cost:.2f} {e.points:+.2f}" for e in cells]
        rows.append([constant.name, f"{constant.value}", *shown])
    return table(rows)


def run(say: Callable[[str], None], only: Sequence[str], named: str = "") -> list[Figure]:
    """`only`: these traces; `named`: constants whose name has that in it.

    Raises:
        UnknownTraceError: one of `only` is the beginning of no trace's name.
    """
    names = [case.traffic.name for case in chosen(generated(), only or TRACES)]
    wanted = [c for c in constants() if named.upper() in c.name]
    say(f"{len(wanted)} constants, {len(names)} traces")
    effects = sweep(wanted, names)
    print(markdown(effects, names))
    without = [c for c, found in effects.items() if all(e is not None and e.nothing for e in found.values())]
    return [
        at_most("constants that tune the control loop", len(constants()), "", MOST_CONSTANTS),
        Figure("of those swept without an effect on any trace", float(len(without)), ""),
    ]
