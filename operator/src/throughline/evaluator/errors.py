"""Why an evaluation ended without a verdict. The messages are for people: what, where, and what to do."""

from __future__ import annotations


class BadInputError(Exception):
    """Suite, data or command line are wrong: the same call gives the same error until someone changes them."""


class NotEvaluatedError(Exception):
    """The evaluation could not be carried out, for a reason that may pass: trying again may help."""
