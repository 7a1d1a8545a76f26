"""`python -m throughline.lineage.atload`: whether the model's files that are mounted here are those that were judged.

An init container of a serving pod runs it, so that a server never loads others. Exit code: 0 they are, 1 they are not,
or cannot be read, 70 a fault of this program; the termination message says which.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from throughline import exits, guard
from throughline.lineage.digest import DigestError, model_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

TERMINATION_LOG = Path("/dev/termination-log")


def problem(directory: Path, version: int, digest: str) -> str | None:
    """What is wrong; None: nothing is."""
    try:
        found = model_manifest(directory, version=version, mounted=True).digest
    except DigestError as error:
        return str(error)
    if found == digest:
        return None
    return (
        f"the model's files have {found}, but those that were judged have {digest}: they were changed after that; put "
        "the old ones back, or put the new ones under another path or version and change spec.model"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code as above."""
    return guard.guarded("throughline.lineage.atload", lambda: _main(argv), tell=_tell)


def _main(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", required=True, type=Path, help="the model's folder, with its version folder")
    parser.add_argument("--version", required=True, type=int, help="the version that is served")
    parser.add_argument("--digest", required=True, help="sha256:HEX of the revision that was admitted")
    given = parser.parse_args(argv)
    wrong = problem(given.directory, given.version, given.digest)
    if wrong is None:
        return exits.OK
    print(wrong, file=sys.stderr)
    _tell(wrong)
    return exits.REFUSED


def _tell(message: str) -> None:
    if TERMINATION_LOG.is_file():
        TERMINATION_LOG.write_text(message)


if __name__ == "__main__":
    sys.exit(main())
