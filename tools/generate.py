"""Write every generated file, or with --check only say which are stale: `uv run python -m tools.generate`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from throughline.api import crd

ROOT = Path(__file__).resolve().parent.parent


CHART = Path("charts/throughline")


def chart_crd(text: str) -> str:
    """A CRD as a chart's template: it can be left out, and survives the release unless told otherwise."""
    if "{{" in text:
        raise ValueError("a description has {{, which Helm would read as a template")
    name = "metadata:\n  name: "
    head, _, rest = text.partition(name)
    crd_name, _, rest = rest.partition("\n")
    return (
        f"{{{{- if .Values.crds.enabled }}}}\n{head}{name}{crd_name}\n"
        '  labels:\n    {{- include "throughline.labels" . | nindent 4 }}\n'
        "  {{- if .Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{- end }}\n"
        f"{rest}{{{{- end }}}}\n"
    )


def files() -> dict[Path, str]:
    """Path below the repository root → what it must hold."""
    crds = crd.generated_files()
    return {
        **{Path("crds") / name: text for name, text in crds.items()},
        **{CHART / "templates" / "crds" / name: chart_crd(text) for name, text in crds.items()},
    }


def stale(wanted: dict[Path, str]) -> list[Path]:
    """Which of them are not so."""
    return [path for path, text in wanted.items() if not (ROOT / path).is_file() or (ROOT / path).read_text() != text]


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a file is stale")
    arguments = parser.parse_args(argv)
    wanted = files()
    old = stale(wanted)
    for path in old:
        print(path)
        if not arguments.check:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(wanted[path])
    return 1 if arguments.check and old else 0


if __name__ == "__main__":
    sys.exit(main())
