"""YAML files with the line of every field, for messages that point at it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from throughline.api.validation import Path as FieldPath

STDIN = "-"
SUFFIXES = {".yaml", ".yml", ".json"}


class UnreadableError(Exception):
    """A file that is not there, not readable, or no YAML at all; `line` and `column` where that is known."""

    def __init__(self, source: str, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(f"{source}: {message}")
        self.source, self.message, self.line, self.column = source, message, line, column


@dataclass(frozen=True, slots=True)
class Document:
    """One object of a file."""

    source: str
    data: Any
    node: yaml.Node

    def position(self, path: FieldPath) -> tuple[int, int]:
        """Line and column (from 1) of the field, or of the nearest one above it that is there."""
        node, mark = self.node, self.node.start_mark
        for part in path:
            key, inner = _child(node, part)
            if inner is None:
                break
            node, mark = inner, (key or inner).start_mark
        return mark.line + 1, mark.column + 1

    def repeated(self) -> Iterator[tuple[FieldPath, tuple[int, int]]]:
        """Fields that stand twice in one map: the API server refuses them, YAML would take the last."""
        yield from _repeated(self.node, ())


def _child(node: yaml.Node, part: str | int) -> tuple[yaml.Node | None, yaml.Node | None]:
    if isinstance(node, yaml.MappingNode):
        # Of a field that stands twice YAML takes the last.
        return next(((key, value) for key, value in reversed(node.value) if key.value == part), (None, None))
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return None, node.value[part]
    return None, None


def _repeated(node: yaml.Node, path: FieldPath) -> Iterator[tuple[FieldPath, tuple[int, int]]]:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            inner = (*path, str(key.value))
            if key.value in seen:
                yield inner, (key.start_mark.line + 1, key.start_mark.column + 1)
            seen.add(key.value)
            yield from _repeated(value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _repeated(value, (*path, index))


class _Loader(yaml.SafeLoader):
    """Dates stay text, as for the API server."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the base class has it so
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read(sources: Iterable[str]) -> Iterator[Document]:
    """Every object of the files, of the YAML files below directories, and of the standard input (`-`)."""
    for source in sources:
        if source == STDIN:
            yield from parse("<stdin>", sys.stdin.read())
            continue
        path = Path(source)
        below = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file())
        for file in below if path.is_dir() else [path]:
            try:
                text = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) and error.strerror else "is not UTF-8 text"
                raise UnreadableError(str(file), reason) from error
            yield from parse(str(file), text)


def parse(source: str, text: str) -> Iterator[Document]:
    """The documents of one text; the items of a List each count as one."""
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:  # a character that YAML does not allow anywhere
        raise UnreadableError(source, f"is no valid YAML: {error}") from error
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                yield from _items(Document(source, loader.construct_document(node), node))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise UnreadableError(source, f"is no valid YAML: {error.problem}", line, column) from error
    except yaml.YAMLError as error:
        raise UnreadableError(source, f"is no valid YAML: {error}") from error
    finally:
        loader.dispose()


def _items(document: Document) -> Iterator[Document]:
    data = document.data
    if not isinstance(data, dict) or not str(data.get("kind", "")).endswith("List") or "items" not in data:
        yield document
        return
    _, items = _child(document.node, "items")
    if items is not None and isinstance(data["items"], list):
        for item, node in zip(data["items"], items.value, strict=True):
            yield Document(document.source, item, node)
