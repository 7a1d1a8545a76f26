"""What the documents say is so: links, commands, resources, settings, conditions, and what is made from the code."""

from __future__ import annotations

import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml
from throughline.api import crd, validation
from throughline.cli import COMMANDS, documents, parser
from throughline.domain.condition_reasons import known
from throughline.domain.condition_types import ACCURACY_PASSING, TYPES
from throughline.domain.conditions import describe, describe_pool
from throughline.domain.evaluation.reasons import describe_revision, describe_run

from tools import generate, reference

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
MAX_DECISION_LINES = 40
FLAGS = re.MULTILINE | re.DOTALL


def tracked(*patterns: str) -> list[Path]:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    out = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / line for line in out.splitlines() if (ROOT / line).is_file()]


MARKDOWN = tracked("*.md", "*.md.in")
NAMES = [str(path.relative_to(ROOT)) for path in MARKDOWN]


def slug(heading: str) -> str:
    """The anchor that forges make of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    text = FENCE.sub("", path.read_text())
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def commands(text: str) -> list[str]:
    """Lines of the fences without a language, continued lines joined, and what stands in backticks."""
    fences = "\n".join(body for language, body in FENCE.findall(text) if not language)
    lines = fences.replace("\\\n", " ").splitlines()
    return [*lines, *re.findall(r"`([^`\n]+)`", FENCE.sub("", text))]


def resources() -> list[Any]:
    found = []
    for path in MARKDOWN:
        for index, (language, body) in enumerate(FENCE.findall(path.read_text())):
            if language in {"yaml", "json"}:
                found += [
                    pytest.param(document, id=f"{path.relative_to(ROOT)}-{index}-{document.data.get('kind')}")
                    for document in documents.parse(str(path), body)
                    if validation.is_ours(document.data)
                ]
    return found


@pytest.mark.parametrize("path", MARKDOWN, ids=NAMES)
def test_relative_links_resolve(path: Path) -> None:
    for target in LINK.findall(FENCE.sub("", path.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        aim = (path.parent / file).resolve() if file else path
        assert aim.is_relative_to(ROOT), f"{path.name}: {target} leads out of the repository"
        assert aim.exists(), f"{path.name}: {target} does not exist"
        if anchor:
            assert anchor in anchors(aim), f"{path.name}: {target} has no such heading"


@pytest.mark.parametrize("path", MARKDOWN, ids=NAMES)
def test_make_commands_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {match[1] for line in commands(path.read_text()) if (match := re.match(r"make ([a-z-]+)$", line.strip()))}
    assert named <= targets


def test_the_three_commands_are_told() -> None:
    assert {"make demo", "make test", "make bench"} <= set(commands(README))


@pytest.mark.parametrize("path", MARKDOWN, ids=NAMES)
def test_our_own_commands_exist(path: Path) -> None:
    for line in commands(path.read_text()):
        match = re.match(r"(?:uv run )?throughline (\w+)", line.strip())
        assert match is None or match[1] in COMMANDS, line


def test_every_command_has_help() -> None:
    assert all(name in parser().format_help() for name in COMMANDS)


@pytest.mark.parametrize("document", resources())
def test_our_resources_are_valid(document: documents.Document) -> None:
    assert list(document.repeated()) == []
    assert validation.check(document.data) == []


def test_the_tour_has_both_kinds() -> None:
    kinds = [yaml.safe_load(body)["kind"] for language, body in FENCE.findall(README) if language == "yaml"]
    assert kinds == ["ServingPool", "InferenceService"]


@pytest.mark.parametrize("path", MARKDOWN, ids=NAMES)
def test_chart_values_exist(path: Path) -> None:
    values = yaml.safe_load((ROOT / "charts/throughline/values.yaml").read_text())
    words = r"(?:--set )?\b((?:settings|networkPolicy|metrics|crds|rbac|image|leaderElection)\.[A-Za-z.]+)(?:=\S+)?"
    for line in commands(path.read_text()):
        named = re.findall(r"--set ([A-Za-z.]+)=", line)
        whole = re.fullmatch(words, line.strip())
        named += [whole[1]] if whole and not whole[1].endswith((".py", "*", ".")) else []
        for name in named:
            node = values
            for part in name.split("."):
                assert isinstance(node, dict), f"{name} is no value of the chart"
                assert part in node, f"{name} is no value of the chart"
                node = node[part]


@pytest.mark.parametrize("path", MARKDOWN, ids=NAMES)
def test_spec_fields_exist(path: Path) -> None:
    versions = [crd.definition(kind)["spec"]["versions"][0] for kind in crd.KINDS]
    schemas = [version["schema"]["openAPIV3Schema"]["properties"] for version in versions]

    def there(schema: dict[str, Any], parts: list[str]) -> bool:
        if not parts:
            return True
        inner = schema.get("items", schema)
        if "additionalProperties" in inner:  # a map of the user's own keys
            return True
        return parts[0] in inner.get("properties", {}) and there(inner["properties"][parts[0]], parts[1:])

    text = FENCE.sub("", path.read_text())
    for field in re.findall(r"`((?:spec|status)\.[A-Za-z0-9.\[\]]+)(?:: [^`]+)?`", text):
        parts = field.replace("[]", "").split(".")
        if field == "spec.replicas":  # of the Deployment
            continue
        assert any(there({"properties": schema}, parts) for schema in schemas), f"{path.name}: {field}"


def test_conditions_in_the_readme_are_known() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", README, re.MULTILINE)
    assert len(rows) >= 15
    assert [row for row in rows if not known(*row)] == []


def test_every_condition_is_explained() -> None:
    assert set(reference.CONDITIONS) == set(TYPES)
    text = reference.conditions()
    for line in (*describe(), *describe_pool(), *describe_run(), *describe_revision()):
        assert f"| `{line.reason}` |" in text


def test_what_an_evaluation_can_come_to_is_told() -> None:
    told = re.findall(
        r"^\| `(\w+)` \|", (ROOT / "docs/evaluate.md").read_text().rpartition("### AccuracyPassing")[2], FLAGS
    )
    assert sorted(told) == sorted(line.reason for line in describe() if line.type == ACCURACY_PASSING)


@pytest.mark.parametrize("name", reference.files(), ids=str)
def test_generated_documents_do_not_drift(name: Path) -> None:
    assert generate.stale({name: reference.files()[name]}) == [], "run: make generate"


def test_every_field_is_in_the_reference() -> None:
    text = reference.api()
    for kind in crd.KINDS:
        for part in filter(None, (kind.spec, kind.status)):
            for field in part.model_json_schema(by_alias=True)["properties"]:
                assert f"| `{field}` |" in text


def test_numbers_come_from_the_code() -> None:
    assert "@" not in re.sub(r"`[^`]*`", "", reference.files()[Path("docs/how-it-decides.md")])
    with pytest.raises(AttributeError):
        reference.numbers("@optimise.choose.NO_SUCH@")


def test_the_output_of_demo_and_bench_can_be_pasted() -> None:
    for name in ("demo", "bench"):
        assert re.search(rf"^<!-- {name}-output:begin -->\n.+\n<!-- {name}-output:end -->$", README, FLAGS)


def test_the_picture_can_be_read() -> None:
    root = ET.parse(ROOT / "docs/loop.svg").getroot()  # noqa: S314 - our own file
    names = {child.tag.rpartition("}")[2]: child.text for child in root}
    assert names["title"]
    assert names["desc"]
    ground = next(child for child in root if child.tag.endswith("rect"))
    assert ground.attrib["fill"] == "#ffffff"  # a ground of its own: dark pages do not shine through
    assert re.search(r"!\[[^\]]{40,}\]\(docs/loop\.svg\)", README)


@pytest.mark.parametrize("path", tracked("docs/decisions/*.md"), ids=lambda p: p.name)
def test_decisions_are_short_and_numbered(path: Path) -> None:
    assert re.match(r"\d{4}-", path.name)
    assert len(path.read_text().splitlines()) <= MAX_DECISION_LINES


def test_no_two_decisions_share_a_number() -> None:
    numbers = [path.name[:4] for path in tracked("docs/decisions/*.md")]
    assert len(numbers) == len(set(numbers))
