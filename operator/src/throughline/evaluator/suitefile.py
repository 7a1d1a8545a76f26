"""An EvaluationSuite from a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from throughline.api import validation
from throughline.api.evaluationsuite import EvaluationSuiteSpec
from throughline.evaluator.errors import EvaluationInputError
from throughline.lineage import canonical

KIND = "EvaluationSuite"


@dataclass(frozen=True, slots=True)
class Suite:
    """A valid suite. `digest` is over the spec as it was written, in canonical JSON."""

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
        documents = list(yaml.safe_load_all(text))
    except OSError as error:
        raise EvaluationInputError(f"--suite {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise EvaluationInputError(f"--suite {path} is no YAML: {' '.join(str(error).split())}") from error
    suites = [d for d in documents if isinstance(d, dict) and d.get("kind") == KIND]
    if len(suites) != 1:
        raise EvaluationInputError(f"--suite {path} has {len(suites)} {KIND}s; it must have one")
    (document,) = suites
    problems = validation.check(document)
    if problems:
        lines = "\n  ".join(f"{problem.field}: {problem.message}" for problem in problems)
        raise EvaluationInputError(f"--suite {path} is not valid:\n  {lines}")
    spec = EvaluationSuiteSpec.model_validate(document["spec"])
    return Suite(str(document["metadata"].get("name", "")), spec, canonical.digest(spec.to_wire()))
