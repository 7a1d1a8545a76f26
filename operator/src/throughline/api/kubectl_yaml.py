"""YAML as kubectl reads it: sigs.k8s.io/yaml, which is go-yaml v2 (YAML 1.1), made into JSON.

What PyYAML and other readers take for text, kubectl may take for something else: `y` is true, `010` is 8, `5.0` is 5,
`1e3` is 1000, and a date stays text. Whoever checks a file before kubectl applies it has to read the same values.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_VALUES = 400_000  # of one document, aliases written out; go-yaml's bound is near it
_PLAIN = "plain"  # tag of a scalar that is neither quoted nor tagged
_PREFIX = "tag:yaml.org,2002:"
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_TYPES = {f"{_PREFIX}bool": bool, f"{_PREFIX}int": int, f"{_PREFIX}float": float, f"{_PREFIX}null": type(None)}
_INTEGER = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|0[0-7]*|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_AFTER_END = re.compile(r"^\.\.\.[ \t\r]*(#.*)?\n(\s|#.*\n)*(?=[^\s#])", re.MULTILINE)
_SURROGATE = re.compile("[\ud800-\udfff]")
_INT64 = 2**63
_MAX_DIGITS = 100  # more are no 64-bit integer in any base


class NotReadableError(ValueError):
    """kubectl does not read it; `line` and `column` from 1, 0 where they are not known."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its value as kubectl sends it, and the nodes that it was read from."""

    value: Any
    node: yaml.Node
    line: int  # lines of the text above it


def documents(text: str) -> Iterator[Document]:
    """The documents of a text, those without content left out.

    Raises:
        NotReadableError: kubectl refuses the text, or would pass over a part of it.
    """
    for line, chunk in _chunks(text.removeprefix("\ufeff")):
        try:
            yield from _json(chunk, line) or _yaml(chunk, line)
        except NotReadableError as error:
            raise NotReadableError(error.message, error.line and error.line + line, error.column) from error
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            where = (mark.line + 1 + line, mark.column + 1) if mark else (0, 0)
            raise NotReadableError(f"is no valid YAML: {error.problem}", *where) from error
        except yaml.YAMLError as error:  # a character that YAML does not allow anywhere
            raise NotReadableError(f"is no valid YAML: {error}") from error
        except RecursionError as error:
            raise NotReadableError("is nested too deeply", line + 1) from error


def _chunks(text: str) -> Iterator[tuple[int, str]]:
    """(lines above, text) of each document: a line that begins with --- ends one, whatever YAML would make of it."""
    start, lines = 0, [f"{line}\n" for line in text.split("\n")]
    for number, line in enumerate(lines):
        if not line.startswith("---"):
            continue
        if line[3:].strip() and not line[3:].strip().startswith("#"):
            raise NotReadableError("kubectl takes nothing but a comment after '---'; begin a new line", number + 1, 4)
        yield start, "".join(lines[start:number])
        start = number + 1
    yield start, "".join(lines[start:])


def _json(chunk: str, line: int) -> list[Document]:
    """The objects of a stream of JSON; none where it is not JSON, which may be YAML in braces."""
    found: list[Document] = []
    at, decoder = 0, json.JSONDecoder(parse_float=_json_float, parse_int=_json_int, parse_constant=_no_constant)
    while chunk[at:].strip():
        at += len(chunk[at:]) - len(chunk[at:].lstrip())
        if chunk[at] != "{":
            return []
        try:
            value, end = decoder.raw_decode(chunk, at)
        except ValueError:
            return []
        above = chunk[:at].count("\n")
        found.append(
            Document(_as_utf8(value) if "\\u" in chunk[at:end] else value, _nodes(chunk[at:end]), line + above)
        )
        at = end
    return found


def _as_utf8(value: Any) -> Any:
    """The value as Go reads it: half of a surrogate pair, which no UTF-8 can hold, becomes U+FFFD."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_as_utf8(item) for item in value]
    return {_as_utf8(k): _as_utf8(v) for k, v in value.items()} if isinstance(value, dict) else value


def _json_float(text: str) -> int | float:
    return _number(float(text))


def _json_int(text: str) -> int | float:
    return _number(int(text) if len(text) <= _MAX_DIGITS else float(text))


def _no_constant(text: str) -> Any:
    raise ValueError(text)


def _nodes(text: str) -> yaml.Node:
    """For the lines of the fields; JSON with tabs is no YAML, and has the line of its beginning alone."""
    try:
        node = _Composer(text).get_single_node()
    except yaml.YAMLError:
        node = None
    mark = yaml.Mark("", 0, 0, 0, "", 0)
    return node or yaml.MappingNode(f"{_PREFIX}map", [], mark, mark)


def _yaml(chunk: str, line: int) -> Iterator[Document]:
    if rest := _AFTER_END.search(chunk):
        message = "kubectl reads nothing after '...'; begin the next document with '---'"
        raise NotReadableError(message, chunk[: rest.end()].count("\n") + 1, 1)
    node = _composed(chunk)
    value = None if node is None else _Converter().value(node)
    if node is not None and value is not None:
        yield Document(value, node, line)


def _composed(chunk: str) -> yaml.Node | None:
    composer = _Composer(chunk)
    try:
        return composer.get_node() if composer.check_node() else None
    except (ValueError, OverflowError) as error:  # PyYAML makes the character of any number
        raise NotReadableError("is no valid YAML: an escape of a character that Unicode does not have", 1) from error
    finally:
        composer.dispose()


class _Composer(yaml.SafeLoader):
    """Nodes alone; what a plain scalar is, kubectl's rules say."""

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return _PLAIN
        tag: str = super().resolve(kind, value, (False, False))  # type: ignore[no-untyped-call]
        return tag


