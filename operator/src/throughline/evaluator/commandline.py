"""What the command lines of the evaluator's image share: how each ends, and what its exit code says to a Job."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from throughline.evaluator import job
from throughline.evaluator.errors import EvaluationInputError

PASSED, FAILED, BAD_INPUT, NOT_EVALUATED, INTERRUPTED = 0, 1, 2, 3, 130
CERTAIN = (PASSED, FAILED, BAD_INPUT)  # trying again gives the same


class Parser(argparse.ArgumentParser):
    """A wrong command line is told and ends as any other bad input: a Job must not try it again."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        raise EvaluationInputError(message)


def exit_code(code: int, *, in_job: bool) -> int:
    """A Job tries again whatever ends with another code than 0."""
    return PASSED if in_job and code in CERTAIN else code


def end(program: str, code: int, message: str, known: job.Known) -> int:
    """The end without an outcome, told on stderr and to whoever reads the pod's status. Returns the code."""
    print(f"{program}: {message}", file=sys.stderr)
    job.last_words(code, None, message, known)
    return code
