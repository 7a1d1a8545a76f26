"""`throughline-evaluate`: a model behind any Triton against a suite, from a laptop or in a Job."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughline.domain.evaluation.together import together
from throughline.evaluator.errors import EvaluationInputError, NotEvaluatedError
from throughline.evaluator.infer import Retry
from throughline.evaluator.progress import Progress
from throughline.evaluator.session import How, Session, Target
from throughline.lineage import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from throughline.api.evaluationsuite import EvaluationSuiteSpec
    from throughline.evaluator.report.content import Report
    from throughline.evaluator.served import ModelPort

PASSED, FAILED, BAD_INPUT, NOT_EVALUATED, INTERRUPTED = 0, 1, 2, 3, 130
DATA_ROOT, TRAINING_ROOT = "/data", "/training"
# The kubelet makes this file for each container, and shows what is in it as the container's last words.
TERMINATION_LOG = Path("/dev/termination-log")
TERMINATION_BYTES = 4096
_VARIANT = re.compile(r"^(?P<name>[A-Za-z0-9][-A-Za-z0-9_.]*)=(?P<url>[^#]*)#(?P<model>[^#@]+)(?:@(?P<version>\d+))?$")
_COMPONENT = re.compile(r"^(?P<variant>[^:=]+):(?P<name>[^:=]+)=(?P<value>.+)$")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="throughline-evaluate",
        description="Evaluates a model behind Triton against an EvaluationSuite. Exit code: 0 passed, 1 a gate failed "
        "or cannot be judged, 2 bad input, 3 could not be evaluated (trying again may help).",
    )
    what = top.add_argument_group("what")
    what.add_argument("--suite", required=True, metavar="FILE", help="EvaluationSuite, YAML or JSON")
    what.add_argument("--url", required=True, help="grpc://HOST:8001, or grpcs:// for TLS")
    what.add_argument("--model", required=True, metavar="NAME", help="the model that is judged")
    what.add_argument("--version", default="", metavar="N", help="of the model (default: the newest that is loaded)")
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
    what.add_argument("--data", metavar="PATH", help="file or URL to read instead of spec.dataset.source")
    what.add_argument(
        "--data-root",
        default=DATA_ROOT,
        metavar="DIRECTORY",
        help="where the claim or ConfigMap of spec.dataset.source is mounted (default: %(default)s)",
    )
    what.add_argument("--training-data", metavar="PATH", help="instead of spec.trainingDataset.source")
    what.add_argument(
        "--training-root",
        default=TRAINING_ROOT,
        metavar="DIRECTORY",
        help="where the claim or ConfigMap of spec.trainingDataset.source is mounted",
    )
    what.add_argument("--model-digest", metavar="sha256:HEX", help="of the model's files; goes into the result")
    out = top.add_argument_group("result")
    out.add_argument("--output", required=True, metavar="DIRECTORY", help="for result.json, report.html, report.txt")
    out.add_argument(
        "--work-dir",
        metavar="DIRECTORY",
        help="keeps answers, so that a killed evaluation goes on (default: OUTPUT/.work)",
    )
    out.add_argument("-o", dest="form", choices=("text", "json"), default="text", help="what is printed")
    out.add_argument("--progress", action=argparse.BooleanOptionalAction, default=None,
                     help="rows, rows/s and time left on stderr (default: on a terminal)")  # fmt: skip
    asking = top.add_argument_group("how the server is asked")
    asking.add_argument(
        "--batch-size", type=_positive, metavar="ROWS", help="rows per request (default: the model's max_batch_size)"
    )
    asking.add_argument("--concurrency", type=_positive, default=4, metavar="N", help="requests under way (default: 4)")
    asking.add_argument("--timeout-seconds", type=_positive_number, default=30.0, metavar="S", help="per request")
    asking.add_argument(
        "--attempts",
        type=_positive,
        default=Retry().attempts,
        metavar="N",
        help="per request, where the server is away or too slow (default: %(default)s)",
    )
    asking.add_argument("--max-rows-per-second", type=_positive_number, metavar="N", help="spare a server in use")
    asking.add_argument("--low-priority", action="store_true", help="the lowest of the model's priority_levels")
    asking.add_argument(
        "--queue-timeout-milliseconds",
        type=_positive,
        metavar="MS",
        help="how long the server may keep a request waiting, where its queue policy allows it",
    )
    asking.add_argument("--ca-file", type=Path, metavar="FILE", help="certificates to trust (PEM), for grpcs://")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code as in the help."""
    given = parser().parse_args(argv)
    shown = sys.stderr.isatty() if given.progress is None else given.progress
    progress = Progress(sys.stderr, shown=shown)
    try:
        report, statistics = evaluate(given, progress, _connect(given))
        written = _write(report, given, statistics)
    except EvaluationInputError as error:
        return _end(progress, BAD_INPUT, str(error))
    except NotEvaluatedError as error:
        return _end(progress, NOT_EVALUATED, str(error))
    except KeyboardInterrupt:
        return _end(progress, INTERRUPTED, "interrupted; the same command goes on from here")
    print(_printed(report, given.form), end="")
    outcome = str(report.result.verdict.outcome) if report.result.verdict is not None else "Unknown"
    _last_words(PASSED if outcome == "Passed" else FAILED, outcome, _reasons(report), written)
    return PASSED if outcome == "Passed" else FAILED


