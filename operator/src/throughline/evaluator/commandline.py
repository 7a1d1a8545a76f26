"""What the command lines of the evaluator's image share: how each ends, and what its exit code says to a Job."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, NoReturn

from throughline import exits, guard
from throughline.evaluator import job
from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable


class Parser(argparse.ArgumentParser):
    """A wrong command line is told and ends as any other bad input: a Job must not try it again."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        raise EvaluationInputError(message)


def exit_code(code: int, *, in_job: bool) -> int:
    """A Job tries again whatever ends with another code than 0."""
    return exits.OK if in_job and code in exits.CERTAIN else code


def end(program: str, code: int, message: str, known: job.Known) -> int:
    """The end without an outcome, told on stderr and to whoever reads the pod's status. Returns the code."""
    # A message may quote the data: nothing in it that a terminal would obey.
    message = "\n".join(map(visible, message.split("\n")))
    print(f"{program}: {message}", file=sys.stderr)
    job.last_words(code, None, message, known)
    return code


def guarded(program: str, command: Callable[[], int]) -> int:
    """As `guard.guarded`; an unforeseen error is also told to whoever reads the pod's status."""

    def tell(said: str) -> None:
        job.last_words(exits.UNFORESEEN, None, said, job.Known())

    return guard.guarded(program, command, tell=tell)
