"""The files of a report. result.json comes last and whole: where it is, everything is."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from throughline.evaluator.errors import NotEvaluatedError
from throughline.evaluator.report import html, text

if TYPE_CHECKING:
    from pathlib import Path

    from throughline.evaluator.report.content import Report

RESULT, STATISTICS = "result.json", "run.json"


def as_json(value: Any) -> str:
    """The same value gives the same text. Numbers that JSON has not would make it no JSON for others.

    Raises:
        ValueError: there is a NaN or an infinity.
    """
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True, allow_nan=False) + "\n"


def write(report: Report, directory: Path, statistics: dict[str, Any]) -> None:
    """result.json, report.html, report.txt; with variants also comparison.json and variants/NAME.json; and run.json,
    which says how it went (times, retries) and is not part of the result.

    Raises:
        NotEvaluatedError: a file cannot be written.
    """
    files = {"report.txt": text.render(report), "report.html": html.render(report), STATISTICS: as_json(statistics)}
    for name, variant in report.variants.items():
        files[f"variants/{name}.json"] = as_json(variant.to_wire())
    if report.comparison is not None:
        files["comparison.json"] = as_json(report.comparison.to_wire())
    files[RESULT] = as_json(report.result.to_wire())
    try:
        for name, content in files.items():
            replace(directory / name, content)
    except OSError as error:
        raise NotEvaluatedError(f"{directory} cannot be written: {error.strerror}; name another --output") from error


def replace(path: Path, content: str) -> None:
    """All of it or none of it is there, whenever the process or the machine ends. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
