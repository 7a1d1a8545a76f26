"""Resources in files, read as kubectl reads them, with the line of every field for messages that point at it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from throughline.api import kubectl_yaml

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
    above: int = 0  # lines of the file above the document

    def position(self, path: FieldPath) -> tuple[int, int]:
        """Line and column (from 1) of the field, or of the nearest one above it that is there."""
        node, mark = self.node, self.node.start_mark
        for part in path:
            key, inner = _child(node, part)
            if inner is None:
                break
            node, mark = inner, (key or inner).start_mark
        return self._place(mark)

    def _place(self, mark: yaml.Mark) -> tuple[int, int]:
        return self.above + mark.line + 1, mark.column + 1

    def read_as(self, path: FieldPath) -> tuple[str, Any] | None:
        """The text of the field and what kubectl reads it as, where that is not what stands there: Y as true."""
        return _misread(self._at(path))

    def text(self, path: FieldPath) -> str | None:
        """The field as it stands in the file, where it is a scalar: on, which kubectl reads as true."""
        node = self._at(path)
        return str(node.value) if isinstance(node, yaml.ScalarNode) and kubectl_yaml.is_plain(node) else None

    def _at(self, path: FieldPath) -> yaml.Node | None:
        node: yaml.Node | None = self.node
        for part in path:
            node = None if node is None else _child(node, part)[1]
        return node

    def misread_keys(self) -> Iterator[tuple[FieldPath, tuple[int, int], str]]:
        """Names of fields that kubectl takes for something else, as they stand in the file: y for true."""
        for path, key in _keys(self.node, ()):
            if kubectl_yaml.is_plain(key) and kubectl_yaml.key_text(key) != key.value:
                yield path, self._place(key.start_mark), str(key.value)

    def repeated(self) -> Iterator[tuple[FieldPath, tuple[int, int]]]:
        """Fields that stand twice in one map: kubectl takes the last, and says nothing."""
        seen: set[FieldPath] = set()
        for path, key in _keys(self.node, ()):
            if path in seen:
                yield path, self._place(key.start_mark)
            seen.add(path)


def _child(node: yaml.Node, part: str | int) -> tuple[yaml.Node | None, yaml.Node | None]:
    if isinstance(node, yaml.MappingNode):
        # Of a field that stands twice kubectl takes the last.
        pairs = reversed(node.value)
        return next(((key, value) for key, value in pairs if kubectl_yaml.key_text(key) == part), (None, None))
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return None, node.value[part]
    return None, None


def _keys(node: yaml.Node, path: FieldPath) -> Iterator[tuple[FieldPath, yaml.Node]]:
    """Every key of every map, with the path that it is found by; not those that are merged in."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if kubectl_yaml.is_merge(key):
                continue
            inner = (*path, kubectl_yaml.key_text(key))
            yield inner, key
            yield from _keys(value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _keys(value, (*path, index))


def _misread(node: yaml.Node | None) -> tuple[str, Any] | None:
    if not isinstance(node, yaml.ScalarNode) or not kubectl_yaml.is_plain(node):
        return None
    value = kubectl_yaml.scalar(node)
    if value is None or isinstance(value, str) or json.dumps(value) == node.value:
        return None
    return str(node.value), value


def read(sources: Iterable[str]) -> Iterator[Document | UnreadableError]:
    """Every object of the files, of the YAML files below directories, and of the standard input (`-`).

    A file that cannot be read is yielded as its error, after the objects above the place, so that the others are read.
    """
    for source in sources:
        for file in _files(source):
            try:
                yield from parse(_name(file), _text(file))
            except UnreadableError as error:
                yield error


def read_all(source: str) -> list[Document]:
    """Every object of one source.

    Raises:
        UnreadableError: of the first file that cannot be read.
    """
    found = []
    for document in read([source]):
        if isinstance(document, UnreadableError):
            raise document
        found.append(document)
    return found


def _files(source: str) -> Iterable[str]:
    path = Path(source)
    if source == STDIN or not path.is_dir():
        return [source]
    return [str(p) for p in sorted(path.rglob("*")) if p.suffix in SUFFIXES and p.is_file()]


def _name(file: str) -> str:
    return "<stdin>" if file == STDIN else file


def _text(file: str) -> str:
    try:
        content = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
        return content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "is not UTF-8 text"
        raise UnreadableError(_name(file), reason) from error


def parse(source: str, text: str) -> Iterator[Document]:
    """The documents of one text; the items of a List each count as one."""
    try:
        for found in kubectl_yaml.documents(text):
            yield from _items(Document(source, found.value, found.node, found.line))
    except kubectl_yaml.NotReadableError as error:
        raise UnreadableError(source, error.message, error.line, error.column) from error


def _items(document: Document) -> Iterator[Document]:
    data = document.data
    if not isinstance(data, dict) or not str(data.get("kind", "")).endswith("List") or "items" not in data:
        yield document
        return
    _, items = _child(document.node, "items")
    if isinstance(data["items"], list):
        nodes = items.value if isinstance(items, yaml.SequenceNode) else [document.node] * len(data["items"])
        for item, node in zip(data["items"], nodes, strict=True):
            yield from _items(Document(document.source, item, node, document.above))
