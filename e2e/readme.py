"""README.md on a cluster: which of its commands the test runs, with which words replaced, and why others are not run.

A command that is in none of these tables runs exactly as it stands in README.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tools.typed import Typed, typed

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
TOUR, INSTALL, UNINSTALL = "A tour in five minutes", "Install", "Uninstall"
TOUR_FILE = "tour.yaml"

# Why the test does not run it; a node id says which test does.
NOT_RUN = {
    "make demo": "starts a cluster of its own",
    "make test": "is what runs this test",
    "make bench": "takes two hours",
    "uv run throughline": "names the program; the test has it from `uv sync`",
    "pip install .": "would change the environment of the tests, which has the program from `uv sync`",
    "podman build -t REGISTRY/throughline/operator:0.1.0 -f Containerfile .": "needs a builder and a registry",
    "kubectl apply --server-side -k OVERLAY": "e2e/test_install.py::test_kustomize_base",
    "kubectl apply --server-side -f crds/": "would make the kinds that the chart has made",
    "kubectl scale tis/NAME --replicas=N": "e2e/test_field.py::"
    "test_autoscalers_are_named_where_they_interfere_and_obeyed_in_mode_off",
    "kubectl logs POD -c triton --previous": "needs a server that has crashed",
    "throughline simulate tour.yaml --shape flash-crowd --rate 300 --alpha-ms 4 --beta-ms 0.2": "takes minutes; "
    "tests/docs/test_typed.py parses it, and tests/cli/test_simulate.py runs others",
    "throughline explain": "names the command; the tour runs it",
}

# Runs until something else has been seen, as its reader would let it.
WATCHES = {"kubectl get tis -w"}


def commands() -> list[Typed]:
    return [part for part in typed(README.read_text()) if not part.is_manifest]


def of(section: str) -> list[Typed]:
    """What the reader of that section does, in order."""
    return [part for part in typed(README.read_text()) if part.section == section and part.text not in NOT_RUN]


def tour_file() -> str:
    """The resources of the tour, as its reader saves them."""
    return "---\n".join(part.text for part in of(TOUR) if part.is_manifest)


def filled(text: str, placeholders: Mapping[str, str]) -> str:
    for name, value in placeholders.items():
        text = text.replace(name, value)
    return text
