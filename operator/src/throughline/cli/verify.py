"""`throughline verify --statement FILE --key PUB …`: is it signed, and is what lies here what was signed?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughline import exits
from throughline.cli import output
from throughline.cli.artifacts import InputError, named_files, progress_on_terminal, read_bytes, read_object
from throughline.lineage import keys
from throughline.lineage import verify as lineage

if TYPE_CHECKING:
    import argparse


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "verify",
        help="check a signed statement offline, and model, data, suite, result, approval and BOM by it",
        description="Checks the signatures of a statement by the public keys that you trust, and what you give by the "
        "statement. What is not given is reported as not checked. Exit code: 0 all that was checked is as signed, "
        "1 something is not (it is named), 2 wrong usage or a file that cannot be read. No network is used.",
    )
    parser.add_argument("--statement", required=True, type=Path, metavar="FILE", help="the signed statement (DSSE)")
    parser.add_argument(
        *("--key", "-k"),
        action="append",
        required=True,
        type=Path,
        metavar="PUB",
        help="a public key that you trust; several while keys are rotated",
    )
    parser.add_argument(
        "--threshold", type=int, default=1, metavar="N", help="how many of the keys must have signed (default: 1)"
    )
    parser.add_argument("--model", type=Path, metavar="DIR", help="the model's folder, or its one file")
    parser.add_argument(
        "--data", action="append", default=[], metavar="[NAME=]FILE", help="the data set of the evaluation NAME"
    )
    parser.add_argument(
        "--suite", action="append", default=[], type=Path, metavar="FILE", help="an EvaluationSuite, YAML or JSON"
    )
    parser.add_argument(
        "--result", action="append", default=[], metavar="[NAME=]FILE", help="the result of the evaluation NAME"
    )
    parser.add_argument("--approval", type=Path, metavar="FILE", help="the ModelApproval, as kubectl get -o yaml gives")
    parser.add_argument("--bom", type=Path, metavar="FILE", help="the bill of materials (CycloneDX)")
    parser.add_argument(
        "--strict", action="store_true", help="exit with 1 also when something in the statement was not checked"
    )
    output.add_output_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what was checked and what not."""
    try:
        report = _report(args)
    except (InputError, keys.KeyFileError, lineage.UnknownNameError) as error:
        print(f"error: {error}", file=sys.stderr)
        return exits.UNUSABLE
    bad = report.failed or (args.strict and not report.complete)
    if args.output == "json":
        print(output.structured(_wire(report, verified=not bad), "json"))
    else:
        print(_text(report))
    return exits.REFUSED if bad else exits.OK


def _report(args: argparse.Namespace) -> lineage.Report:
    trusted = [keys.load_public(path) for path in args.key]
    if not 1 <= args.threshold <= len({key.keyid for key in trusted}):
        raise InputError(f"--threshold {args.threshold}: must be 1 to {len({k.keyid for k in trusted})}, the --keys")
    given = lineage.Given(
        model=_existing(args.model),
        data={name: _there(path) for name, path in named_files(args.data, "--data").items()},
        suites=[read_object(path) for path in args.suite],
        results={name: read_bytes(path) for name, path in named_files(args.result, "--result").items()},
        approval=read_object(args.approval) if args.approval else None,
        bom=read_bytes(args.bom) if args.bom else None,
    )
    statement = read_bytes(args.statement)
    return lineage.verify(statement, trusted, given, threshold=args.threshold, progress=progress_on_terminal())


def _existing(path: Path | None) -> Path | None:
    return None if path is None else _there(path)


def _there(path: Path) -> Path:
    """What is not there was mistyped; it was not tampered with."""
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    return path


def _wire(report: lineage.Report, *, verified: bool) -> dict[str, Any]:
    return {
        "verified": verified,
        "complete": report.complete,
        "checks": [check.to_wire() for check in report.checks],
        "predicate": report.predicate.to_wire() if report.predicate else None,
    }


def _text(report: lineage.Report) -> str:
    rows: list[tuple[str, str, str, str]] = []
    for check in report.checks:
        first, *more = check.details or ("",)
        rows.append((check.part, check.name, check.status, first))
        rows += [(" ", " ", " ", line) for line in more]
    failed = [c for c in report.checks if c.status is lineage.Status.FAILED]
    skipped = [c for c in report.checks if c.status is lineage.Status.NOT_CHECKED]
    if failed:
        summary = f"NOT VERIFIED: {', '.join(' '.join(filter(None, (c.part, c.name))) for c in failed)}"
    else:
        summary = "Verified" + (
            f", but for what was not checked: {len(skipped)} of {len(report.checks)} parts" if skipped else ""
        )
    return f"{output.table(('PART', 'NAME', 'STATUS', 'DETAILS'), rows)}\n\n{summary}"
