"""Figures as a table for people and as JSON for machines."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

OUT = Path(__file__).resolve().parent.parent / "out"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value; `goal` in words, `met` None where there is nothing to meet, or where `note` says why not."""

    name: str
    value: float
    unit: str
    goal: str = ""
    met: bool | None = None
    note: str = ""


def at_least(name: str, value: float, unit: str, goal: float) -> Figure:
    return Figure(name, float(value), unit, f"at least {goal:g}", bool(value >= goal))


def at_most(name: str, value: float, unit: str, goal: float) -> Figure:
    return Figure(name, float(value), unit, f"at most {goal:g}", bool(value <= goal))


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the first row is the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def figures_table(figures: Sequence[Figure]) -> str:
    verdict = {True: "yes", False: "NO", None: ""}
    rows = [("figure", "value", "unit", "goal", "met")]
    rows += [(f.name, f"{f.value:.4g}", f.unit, f.goal, f.note or verdict[f.met]) for f in figures]
    return table(rows)


def write(name: str, figures: Sequence[Figure]) -> Path:
    """Write out/NAME.json: a list of {name, value, unit, goal, met, note}."""
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.json"
    # JSON has no infinity: what never came is null.
    rows = [{**asdict(f), "value": f.value if math.isfinite(f.value) else None} for f in figures]
    path.write_text(json.dumps(rows, indent=2) + "\n")
    return path
