"""The bill of materials, by the official schema of CycloneDX 1.6."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given, settings
from hypothesis import strategies as st
from throughline.api.evaluationresult import (
    Check,
    Estimate,
    EvaluationResult,
    GapResult,
    Outcome,
    Reason,
    SliceResult,
    Verdict,
)
from throughline.api.evaluationsuite import EvaluationSuiteSpec
from throughline.lineage import bom, canonical, statement

from tests.api.resources import EVALUATION_SUITE
from tests.lineage.cases import APPROVAL, CREATED, Bundle

if TYPE_CHECKING:
    from pathlib import Path

VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)
SUITE = EvaluationSuiteSpec.model_validate(EVALUATION_SUITE["spec"])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBER = st.none() | st.floats(allow_nan=False, allow_infinity=False)
DIGEST = st.binary(min_size=1, max_size=2).map(canonical.digest_bytes)


def problem(document: dict[str, Any]) -> object:
    return VALIDATOR.validate_str(json.dumps(document))


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = canonical.parse_canonical(Bundle.write(tmp_path).bom.read_bytes())
    return parsed


def test_the_schema_takes_it(document: dict[str, Any]) -> None:
    assert problem(document) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["metadata"]["component"].update(type="model"),
        lambda d: d["metadata"]["component"]["modelCard"].update(more=1),
        lambda d: d["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0].update(
            value=0.8
        ),
        lambda d: d["components"][0]["hashes"][0].update(content="zz"),
        lambda d: d.update(serialNumber="1"),
    ],
)
def test_the_schema_would_refuse_what_is_wrong(document: dict[str, Any], change: Any) -> None:
    change(document)
    assert problem(document) is not None


def test_it_says_what_the_model_is_and_how_it_did(document: dict[str, Any]) -> None:
    model = document["metadata"]["component"]
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "fraud", "fraud-1a2b3c4d")
    assert [file["name"] for file in model["components"]] == ["1/model.onnx", "config.pbtxt"]
    assert model["pedigree"]["ancestors"][0]["version"] == "fraud-0"
    properties = {p["name"]: p["value"] for p in model["properties"]}
    assert properties["throughline:approvedBy"] == "alice@example.com"
    assert properties["throughline:verdict:census"] == "Failed"
    card = model["modelCard"]
    assert card["modelParameters"]["task"] == "classification"
    interval = {"lowerBound": "0.81", "upperBound": "0.84"}
    assert card["quantitativeAnalysis"]["performanceMetrics"] == [
        {"type": "accuracy", "value": "0.8247", "confidenceInterval": interval},
        {"type": "accuracy", "value": "0.8247", "slice": "race=5", "confidenceInterval": interval},
    ]
    assert card["considerations"] == {
        "technicalLimitations": [
            "census: Failed: gap above 0.05",
            "census: auroc is not known: one class only",
            "census: race=5 has 2 rows, too few to be judged",
        ],
        "fairnessAssessments": [
            {
                "groupAtRisk": "race=5",
                "harms": "truePositiveRate differs from that of race=1 by 0.031 (interval 0.01 to 0.06)",
            },
            {"groupAtRisk": "race", "harms": "the gap of f1 is not known: no two slices are large enough"},
        ],
    }


def test_it_says_what_the_data_is_and_who_answers_for_it(document: dict[str, Any]) -> None:
    (data,) = document["components"]
    assert data["type"] == "data"
    assert document["dependencies"] == [{"ref": "model", "dependsOn": [data["bom-ref"]]}]
    assert document["metadata"]["component"]["modelCard"]["modelParameters"]["datasets"] == [{"ref": data["bom-ref"]}]
    (entry,) = data["data"]
    assert entry["governance"]["owners"] == [{"organization": {"name": "fairness team"}}]
    assert {p["name"]: p["value"] for p in entry["contents"]["properties"]} == {
        "throughline:legalBasis": "LegitimateInterests",
        "throughline:regions": "eu-west-1",
        "throughline:retentionDays": "30",
        "throughline:labelColumn": "employed",
    }


def test_same_input_same_document(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = Bundle.write(tmp_path / "a"), Bundle.write(tmp_path / "b")
    assert first.bom.read_bytes() == second.bom.read_bytes()


# Of the classes themselves hypothesis would take the aliases for further arguments.
def a_result(**fields: Any) -> EvaluationResult:
    return EvaluationResult(**fields)


def a_slice(**fields: Any) -> SliceResult:
    return SliceResult(**fields)


ESTIMATE = st.builds(Estimate, metric=TEXT, value=NUMBER, low=NUMBER, high=NUMBER, rows=st.integers(0, 9), reason=TEXT)
GAP = st.builds(
    GapResult,
    metric=TEXT,
    slice=TEXT,
    value=NUMBER,
    low=NUMBER,
    high=NUMBER,
    best=st.none() | TEXT,
    worst=st.none() | TEXT,
)
REASON = st.builds(
    Reason,
    check=st.sampled_from(Check),
    metric=TEXT,
    outcome=st.sampled_from(Outcome),
    bound=st.just(0.5),
    message=TEXT,
)
RESULT = st.builds(
    a_result,
    rows=st.just(1),
    confidence_percent=st.just(95),
    resamples=st.just(100),
    seed=st.just(1),
    metrics=st.lists(ESTIMATE, max_size=3),
    slices=st.lists(
        st.builds(
            a_slice,
            slice=TEXT,
            value=TEXT,
            rows=st.just(1),
            too_small=st.booleans(),
            metrics=st.lists(ESTIMATE, max_size=2),
        ),
        max_size=2,
    ),
    gaps=st.lists(GAP, max_size=2),
    verdict=st.none() | st.builds(Verdict, outcome=st.sampled_from(Outcome), reasons=st.lists(REASON, max_size=2)),
)


@st.composite
def predicates(draw: st.DrawFn) -> statement.Predicate:
    name = st.none() | TEXT.filter(bool)
    files = draw(st.dictionaries(TEXT.filter(bool), DIGEST.map(lambda d: d.removeprefix("sha256:")), min_size=1))
    digest = draw(DIGEST)
    names = draw(st.lists(st.sampled_from(["a", "b", "c"]), unique=True))
    return statement.Predicate(
        model=statement.ModelRecord(
            name=draw(TEXT.filter(bool)),
            digest=digest,
            files={path: statement.FileRecord(sha256=sha256, size_bytes=1) for path, sha256 in files.items()},
        ),
        service=draw(name),
        revision=draw(name),
        variant=draw(name),
        pool=draw(name),
        parent=draw(st.none() | st.builds(statement.ParentRecord, name=TEXT, digest=DIGEST)),
        evaluations=tuple(
            statement.EvaluationRecord(
                name=n,
                suite=statement.SuiteRecord(name=n, digest=draw(DIGEST)),
                dataset=statement.DatasetRecord(digest=draw(DIGEST), size_bytes=draw(st.integers(0, 9))),
                result=statement.ResultRecord(digest=draw(DIGEST)),
                verdict=draw(st.sampled_from(Outcome)),
            )
            for n in names
        ),
        approval=draw(
            st.none()
            | st.just(
                statement.approval_record(
                    {**APPROVAL, "spec": {**APPROVAL["spec"], "artifactDigest": canonical.digest(1)}}
                )
            )
        ),
        created=CREATED,
    )


@settings(max_examples=100, deadline=None)
@given(predicates(), st.data())
def test_whatever_was_found_the_schema_takes_it(predicate: statement.Predicate, data: st.DataObject) -> None:
    known = [record.name for record in predicate.evaluations if data.draw(st.booleans())]
    results = {name: data.draw(RESULT) for name in known}
    document = bom.build(predicate, results, dict.fromkeys(known, SUITE))
    assert problem(document) is None
    canonical.encode(document)