class _Converter:
    """Nodes to what JSON can hold, with a bound: a few lines of aliases can stand for billions of values."""

    def __init__(self) -> None:
        self._count = 0
        self._open: set[int] = set()

    def value(self, node: yaml.Node) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            raise _at(node, f"stands for more than {MAX_VALUES} values; remove aliases")
        if isinstance(node, yaml.ScalarNode):
            return scalar(node)
        if id(node) in self._open:
            raise _at(node, "has an anchor whose value contains itself")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item) for item in node.value]
            return self._map(node)
        finally:
            self._open.remove(id(node))

    def _map(self, node: yaml.Node) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            if is_merge(key):
                found.update(self._merged(value))  # in the order of the text: a later one wins over what stands above
            else:
                found[_key(key)] = self.value(value)
        return found

    def _merged(self, node: yaml.Node) -> dict[str, Any]:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found: dict[str, Any] = {}
        for one in reversed(nodes):
            if not isinstance(one, yaml.MappingNode):
                raise _at(node, "'<<' merges a map or a list of maps")
            found.update(self.value(one))
        return found


def _at(node: yaml.Node, message: str) -> NotReadableError:
    return NotReadableError(message, node.start_mark.line + 1, node.start_mark.column + 1)


def is_merge(key: yaml.Node) -> bool:
    """Whether it is `<<`, not in quotes."""
    return isinstance(key, yaml.ScalarNode) and key.value == "<<" and key.tag in {_PLAIN, f"{_PREFIX}merge"}


def is_plain(node: yaml.Node) -> bool:
    """Whether it is a scalar without quotes and without a tag, whose type its text decides."""
    return node.tag == _PLAIN


def is_text(plain: str) -> bool:
    """Whether kubectl reads it as text where it is not in quotes."""
    return isinstance(_resolved(plain), str)


def key_text(key: yaml.Node) -> str:
    """The name of a field, as kubectl sends it; the text as it is where kubectl refuses it."""
    try:
        return _key(key)
    except NotReadableError:
        return str(key.value)


def _key(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise _at(node, "kubectl takes text as a key, no list and no map")
    value = _typed(node)
    if value is None:
        raise _at(node, f"kubectl takes no null as a key; put {node.value or 'it'} in quotes")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value >= _INT64:
        raise _at(node, f"kubectl takes no number of 64 bits as a key; put {node.value} in quotes")
    return _float_key(value) if isinstance(value, float) else str(value)


def _float_key(value: float) -> str:
    """As Go's FormatFloat(value, 'g', -1, 32)."""
    if value - value != 0:
        return ".nan" if value != value else "-.inf" if value < 0 else ".inf"  # noqa: PLR0124 - as NaN is
    try:
        (single,) = struct.unpack("<f", struct.pack("<f", value))
    except OverflowError:
        return ".inf" if value > 0 else "-.inf"
    digits = next(n for n in range(1, 10) if struct.pack("<f", float(f"{single:.{n}g}")) == struct.pack("<f", single))
    mantissa, _, exponent = f"{single:.{digits - 1}e}".partition("e")
    return f"{mantissa}e{exponent}" if not -5 < int(exponent) < 6 else format(Decimal(f"{single:.{digits}g}"), "f")


def scalar(node: yaml.ScalarNode) -> Any:
    """The value of a scalar, as kubectl sends it: text, number, boolean or null."""
    value = _typed(node)
    if isinstance(value, float) and value - value != 0:
        raise _at(node, f"kubectl cannot send {node.value} as JSON")
    return _number(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _typed(node: yaml.ScalarNode) -> Any:
    tag, text = node.tag, str(node.value)
    if _SURROGATE.search(text):
        raise _at(node, "is no valid YAML: an escape from \\ud800 to \\udfff is half a character")
    if tag == f"{_PREFIX}binary":
        try:
            return base64.b64decode(text).decode(errors="replace")
        except binascii.Error as error:
            raise _at(node, "!!binary is no base64") from error
    if tag == _PLAIN:
        return _resolved(text)
    if tag not in _TYPES:
        return text
    value = _resolved(text)
    if tag == f"{_PREFIX}float" and type(value) is int:
        value = float(value)
    if type(value) is not _TYPES[tag]:
        raise _at(node, f"{text!r} is no !!{tag.removeprefix(_PREFIX)}")
    return value


def _resolved(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if text[:1] not in set("+-.0123456789"):
        return text
    plain = re.sub("(?<=[0-9])_(?=[0-9])", "", text) if text.startswith(".") else text.replace("_", "")
    number = _INTEGER.fullmatch(plain)
    if number and len(plain) <= _MAX_DIGITS and -_INT64 <= (value := _integer(number)) < 2 * _INT64:
        return value
    if _FLOAT.fullmatch(plain) and (real := float(plain)) - real == 0:
        return real
    return text


def _integer(number: re.Match[str]) -> int:
    digits = number[2].lower()
    base = {"0x": 16, "0b": 2, "0o": 8}.get(digits[:2], 8 if digits[0] == "0" else 10)
    return (-1 if number[1] == "-" else 1) * int(digits, base)


def _number(value: float) -> int | float:
    """As it is after JSON: what has no fraction and fits 64 bits is an integer, all else a float."""
    if isinstance(value, float):
        # JSON has the shortest digits that mean this float, and zeros after them.
        whole = int(Decimal(repr(value))) if value.is_integer() and abs(value) < 1e21 else None
    else:
        whole = value
    return whole if whole is not None and -_INT64 <= whole < _INT64 else float(value)
