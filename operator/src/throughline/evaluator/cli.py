"""`throughline-evaluate`: a model behind any Triton against a suite, from a laptop or in a Job."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughline import exits
from throughline.evaluator import arguments as kinds
from throughline.evaluator import job
from throughline.evaluator.address import Address
from throughline.evaluator.commandline import Parser, end, exit_code, guarded
from throughline.evaluator.errors import EvaluationInputError, NotEvaluatedError
from throughline.evaluator.infer import Retry
from throughline.evaluator.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from throughline.evaluator.report.content import Report
    from throughline.evaluator.served import ModelPort
    from throughline.evaluator.session import Target

PROGRAM = "throughline-evaluate"
DATA_ROOT, TRAINING_ROOT = "/data", "/training"
MOST_CONCURRENT = 10_000
LONGEST_SECONDS = 86_400.0  # gRPC keeps deadlines in 64-bit nanoseconds
_OF_THE_SERVER = ("url", "model", "version", "variant", "component", "data", "training_data", "model_digest",
                  "model_directory", "batch_size", "max_rows_per_second", "low_priority", "queue_timeout_milliseconds",
                  "ca_file")  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = Parser(
        prog=PROGRAM,
        description="Evaluates a model behind Triton against an EvaluationSuite. Exit code: 0 passed, 1 a gate failed "
        "or cannot be judged, 2 bad input, 3 could not be evaluated (trying again may help), 70 a fault of this "
        "program.",
    )
    what = top.add_argument_group("what")
    what.add_argument("--suite", type=kinds.some, required=True, metavar="FILE", help="EvaluationSuite, YAML or JSON")
    what.add_argument("--url", type=kinds.some, help="grpc://HOST:8001, or grpcs:// for TLS")
    what.add_argument("--model", type=kinds.some, metavar="NAME", help="the model that is judged")
    what.add_argument(
        "--version", type=kinds.version, default="", metavar="N", help="of the model (default: the newest loaded one)"
    )
    what.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="NAME=[URL]#MODEL[@N]",
        help="compare it with the judged model on the same rows; without URL on the same server",
    )
    what.add_argument(
        "--component",
        action="append",
        default=[],
        metavar="NAME:KEY=VALUE",
        help="what a variant, or the judged model, is made of: tells which component mattered",
    )
    what.add_argument(
        "--data", type=kinds.some, metavar="PATH", help="file or URL to read instead of spec.dataset.source"
    )
    what.add_argument(
        "--data-root",
        default=DATA_ROOT,
        metavar="DIRECTORY",
        help="where the claim or ConfigMap of spec.dataset.source is mounted (default: %(default)s)",
    )
    what.add_argument("--training-data", type=kinds.some, metavar="PATH", help="instead of spec.trainingDataset.source")
    what.add_argument(
        "--training-root",
        default=TRAINING_ROOT,
        metavar="DIRECTORY",
        help="where the claim or ConfigMap of spec.trainingDataset.source is mounted",
    )
    what.add_argument(
        "--model-digest", type=kinds.digest, metavar="sha256:HEX", help="of the model's files; goes into the result"
    )
    what.add_argument(
        "--model-directory",
        type=kinds.some,
        metavar="DIRECTORY",
        help="digest the model's files here instead, before the server is asked; with --version only DIRECTORY/N",
    )
    apart = top.add_argument_group("a scorer that is a container (docs/scorers.md)")
    apart.add_argument(
        "--predictions-out",
        type=kinds.some,
        metavar="DIRECTORY",
        help="ask the model, write there what the scorer of spec.task.scorer reads, and end",
    )
    apart.add_argument(
        "--predictions", type=kinds.some, metavar="DIRECTORY", help="what was written so, and is now to be judged"
    )
    apart.add_argument("--scores", type=kinds.some, metavar="FILE", help="the scorer's scores.json; no server is asked")
    out = top.add_argument_group("result")
    out.add_argument("--output", type=kinds.some, metavar="DIRECTORY", help="for result.json, report.html, report.txt")
    out.add_argument(
        "--work-dir",
        metavar="DIRECTORY",
        help="keeps answers, so that a killed evaluation goes on (default: OUTPUT/.work)",
    )
    out.add_argument("-o", dest="form", choices=("text", "json"), default="text", help="what is printed")
    out.add_argument(
        "--job",
        action="store_true",
        help="in a Job: the exit code is 0 for every outcome that trying again would not change (passed, failed, bad "
        "input), 3 or 70 where it may; the result is printed as one line. Not with --predictions-out: a scorer runs "
        "after it",
    )
    out.add_argument("--progress", action=argparse.BooleanOptionalAction, default=None,
                     help="rows, rows/s and time left on stderr (default: on a terminal)")  # fmt: skip
    asking = top.add_argument_group("how the server is asked")
    asking.add_argument(
        "--batch-size",
        type=kinds.count(),
        metavar="ROWS",
        help="rows per request (default: the model's max_batch_size)",
    )
    asking.add_argument(
        "--concurrency",
        type=kinds.count(MOST_CONCURRENT),
        default=4,
        metavar="N",
        help="requests under way (default: 4)",
    )
    asking.add_argument(
        "--timeout-seconds", type=kinds.positive(LONGEST_SECONDS), default=30.0, metavar="S", help="per request"
    )
    asking.add_argument(
        "--attempts",
        type=kinds.count(),
        default=Retry().attempts,
        metavar="N",
        help="per request, where the server is away or too slow (default: %(default)s)",
    )
    asking.add_argument("--max-rows-per-second", type=kinds.positive(), metavar="N", help="spare a server in use")
    asking.add_argument("--low-priority", action="store_true", help="the lowest of the model's priority_levels")
    asking.add_argument(
        "--queue-timeout-milliseconds",
        type=kinds.count(),
        metavar="MS",
        help="how long the server may keep a request waiting, where its queue policy allows it",
    )
    asking.add_argument("--ca-file", type=Path, metavar="FILE", help="certificates to trust (PEM), for grpcs://")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code as in the help."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return guarded(PROGRAM, lambda: _main(arguments))


def _main(arguments: list[str]) -> int:
    # With --predictions-out a scorer begins after 0, so there 0 means that the predictions are written.
    in_job = "--job" in arguments and not any(one.startswith("--predictions-out") for one in arguments)
    try:
        given = parser().parse_args(arguments)
        in_job = given.job and given.predictions_out is None
        _require(given)
        code = _judge(given)
    except EvaluationInputError as error:
        code = end(PROGRAM, exits.UNUSABLE, str(error), job.Known())
    return exit_code(code, in_job=in_job)


def _require(given: argparse.Namespace) -> None:
    """What argparse cannot say: which arguments belong together.

    Raises:
        EvaluationInputError: one is missing, or one too many.
    """
    if (given.scores is None) != (given.predictions is None):
        raise EvaluationInputError("--predictions and --scores belong together; give both")
    if given.scores is not None and given.predictions_out is not None:
        raise EvaluationInputError("--predictions-out comes before the scorer, --scores after it; give one of them")
    if given.scores is not None and (unused := [name for name in _OF_THE_SERVER if getattr(given, name)]):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        raise EvaluationInputError(
            f"with --scores neither a server is asked nor data read: give {names} with --predictions-out"
        )
    needed = ["url", "model"] if given.scores is None else []
    needed += ["output"] if given.predictions_out is None else []
    missing = [f"--{name}" for name in needed if getattr(given, name) is None]
    if missing:
        raise EvaluationInputError(f"the following arguments are required: {', '.join(missing)}")
    if given.url is not None:
        urls = [given.url, *(url for text in given.variant if (url := text.partition("=")[2].partition("#")[0]))]
        secure = [Address.parse(url).secure for url in urls]
        if given.ca_file is not None and not any(secure):
            raise EvaluationInputError(
                f"--ca-file {given.ca_file} is for TLS, by which no server is asked; write grpcs:// in --url, or "
                "leave --ca-file out"
            )


def _judge(given: argparse.Namespace) -> int:
    shown = sys.stderr.isatty() if given.progress is None else given.progress
    progress, known = Progress(sys.stderr, shown=shown), job.Known()
    try:
        if given.scores is not None:
            report, statistics = judge_scores(given, known)
        else:
            if given.model_directory is not None:
                known.artifact = job.model_files(given.model_directory, given.version)
            given.model_digest = job.agreed_digest(given.model_digest, known.artifact)
            if given.predictions_out is not None:
                return _hand_over(given, progress, known)
            report, statistics = evaluate(given, progress, _connect(given))
        written = _write(report, given, statistics)
    except EvaluationInputError as error:
        progress.end()
        return end(PROGRAM, exits.UNUSABLE, str(error), known)
    except NotEvaluatedError as error:
        progress.end()
        return end(PROGRAM, exits.NO_ANSWER, str(error), known)
    except KeyboardInterrupt:
        progress.end()
        return end(PROGRAM, exits.INTERRUPTED, "interrupted; the same command goes on from here", known)
    known.rows, known.result = report.result.rows, written.read_bytes()
    outcome = str(report.result.verdict.outcome) if report.result.verdict is not None else "Unknown"
    code = exits.OK if outcome == "Passed" else exits.REFUSED
    print(_printed(report, given.form), end="", flush=True)
    job.last_words(code, outcome, _reasons(report), known)
    if given.job:
        # After all else, on stderr too: a pod's log holds both.
        if known.artifact is not None:
            print(job.manifest_line(known.artifact), flush=True)
        print(job.result_line(known.result), flush=True)
    return code


def evaluate(
    given: argparse.Namespace, progress: Progress, connect: Callable[[Target, str], ModelPort]
) -> tuple[Report, dict[str, Any]]:
    """Read, ask, score.

    Raises:
        EvaluationInputError: suite, data or command line are wrong.
        NotEvaluatedError: a server or store does not answer.
    """
    # What reads, scores and draws takes seconds to import: --help and a wrong suite need none of it.
    from throughline.evaluator import evaluation  # noqa: PLC0415

    return evaluation.evaluate(given, progress, connect)


def judge_scores(given: argparse.Namespace, known: job.Known) -> tuple[Report, dict[str, Any]]:
    """What a scorer's container made of the predictions; raises as `evaluate`."""
    from throughline.evaluator import evaluation  # noqa: PLC0415 - as above

    return evaluation.judge_scores(given, known)


