"""`throughline validate FILE…`: every error with its file, line and field, without a cluster."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from throughline import exits
from throughline.api import validation
from throughline.api.advisories import warnings
from throughline.cli import between, documents, output
from throughline.domain.formatting import count

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Finding:
    """One error or warning, and where it stands."""

    file: str
    line: int
    column: int
    object: str
    field: str
    message: str

    def __str__(self) -> str:
        """As compilers print it, so that editors jump to it."""
        return self._text("")

    def as_warning(self) -> str:
        """As compilers print a warning."""
        return self._text("warning")

    def _text(self, severity: str) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        field = "" if self.message.startswith(self.field) else self.field
        return ": ".join(part for part in (where, severity, self.object, field, self.message) if part)

    def to_wire(self) -> dict[str, Any]:
        """For -o json."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Report:
    """What came of all files."""

    findings: tuple[Finding, ...]
    checked: int
    skipped: int
    warnings: tuple[Finding, ...] = ()  # accepted, and of no use: they change no exit code
    unreadable: int = 0  # files; each is one of the findings, too

    @property
    def code(self) -> int:
        """0: all good; 1: something is wrong; 2: a file cannot be read, or there was nothing to check."""
        if self.unreadable:
            return exits.UNUSABLE
        if self.findings:
            return exits.REFUSED
        return exits.OK if self.checked else exits.UNUSABLE


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "validate",
        help="check resources offline: every error with line, field and fix",
        description="Checks every kind of throughline.io as the API server would, without a cluster, and the files "
        "against each other: two objects of one name, another autoscaler on what the operator scales. Other kinds are "
        "passed over. A warning names what is accepted and of no use; it changes no exit code. Exit code: 0 valid, "
        "1 not, 2 a file that cannot be read or nothing to check.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="YAML or JSON file, directory, or - for the input")
    output.add_output_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what is wrong; the exit code says whether anything is."""
    report = check(args.files)
    if args.output == "json":
        findings = [finding.to_wire() for finding in report.findings]
        print(
            output.structured(
                {"valid": report.code == exits.OK, "checked": report.checked, "skipped": report.skipped}
                | {"errors": findings, "warnings": [warning.to_wire() for warning in report.warnings]},
                "json",
            )
        )
        return report.code
    for finding in report.findings:
        print(finding)
    for warning in report.warnings:
        print(warning.as_warning())
    print(_summary(report), file=sys.stderr)
    return report.code


def _summary(report: Report) -> str:
    if not report.checked and not report.findings:
        return "nothing to check: no object of throughline.io in these files"
    unreadable = f", {_count(report.unreadable, 'file')} not readable" if report.unreadable else ""
    skipped = f", {report.skipped} of other kinds passed over" if report.skipped else ""
    warned = f", {_count(len(report.warnings), 'warning')}" if report.warnings else ""
    return f"{report.checked} checked, {_count(len(report.findings), 'error')}{unreadable}{warned}{skipped}"


def _count(number: int, noun: str) -> str:
    return count(number, noun) if number else f"no {noun}s"


def check(sources: Sequence[str]) -> Report:
    """Check every object of the files."""
    return read_and_check(sources)[0]


def read_and_check(sources: Sequence[str]) -> tuple[Report, list[dict[str, Any]]]:
    """The report, and the objects of our group; the input can be read only once."""
    findings: list[Finding] = []
    warned: list[Finding] = []
    ours: list[dict[str, Any]] = []
    objects: list[documents.Document] = []
    unreadable = 0
    for document in documents.read(sources):
        if isinstance(document, documents.UnreadableError):
            unreadable += 1
            findings.append(Finding(document.source, document.line, document.column, "", "", document.message))
            continue
        if document.data is None:
            continue
        objects.append(document)
        if not validation.is_ours(document.data):
            continue
        ours.append(document.data)
        found = sorted(_findings(document), key=lambda f: (f.line, f.column))
        findings += found
        if not found:
            warned += sorted(_warnings(document), key=lambda f: (f.line, f.column))
    findings += [_finding(where, problem, where.position(problem.path)) for where, problem in between.problems(objects)]
    return Report(tuple(findings), len(ours), len(objects) - len(ours), tuple(warned), unreadable), ours


def _finding(document: documents.Document, problem: validation.Problem, position: tuple[int, int]) -> Finding:
    parts = (("kind",), ("metadata", "namespace"), ("metadata", "name"))
    name = "/".join(text for text in (_part(document, path) for path in parts) if text)
    return Finding(document.source, *position, name, problem.field, problem.message)


def _part(document: documents.Document, path: validation.Path) -> str:
    """A part of the object's name as it stands in the file: on and off name an object, though kubectl reads them as
    true and false.
    """
    value: Any = document.data
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    if value is None or isinstance(value, str):
        return value or ""
    return document.text(path) or str(value)


def _findings(document: documents.Document) -> Iterator[Finding]:
    for path, position in document.repeated():
        problem = validation.Problem(path, "stands twice in the same map; remove one")
        yield _finding(document, problem, position)
    misread = {path: (position, text) for path, position, text in document.misread_keys()}
    for path, (position, text) in misread.items():
        problem = validation.Problem(path, f"kubectl reads the name {text} as {path[-1]}: put it in quotes")
        yield _finding(document, problem, position)
    for problem in validation.check(document.data):
        if problem.path not in misread:
            yield _finding(document, _as_read(problem, document), document.position(problem.path))


def _as_read(problem: validation.Problem, document: documents.Document) -> validation.Problem:
    """With what kubectl made of the text, where it is that which is wrong."""
    reading = document.read_as(problem.path)
    if reading is None:
        return problem
    text, value = reading[0], json.dumps(reading[1])
    if problem.wants_text:
        message = f"must be text, and kubectl reads {text} as {value}: put it in quotes"
    else:
        message = f"{problem.message} (kubectl reads {text} as {value})"
    return dataclasses.replace(problem, message=message)


def _warnings(document: documents.Document) -> Iterator[Finding]:
    for problem in warnings(document.data):
        yield _finding(document, problem, document.position(problem.path))
