"""Write every generated file, or with --check only say which are stale: `uv run python -m tools.generate`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from throughline.api import crd

ROOT = Path(__file__).resolve().parent.parent


def files() -> dict[Path, str]:
    """Path below the repository root → what it must hold."""
    return {Path("crds") / name: text for name, text in crd.generated_files().items()}


def stale(wanted: dict[Path, str]) -> list[Path]:
    return [path for path, text in wanted.items() if not (ROOT / path).is_file() or (ROOT / path).read_text() != text]


def main(argv: list[str] | None = None) -> int:
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
