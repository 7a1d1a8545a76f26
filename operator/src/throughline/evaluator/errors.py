"""What is wrong with what the user gave."""


class EvaluationInputError(ValueError):
    """A data set, output or declaration that cannot be evaluated. The message names the field and the fix."""
