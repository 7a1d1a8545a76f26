"""What cannot be scored, and where."""

from __future__ import annotations

from throughline.evaluator.errors import EvaluationInputError


class ScoringError(EvaluationInputError):
    """Rows, output or suite do not fit together. `field` is the suite's field or the argument to look at."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message
