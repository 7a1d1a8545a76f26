"""How much each constant of the control loop matters: three traces with half and with twice its value.

A constant whose change does nothing on any trace is either of a situation that these do not have, or not needed.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import pkgutil
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import throughline.domain.control as package
from throughline.simulate.arena import UNBATCHED, first_replicas
from throughline.simulate.autopilot import Autopilot
from throughline.simulate.loadtest import hand_tuned
from throughline.simulate.run import run_autopilot

from bench.cases import generated
from bench.traces import MAX_INSTANCES, chosen, pool, spec
from e2e.report import Figure, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import ModuleType

    from throughline.simulate.run import Case

TRACES = ("flash crowd", "on-off", "level jumps")
FACTORS = (0.5, 2.0)
# What moves cost by a smaller share, and the late share by fewer points, does nothing.
NOTHING_COST, NOTHING_POINTS = 0.001, 0.01
WORKERS = 2
# Not tuned: what texts show, and bounds of what is kept.
NOT_TUNED = ("explain.", "observe.series", "act.texts")
Value = int | float | tuple[int | float, ...]


class Constant(NamedTuple):
    module: str  # below the package
    name: str
    value: Value

    def times(self, factor: float) -> Value:
        """So many times its value; a whole number stays one, and changes by at least one."""
        if isinstance(self.value, tuple):
            return tuple(_times(v, factor) for v in self.value)
        return _times(self.value, factor)


class Effect(NamedTuple):
    """Of one change on one trace: cost over what it was, and points of the late or lost share more."""

    cost: float
    points: float

    @property
    def nothing(self) -> bool:
        return abs(self.cost - 1.0) < NOTHING_COST and abs(self.points) < NOTHING_POINTS


def _times(value: float, factor: float) -> int | float:
    if isinstance(value, int):
        return max(value + 1, round(factor * value)) if factor > 1.0 else min(value - 1, round(factor * value))
    return factor * value


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


def constants() -> list[Constant]:
    """Every number, or tuple of numbers, that a module of the control loop names."""
    found = []
    for module in modules():
        below = module.__name__.removeprefix(f"{package.__name__}.")
        if below.startswith(NOT_TUNED):
            continue
        for name in assigned(module):
            value = getattr(module, name)
            numbers = value if isinstance(value, tuple) else (value,)
            if numbers and all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers):
                found.append(Constant(below, name, value))
    return found


@lru_cache
def _tree(module: ModuleType) -> ast.Module:
    return ast.parse(Path(str(module.__file__)).read_text())


def assigned(module: ModuleType) -> list[str]:
    """Names in capitals that the module itself gives a value."""
    targets = [t for node in _tree(module).body if isinstance(node, ast.Assign) for t in node.targets]
    names = [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]
    return [n for n in names if n.isupper()]


def importers(constant: Constant) -> Iterator[ModuleType]:
    """The modules that know the constant by its name."""
    home = f"{package.__name__}.{constant.module}"
    for module in modules():
        imports = (n for n in ast.walk(_tree(module)) if isinstance(n, ast.ImportFrom) and n.module == home)
        if module.__name__ == home or any(alias.name == constant.name for n in imports for alias in n.names):
            yield module


@contextlib.contextmanager
def changed(constant: Constant, factor: float) -> Iterator[None]:
    """With so many times the value, everywhere; what was worked out with the other value is forgotten. Constants that
    are made of it when a module is loaded stay as they are.
    """
    homes = list(importers(constant))
    for home in homes:
        setattr(home, constant.name, constant.times(factor))
    _forget()
    try:
        yield
    finally:
        for home in homes:
            setattr(home, constant.name, constant.value)
        _forget()


def _forget() -> None:
    for module in modules():
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


@lru_cache
def _start(name: str) -> tuple[Case, int]:
    """The trace, and the replicas that it starts with, which no constant changes."""
    case = next(c for c in generated() if c.traffic.name == name)
    return case, first_replicas(case, hand_tuned(case.truth, case.slo_us, MAX_INSTANCES))


def run_one(name: str) -> tuple[float, float]:
    """(cost, late or lost share in per cent) of the product on that trace."""
    case, replicas = _start(name)
    pilot = Autopilot(spec(case.slo_us, case.environment.pool_replicas), pool(case.environment))
    found = run_autopilot(case, pilot, UNBATCHED, replicas=replicas)
    return found.cost, 100 * found.violations


def _measure(job: tuple[Constant, float, str]) -> tuple[float, float] | None:
    """None: the code does not run with that value."""
    constant, factor, name = job
    _start(name)
    with changed(constant, factor):
        try:
            return run_one(name)
        except (ArithmeticError, IndexError, ValueError) as error:
            print(f"{constant.module}.{constant.name} × {factor:g}: {error!r}", file=sys.stderr)
            return None


def sweep(wanted: Sequence[Constant], traces: Sequence[str]) -> dict[Constant, dict[tuple[float, str], Effect | None]]:
    """The effect of each change."""
    jobs = list(product(wanted, FACTORS, traces))
    with ProcessPoolExecutor(WORKERS) as executor:
        plain = dict(zip(traces, executor.map(run_one, traces), strict=True))
        found = list(executor.map(_measure, jobs))
    effects: dict[Constant, dict[tuple[float, str], Effect | None]] = {constant: {} for constant in wanted}
    for (constant, factor, name), result in zip(jobs, found, strict=True):
        cost, late = plain[name]
        effect = None if result is None else Effect(result[0] / cost, result[1] - late)
        effects[constant][factor, name] = effect
    return effects


def markdown(effects: dict[Constant, dict[tuple[float, str], Effect | None]], traces: Sequence[str]) -> str:
    """Cost over what it was, and points of lateness more, at half and at twice the value."""
    head = ["constant", "value", *(f"{name} {'½' if factor < 1 else '2'}×" for name in traces for factor in FACTORS)]
    rows = [head]
    for constant, found in effects.items():
        cells = [found[factor, name] for name in traces for factor in FACTORS]
        shown = ["fails" if e is None else "" if e.nothing else f"{e.cost:.2f} {e.points:+.2f}" for e in cells]
        rows.append([f"{constant.module}.{constant.name}", f"{constant.value}", *shown])
    return table(rows)


def run(say: Callable[[str], None], only: Sequence[str], named: str = "") -> list[Figure]:
    """`only`: these traces; `named`: constants whose name has that in it.

    Raises:
        UnknownTraceError: one of `only` is the beginning of no trace's name.
    """
    names = [case.traffic.name for case in chosen(generated(), only or TRACES)]
    wanted = [c for c in constants() if named in f"{c.module}.{c.name}"]
    say(f"{len(wanted)} constants, {len(names)} traces")
    effects = sweep(wanted, names)
    print(markdown(effects, names))
    without = [c for c, found in effects.items() if all(e is not None and e.nothing for e in found.values())]
    return [
        Figure("constants that tune the control loop", float(len(wanted)), ""),
        Figure("of these without an effect on any trace", float(len(without)), ""),
    ]
