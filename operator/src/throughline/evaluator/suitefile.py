"""An EvaluationSuite from a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from throughline.api import kubectl_yaml, validation
from throughline.evaluator.errors import EvaluationInputError
from throughline.lineage import statement

if TYPE_CHECKING:
    from throughline.api.evaluationsuite import EvaluationSuiteSpec

KIND = "EvaluationSuite"


@dataclass(frozen=True, slots=True)
class Suite:
    """A valid suite. `digest` is the one that a signed statement has of it."""

    name: str
    spec: EvaluationSuiteSpec
    digest: str


def load(path: str) -> Suite:
    """The one suite in the file, which may hold other resources too.

    Raises:
        EvaluationInputError: there is none, or more than one, or it is not valid; every error is named.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        documents = [document.value for document in kubectl_yaml.documents(text)]
    except OSError as error:
        raise EvaluationInputError(f"--suite {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise EvaluationInputError(f"--suite {path} is not UTF-8 text") from error
    except kubectl_yaml.NotReadableError as error:
        raise EvaluationInputError(f"--suite {path}:{error.line}:{error.column}: {error.message}") from error
    suites = [d for d in documents if isinstance(d, dict) and d.get("kind") == KIND]
    if len(suites) != 1:
        raise EvaluationInputError(f"--suite {path} has {len(suites)} {KIND}s; it must have one")
    (document,) = suites
    problems = validation.check(document)
    if problems:
        lines = "\n  ".join(f"{problem.field}: {problem.message}" for problem in problems)
        raise EvaluationInputError(f"--suite {path} is not valid:\n  {lines}")
    spec = statement.suite_spec(document)
    return Suite(str(document["metadata"].get("name", "")), spec, statement.suite_digest(spec))
