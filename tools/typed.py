"""What a document has its reader type: the commands and the resources in it, in the order of reading."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

PROGRAMS = frozenset({
    "git", "helm", "kubectl", "make", "perf_analyzer", "pip", "podman", "python", "throughline", "throughline-drift",
    "throughline-evaluate", "throughline-sample", "uv",
})  # fmt: skip
MANIFEST_LANGUAGES = frozenset({"yaml", "json"})
# Pasted by hand: what commands print.
_OUTPUT = re.compile(r"^<!-- (\w+)-output:begin -->$.*?^<!-- \1-output:end -->$", re.MULTILINE | re.DOTALL)
_PARTS = re.compile(
    r"^```(?P<language>\w*)\n(?P<body>.*?)^```$|^#+ (?P<heading>[^\n]+)$|(?<!`)`(?P<code>[^`]+)`(?!`)",
    re.MULTILINE | re.DOTALL,
)
_ASSIGNMENT = re.compile(r"[A-Z_][A-Z0-9_]*=")


@dataclass(frozen=True, slots=True)
class Typed:
    """One command, or one fence with resources; `fenced` is False where it stands in a sentence."""

    section: str
    text: str
    is_manifest: bool = False
    fenced: bool = False


def is_command(text: str) -> bool:
    """Whether it starts with a program that a reader would run, and says what it should do."""
    try:
        words = shlex.split(text)
    except ValueError:
        return False
    while words and _ASSIGNMENT.match(words[0]):
        words = words[1:]
    return len(words) > 1 and words[0] in PROGRAMS


def typed(markdown: str) -> list[Typed]:
    """Continued lines are joined. A fence with no language holds commands if its first line is one, else output."""
    found = []
    section = ""
    for part in _PARTS.finditer(_OUTPUT.sub("", markdown)):
        if part["heading"]:
            section = part["heading"]
        elif part["code"]:
            text = " ".join(part["code"].split())
            found += [Typed(section, text)] if is_command(text) else []
        elif part["language"] in MANIFEST_LANGUAGES:
            found.append(Typed(section, part["body"], is_manifest=True, fenced=True))
        elif not part["language"]:
            lines = [" ".join(line.split()) for line in part["body"].replace("\\\n", " ").splitlines() if line.strip()]
            found += [Typed(section, line, fenced=True) for line in lines] if is_command(lines[0]) else []
    return found
