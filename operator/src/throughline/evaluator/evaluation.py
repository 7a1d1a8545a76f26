"""One evaluation: rows are read, models are asked, and what they answered is scored, or handed to a scorer."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughline.domain.evaluation.together import together
from throughline.evaluator import columntypes, rows, source
from throughline.evaluator.address import is_version
from throughline.evaluator.errors import EvaluationInputError, NotEvaluatedError
from throughline.evaluator.infer import Retry
from throughline.evaluator.quality.report import check_quality
from throughline.evaluator.report.content import Report
from throughline.evaluator.robustness.report import robustness
from throughline.evaluator.scorers import handover, scores
from throughline.evaluator.scoring import compare, score
from throughline.evaluator.scoring.score import score_predictions
from throughline.evaluator.scoring.slices import partition
from throughline.evaluator.session import How, Session, Target
from throughline.evaluator.suitefile import Suite, load

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from throughline.api.dataquality import QualityReport
    from throughline.api.evaluationresult import EvaluationResult
    from throughline.api.evaluationsuite import EvaluationSuiteSpec
    from throughline.evaluator.infer import Statistics
    from throughline.evaluator.job import Known
    from throughline.evaluator.progress import Progress
    from throughline.evaluator.rows import Rows
    from throughline.evaluator.served import ModelPort, Served
    from throughline.lineage.digest import Manifest

    Connect = Callable[[Target, str], ModelPort]

_VARIANT = re.compile(r"^(?P<name>[A-Za-z0-9][-A-Za-z0-9_.]*)=(?P<url>[^#]*)#(?P<model>[^#@]+)(?:@(?P<version>.*))?$")
_COMPONENT = re.compile(r"^(?P<variant>[^:=]+):(?P<name>[^:=]+)=(?P<value>.+)$")
APART = (
    "spec.task.scorer is a container, which this command does not run: write what it reads with --predictions-out "
    "DIRECTORY, run it, and judge what it wrote with --predictions DIRECTORY --scores FILE"
)


@dataclass(frozen=True, slots=True)
class _Case:
    """What is known before the first request."""

    suite: Suite
    data: Rows
    quality: QualityReport | None
    how: How


def evaluate(given: argparse.Namespace, progress: Progress, connect: Connect) -> tuple[Report, dict[str, Any]]:
    """Read, ask, score; raises as cli.evaluate."""
    suite = load(given.suite)
    if suite.spec.task.scorer is not None:
        raise EvaluationInputError(APART)
    judged, variants = targets(given)
    components = components_of(given.component, [judged.name, *(v.name for v in variants)])
    case = _read(given, suite)
    data, spec = case.data, suite.spec
    with asyncio.Runner() as runner:
        session = Session(spec, case.how, progress, runner, connect)
        try:
            partition(spec.slices, data.table)  # a wrong expression is told before the first request
            targets_by_name = {target.name: target for target in (judged, *variants)}
            found = {name: session.open(target) for name, target in targets_by_name.items()}
            asked = {name: session.output(target, data) for name, target in targets_by_name.items()}
            outputs = {name: output for name, (output, _) in asked.items()}
            results = {}
            for name, output in outputs.items():
                scored = score(spec, data.table, output)
                robust = None
                if spec.perturbations:
                    robust = robustness(spec, data.table, session.predict(targets_by_name[name]))
                results[name] = together(scored, case.quality, robust).model_copy(
                    update={
                        "batch_rows": session.batch_rows(targets_by_name[name]),
                        "notes": [*scored.notes, *noted(session.batch_note(targets_by_name[name], data))],
                        "suite": suite.name,
                        "suite_digest": suite.digest,
                        "dataset_digest": data.digest,
                        "dataset_size_bytes": data.size_bytes,
                        "model": _called(found[name]),
                        "model_digest": given.model_digest if name == judged.name else None,
                    }
                )
            compared = compare(spec, data.table, outputs, judged.name, components) if variants else None
        finally:
            session.close()
    report = Report(results.pop(judged.name), results, compared)
    kept = [answers for _, answers in asked.values()]
    return report, {"models": _statistics(session.statistics), "kept": kept}


def predict(given: argparse.Namespace, progress: Progress, connect: Connect, files: Manifest | None) -> int:
    """Read, ask, and write what a scorer's container reads; returns the number of rows. Raises as `evaluate`."""
    suite = load(given.suite)
    if suite.spec.task.scorer is None:
        raise EvaluationInputError("--predictions-out is for a suite with spec.task.scorer; leave it out")
    if given.variant or given.component:
        raise EvaluationInputError("--predictions-out is of one model; evaluate each variant by itself")
    judged, _ = targets(given)
    case = _read(given, suite)
    with asyncio.Runner() as runner:
        session = Session(suite.spec, case.how, progress, runner, connect)
        try:
            partition(suite.spec.slices, case.data.table)
            found = session.open(judged)
            output, answers = session.output(judged, case.data)
            batch_rows, note = session.batch_rows(judged), session.batch_note(judged, case.data)
        finally:
            session.close()
    facts = handover.Facts(
        suite_digest=suite.digest,
        dataset_digest=case.data.digest,
        dataset_size_bytes=case.data.size_bytes,
        model=_called(found),
        model_digest=given.model_digest,
        quality=case.quality,
        files=files,
        statistics=_statistics(session.statistics),
        batch_rows=batch_rows,
        notes=noted(note),
    )
    handover.write(Path(given.predictions_out), suite, case.data, output, facts)
    answers.discard()
    return int(case.data.table.num_rows)


