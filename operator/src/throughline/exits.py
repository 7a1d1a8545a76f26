"""Exit codes of every command, in one table. docs/exit-codes.md explains them; a test compares the two.

`throughline`, `throughline-evaluate`, `throughline-sample`, `throughline-drift` and the check before a server loads a
model end with one of these. The operator reads them from a Job's pod and takes only `VERDICTS` for a verdict.
"""

from __future__ import annotations

from typing import Final

OK: Final = 0
REFUSED: Final = 1  # the answer is no: a gate failed or is undecided, a resource is invalid, traffic drifted
UNUSABLE: Final = 2  # the command line or an input cannot be used; the same input ends the same way
NO_ANSWER: Final = 3  # a server, store or cluster did not answer; trying again may help
UNFORESEEN: Final = 70  # EX_SOFTWARE of sysexits.h: a fault of Throughline, never a verdict
INTERRUPTED: Final = 130  # 128 + SIGINT

VERDICTS: Final = frozenset({OK, REFUSED})
# A Job that tries again gets the same.
CERTAIN: Final = frozenset({OK, REFUSED, UNUSABLE})
