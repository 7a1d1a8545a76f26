"""docs/compare.md from docs/compare.toml: what other projects have, and what tests of ours prove."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = Path("docs/compare.toml")
TEMPLATE = Path("docs/compare.md.in")
LACKING = "○"
MARKS = frozenset({"●", "◐", LACKING})


@dataclass(frozen=True, slots=True)
class Feature:
    """One row. `tests` are node ids of pytest; what we lack has none."""

    name: str
    others: tuple[str, ...]
    ours: str
    note: str = ""
    tests: tuple[str, ...] = ()

    @property
    def cell(self) -> str:
        return f"{self.ours} {self.note}".strip()


@dataclass(frozen=True, slots=True)
class Comparison:
    projects: tuple[str, ...]
    features: tuple[Feature, ...]


def load() -> Comparison:
    read = tomllib.loads((ROOT / SOURCE).read_text())
    features = (
        Feature(**{key: tuple(value) if isinstance(value, list) else value for key, value in row.items()})
        for row in read["feature"]
    )
    return Comparison(tuple(read["projects"]), tuple(features))


def render(comparison: Comparison, template: str) -> str:
    """The template with the table, and with the list of what we lack: it cannot contradict the table."""
    head = ["", *comparison.projects, "Throughline 0.1.0"]
    rows = [head, ["---"] * len(head), *([f.name, *f.others, f.cell] for f in comparison.features)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    lacking = "\n".join(
        f"- {f.name}" + (f" ({f.note})" if f.note else "") for f in comparison.features if f.ours == LACKING
    )
    return template.replace("@TABLE@", table).replace("@LACKING@", lacking)


def document() -> str:
    return render(load(), (ROOT / TEMPLATE).read_text())