def evaluate(
    given: argparse.Namespace, progress: Progress, connect: Callable[[Target, str], ModelPort]
) -> tuple[Report, dict[str, Any]]:
    """Read, ask, score.

    Raises:
        EvaluationInputError: suite, data or command line are wrong.
        NotEvaluatedError: a server or store does not answer.
    """
    # What reads, scores and draws takes seconds to import: --help and a wrong suite need none of it.
    from throughline.evaluator import rows, source  # noqa: PLC0415
    from throughline.evaluator.quality.report import check_quality  # noqa: PLC0415
    from throughline.evaluator.report.content import Report  # noqa: PLC0415
    from throughline.evaluator.robustness.report import robustness  # noqa: PLC0415
    from throughline.evaluator.scoring import compare, score  # noqa: PLC0415
    from throughline.evaluator.scoring.slices import partition  # noqa: PLC0415
    from throughline.evaluator.suitefile import load  # noqa: PLC0415

    suite = load(given.suite)
    judged, variants = targets(given)
    components = components_of(given.component, [judged.name, *(v.name for v in variants)])
    work = Path(given.work_dir) if given.work_dir else Path(given.output) / ".work"
    how = How(
        batch_rows=given.batch_size, in_flight=given.concurrency, retry=Retry(attempts=given.attempts),
        rows_per_second=given.max_rows_per_second, low_priority=given.low_priority, work_directory=work,
        model_digest=given.model_digest,
    )  # fmt: skip
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotEvaluatedError(f"{work} cannot be made: {error.strerror}; name another --work-dir") from error
    location = given.data or source.locate(suite.spec.dataset.source, Path(given.data_root))
    data = rows.read(suite.spec, location, scratch=work)
    quality = None
    if suite.spec.quality is not None:
        training = _training(suite.spec, given, work)
        quality = check_quality(suite.spec, data.table, training=training)
    with asyncio.Runner() as runner:
        session = Session(suite.spec, how, progress, runner, connect)
        try:
            partition(suite.spec.slices, data.table)  # a wrong expression is told before the first request
            targets_by_name = {target.name: target for target in (judged, *variants)}
            found = {name: session.open(target) for name, target in targets_by_name.items()}
            asked = {name: session.output(target, data) for name, target in targets_by_name.items()}
            outputs = {name: output for name, (output, _) in asked.items()}
            results = {}
            for name, output in outputs.items():
                model = found[name]
                scored = score(suite.spec, data.table, output)
                robust = None
                if suite.spec.perturbations:
                    robust = robustness(suite.spec, data.table, session.predict(targets_by_name[name]))
                results[name] = together(scored, quality, robust).model_copy(
                    update={
                        "suite": suite.name,
                        "suite_digest": suite.digest,
                        "dataset_digest": data.digest,
                        "model": f"{model.name}/{model.version}" if model.version else model.name,
                        "model_digest": given.model_digest if name == judged.name else None,
                    }
                )
            compared = compare(suite.spec, data.table, outputs, judged.name, components) if variants else None
        finally:
            session.close()
    report = Report(results.pop(judged.name), results, compared)
    statistics = {
        name: {**asdict(taken), "rows_per_second": taken.rows_per_second} for name, taken in session.statistics.items()
    }
    kept = [answers for _, answers in asked.values()]
    return report, {"models": statistics, "kept": kept}


