from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import pytest
import yaml
from throughline import cli, exits
from throughline.cli import documents, validate
from throughline.domain.manifests import deployment_name

EXAMPLES = Path(__file__).resolve().parents[2] / "manifests" / "examples"
GOOD = """\
apiVersion: throughline.io/v1alpha1
kind: ServingPool
metadata:
  name: cpu
spec:
  nodeSelector: {pool: cpu}
  costPerHour: 40m
"""
BAD = """\
# a comment
apiVersion: throughline.io/v1alpha1
kind: InferenceService
metadata:
  name: a
  namespace: "n"
spec:
  model:
    storage: {uri: pvc://m/a}
    backend: onnxruntime
    inputs:
      - {name: x, dataType: TYPE_FP32, dims: [1]}
      - name: z
        dataType: FP32
        dims: [1]
  slo:
    latencyP99Milliseconds: 0
  placement: {pools: [{name: cpu}]}
  scaling:
    maxReplicas: 2
    minReplicas: 3
  scalling: {}
"""


def validated(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    parser = argparse.ArgumentParser()
    validate.register(parser.add_subparsers())
    args = parser.parse_args(["validate", *arguments])
    code = args.run(args)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.yaml"


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda p: p.name)
def test_examples_are_valid(example: Path) -> None:
    report = validate.check([str(example)])
    assert report.findings == ()
    assert report.checked == len(list(yaml.safe_load_all(example.read_text())))


