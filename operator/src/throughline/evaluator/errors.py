"""Why an evaluation ended without a verdict. The messages are for people: what, where, and what to do."""

from __future__ import annotations


class EvaluationInputError(ValueError):
    """A data set, output or declaration that cannot be evaluated. The message names the field and the fix."""


class NotEvaluatedError(Exception):
    """The evaluation could not be carried out, for a reason that may pass: trying again may help."""
