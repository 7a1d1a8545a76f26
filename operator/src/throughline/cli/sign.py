"""`throughline sign`: one signed statement of what a model is, what it was judged by, and who approved it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from throughline import exits
from throughline.api import validation
from throughline.api.evaluationresult import EvaluationResult
from throughline.api.modelrevision import ModelRevisionSpec
from throughline.cli import output
from throughline.cli.artifacts import InputError, named_files, progress_on_terminal, read_bytes, read_object
from throughline.cli.keys import PASSPHRASE_VARIABLE, passphrase
from throughline.lineage import bom, canonical, digest, envelope, keys, statement

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from throughline.api.evaluationsuite import EvaluationSuiteSpec
    from throughline.lineage.statement import ApprovalRecord, EvaluationRecord, Predicate


class RefusedError(Exception):
    """What was given does not fit together, and so is not signed; the message says where."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A ModelRevision that was given."""

    name: str
    spec: ModelRevisionSpec


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "sign",
        help="sign what a model is, what it was judged by and who approved it, in one statement",
        description="Computes the digests of a model and of what it was judged by, and signs them in an in-toto "
        "statement (DSSE envelope). What contradicts itself is not signed. With --add-to, signs an existing statement "
        f"with one more key. A passphrase is read from {PASSPHRASE_VARIABLE}. "
        "Exit code: 0 signed, 1 refused, 2 wrong usage or a file that cannot be read.",
    )
    parser.add_argument("--model", type=Path, metavar="DIR", help="the model's folder, or its one file")
    parser.add_argument(
        "--model-version", type=int, metavar="N", help="only the version folder N counts (default: the whole folder)"
    )
    parser.add_argument("--name", help="the model's name (default: the service of --revision, else of the folder)")
    parser.add_argument(
        "--suite", action="append", default=[], type=Path, metavar="FILE", help="an EvaluationSuite; one per evaluation"
    )
    parser.add_argument(
        "--data", action="append", default=[], metavar="[SUITE=]FILE", help="the data set that the suite was run on"
    )
    parser.add_argument("--result", action="append", default=[], metavar="[SUITE=]FILE", help="what it found")
    parser.add_argument("--revision", type=Path, metavar="FILE", help="the ModelRevision: variant, pool, parent")
    parser.add_argument("--approval", type=Path, metavar="FILE", help="the ModelApproval, as kubectl get -o yaml gives")
    parser.add_argument("--bom", type=Path, metavar="FILE", help="write a bill of materials (CycloneDX 1.6) here")
    parser.add_argument("--add-to", type=Path, metavar="FILE", help="add a signature to this statement, unchanged")
    parser.add_argument(
        *("--key", "-k"), action="append", required=True, type=Path, metavar="FILE", help="a private key to sign with"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="write the signed statement here")
    output.add_output_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the statement and say what it says."""
    try:
        signers = [keys.load_signer(path, passphrase()) for path in args.key]
        if args.add_to:
            _only_signature(args)
            signed, predicate = _countersigned(args.add_to, signers)
        else:
            predicate = _predicate(args)
            signed = envelope.sign(statement.write(predicate), signers)
        _write(args.out, signed)
    except RefusedError as error:
        print(f"not signed: {error}", file=sys.stderr)
        return exits.REFUSED
    except (InputError, keys.KeyFileError, digest.DigestError) as error:
        print(f"error: {error}", file=sys.stderr)
        return exits.UNUSABLE
    ids = [signer.public_key.keyid for signer in signers]
    if args.output == "json":
        told = {"statement": str(args.out), "digest": canonical.digest_bytes(signed), "keyIds": ids}
        print(output.structured({**told, "predicate": predicate.to_wire()}, "json"))
    else:
        print(output.table(("PART", "NAME", "DIGEST"), _rows(predicate)))
        print(f"\nSigned by {', '.join(map(envelope.short, ids))} in {args.out}")
    return exits.OK


def _only_signature(args: argparse.Namespace) -> None:
    others = ("model", "model_version", "name", "suite", "data", "result", "revision", "approval", "bom")
    for name in others:
        if getattr(args, name):
            raise InputError(f"--add-to signs what is there: leave --{name.replace('_', '-')} out")


def _countersigned(path: Path, signers: Sequence[Any]) -> tuple[bytes, Predicate]:
    """Only what can be read as a statement is signed; whether its other signatures hold is for `verify` to say."""
    try:
        signed = envelope.countersign(read_bytes(path), signers)
        payload = envelope.verify(signed, [signer.public_key for signer in signers]).payload
        return signed, statement.read(payload)
    except (envelope.EnvelopeError, statement.StatementError) as error:
        raise RefusedError(f"{path}: {error}") from error


def _predicate(args: argparse.Namespace) -> Predicate:
    if args.model is None:
        raise InputError("--model is required (or --add-to, to sign an existing statement)")
    manifest = digest.model_manifest(args.model, version=args.model_version, progress=progress_on_terminal())
    revision = _revision(args.revision, manifest.digest) if args.revision else None
    approval = _approval(args.approval, manifest.digest, revision) if args.approval else None
    name = args.name or (revision.spec.service if revision else args.model.resolve().name)
    suites = _suites(args.suite)
    data, result_files = (
        _by_suite(flag, given, suites) for flag, given in (("data", args.data), ("result", args.result))
    )
    results = {suite: _result(path) for suite, path in result_files.items()}
    evaluations = tuple(
        _evaluation(suite, spec, data[suite], results[suite], manifest.digest) for suite, spec in suites.items()
    )
    predicate = statement.Predicate(
        model=statement.ModelRecord.of(name, manifest, args.model_version),
        evaluations=evaluations,
        approval=approval,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        **(_of_revision(revision) if revision else {}),
    )
    if args.bom is None:
        return predicate
    written = canonical.encode(bom.build(predicate, {n: result for n, (_, result) in results.items()}, suites))
    _write(args.bom, written)
    return predicate.model_copy(update={"bom": statement.BomRecord(digest=canonical.digest_bytes(written))})


def _object(path: Path, kind: str) -> dict[str, Any]:
    """A valid object of our group."""
    found = read_object(path)
    manifest = found.manifest
    if manifest is None or manifest.get("kind") != kind:
        raise RefusedError(f"{path}: {found.problem or f'is no {kind}'}")
    for problem in validation.check(manifest):
        raise RefusedError(f"{path}: {problem.field}: {problem.message}")
    return dict(manifest)


def _revision(path: Path, model_digest: str) -> Revision:
    manifest = _object(path, "ModelRevision")
    revision = Revision(
        manifest["metadata"]["name"], ModelRevisionSpec.model_validate(validation.without_nulls(manifest["spec"]))
    )
    if revision.spec.artifact.digest != model_digest:
        raise RefusedError(
            f"{path}: spec.artifact.digest is {revision.spec.artifact.digest}, but the model's is {model_digest}: "
            "the revision is of another model, or of one version alone (--model-version)"
        )
    return revision


def _of_revision(revision: Revision) -> dict[str, Any]:
    spec = revision.spec
    parent = statement.ParentRecord(name=spec.parent.name, digest=spec.parent.digest) if spec.parent else None
    told = {"service": spec.service, "spec_hash": spec.spec_hash, "variant": spec.variant, "pool": spec.pool}
    return {**told, "revision": revision.name, "parent": parent}


def _approval(path: Path, model_digest: str, revision: Revision | None) -> ApprovalRecord:
    try:
        record = statement.approval_record(_object(path, "ModelApproval"))
    except statement.StatementError as error:
        raise RefusedError(f"{path}: {error}") from error
    if record.artifact_digest != model_digest:
        raise RefusedError(f"{path}: approves {record.artifact_digest}, but the model's digest is {model_digest}")
    if revision and (record.revision, record.service) != (revision.name, revision.spec.service):
        raise RefusedError(f"{path}: is of revision {record.revision} of {record.service}, not of {revision.name}")
    return record


def _suites(paths: Sequence[Path]) -> dict[str, EvaluationSuiteSpec]:
    suites: dict[str, EvaluationSuiteSpec] = {}
    for path in paths:
        manifest = _object(path, "EvaluationSuite")
        name = manifest["metadata"]["name"]
        if name in suites:
            raise InputError(f"{path}: the suite {name} is given twice")
        suites[name] = statement.suite_spec(manifest)
    return suites


def _by_suite(flag: str, texts: Sequence[str], suites: Mapping[str, EvaluationSuiteSpec]) -> dict[str, Path]:
    """One file for each suite."""
    files = named_files(texts, f"--{flag}")
    if "" in files and len(suites) == 1:
        files[next(iter(suites))] = files.pop("")
    if strange := [name for name in files if name not in suites]:
        told = f"there is no suite {strange[0]}" if strange[0] else f"there are {len(suites)} suites"
        raise InputError(f"--{flag}: {told}; give it with --suite, and write --{flag} SUITE=FILE")
    if missing := [name for name in suites if name not in files]:
        raise InputError(f"--{flag}: there is nothing for the suite {missing[0]}; add --{flag} {missing[0]}=FILE")
    return files


def _result(path: Path) -> tuple[bytes, EvaluationResult]:
    content = read_bytes(path)
    try:
        return content, EvaluationResult.model_validate(canonical.parse(content))
    except canonical.CanonicalError as error:
        raise RefusedError(f"{path}: {error}") from error
    except ValidationError as error:
        raise RefusedError(f"{path}: is no evaluation result: {statement.first_problem(error)}") from error


def _evaluation(
    name: str,
    spec: EvaluationSuiteSpec,
    data: Path,
    result: tuple[bytes, EvaluationResult],
    model_digest: str,
) -> EvaluationRecord:
    dataset = digest.file_digest(data, progress_on_terminal())
    if spec.dataset.digest not in {None, dataset.digest}:
        raise RefusedError(f"{data}: has digest {dataset.digest}, but spec.dataset.digest of {name} is another")
    content, found = result
    if found.verdict is None:
        raise RefusedError(f"the result of {name} has no verdict; evaluate it by the suite's bounds")
    record = statement.EvaluationRecord(
        name=name,
        suite=statement.SuiteRecord(name=name, digest=statement.suite_digest(spec)),
        dataset=statement.DatasetRecord(digest=dataset.digest, size_bytes=dataset.size_bytes),
        result=statement.ResultRecord(digest=canonical.digest_bytes(content)),
        batch_rows=found.batch_rows,
        verdict=found.verdict.outcome,
    )
    for contradiction in statement.contradictions(found, record, model_digest):
        raise RefusedError(f"the result of {name} is of something else: its {contradiction}")
    return record


def _rows(predicate: Predicate) -> list[tuple[str, str, str]]:
    rows = [("model", predicate.model.name, predicate.model.digest)]
    for record in predicate.evaluations:
        rows += [
            ("suite", record.name, record.suite.digest),
            ("data", record.name, record.dataset.digest),
            ("result", f"{record.name} ({record.verdict})", record.result.digest),
        ]
    if approval := predicate.approval:
        rows.append(("approval", f"{approval.decision} by {approval.approved_by}", approval.artifact_digest))
    if predicate.bom:
        rows.append(("bom", "", predicate.bom.digest))
    return rows


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