def test_every_error_has_its_line_field_and_fix(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(f"{GOOD}---\n{BAD}")
    code, out, err = validated(capsys, str(file))
    assert code == exits.REFUSED
    base = len(GOOD.splitlines()) + 1
    positions = [line.removeprefix(f"{file}:").split(": ", 2) for line in out.splitlines()]
    assert [(p[0], p[1]) for p in positions] == [
        (f"{base + 14}:9", "InferenceService/n/a"),
        (f"{base + 17}:5", "InferenceService/n/a"),
        (f"{base + 21}:5", "InferenceService/n/a"),
        (f"{base + 22}:3", "InferenceService/n/a"),
    ]
    details = [p[2] for p in positions]
    assert details[0].startswith("spec.model.inputs[1].dataType: must be one of TYPE_BOOL")
    assert details[1] == "spec.slo.latencyP99Milliseconds: must be at least 1; got 0"
    assert details[2].startswith("spec.scaling.minReplicas must not be above spec.scaling.maxReplicas")
    assert details[3] == "spec.scalling: unknown field; did you mean scaling?"
    assert "2 checked, 4 errors" in err


SUITE = """\
apiVersion: throughline.io/v1alpha1
kind: EvaluationSuite
metadata:
  name: census
spec:
  dataset:
    source: {pvc: {claimName: data, path: 2016.parquet}}
    labelColumn: employed
  task:
    type: Classification
    classes: ["0", "1"]
  inputs:
    - {tensor: x, columns: [AGEP], datatype: FP32}
  output: {tensor: p, kind: Probabilities}
  metrics:
    - name: logLoss
      floor: "0.5"
"""


def test_a_suite_is_checked_offline(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(SUITE)
    code, out, _ = validated(capsys, str(file))
    assert code == exits.REFUSED
    governance, floor = out.splitlines()
    assert governance.startswith(f"{file}:6:3: EvaluationSuite/census: spec.dataset.governance: is required")
    assert floor.startswith(f"{file}:17:7: EvaluationSuite/census: spec.metrics[0].floor: ")
    assert floor.endswith("better when lower; set ceiling instead")
    good = SUITE.replace("floor", "ceiling").replace(
        "    labelColumn",
        "    governance: {owner: a, purpose: b, legalBasis: Consent, regions: [r], retentionDays: 1}\n    labelColumn",
    )
    file.write_text(good)
    assert validated(capsys, str(file))[0] == exits.OK


def test_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(BAD)
    code, out, _ = validated(capsys, str(file), "-o", "json")
    report = json.loads(out)
    assert (code, report["valid"], report["checked"]) == (exits.REFUSED, False, 1)
    error = report["errors"][1]
    assert (error["file"], error["line"], error["field"]) == (str(file), 17, "spec.slo.latencyP99Milliseconds")


def test_a_field_that_stands_twice(file: Path) -> None:
    file.write_text(GOOD + "  costPerHour: 50m\n")
    (finding,) = validate.check([str(file)]).findings
    assert (finding.line, finding.field) == (8, "spec.costPerHour")
    assert "twice" in finding.message


def test_other_kinds_are_passed_over(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(f"{GOOD}---\napiVersion: v1\nkind: ConfigMap\n---\n# nothing\n")
    code, _, err = validated(capsys, str(file))
    assert code == exits.OK
    assert "1 checked, no errors, 1 of other kinds" in err


def test_nothing_to_check_is_no_success(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("apiVersion: v1\nkind: ConfigMap\n")
    code, _, err = validated(capsys, str(file))
    assert code == exits.UNUSABLE
    assert "nothing to check" in err


def test_broken_yaml_has_a_line(file: Path) -> None:
    file.write_text("a: 1\n  b: 2\n")
    (finding,) = validate.check([str(file)]).findings
    assert (finding.line, finding.column) == (2, 4)
    assert "no valid YAML" in finding.message


def test_a_missing_file(tmp_path: Path) -> None:
    (finding,) = validate.check([str(tmp_path / "none.yaml")]).findings
    assert "No such file" in str(finding)


def test_directories_and_input(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file.parent / "deep").mkdir()
    (file.parent / "deep" / "b.yml").write_text(GOOD)
    (file.parent / "deep" / "c.txt").write_text("no: yaml: at all")
    file.write_text(GOOD)
    assert validate.check([str(file.parent)]).checked == len(["x.yaml", "b.yml"])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode())))
    assert validate.check(["-"]).checked == 1


def test_items_of_a_list_have_their_own_lines(file: Path) -> None:
    file.write_text(
        "apiVersion: v1\nkind: List\nitems:\n"
        "- apiVersion: throughline.io/v1alpha1\n  kind: ServingPool\n  metadata: {name: x}\n"
        "  spec:\n    nodeSelector: {a: b}\n    costPerHour: -1\n"
    )
    (finding,) = validate.check([str(file)]).findings
    assert (finding.line, finding.column) == (9, 5)


def test_anchors_and_dates() -> None:
    text = (
        "apiVersion: throughline.io/v1alpha1\nkind: ServingPool\nmetadata: {name: x}\n"
        "spec:\n  nodeSelector: &s {since: 2026-01-01}\n  costPerHour: '1'\n"
    )
    (document,) = documents.parse("x", text)
    assert document.data["spec"]["nodeSelector"] == {"since": "2026-01-01"}


def test_a_character_that_no_yaml_has_is_said(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("kind: \x7f")
    code, out, _ = validated(capsys, str(file))
    assert code == exits.UNUSABLE
    assert "is no valid YAML: unacceptable character" in out


@pytest.mark.parametrize(
    ("accelerator", "words"),
    [
        ("{resource: nvidia.com/gpu.shared, countPerReplica: 2}", "a share of a GPU"),
        ("{resource: nvidia.com/mig-1g.10gb, countPerReplica: 2}", "shows one MIG device"),
    ],
)
def test_more_than_one_share_of_a_gpu_is_a_warning_and_no_error(
    file: Path, capsys: pytest.CaptureFixture[str], accelerator: str, words: str
) -> None:
    file.write_text(f"{GOOD}  accelerator: {accelerator}\n")
    code, out, err = validated(capsys, str(file))
    assert code == exits.OK
    assert out.startswith(f"{file}:8:")
    assert ": warning: ServingPool/cpu: spec.accelerator" in out
    assert words in out
    assert "1 checked, no errors, 1 warning" in err
    code, out, _ = validated(capsys, "-o", "json", str(file))
    report = json.loads(out)
    assert (code, report["valid"], report["errors"]) == (exits.OK, True, [])
    assert words in report["warnings"][0]["message"]


@pytest.mark.parametrize(
    "accelerator",
    [
        "{resource: nvidia.com/gpu, countPerReplica: 2}",
        "{resource: nvidia.com/gpu.shared}",
        "{resource: nvidia.com/mig-1g.10gb}",
    ],
)
def test_whole_gpus_and_single_shares_are_no_warning(
    file: Path, capsys: pytest.CaptureFixture[str], accelerator: str
) -> None:
    file.write_text(f"{GOOD}  accelerator: {accelerator}\n")
    code, out, err = validated(capsys, str(file))
    assert (code, out) == (exits.OK, "")
    assert "1 checked, no errors\n" in err


MISREAD = """\
apiVersion: throughline.io/v1alpha1
kind: InferenceService
metadata: {name: on, namespace: "n"}
spec:
  model:
    storage: {uri: pvc://m/a}
    backend: onnxruntime
    inputs:
      - {name: X, dataType: TYPE_FP32, dims: [3.0, 0x10]}
    outputs:
      - name: Y
        dataType: TYPE_FP32
        dims: [1]
    parameters:
      - {name: rate, value: 1e3}
    no: 1
  slo:
    latencyP99Milliseconds: 0b0
  placement: {pools: [{name: cpu}]}
"""


def test_what_kubectl_reads_otherwise_is_named_at_its_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(f"---\n{MISREAD}")
    code, out, _ = validated(capsys, str(file))
    assert code == exits.REFUSED
    found = [
        line.split(": ", 1)[0].removeprefix(f"{file}:") + " " + line.split(": ", 2)[2] for line in out.splitlines()
    ]
    assert found == [
        "4:12 metadata.name: must be text, and kubectl reads on as true: put it in quotes",
        "12:9 spec.model.outputs[0].name: must be text, and kubectl reads Y as true: put it in quotes",
        "16:22 spec.model.parameters[0].value: must be text, and kubectl reads 1e3 as 1000: put it in quotes",
        "17:5 spec.model.false: kubectl reads the name no as false: put it in quotes",
        "19:5 spec.slo.latencyP99Milliseconds: must be at least 1; got 0 (kubectl reads 0b0 as 0)",
    ]


def test_json_with_tabs_is_read_as_kubectl_reads_it(file: Path) -> None:
    file.write_text(
        '{\t"apiVersion": "v1", "kind": "List", "items": [\n{"apiVersion": "throughline.io/v1alpha1",\t"kind": '
        '"ServingPool", "metadata": {"name": "x"}, "spec": {"nodeSelector": {"a": "b"}, "costPerHour": "-1"}}]}'
    )
    report = validate.check([str(file)])
    assert report.checked == 1
    assert [finding.field for finding in report.findings] == ["spec.costPerHour"]


HPA = """\
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: fraud-cpu, namespace: prod}
spec:
  maxReplicas: 3
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: fraud}
"""
SCALED_OBJECT = """\
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: fraud-queue}
spec:
  scaleTargetRef: {name: fraud}
"""
ON_SERVICE = HPA.replace("apps/v1, kind: Deployment", "throughline.io/v1alpha1, kind: InferenceService")
SERVICE = """\
apiVersion: throughline.io/v1alpha1
kind: InferenceService
metadata: {name: fraud, namespace: prod}
spec:
  model: {storage: {uri: pvc://m/a}, backend: python, inputs: [{name: x, dataType: TYPE_FP32, dims: [1]}]}
  slo: {latencyP99Milliseconds: 50}
  placement: {pools: [{name: cpu}]}
  scaling: {mode: Auto}
"""
OFF = SERVICE.replace("mode: Auto", 'mode: "Off"')


@pytest.mark.parametrize(
    ("service", "other", "message"),
    [
        (
            SERVICE,
            HPA,
            "InferenceService fraud scales Deployment fraud, too: remove the HorizontalPodAutoscaler, or set",
        ),
        (
            SERVICE,
            SCALED_OBJECT,
            'remove the ScaledObject, or set spec.scaling.mode to "Off" to leave the replicas to it',
        ),
        (SERVICE, ON_SERVICE, "it has no effect on InferenceService fraud in mode Auto"),
        (OFF.replace('"Off"', '"Off", replicas: 2'), HPA, "or remove spec.scaling.replicas to leave"),
    ],
    ids=["HPA", "KEDA", "HPA on the service", "HPA beside a fixed count"],
)
def test_a_second_autoscaler_on_what_the_operator_scales_is_an_error(
    file: Path, service: str, other: str, message: str
) -> None:
    file.write_text(service + other)
    (finding,) = validate.check([str(file)]).findings
    assert message in finding.message
    assert (finding.object.split("/")[-1], finding.field) == (
        "fraud-queue" if "keda" in other else "fraud-cpu",
        "spec.scaleTargetRef.name",
    )
    assert finding.line >= service.count("\n") + 6


@pytest.mark.parametrize(
    ("service", "other"),
    [
        (OFF, HPA),
        (OFF.replace('"Off"', '"Off", replicas: 2'), ON_SERVICE),
        (SERVICE, HPA.replace("name: fraud}", "name: other}")),
        (SERVICE, HPA.replace("namespace: prod", "namespace: test")),
        (SERVICE, ON_SERVICE.replace("throughline.io/v1alpha1", "serving.kserve.io/v1beta1")),
        (SERVICE, HPA.replace("spec:", "spec: {}\nx:")),
    ],
    ids=["mode Off", "scales the service", "other name", "other namespace", "of KServe", "no target"],
)
def test_an_autoscaler_of_something_else_is_passed_over(file: Path, service: str, other: str) -> None:
    file.write_text(service + other)
    report = validate.check([str(file)])
    assert (report.findings, report.checked, report.skipped) == ((), 1, 1)


def test_two_objects_of_one_name_are_an_error_at_the_second(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text(SERVICE)
    second.write_text(f"---\n{SERVICE}")
    for sources in ([str(first), str(second)], [str(tmp_path)]):
        (finding,) = validate.check(sources).findings
        assert (finding.file, finding.line, finding.field) == (str(second), 4, "metadata.name")
        assert f"stands in {first}:3 already" in finding.message
    second.write_text(SERVICE.replace("namespace: prod", "namespace: test"))
    assert validate.check([str(tmp_path)]).findings == ()
    second.write_text(GOOD.replace("namespace: prod", "namespace: a"))
    assert validate.check([str(tmp_path)]).findings == ()


def test_off_without_quotes_is_a_boolean_and_says_so(file: Path) -> None:
    file.write_text(OFF.replace('"Off"', "Off"))
    (finding,) = validate.check([str(file)]).findings
    assert finding.field == "spec.scaling.mode"
    assert finding.message == "must be text, and kubectl reads Off as false: put it in quotes"


@pytest.mark.parametrize(
    "content",
    [b"\x89PNG\r\n\x1a\n\x00", b"\x1f\x8b\x08\x00", b"kind: \x00", GOOD.encode("utf-16"), b"a: [", b'a: "\\ud800"'],
    ids=["image", "gzip", "NUL", "UTF-16", "no YAML", "half a character"],
)
def test_a_file_that_cannot_be_read_is_no_verdict(
    content: bytes, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_bytes(content)
    code, out, err = validated(capsys, str(file))
    assert code == exits.UNUSABLE
    assert out.startswith(f"{file}:")
    assert "1 file not readable" in err


def test_every_file_is_checked_though_some_cannot_be_read(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(BAD)
    missing = [str(file.parent / name) for name in ("one.yaml", "two.yaml")]
    code, out, err = validated(capsys, missing[0], str(file), missing[1])
    assert code == exits.UNUSABLE
    for path in missing:
        assert f"{path}: No such file or directory" in out
    assert "spec.slo.latencyP99Milliseconds: must be at least 1" in out
    assert "1 checked, 6 errors, 2 files not readable" in err


def test_half_a_character_in_json_is_read_as_go_reads_it(file: Path) -> None:
    file.write_text(
        r'{"apiVersion":"throughline.io/v1alpha1","kind":"ServingPool","metadata":{"name":"\ud800"},"spec":{}}'
    )
    findings = validate.check([str(file)]).findings
    assert {finding.object for finding in findings} == {"ServingPool/\ufffd"}
    "\n".join(map(str, findings)).encode("utf-8")


def test_a_file_whose_name_is_no_text_is_named(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", f"{file.parent}/\udcff.yaml"]) == exits.UNUSABLE
    assert "\\udcff.yaml: No such file or directory" in capfd.readouterr().out


def test_a_name_that_is_a_word_of_yaml_is_shown_as_it_stands_there(file: Path) -> None:
    for word in ("on", "off", "1e3"):
        file.write_text(GOOD.replace("name: cpu", f"name: {word}"))
        assert {finding.object for finding in validate.check([str(file)]).findings} == {f"ServingPool/{word}"}


@pytest.mark.parametrize(
    "autoscaler",
    [
        "metadata: {name: a, namespace: n}\nspec: {scaleTargetRef: a}",
        "metadata: {name: a, namespace: n}\nspec: [1]",
        "metadata: {name: a, namespace: n}\nspec: {scaleTargetRef: {kind: [Deployment], name: {a: b}}}",
        "metadata: {name: a, namespace: [n]}\nspec: {scaleTargetRef: {kind: Deployment, name: b}}",
        "metadata: [a]\nspec: text",
    ],
)
def test_a_malformed_autoscaler_of_others_is_passed_over(autoscaler: str, file: Path) -> None:
    valid = (EXAMPLES / "gpu.yaml").read_text()
    file.write_text(f"{valid}\n---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\n{autoscaler}\n")
    report = validate.check([str(file)])
    assert (report.findings, report.skipped) == ((), 1)


def test_a_kind_that_is_a_list(file: Path) -> None:
    file.write_text("apiVersion: throughline.io/v1alpha1\nkind: [ServingPool]\nmetadata: {name: x}\nspec: {}\n")
    (finding,) = validate.check([str(file)]).findings
    assert finding.field == "kind"


VERTICAL = """\
---
apiVersion: autoscaling.k8s.io/v1
kind: VerticalPodAutoscaler
metadata: {name: ranker, namespace: NAMESPACE}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: DEPLOYMENT}
"""
KEDA = """\
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: ranker
  namespace: NAMESPACE
  annotations: {autoscaling.keda.sh/paused: "true"}
spec:
  scaleTargetRef: {name: DEPLOYMENT}
"""


def beside_a_service(autoscaler: str, file: Path) -> list[str]:
    text = (EXAMPLES / "gpu.yaml").read_text()
    service = next(d for d in yaml.safe_load_all(text) if d["kind"] == "InferenceService")["metadata"]
    named = autoscaler.replace("DEPLOYMENT", deployment_name(service["name"]))
    file.write_text(f"{text}\n{named.replace('NAMESPACE', service.get('namespace', 'default'))}")
    return [f"{finding.field}: {finding.message}" for finding in validate.check([str(file)]).findings]


def test_a_vertical_autoscaler_of_the_pods_is_named(file: Path) -> None:
    (finding,) = beside_a_service(VERTICAL, file)
    assert finding.startswith("spec.targetRef.name: it would resize the pods of InferenceService")
    assert beside_a_service(f'{VERTICAL}  updatePolicy: {{updateMode: "Off"}}\n', file) == []
    assert len(beside_a_service(f"{VERTICAL}  updatePolicy: {{updateMode: Initial}}\n", file)) == 1


def test_a_paused_scaled_object_scales_nothing(file: Path) -> None:
    assert beside_a_service(KEDA, file) == []
    assert len(beside_a_service(KEDA.replace('"true"', '"false"'), file)) == 1
    once_more = KEDA.replace('"true"', '"true", autoscaling.keda.sh/paused-replicas: "2"')
    assert len(beside_a_service(once_more, file)) == 1
