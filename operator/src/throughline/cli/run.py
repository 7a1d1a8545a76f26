"""`throughline run`: the operator."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from pydantic import ValidationError

from throughline import exits, settings
from throughline.lineage.keys import KeyFileError

if TYPE_CHECKING:
    import argparse


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("run", help="run the operator", description=__doc__)
    settings.add_flags(parser)
    parser.set_defaults(run=main)


def main(arguments: argparse.Namespace) -> int:
    """Exit code."""
    try:
        loaded = settings.load(vars(arguments))
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            name = ".".join(str(part) for part in problem["loc"])
            flag = f"--{name.replace('_', '-')} ({settings.PREFIX}{name.upper()}): " if name else ""
            print(f"throughline run: {flag}{problem['msg']}", file=sys.stderr)
        return exits.UNUSABLE
    from throughline.runtime import app, logs  # noqa: PLC0415 - a second of imports that other commands need not pay

    logs.configure(level=loaded.log_level, text=loaded.log_format == "text")
    try:
        return asyncio.run(app.run(loaded))
    except KeyFileError as error:
        print(f"throughline run: --signing-key-file: {error}", file=sys.stderr)
        return exits.UNUSABLE
