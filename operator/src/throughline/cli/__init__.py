"""The `throughline` command. Each subcommand is a module of this package with `register(subparsers)`."""

from __future__ import annotations

import argparse
import io
import sys
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from throughline import exits, guard

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = ("run", "validate", "plan", "explain", "simulate", "sign", "verify", "keys")
PROGRAM = "throughline"


def parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The command line, with these commands."""
    top = argparse.ArgumentParser(prog=PROGRAM, description="SLO autopilot for NVIDIA Triton on Kubernetes.")
    top.add_argument("--version", action="version", version=f"throughline {version('throughline')}")
    subparsers = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in commands:
        import_module(f"{__name__}.{name}").register(subparsers)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 something is wrong with what was looked at, 2 wrong usage or an input that cannot be read,
    3 no answer of a cluster or Prometheus, 70 a fault of this program.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a file's name may be no UTF-8
    return guard.guarded(PROGRAM, lambda: _run(given))


def _run(given: list[str]) -> int:
    # Only the module of the command that is run is imported: clients of a cluster take seconds, `validate` needs none.
    named = [name for name in COMMANDS if given[:1] == [name]]
    arguments = parser(named or COMMANDS).parse_args(given)
    try:
        return int(arguments.run(arguments))
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
        return exits.OK
