"""Offline check of a signed statement, and of what lies here against what it says.

Order matters: the signatures first, over bytes that nobody has looked into; only if they hold is the payload read,
and only then is anything compared with it. What was not given is "not checked", never "ok".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from throughline.api.base import API_VERSION
from throughline.api.evaluationresult import EvaluationResult
from throughline.domain.formatting import count
from throughline.lineage import canonical, digest, envelope, statement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from securesystemslib.signer import SSlibKey

    from throughline.lineage.statement import EvaluationRecord, Predicate

T = TypeVar("T")
SHOWN_FILES = 20


class UnknownNameError(ValueError):
    """It is not clear which evaluation a file is of; the message says how to name it."""


class Status(StrEnum):
    OK = "ok"
    FAILED = "FAILED"
    NOT_CHECKED = "not checked"
    ABSENT = "absent"  # the statement says nothing of it, and nothing was given


class Part(StrEnum):
    SIGNATURE = "signature"
    STATEMENT = "statement"
    MODEL = "model"
    DATA = "data"
    SUITE = "suite"
    RESULT = "result"
    APPROVAL = "approval"
    BOM = "bom"


@dataclass(frozen=True, slots=True)
class Check:
    """What became of one part."""

    part: Part
    name: str
    status: Status
    details: tuple[str, ...]

    def to_wire(self) -> dict[str, Any]:
        """For programs."""
        return {"part": self.part, "name": self.name, "status": self.status, "details": list(self.details)}


@dataclass(frozen=True, slots=True)
class Object:
    """An object of the API read from a file; `problem` says why there is none."""

    source: str
    manifest: Mapping[str, Any] | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """What is here to be compared. `data` and `results`: by name of the evaluation; "" where none was named."""

    model: Path | None = None
    data: Mapping[str, Path] | None = None
    suites: Sequence[Object] = ()
    results: Mapping[str, bytes] | None = None
    approval: Object | None = None
    bom: bytes | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """All checks, and the predicate if it may be believed."""

    checks: tuple[Check, ...]
    predicate: Predicate | None = None

    @property
    def failed(self) -> bool:
        """Whether anything is not as it was signed."""
        return any(check.status is Status.FAILED for check in self.checks)

    @property
    def complete(self) -> bool:
        """Whether everything that the statement speaks of was checked."""
        return all(check.status is not Status.NOT_CHECKED for check in self.checks)


def verify(
    data: bytes,
    keys: Sequence[SSlibKey],
    given: Given,
    *,
    threshold: int = 1,
    progress: Callable[[digest.Progress], None] | None = None,
) -> Report:
    """Check an envelope by the trusted public keys, and what is given by the statement in it.

    Raises:
        UnknownNameError: data or results are named after an evaluation that the statement does not have.
    """
    try:
        verified = envelope.verify(data, keys, threshold)
    except (envelope.EnvelopeError, envelope.SignatureInvalidError) as error:
        return Report((Check(Part.SIGNATURE, "", Status.FAILED, (str(error),)), *_untrusted("the signature")))
    signature = Check(Part.SIGNATURE, "", Status.OK, tuple(_signers(verified)))
    try:
        predicate = statement.read(verified.payload)
    except statement.StatementError as error:
        failed = Check(Part.STATEMENT, "", Status.FAILED, (str(error),))
        return Report((signature, failed, *_untrusted("the statement")))
    said = f"of {predicate.model.name}, made {predicate.created}"
    return Report(
        (
            signature,
            Check(Part.STATEMENT, "", Status.OK, (said,)),
            _model(predicate, given.model, progress),
            *_data(predicate, given.data or {}, progress),
            *_suites(predicate, given.suites),
            *_results(predicate, given.results or {}),
            _approval(predicate, given.approval),
            _bom(predicate, given.bom),
        ),
        predicate,
    )


def _untrusted(what: str) -> Iterator[Check]:
    for part in (Part.MODEL, Part.DATA, Part.SUITE, Part.RESULT, Part.APPROVAL, Part.BOM):
        yield Check(part, "", Status.NOT_CHECKED, (f"{what} does not hold: there is nothing to compare with",))


def _signers(verified: envelope.Verified) -> Iterator[str]:
    yield f"by {', '.join(map(envelope.short, verified.key_ids))}"
    if verified.unknown_key_ids:
        strangers = ", ".join(map(envelope.short, verified.unknown_key_ids))
        yield f"also by {strangers}, whose key was not given: not checked"


def _model(predicate: Predicate, path: Path | None, progress: Callable[[digest.Progress], None] | None) -> Check:
    record = predicate.model
    name = record.name
    if path is None:
        return Check(Part.MODEL, name, Status.NOT_CHECKED, ("not given",))
    try:
        found = digest.model_manifest(path, version=record.version, progress=progress)
    except digest.DigestError as error:
        return Check(Part.MODEL, name, Status.FAILED, (str(error),))
    differences = list(found.differences(record.manifest))
    if differences:
        more = len(differences) - SHOWN_FILES
        shown = (*differences[:SHOWN_FILES], *([f"and {more} more"] if more > 0 else []))
        return Check(Part.MODEL, name, Status.FAILED, shown)
    files = count(len(found.files), "file")
    which = f"of version {record.version}" if record.version is not None else "in all"
    return Check(Part.MODEL, name, Status.OK, (f"{files} {which}, {found.size_bytes} bytes",))


def _data(
    predicate: Predicate, given: Mapping[str, Path], progress: Callable[[digest.Progress], None] | None
) -> Iterator[Check]:
    def compare(path: Path, record: EvaluationRecord) -> str:
        try:
            found = digest.file_digest(path, progress)
        except digest.DigestError as error:
            return str(error)
        if found.size_bytes != record.dataset.size_bytes:
            return f"was changed (it had {record.dataset.size_bytes} bytes, it has {found.size_bytes})"
        return "" if found.digest == record.dataset.digest else "was changed"

    yield from _of_evaluations(Part.DATA, predicate, given, compare)


def _results(predicate: Predicate, given: Mapping[str, bytes]) -> Iterator[Check]:
    def compare(content: bytes, record: EvaluationRecord) -> str:
        if canonical.digest_bytes(content) != record.result.digest:
            return "was changed"
        try:
            result = EvaluationResult.model_validate(canonical.parse(content))
        except (canonical.CanonicalError, ValidationError) as error:
            return f"is what was signed, but no result: {error}"
        return "; ".join(statement.contradictions(result, record, predicate.model.digest))

    yield from _of_evaluations(Part.RESULT, predicate, given, compare)


def _of_evaluations(
    part: Part, predicate: Predicate, given: Mapping[str, T], compare: Callable[[T, EvaluationRecord], str]
) -> Iterator[Check]:
    """A line for each evaluation."""
    records = {record.name: record for record in predicate.evaluations}
    if not records:
        told = "the statement has no evaluation"
        yield Check(part, "", Status.FAILED if given else Status.ABSENT, (told,))
    only = next(iter(records)) if len(records) == 1 else ""
    named = {name or only: thing for name, thing in given.items()}
    if records and (strange := [name for name in named if name not in records]):
        told = f"there is no evaluation {strange[0]}" if strange[0] else "there are several evaluations"
        raise UnknownNameError(f"--{part}: {told}; write NAME=FILE, where NAME is one of {', '.join(records)}")
    for name, record in records.items():
        if name not in named:
            yield Check(part, name, Status.NOT_CHECKED, ("not given",))
            continue
        problem = compare(named[name], record)
        batch = "" if record.batch_rows is None else f", {record.batch_rows} rows per request"
        said = f"verdict {record.verdict}{batch}" if part is Part.RESULT else ""
        details = (problem,) if problem else (said,) if said else ()
        yield Check(part, name, Status.FAILED if problem else Status.OK, details)


def _suites(predicate: Predicate, given: Sequence[Object]) -> Iterator[Check]:
    by_name = {record.suite.name: record for record in predicate.evaluations}
    seen = set()
    for entry in given:
        manifest = entry.manifest or {}
        metadata = manifest.get("metadata")
        name = str(metadata.get("name", "")) if isinstance(metadata, dict) else ""
        if entry.problem or (manifest.get("apiVersion"), manifest.get("kind")) != (API_VERSION, "EvaluationSuite"):
            told = entry.problem or f"is no EvaluationSuite of {API_VERSION}"
            yield Check(Part.SUITE, entry.source, Status.FAILED, (told,))
        elif name not in by_name:
            yield Check(Part.SUITE, name, Status.FAILED, (f"no evaluation is by it, but by {', '.join(by_name)}",))
        else:
            seen.add(name)
            problem = _suite_problem(manifest, by_name[name])
            yield Check(Part.SUITE, name, Status.FAILED if problem else Status.OK, (problem,) if problem else ())
    for name in by_name:
        if name not in seen:
            yield Check(Part.SUITE, name, Status.NOT_CHECKED, ("not given",))
    if not by_name and not given:
        yield Check(Part.SUITE, "", Status.ABSENT, ("the statement has no evaluation",))


def _suite_problem(manifest: Mapping[str, Any], record: EvaluationRecord) -> str:
    try:
        found = statement.suite_digest(statement.suite_spec(manifest))
    except ValidationError as error:
        return f"is not valid: spec.{statement.first_problem(error)}"
    except canonical.CanonicalError as error:
        return str(error)
    return "" if found == record.suite.digest else "was changed"


def _approval(predicate: Predicate, given: Object | None) -> Check:
    record = predicate.approval
    if given is None:
        if record is None:
            return Check(Part.APPROVAL, "", Status.ABSENT, ("nobody's approval is in the statement",))
        said = f"not given; the statement says: {record.decision} by {record.approved_by}"
        return Check(Part.APPROVAL, record.name, Status.NOT_CHECKED, (said,))
    name = record.name if record else given.source
    if given.manifest is None:
        return Check(Part.APPROVAL, name, Status.FAILED, (given.problem,))
    try:
        found = statement.approval_record(given.manifest)
    except statement.StatementError as error:
        return Check(Part.APPROVAL, name, Status.FAILED, (str(error),))
    if record is None:
        return Check(Part.APPROVAL, found.name, Status.FAILED, ("the statement was signed without an approval",))
    now, then = found.to_wire(), record.to_wire()
    changed = tuple(
        f"{field} was changed (signed: {then[field]}; here: {now[field]})"
        for field in then
        if now[field] != then[field]
    )
    return Check(
        Part.APPROVAL,
        name,
        Status.FAILED if changed else Status.OK,
        changed or (f"{record.decision} by {record.approved_by} at {record.time}",),
    )


def _bom(predicate: Predicate, given: bytes | None) -> Check:
    if given is None:
        status = Status.ABSENT if predicate.bom is None else Status.NOT_CHECKED
        return Check(Part.BOM, "", status, ("not given" if predicate.bom else "there is none in the statement",))
    if predicate.bom is None:
        return Check(Part.BOM, "", Status.FAILED, ("the statement was signed without a bill of materials",))
    same = canonical.digest_bytes(given) == predicate.bom.digest
    return Check(Part.BOM, "", Status.OK if same else Status.FAILED, () if same else ("was changed",))
