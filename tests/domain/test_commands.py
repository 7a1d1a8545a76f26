"""Every kubectl command in a message runs as it is typed: what is in a namespace is named with it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import throughline

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(throughline.__file__).parent
SPEAKERS = ("domain", "reconcile", "runtime", "adapters")
COMMAND = re.compile(r"kubectl (?=[a-z])[^`]*")
CLUSTER_WIDE = re.compile(
    r"kubectl (?:uncordon |(?:get|describe|edit) (?:nodes? |namespace |priorityclasses|runtimeclasses|servingpools?|"
    r"validatingwebhookconfigurations|mutatingwebhookconfigurations)|get --raw )"
)
IN_NAMESPACE = re.compile(r" -n (?:\{\}|[{A-Z]\S*)")


def docstrings(tree: ast.AST) -> set[int]:
    return {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)}


def texts(tree: ast.Module) -> Iterator[str]:
    """Every string of the code, with {} for what is filled in."""
    parts = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
    left_out = parts | docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            yield node.value


COMMANDS = [
    pytest.param(found[0], id=f"{file.relative_to(SOURCE)}: {found[0]}")
    for folder in SPEAKERS
    for file in sorted((SOURCE / folder).rglob("*.py"))
    for text in texts(ast.parse(file.read_text()))
    for found in COMMAND.finditer(text)
]


def test_the_commands_are_found() -> None:
    assert len(COMMANDS) >= 30


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_about_what_is_in_a_namespace_names_it(command: str) -> None:
    assert CLUSTER_WIDE.match(command) or IN_NAMESPACE.search(command), command
