"""Any change to anything that was signed is found, and named."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from securesystemslib.signer import CryptoSigner
from throughline.cli.artifacts import read_object
from throughline.lineage import canonical, envelope, statement, verify
from throughline.lineage.verify import Given, Part, Report, Status

from tests.api.resources import EVALUATION_SUITE, changed
from tests.lineage.cases import SIGNER, Bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEYS = [SIGNER.public_key]


@pytest.fixture(params=["yaml", "json"])
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Bundle:
    return Bundle.write(tmp_path, suffix=request.param)


@pytest.fixture
def yaml_bundle(tmp_path: Path) -> Bundle:
    return Bundle.write(tmp_path)


def everything(bundle: Bundle) -> Given:
    return Given(
        model=bundle.model,
        data={"": bundle.data},
        suites=[read_object(bundle.suite)],
        results={"": bundle.result.read_bytes()},
        approval=read_object(bundle.approval),
        bom=bundle.bom.read_bytes(),
    )


def checked(bundle: Bundle, given: Given | None = None, **options: Any) -> Report:
    return verify.verify(bundle.statement.read_bytes(), KEYS, given or everything(bundle), **options)


def statuses(report: Report) -> dict[str, Status]:
    return {check.part: check.status for check in report.checks}


def flips(path: Path) -> Iterator[tuple[int, bytes, bytes]]:
    """Each byte of the file changed in turn, and put back: place, what it was, what it is. The bit that changes goes
    round, as all eight of each byte would take eight times as long (test_envelope.py does so).
    """
    original = path.read_bytes()
    try:
        for index in range(len(original)):
            changed = bytearray(original)
            changed[index] ^= 1 << (index % 8)
            path.write_bytes(changed)
            yield index, original, bytes(changed)
    finally:
        path.write_bytes(original)


def test_what_was_signed_verifies(bundle: Bundle) -> None:
    report = checked(bundle)
    assert set(statuses(report).values()) == {Status.OK}, report.checks
    assert not report.failed
    assert report.complete
    assert report.predicate == bundle.predicate


def test_what_is_not_given_is_not_checked(bundle: Bundle) -> None:
    report = checked(bundle, Given())
    found = statuses(report)
    assert {found.pop(part) for part in (Part.SIGNATURE, Part.STATEMENT)} == {Status.OK}
    assert set(found.values()) == {Status.NOT_CHECKED}
    assert not report.complete


@pytest.mark.parametrize("name", ["1/model.onnx", "config.pbtxt"])
def test_every_byte_of_the_model(yaml_bundle: Bundle, name: str) -> None:
    only = Given(model=yaml_bundle.model)
    for index, _, _ in flips(yaml_bundle.model / name):
        check = next(c for c in checked(yaml_bundle, only).checks if c.part is Part.MODEL)
        assert (check.status, check.details) == (Status.FAILED, (f"{name} was changed",)), index


@pytest.mark.parametrize("part", [Part.DATA, Part.RESULT, Part.BOM])
def test_every_byte_of_a_file(yaml_bundle: Bundle, part: Part) -> None:
    path: Path = getattr(yaml_bundle, part)
    for index, _, edited in flips(path):
        only = {
            Part.DATA: Given(data={"census": path}),
            Part.RESULT: Given(results={"census": edited}),
            Part.BOM: Given(bom=edited),
        }[part]
        failed = [c for c in checked(yaml_bundle, only).checks if c.status is Status.FAILED]
        assert [(c.part, c.details) for c in failed] == [(part, ("was changed",))], index


def same_suite(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether the object is the same to the API server: name and spec."""
    return bool(before["metadata"]["name"] == after["metadata"]["name"] and before["spec"] == after["spec"])


def same_approval(before: dict[str, Any], after: dict[str, Any]) -> bool:
    return statement.approval_record(before) == statement.approval_record(after)


@pytest.mark.parametrize(
    ("part", "same"), [(Part.SUITE, same_suite), (Part.APPROVAL, same_approval)], ids=["suite", "approval"]
)
def test_every_byte_of_an_object(bundle: Bundle, part: Part, same: Callable[[Any, Any], bool]) -> None:
    """Of an object the content counts, as the API server has it: what changes only the layout of the file is no
    change. Whatever is accepted must be the very same object.
    """
    path: Path = getattr(bundle, part)
    original = read_object(path).manifest
    accepted = 0
    flipped = 0
    for index, _, edited in flips(path):
        flipped += 1
        entry = read_object(path)
        only = Given(suites=[entry]) if part is Part.SUITE else Given(approval=entry)
        report = checked(bundle, only)
        failed = [c for c in report.checks if c.status is Status.FAILED]
        if failed:
            assert [c.part for c in failed] == [part], index
            assert failed[0].details[0], index
        else:
            accepted += 1
            assert entry.manifest is not None
            assert same(original, entry.manifest), (index, edited)
    assert accepted < flipped / 4  # indentation, quotes, labels, apiVersion


