"""All checks of a data set before a model is judged on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from throughline.api import quantities
from throughline.api.base import Outcome
from throughline.api.dataquality import QualityCheck, QualityFinding, QualityReport
from throughline.api.drift import Distance, DriftColumn, DriftPolicy
from throughline.api.evaluationmetrics import TaskType
from throughline.evaluator.columns import require
from throughline.evaluator.drift.window import judge_window
from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.quality.rowhashes import duplicate_rows, row_hashes, training_overlap
from throughline.evaluator.quality.schema import check_missing, check_schema
from throughline.evaluator.texts import Classes, encode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from throughline.api.dataquality import (
        DataQualityRules,
        DuplicateRule,
        LabelBalanceRule,
        RepresentativenessRule,
        TrainingOverlapRule,
    )
    from throughline.api.drift import DriftFinding
    from throughline.api.evaluationsuite import EvaluationSuiteSpec


def check_quality(
    suite: EvaluationSuiteSpec, table: pa.Table, *, training: pa.Table | None = None, live: pa.Table | None = None
) -> QualityReport:
    """Judges the rows by spec.quality (its defaults where absent).

    Args:
        suite: The suite.
        table: The rows that the model is to be judged on.
        training: The rows it was trained on; needed for spec.quality.trainingOverlap.
        live: A sample of what it is asked in production; absent: representativeness is Unknown.

    Raises:
        EvaluationInputError: There are no rows, or what a declared check needs is absent.
    """
    rules = suite.quality
    if rules is None:
        raise EvaluationInputError("spec.quality is absent, so there is nothing to check; add it")
    if not table.num_rows:
        raise EvaluationInputError("spec.dataset has no rows; a model cannot be judged on it: correct the source")
    inputs = list(dict.fromkeys(column for one in suite.inputs for column in one.columns))
    label, identity = suite.dataset.label_column, suite.dataset.id_column
    read = [*inputs, *([label] if label else [])]
    needed = [*read, *([identity] if identity else []), *(s.column for s in suite.slices if s.column)]
    findings = [*check_schema(rules, table, needed), *check_missing(rules, table, read)]
    # What is absent was said; the other checks would only say it again, less clearly.
    if all(name in table.column_names for name in needed):
        findings += _of_rows(suite, rules, table, read, training, live)
    return QualityReport(outcome=_together(findings), rows=table.num_rows, findings=findings)


def _together(findings: Sequence[QualityFinding]) -> Outcome:
    outcomes = {finding.outcome for finding in findings}
    return next((one for one in (Outcome.FAILED, Outcome.UNKNOWN) if one in outcomes), Outcome.PASSED)


def _of_rows(
    suite: EvaluationSuiteSpec,
    rules: DataQualityRules,
    table: pa.Table,
    read: list[str],
    training: pa.Table | None,
    live: pa.Table | None,
) -> Iterator[QualityFinding]:
    if rules.duplicates:
        columns = [name for name in table.column_names if name != suite.dataset.id_column]
        yield _duplicates(rules.duplicates, table, rules.duplicates.columns or columns)
    if rules.label_balance:
        yield from _label_balance(rules.label_balance, suite, table)
    if rules.training_overlap:
        if training is None:
            raise EvaluationInputError(
                "spec.quality.trainingOverlap needs the training set; give spec.trainingDataset or remove the check"
            )
        confidence = suite.intervals.confidence_percent
        columns = rules.training_overlap.columns or read
        yield _training_overlap(rules.training_overlap, table, training, columns, confidence)
    if rules.representativeness:
        inputs = [name for name in read if name != suite.dataset.label_column]
        yield from _representativeness(rules.representativeness, table, live, inputs, suite.intervals.seed)


def _duplicates(rule: DuplicateRule, table: pa.Table, columns: Sequence[str]) -> QualityFinding:
    share = duplicate_rows(row_hashes(table, columns, "spec.quality.duplicates.columns")) / table.num_rows
    baseline = float(quantities.parse(rule.baseline))
    limit = baseline + float(quantities.parse(rule.ceiling))
    passed = share <= limit
    return QualityFinding(
        check=QualityCheck.DUPLICATES,
        outcome=Outcome.PASSED if passed else Outcome.FAILED,
        value=share,
        limit=limit,
        rows=table.num_rows,
        message=f"{share:.2%} of the rows repeat an earlier one in {len(columns)} columns; {baseline:.2%} are expected "
        f"and {limit:.2%} allowed",
        fix="" if passed else "remove the repeated rows; if they repeat by nature, declare duplicates.baseline",
    )


def _label_balance(rule: LabelBalanceRule, suite: EvaluationSuiteSpec, table: pa.Table) -> Iterator[QualityFinding]:
    if suite.task.type is not TaskType.CLASSIFICATION or suite.dataset.label_column is None:
        raise EvaluationInputError("spec.quality.labelBalance is for Classification tasks; remove it")
    floor = float(quantities.parse(rule.floor))
    label = suite.dataset.label_column
    found, codes = encode(table[label], f"spec.dataset.labelColumn {label}")
    places = [-1 if place is None else place for place in Classes(suite.task.classes).places(found)]
    counts = np.bincount(np.array([*places, -1], dtype=np.intp)[codes] + 1, minlength=len(suite.task.classes) + 1)[1:]
    for name, count in zip(suite.task.classes, counts.tolist(), strict=True):
        share = count / table.num_rows
        passed = share >= floor
        yield QualityFinding(
            check=QualityCheck.LABEL_BALANCE,
            column=suite.dataset.label_column,
            outcome=Outcome.PASSED if passed else Outcome.FAILED,
            value=share,
            limit=floor,
            rows=table.num_rows,
            message=f"class {name} has {share:.2%} of the rows ({count}); {floor:.2%} are needed",
            fix="" if passed else f"add rows of class {name}, or lower spec.quality.labelBalance.floor",
        )


def _training_overlap(
    rule: TrainingOverlapRule, table: pa.Table, training: pa.Table, columns: Sequence[str], confidence_percent: int
) -> QualityFinding:
    if not training.num_rows:
        raise EvaluationInputError("spec.trainingDataset has no rows; correct the source")
    field = "spec.quality.trainingOverlap.columns"
    found = training_overlap(
        row_hashes(table, columns, field),
        row_hashes(training, columns, f"spec.trainingDataset ({field})"),
        confidence_percent,
    )
    ceiling = float(quantities.parse(rule.ceiling))
    text = (
        f"{found.overlap:.2%} of the rows equal a training row ({found.expected_overlap:.2%} would without leakage), "
        f"{found.once:.2%} one that occurs there once ({found.expected_once:.2%} would)"
    )
    common = {"check": QualityCheck.TRAINING_OVERLAP, "limit": ceiling, "rows": table.num_rows}
    if np.isnan(found.leaked):
        return QualityFinding(
            outcome=Outcome.UNKNOWN,
            message=f"{text}: copies cannot be told from likeness",
            fix="name columns in spec.quality.trainingOverlap.columns that tell rows apart",
            **common,
        )
    failed = found.low > ceiling
    return QualityFinding(
        outcome=Outcome.FAILED if failed else Outcome.PASSED,
        value=found.leaked,
        low=found.low,
        high=found.high,
        message=f"{text}: {found.leaked:.2%} [{found.low:.2%}, {found.high:.2%}] of the rows come from the training "
        f"set; {ceiling:.2%} are allowed",
        fix="take the training rows out of spec.dataset: the model is judged on what it learnt by heart"
        if failed
        else "",
        **common,
    )


def _representativeness(
    rule: RepresentativenessRule, table: pa.Table, live: pa.Table | None, inputs: Sequence[str], seed: int
) -> Iterator[QualityFinding]:
    sizes = [table.num_rows, live.num_rows if live is not None else 0]
    if live is None or min(sizes) < rule.minimum_rows:
        yield QualityFinding(
            check=QualityCheck.REPRESENTATIVENESS,
            outcome=Outcome.UNKNOWN,
            rows=min(sizes),
            message=f"{sizes[0]} rows against {sizes[1]} of live traffic; {rule.minimum_rows} of each are needed",
            fix="sample live traffic, or lower spec.quality.representativeness.minimumRows",
        )
        return
    require(live, inputs, "live traffic")
    policy = DriftPolicy(
        minimum_rows=rule.minimum_rows,
        window_rows=max(rule.minimum_rows, DriftPolicy.model_fields["window_rows"].default),
        columns=[DriftColumn(name=name) for name in inputs],
        seed=seed,
    )
    ceilings = {
        Distance.POPULATION_STABILITY_INDEX: float(quantities.parse(rule.psi_ceiling)),
        Distance.AREA_UNDER_CURVE: float(quantities.parse(rule.auc_ceiling)),
    }
    for finding in judge_window(policy, table, live).findings:
        yield _distance(finding, ceilings[finding.distance_measure])


def _distance(finding: DriftFinding, ceiling: float) -> QualityFinding:
    failed = finding.distance > ceiling and finding.adjusted_p_value <= finding.threshold
    what = f"column {finding.column}" if finding.column else "the rows as a whole"
    return QualityFinding(
        check=QualityCheck.REPRESENTATIVENESS,
        column=finding.column,
        outcome=Outcome.FAILED if failed else Outcome.PASSED,
        value=finding.distance,
        limit=ceiling,
        rows=finding.window_rows,
        message=f"{what} against live traffic: {finding.distance_measure} {finding.distance:.3f} (adjusted p "
        f"{finding.adjusted_p_value:.2g}), {ceiling:g} is allowed",
        fix="renew the data set from recent traffic, or weigh its rows" if failed else "",
    )
