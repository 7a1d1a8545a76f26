"""How the commands print: aligned tables for people, JSON and YAML for programs."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any

from throughline.api.crd import to_yaml

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence


def add_output_flag(parser: argparse.ArgumentParser, *, formats: Sequence[str] = ("text", "json")) -> None:
    """-o, the same for every command."""
    parser.add_argument("-o", "--output", choices=formats, default="text", help="format (default: %(default)s)")


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, indent: str = "") -> str:
    """Columns padded to their widest cell, as kubectl prints them."""
    cells = [list(headers), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    lines = ("   ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells)
    return "\n".join(indent + line for line in lines)


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def paragraph(text: str, *, indent: str = "  ", width: int = 110) -> str:
    """Prose, wrapped."""
    return textwrap.fill(text, width=width, initial_indent=indent, subsequent_indent=indent)


def structured(data: Any, form: str) -> str:
    """JSON, or YAML documents when the data is a list."""
    if form == "json":
        return json.dumps(data, indent=2, ensure_ascii=False)
    documents = data if isinstance(data, list) else [data]
    return "---\n".join(to_yaml(document) for document in documents).rstrip()