def _training(suite: EvaluationSuiteSpec, given: argparse.Namespace, work: Path) -> pa.Table | None:
    from throughline.evaluator import rows, source  # noqa: PLC0415 - as above

    if suite.training_dataset is None:
        return None
    location = given.training_data or source.locate(suite.training_dataset.source, Path(given.training_root))
    return rows.load(suite.training_dataset, location, suite.task.type, scratch=work).table


def targets(given: argparse.Namespace) -> tuple[Target, list[Target]]:
    """The judged model, named as on the server, and the variants.

    Raises:
        EvaluationInputError: a --variant is not NAME=[URL]#MODEL[@N], or a name stands twice.
    """
    judged = Target(given.model, given.url, given.model, given.version)
    variants = []
    for text in given.variant:
        match = _VARIANT.match(text)
        if match is None:
            raise EvaluationInputError(
                f"--variant {text}: write NAME=[URL]#MODEL[@N], such as int8=grpc://host:8001#m_int8"
            )
        variants.append(Target(match["name"], match["url"] or given.url, match["model"], match["version"] or ""))
    names = [judged.name, *(v.name for v in variants)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise EvaluationInputError(f"--variant {twice}: the name stands twice; each must be its own")
    return judged, variants


def components_of(given: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, str]] | None:
    """Variant → component → value; None where none is given.

    Raises:
        EvaluationInputError: an entry is not NAME:KEY=VALUE, or names no model.
    """
    if not given:
        return None
    found: dict[str, dict[str, str]] = {}
    for text in given:
        match = _COMPONENT.match(text)
        if match is None:
            raise EvaluationInputError(f"--component {text}: write NAME:KEY=VALUE, such as int8:precision=int8")
        if match["variant"] not in names:
            raise EvaluationInputError(
                f"--component {text}: there is no {match['variant']}; there are {', '.join(names)}"
            )
        found.setdefault(match["variant"], {})[match["name"]] = match["value"]
    return found


def _connect(given: argparse.Namespace) -> Callable[[Target, str], ModelPort]:
    def connect(target: Target, output: str) -> ModelPort:
        from throughline.evaluator.triton import Address, Asking, Triton  # noqa: PLC0415 - as above

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


def _end(progress: Progress, code: int, message: str) -> int:
    progress.end()
    print(f"throughline-evaluate: {message}", file=sys.stderr)
    _last_words(code, None, message, None)
    return code


def _reasons(report: Report) -> str:
    reasons = report.result.verdict.reasons if report.result.verdict is not None else []
    return "; ".join(reason.message for reason in reasons if reason.outcome != "Passed")


def _last_words(code: int, outcome: str | None, message: str, result: Path | None) -> None:
    """In a pod: the outcome, for whoever reads the pod's status. Elsewhere the file is not there."""
    if not TERMINATION_LOG.is_file():
        return
    said: dict[str, Any] = {"exitCode": code, "outcome": outcome, "message": message}
    if result is not None:
        said["resultDigest"] = canonical.digest_bytes(result.read_bytes())
    while len(text := json.dumps(said)) > TERMINATION_BYTES:
        said["message"] = f"{said['message'][: len(said['message']) * 3 // 4]}…"
    try:
        TERMINATION_LOG.write_text(text)
    except OSError as error:
        print(f"throughline-evaluate: {TERMINATION_LOG}: {error.strerror}", file=sys.stderr)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _positive_number(text: str) -> float:
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
