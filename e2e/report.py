"""Figures as a table for people and as JSON for machines."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

OUT = Path(__file__).resolve().parent.parent / "out"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value; `goal` in words, `met` None where there is nothing to meet, or where `note` says why not.

    `low` and `high`: of several measurements, whose median the value is.
    """

    name: str
    value: float
    unit: str
    goal: str = ""
    met: bool | None = None
    note: str = ""
    low: float | None = None
    high: float | None = None


def at_least(name: str, value: float, unit: str, goal: float) -> Figure:
    return Figure(name, float(value), unit, f"at least {goal:g}", bool(value >= goal))


def at_most(name: str, value: float, unit: str, goal: float) -> Figure:
    return Figure(name, float(value), unit, f"at most {goal:g}", bool(value <= goal))


def over_seeds(name: str, values: Sequence[float], unit: str, goal: float | None, note: str = "") -> Figure:
    """The median of what each seed gave, with their spread; at most `goal`, which the median has to meet."""
    middle, low, high = float(median(values)), float(min(values)), float(max(values))
    told = "" if goal is None else f"at most {goal:g}"
    met = None if goal is None else bool(middle <= goal)
    return Figure(name, middle, unit, told, met, note, *((low, high) if len(values) > 1 else ()))


def spread(values: Sequence[float], form: str) -> str:
    """The median of values, and the lowest and highest of several: `1.02 (0.98…1.10)`."""
    if len(values) == 1:
        return format(values[0], form)
    return f"{median(values):{form}} ({min(values):{form}}…{max(values):{form}})"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the first row is the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def figures_table(figures: Sequence[Figure]) -> str:
    verdict = {True: "yes", False: "NO", None: ""}
    rows = [("figure", "value", "unit", "goal", "met")]
    rows += [(f.name, _value(f), f.unit, f.goal, f.note or verdict[f.met]) for f in figures]
    return table(rows)


def _value(figure: Figure) -> str:
    value = f"{figure.value:.4g}"
    return value if figure.low is None or figure.high is None else f"{value} ({figure.low:.4g}…{figure.high:.4g})"


def write(name: str, figures: Sequence[Figure]) -> Path:
    """Write out/NAME.json: a list of {name, value, unit, goal, met, note, low, high}."""
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.json"
    # JSON has no infinity: what never came is null.
    rows = [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(f).items()} for f in figures
    ]
    path.write_text(json.dumps(rows, indent=2) + "\n")
    return path
