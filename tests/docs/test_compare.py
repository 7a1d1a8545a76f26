"""Our column of docs/compare.md: each yes is proved by tests that exist, each no by none, and the page says so."""

from __future__ import annotations

import ast

import pytest

from tests.docs.test_docs import ROOT
from tools import comparison
from tools.comparison import Feature

FOUND = comparison.load()
PROVED = [feature for feature in FOUND.features if feature.ours != comparison.LACKING]


def names_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def unproved(feature: Feature) -> list[str]:
    """Node ids that do not exist; or the feature itself, where none is named."""
    if not feature.tests:
        return [feature.name]
    missing = []
    for test in feature.tests:
        file, _, name = test.partition("::")
        if not (name.startswith("test_") and (ROOT / file).is_file() and name in names_in(file)):
            missing.append(test)
    return missing


@pytest.mark.parametrize("feature", PROVED, ids=lambda feature: feature.name)
def test_what_we_say_we_have_a_test_proves(feature: Feature) -> None:
    assert unproved(feature) == []


def test_a_renamed_test_and_a_feature_without_one_are_found() -> None:
    renamed = Feature("x", (), "●", tests=("tests/docs/test_compare.py::test_gone", "tests/docs/gone.py::test_x"))
    assert unproved(renamed) == list(renamed.tests)
    assert unproved(Feature("x", (), "●")) == ["x"]


@pytest.mark.parametrize("feature", FOUND.features, ids=lambda feature: feature.name)
def test_each_row_is_whole(feature: Feature) -> None:
    assert len(feature.others) == len(FOUND.projects)
    assert feature.ours in comparison.MARKS
    assert {cell[:1] for cell in feature.others if cell} <= comparison.MARKS
    assert feature.ours != comparison.LACKING or not feature.tests


def test_what_we_lack_is_listed_and_nothing_that_we_have() -> None:
    made = comparison.render(
        comparison.Comparison(
            ("A",), (Feature("Flies", ("●",), "○", "it walks"), Feature("Walks", ("○",), "●", tests=("t::test_w",)))
        ),
        "@TABLE@\n\nLacking:\n@LACKING@\n",
    )
    assert made == (
        "|  | A | Throughline 0.1.0 |\n| --- | --- | --- |\n| Flies | ● | ○ it walks |\n| Walks | ○ | ● |\n\n"
        "Lacking:\n- Flies (it walks)\n"
    )