def _hand_over(given: argparse.Namespace, progress: Progress, known: job.Known) -> int:
    from throughline.evaluator import evaluation  # noqa: PLC0415 - as above

    known.rows = evaluation.predict(given, progress, _connect(given), known.artifact)
    progress.end()
    print(f"{known.rows} rows and their predictions are in {given.predictions_out}", flush=True)
    job.last_words(exits.OK, None, "", known)
    return exits.OK


def _connect(given: argparse.Namespace) -> Callable[[Target, str], ModelPort]:
    def connect(target: Target, output: str) -> ModelPort:
        from throughline.evaluator.triton import Asking, Triton  # noqa: PLC0415 - as above

        asking = Asking(
            timeout_seconds=given.timeout_seconds,
            low_priority=given.low_priority,
            queue_timeout_microseconds=1000 * (given.queue_timeout_milliseconds or 0),
        )
        return Triton(Address.parse(target.url), target.model, target.version, output, asking, given.ca_file)

    return connect


def _write(report: Report, given: argparse.Namespace, statistics: dict[str, Any]) -> Path:
    from throughline.evaluator.report import files  # noqa: PLC0415 - as above

    directory = Path(given.output)
    files.write(report, directory, statistics["models"])
    for answers in statistics["kept"]:
        answers.discard()
    return directory / files.RESULT


def _printed(report: Report, form: str) -> str:
    from throughline.evaluator.report import files, text  # noqa: PLC0415 - as above

    if form == "text":
        return text.render(report)
    return files.as_json(
        {
            "result": report.result.to_wire(),
            "variants": {name: variant.to_wire() for name, variant in report.variants.items()},
            "comparison": None if report.comparison is None else report.comparison.to_wire(),
        }
    )


def _reasons(report: Report) -> str:
    reasons = report.result.verdict.reasons if report.result.verdict is not None else []
    return "; ".join(reason.message for reason in reasons if reason.outcome != "Passed")


if __name__ == "__main__":
    sys.exit(main())