def judge_scores(given: argparse.Namespace, known: Known) -> tuple[Report, dict[str, Any]]:
    """What a scorer's container made of the predictions. The model's files are `known` once those are read.

    Raises:
        EvaluationInputError: suite, predictions or scores are wrong.
    """
    suite = load(given.suite)
    if suite.spec.task.scorer is None:
        raise EvaluationInputError("--scores is for a suite with spec.task.scorer; leave it out")
    handed = handover.read(Path(given.predictions), suite)
    facts, table = handed.facts, handed.table
    known.artifact = facts.files
    predictions = scores.read(Path(given.scores), suite.spec.metric_names(), table.num_rows)
    result: EvaluationResult = together(score_predictions(suite.spec, table, predictions), facts.quality, None)
    notes = [f"Scored by {suite.spec.task.scorer.image}.", *result.notes, *facts.notes]
    result = result.model_copy(
        update={
            "batch_rows": facts.batch_rows,
            "suite": suite.name,
            "suite_digest": suite.digest,
            "dataset_digest": facts.dataset_digest,
            "dataset_size_bytes": facts.dataset_size_bytes,
            "model": facts.model,
            "model_digest": facts.model_digest,
            "notes": notes,
        }
    )
    return Report(result), {"models": dict(facts.statistics), "kept": []}


def _read(given: argparse.Namespace, suite: Suite) -> _Case:
    spec = suite.spec
    work = Path(given.work_dir) if given.work_dir else Path(given.output or given.predictions_out) / ".work"
    how = How(
        batch_rows=given.batch_size, in_flight=given.concurrency, retry=Retry(attempts=given.attempts),
        rows_per_second=given.max_rows_per_second, low_priority=given.low_priority, work_directory=work,
        model_digest=given.model_digest,
    )  # fmt: skip
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotEvaluatedError(f"{work} cannot be made: {error.strerror}; name another --work-dir") from error
    location = given.data or source.locate(spec.dataset.source, Path(given.data_root))
    data = rows.read(spec, location, scratch=work)
    if given.training_data is not None and spec.training_dataset is None:
        raise EvaluationInputError(
            "--training-data: the suite has no spec.trainingDataset; declare it, or leave the argument out"
        )
    quality = None
    if spec.quality is not None:
        quality = check_quality(spec, data.table, training=_training(spec, given, work))
    return _Case(suite, data, quality, how)


def _training(suite: EvaluationSuiteSpec, given: argparse.Namespace, work: Path) -> pa.Table | None:
    if suite.training_dataset is None:
        return None
    location = given.training_data or source.locate(suite.training_dataset.source, Path(given.training_root))
    return rows.load(
        suite.training_dataset, location, suite.task.type, scratch=work, text_columns=columntypes.of_suite(suite)
    ).table


def noted(note: str | None) -> list[str]:
    return [] if note is None else [note]


def _called(model: Served) -> str:
    return f"{model.name}/{model.version}" if model.version else model.name


def _statistics(taken: dict[str, Statistics]) -> dict[str, Any]:
    return {name: {**asdict(one), "rows_per_second": one.rows_per_second} for name, one in taken.items()}


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
        if match["version"] is not None and not is_version(match["version"]):
            raise EvaluationInputError(f"--variant {text}: {match['version']!r} is no version; write its number")
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
        before = found.setdefault(match["variant"], {}).setdefault(match["name"], match["value"])
        if before != match["value"]:
            raise EvaluationInputError(f"--component {text}: it was {before} before; give each component once")
    return found