def test_every_byte_of_the_envelope(yaml_bundle: Bundle) -> None:
    """Payload, payload type, signature, key id and layout."""
    for index, _, _ in flips(yaml_bundle.statement):
        report = checked(yaml_bundle, Given())
        assert [c.part for c in report.checks if c.status is Status.FAILED] == [Part.SIGNATURE], index
        assert report.predicate is None
        assert {c.status for c in report.checks} == {Status.FAILED, Status.NOT_CHECKED}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_other_edit_of_the_payload_passes(yaml_bundle: Bundle, data: st.DataObject) -> None:
    """Beside single bits: any splice of the envelope."""
    original = yaml_bundle.statement.read_bytes()
    start = data.draw(st.integers(0, len(original)))
    end = data.draw(st.integers(start, min(len(original), start + 40)))
    edited = original[:start] + data.draw(st.binary(max_size=40)) + original[end:]
    if edited != original:
        assert verify.verify(edited, KEYS, Given()).failed


def test_a_broken_signature_leaves_nothing_to_compare_with(yaml_bundle: Bundle) -> None:
    stranger = CryptoSigner.generate_ed25519()
    report = verify.verify(yaml_bundle.statement.read_bytes(), [stranger.public_key], everything(yaml_bundle))
    found = statuses(report)
    assert found.pop(Part.SIGNATURE) is Status.FAILED
    assert set(found.values()) == {Status.NOT_CHECKED}
    assert report.predicate is None


def test_files_are_named(yaml_bundle: Bundle) -> None:
    (yaml_bundle.model / "config.pbtxt").unlink()
    (yaml_bundle.model / "2").mkdir()
    (yaml_bundle.model / "2/model.onnx").write_bytes(b"new")
    check = next(c for c in checked(yaml_bundle).checks if c.part is Part.MODEL)
    assert check.details == ("2/model.onnx was added", "config.pbtxt is missing")
    for index in range(verify.SHOWN_FILES):
        (yaml_bundle.model / f"{index}.txt").write_bytes(b"")
    check = next(c for c in checked(yaml_bundle).checks if c.part is Part.MODEL)
    assert check.details[-1] == "and 2 more"


def test_only_the_recorded_version_is_compared(yaml_bundle: Bundle) -> None:
    manifest = verify.digest.model_manifest(yaml_bundle.model, version=1)
    sign(
        yaml_bundle,
        yaml_bundle.predicate.model_copy(update={"model": statement.ModelRecord.of("fraud", manifest, version=1)}),
    )
    (yaml_bundle.model / "config.pbtxt").write_bytes(b"other")
    assert statuses(checked(yaml_bundle, Given(model=yaml_bundle.model)))[Part.MODEL] is Status.OK
    (yaml_bundle.model / "1/x").write_bytes(b"")
    assert statuses(checked(yaml_bundle, Given(model=yaml_bundle.model)))[Part.MODEL] is Status.FAILED


def sign(bundle: Bundle, predicate: statement.Predicate) -> None:
    bundle.statement.write_bytes(envelope.sign(statement.write(predicate), [SIGNER]))


def test_each_field_of_an_approval_is_named(yaml_bundle: Bundle) -> None:
    entry = read_object(yaml_bundle.approval)
    assert entry.manifest is not None
    assert yaml_bundle.predicate.approval is not None
    for field in yaml_bundle.predicate.approval.to_wire():
        manifest = json.loads(json.dumps(entry.manifest))
        place = {"time": ("metadata", "creationTimestamp")}.get(
            field, ("metadata" if field in {"namespace", "name", "uid"} else "spec", field)
        )
        other = {"decision": "Rejected", "artifactDigest": canonical.digest(1)}.get(field, "other")
        manifest[place[0]][place[1]] = other
        report = checked(yaml_bundle, Given(approval=dataclasses.replace(entry, manifest=manifest)))
        (failed,) = [c for c in report.checks if c.status is Status.FAILED]
        (detail,) = failed.details
        assert detail.startswith(f"{field} was changed")
        assert detail.endswith(f"here: {other})")


def test_nothing_is_taken_for_what_the_statement_lacks(yaml_bundle: Bundle) -> None:
    sign(yaml_bundle, yaml_bundle.predicate.model_copy(update={"approval": None, "bom": None, "evaluations": ()}))
    bare = statuses(checked(yaml_bundle, Given(model=yaml_bundle.model)))
    lacking = (Part.DATA, Part.SUITE, Part.RESULT, Part.APPROVAL, Part.BOM)
    assert {bare[part] for part in lacking} == {Status.ABSENT}
    assert checked(yaml_bundle, Given(model=yaml_bundle.model)).complete
    all_given = statuses(checked(yaml_bundle))
    assert {all_given[part] for part in lacking} == {Status.FAILED}


