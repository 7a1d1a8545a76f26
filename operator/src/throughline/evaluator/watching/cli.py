"""`throughline-drift`: one look at the samples, on a laptop or in a Job."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from throughline import exits
from throughline.api import kubectl_yaml
from throughline.api.base import Outcome
from throughline.api.monitoring import Monitoring
from throughline.evaluator import job
from throughline.evaluator.commandline import Parser, end, exit_code, guarded
from throughline.evaluator.errors import EvaluationInputError, NotEvaluatedError
from throughline.evaluator.sampling.cli import SALT_ENV

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from throughline.api.driftresult import DriftResult
    from throughline.evaluator.watching.state import WatchState

PROGRAM = "throughline-drift"
RESULT = "result.json"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = Parser(
        prog=PROGRAM,
        description="Compares windows of samples with their baseline, and joins late labels. Exit code: 0 within "
        "bounds, 1 not, or not known, 2 bad input, 3 could not be done (trying again may help), 70 a fault of this "
        "program. Environment: "
        f"{SALT_ENV}, where labels are declared.",
    )
    top.add_argument("--monitoring", required=True, metavar="FILE", help="spec.monitoring, or a whole InferenceService")
    top.add_argument("--storage", required=True, type=Path, metavar="DIRECTORY", help="where the samples are")
    top.add_argument("--state", required=True, type=Path, metavar="FILE", help="what is kept for the next look")
    top.add_argument("--output", required=True, type=Path, metavar="DIRECTORY", help=f"for {RESULT}")
    top.add_argument("--data", metavar="PATH", help="instead of spec.monitoring.drift.baseline.source")
    top.add_argument("--data-root", type=Path, default=Path("/data"), metavar="DIRECTORY",
                     help="where the claim or ConfigMap of the baseline is mounted (default: %(default)s)")  # fmt: skip
    top.add_argument("--labels", metavar="PATH", help="instead of spec.monitoring.labels.dataset.source")
    top.add_argument("--labels-root", type=Path, default=Path("/labels"), metavar="DIRECTORY",
                     help="where the claim or ConfigMap of the labels is mounted (default: %(default)s)")  # fmt: skip
    top.add_argument("--job", action="store_true", help="in a Job: exit code 0 for whatever trying again would not "
                     "change, 3 or 70 where it may; the result is printed as one line")  # fmt: skip
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code as in the help."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return guarded(PROGRAM, lambda: _main(arguments))


def _main(arguments: list[str]) -> int:
    in_job = "--job" in arguments
    known = job.Known()
    try:
        given = parser().parse_args(arguments)
        code = _look(given, known)
    except EvaluationInputError as error:
        code = end(PROGRAM, exits.UNUSABLE, str(error), known)
    except NotEvaluatedError as error:
        code = end(PROGRAM, exits.NO_ANSWER, str(error), known)
    return exit_code(code, in_job=in_job)


def _look(given: argparse.Namespace, known: job.Known) -> int:
    # What reads and tests takes seconds to import: --help needs none of it.
    from throughline.evaluator.watching import state  # noqa: PLC0415
    from throughline.evaluator.watching.look import Where, look  # noqa: PLC0415

    monitoring = declared(given.monitoring)
    before = state.load(given.state)
    try:
        given.output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=given.output, prefix=".work-") as work:
            where = Where(
                given.storage, Path(work), given.data_root, given.labels_root, given.data, given.labels,
                os.environ.get(SALT_ENV, "").encode(),
            )  # fmt: skip
            result, after = look(monitoring, where, before)
        _tell(given, result, known)
        # Last: what a look has not told, the next one tells again.
        _save(given.state, after)
    except OSError as error:
        raise NotEvaluatedError(f"{error.filename}: {error.strerror}") from error
    return exits.OK if result.outcome is Outcome.PASSED else exits.REFUSED


def declared(path: str) -> Monitoring:
    """spec.monitoring from a file that holds it, or the InferenceService.

    Raises:
        EvaluationInputError: it does not, or it is not valid.
    """
    try:
        found = next((d.value for d in kubectl_yaml.documents(Path(path).read_text(encoding="utf-8"))), None)
    except OSError as error:
        raise EvaluationInputError(f"--monitoring {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise EvaluationInputError(f"--monitoring {path} is not UTF-8 text") from error
    except kubectl_yaml.NotReadableError as error:
        raise EvaluationInputError(f"--monitoring {path}:{error.line}:{error.column}: {error.message}") from error
    if isinstance(found, dict) and found.get("kind") == "InferenceService":
        found = (found.get("spec") or {}).get("monitoring")
    try:
        return Monitoring.model_validate(found)
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise EvaluationInputError(f"--monitoring {path} is not valid: {lines}") from error


def _tell(given: argparse.Namespace, result: DriftResult, known: job.Known) -> None:
    path = given.output / RESULT
    part = path.with_name(f"{RESULT}.part")
    part.write_text(json.dumps(result.to_wire(), indent=1, sort_keys=True) + "\n")
    part.replace(path)
    known.rows, known.result = result.rows, path.read_bytes()
    print(f"{result.outcome}: {result.message}", flush=True)
    code = exits.OK if result.outcome is Outcome.PASSED else exits.REFUSED
    job.last_words(code, str(result.outcome), result.message, known)
    if given.job:
        print(job.result_line(known.result), flush=True)


def _save(path: Path, after: WatchState) -> None:
    from throughline.evaluator.watching import state  # noqa: PLC0415 - as above

    state.save(path, after)


if __name__ == "__main__":
    sys.exit(main())
