"""The commands in the documents: found, complete in the tables of README's test, and taken by our own parsers."""

from __future__ import annotations

import argparse
import re
import shlex
from typing import TYPE_CHECKING

import pytest
from throughline.cli import parser
from throughline.evaluator import cli as evaluate
from throughline.evaluator.sampling import cli as sample
from throughline.evaluator.watching import cli as drift

from e2e import helm, readme
from tests.docs.test_docs import MARKDOWN, ROOT
from tools.typed import Typed, typed

if TYPE_CHECKING:
    from pathlib import Path

PARSERS = {
    "throughline": parser,
    "throughline-evaluate": evaluate.parser,
    "throughline-sample": sample.parser,
    "throughline-drift": drift.parser,
}
NAMES = (["throughline", "keys", "generate"], ["throughline", "simulate", "--prometheus"])  # named, not typed


def ours() -> list[object]:
    """Our own programs' command lines in all documents; two words are a name, not a command line."""
    found = []
    for path in MARKDOWN:
        for part in typed(path.read_text()):
            *_, command = part.text.split(" | ")
            words = [word for word in shlex.split(command, comments=True) if word not in {"uv", "run"}]
            if not part.is_manifest and len(words) > 2 and words not in NAMES and words[0] in PARSERS:
                found.append(pytest.param(words, id=f"{path.relative_to(ROOT)}-{part.text[:50]}"))
    return found


def test_commands_are_found_in_fences_and_in_sentences() -> None:
    text = (
        "# Try\nType `kubectl get\ntis`; `kubectl` alone is a name, `spec.slo: 1` a field.\n"
        "```\nA=1 kubectl patch x \\\n  -p '{}'\nhelm uninstall x\n```\n"
        "## Then\n```yaml\nkind: A\n```\n```\nNAME  READY\n```\n"
        "<!-- demo-output:begin -->\n```\nkubectl get no\n```\n<!-- demo-output:end -->\n"
    )
    assert typed(text) == [
        Typed("Try", "kubectl get tis"),
        Typed("Try", "A=1 kubectl patch x -p '{}'", fenced=True),
        Typed("Try", "helm uninstall x", fenced=True),
        Typed("Then", "kind: A\n", is_manifest=True, fenced=True),
    ]


def test_each_command_of_the_readme_is_run_or_has_its_reason() -> None:
    sections = {readme.INSTALL, readme.TOUR, "Troubleshooting", readme.UNINSTALL}
    commands = readme.commands()
    assert [part.text for part in commands if part.section not in sections and part.text not in readme.NOT_RUN] == []
    texts = {part.text for part in commands}
    assert set(readme.NOT_RUN) <= texts, "a reason for what README.md does not say"
    assert texts >= readme.WATCHES
    assert len(texts - set(readme.NOT_RUN)) >= 15


@pytest.mark.parametrize("reason", [r for r in readme.NOT_RUN.values() if "::" in r])
def test_what_another_test_runs_it_does_run(reason: str) -> None:
    file, _, name = reason.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_the_tour_is_one_file_that_validates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / readme.TOUR_FILE
    path.write_text(readme.tour_file())
    arguments = parser().parse_args(["validate", str(path)])
    assert arguments.run(arguments) == 0, capsys.readouterr().out


@pytest.mark.parametrize("words", ours())
def test_our_programs_take_what_the_documents_have_their_readers_type(words: list[str]) -> None:
    try:
        assert isinstance(PARSERS[words[0]]().parse_args(words[1:]), argparse.Namespace)
    except SystemExit as ended:
        pytest.fail(f"{shlex.join(words)}: refused with exit code {ended.code}")


def test_helms_values_are_read_as_helm_reads_them() -> None:
    assert helm.parse_set(["image.tag=a,crds.enabled=false", "replicas=2", "image.digest=sha256:1"]) == {
        "image": {"tag": "a", "digest": "sha256:1"},
        "crds": {"enabled": False},
        "replicas": 2,
    }