def test_several_evaluations_are_told_apart(yaml_bundle: Bundle) -> None:
    (first,) = yaml_bundle.predicate.evaluations
    second = first.model_copy(update={"name": "b", "suite": first.suite.model_copy(update={"name": "b"})})
    sign(yaml_bundle, yaml_bundle.predicate.model_copy(update={"evaluations": (first, second)}))
    with pytest.raises(verify.UnknownNameError, match="there are several evaluations; write NAME=FILE"):
        checked(yaml_bundle, Given(data={"": yaml_bundle.data}))
    with pytest.raises(verify.UnknownNameError, match="there is no evaluation c;"):
        checked(yaml_bundle, Given(data={"c": yaml_bundle.data}))
    report = checked(yaml_bundle, Given(data={"b": yaml_bundle.data}, suites=[read_object(yaml_bundle.suite)]))
    assert [(c.part, c.name, c.status) for c in report.checks if c.part in {Part.DATA, Part.SUITE}] == [
        (Part.DATA, "census", Status.NOT_CHECKED),
        (Part.DATA, "b", Status.OK),
        (Part.SUITE, "census", Status.OK),
        (Part.SUITE, "b", Status.NOT_CHECKED),
    ]
    sign(yaml_bundle, yaml_bundle.predicate.model_copy(update={"evaluations": (first, first)}))
    assert "two evaluations of the same name" in str(checked(yaml_bundle).checks)


def test_a_result_of_something_else_is_refused_though_signed(yaml_bundle: Bundle) -> None:
    wire = canonical.parse(yaml_bundle.result.read_bytes())
    for field, other in (
        ("suite", "other"),
        ("suiteDigest", canonical.digest(1)),
        ("datasetDigest", canonical.digest(1)),
        ("modelDigest", canonical.digest(1)),
        ("verdict", {"outcome": "Passed", "reasons": []}),
        ("batchRows", 4),
    ):
        content = canonical.encode({**wire, field: other})
        (record,) = yaml_bundle.predicate.evaluations
        record = record.model_copy(update={"result": statement.ResultRecord(digest=canonical.digest_bytes(content))})
        sign(yaml_bundle, yaml_bundle.predicate.model_copy(update={"evaluations": (record,)}))
        report = checked(yaml_bundle, Given(results={"": content}))
        (failed,) = [c for c in report.checks if c.status is Status.FAILED]
        assert failed.part is Part.RESULT
        assert failed.details[0].startswith(f"{field} is ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {**s, "_type": "https://in-toto.io/Statement/v0.1"}, "_type"),
        (lambda s: {**s, "predicateType": "https://slsa.dev/provenance/v1"}, "predicateType"),
        (lambda s: {**s, "subject": []}, "subject"),
        (lambda s: {**s, "subject": [{"name": "fraud", "digest": {"sha256": "0" * 64}}]}, "subject is not the model"),
        (lambda s: {**s, "predicate": {**s["predicate"], "more": 1}}, "predicate.more"),
        (
            lambda s: {**s, "predicate": {**s["predicate"], "model": {**s["predicate"]["model"], "files": {}}}},
            "not that of its files",
        ),
    ],
)
def test_another_statement_is_not_understood(yaml_bundle: Bundle, change: Any, message: str) -> None:
    payload = canonical.encode(change(canonical.parse(statement.write(yaml_bundle.predicate))))
    yaml_bundle.statement.write_bytes(envelope.sign(payload, [SIGNER]))
    report = checked(yaml_bundle)
    (failed,) = [c for c in report.checks if c.status is Status.FAILED]
    assert failed.part is Part.STATEMENT
    assert message in failed.details[0]
    assert Status.OK not in {c.status for c in report.checks if c.part is not Part.SIGNATURE}


def test_the_statement_is_in_toto(yaml_bundle: Bundle) -> None:
    wire = json.loads(statement.write(yaml_bundle.predicate))
    assert wire["_type"] == "https://in-toto.io/Statement/v1"
    assert wire["predicateType"] == "https://throughline.io/attestation/model-evaluation/v1"
    (subject,) = wire["subject"]
    assert subject["name"] == "fraud"
    assert f"sha256:{subject['digest']['sha256']}" == wire["predicate"]["model"]["digest"]
    assert set(wire["predicate"]) == {
        *("model", "service", "revision", "pool", "parent", "evaluations", "approval", "bom", "created")
    }


def suite_digest(*changes: Any) -> str:
    return statement.suite_digest(statement.suite_spec(changed(EVALUATION_SUITE, *changes)))


def test_a_suite_keeps_its_digest_whatever_the_spelling() -> None:
    assert suite_digest(("spec/metrics/0/floor", "1")) == suite_digest(("spec/metrics/0/floor", 1))
    assert suite_digest(("spec/intervals", None)) == suite_digest()
    assert suite_digest(("metadata/labels", {"a": "b"})) == suite_digest()


@pytest.mark.parametrize("change", [("spec/minimumSliceSize", 501), ("spec/intervals", {"seed": 2}), ("spec/gaps", [])])
def test_a_suite_of_another_content_has_another_digest(change: Any) -> None:
    assert suite_digest(change) != suite_digest()


def test_a_suite_is_read_as_strictly_as_by_the_api_server() -> None:
    with pytest.raises(ValidationError, match="valid integer"):
        suite_digest(("spec/minimumSliceSize", "500"))
