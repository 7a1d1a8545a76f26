from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import yaml
from throughline import exits
from throughline.cli import explain

FILE = Path(__file__).parent / "explained.yaml"


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    parser = argparse.ArgumentParser()
    explain.register(parser.add_subparsers())
    args = parser.parse_args(["explain", *arguments])
    code = args.run(args)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_all_that_the_ledger_holds(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = explained(capsys, "resnet50", "-f", str(FILE))
    assert code == exits.OK
    found = lines(out)
    for line in (
        "InferenceService vision/resnet50",
        "SLO p99 within 100 ms, at least 200 requests/s",
        "Measured p99 140ms, throughput 1.9k/s",
        "Cost 0.0006 for 1,000 inferences",
        "Replicas 3/4 ready",
        "Settings 8/2.5ms×1",
        "Trying 16/2.5ms×1 on pod resnet50-abc since 2026-01-01T00:02:00Z",
        "Rejected 64/0×2 until 2026-01-01T01:00:00Z: p99 rose to 300 ms",
        "2026-01-01T00:02:00Z Batch ThroughputShort 4 16/2.5ms×1",
        "2026-01-01T00:01:00Z Hold WithinBand 4 -",
        "Batches of 16 carry the load with the replicas there are.",
        "Inputs 1.9k requests/s, p99 140 ms, 4 replicas",
        "Predicted p99 80 ms, capacity 3.2k/s",
        "8/2.5ms×1 7 90ms 2.4k/s 7.07 dearer",
    ):
        assert line in found, line
    learned = next(line for line in found if line.startswith("Learned"))
    assert "4 + 0.2·b ms, from 5120 executions of up to 16; measured p99 is 1.1 of the predicted" in learned


def test_an_old_status_has_its_age(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Nobody writes it any more when the operator is gone: its numbers look like those of now."""
    _, out, _ = explained(capsys, "-f", str(FILE))
    assert any(line.startswith("Status last changed 2026-01-01T00:02:00Z, ") for line in lines(out)), out
    resource = yaml.safe_load(FILE.read_text())
    writer = {"subresource": "status", "time": "2026-01-01T00:05:00Z"}
    resource["metadata"]["managedFields"] = [writer, {"time": "2026-01-01T00:09:00Z"}]
    file = tmp_path / "service.yaml"
    file.write_text(yaml.safe_dump(resource))
    _, out, _ = explained(capsys, "-f", str(file))
    assert any(line.startswith("Status last changed 2026-01-01T00:05:00Z, ") for line in lines(out)), out


def test_what_is_wrong_comes_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = explained(capsys, "-f", str(FILE))
    assert "Accepted: No listed pool can hold spec.scaling.minReplicas: its nodes are full, tainted" in out
    assert "gpu can hold 4" in out
    assert "What to do: Do what the message says of each pool" in out
    # Healthy ones have nothing to say, and a reason of another version is passed on.
    assert "\nReady:" not in out
    assert "\nStalled:" not in out
    assert "Invented: FromTheFuture" in out


def test_what_follows_from_another_condition_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resource = yaml.safe_load(FILE.read_text())
    wrong = [
        ("Ready", "False", "PoolFull"),
        ("Accepted", "False", "PoolFull"),
        ("WorkloadReady", "False", "NotAccepted"),
        ("Reconciling", "True", "OfAnotherVersion"),
        ("Stalled", "True", "PoolFull"),
    ]
    resource["status"]["conditions"] = [
        {"type": t, "status": s, "reason": r, "message": "full", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        for t, s, r in wrong
    ]
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(resource))
    _, out, _ = explained(capsys, "-f", str(tmp_path / "x.yaml"))
    assert [line.split(":")[0] for line in out.splitlines() if line.split(":")[0] in {t for t, _, _ in wrong}] == [
        *("Accepted", "Reconciling")
    ]


def test_fewer_decisions(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = explained(capsys, "-f", str(FILE), "--last", "1")
    assert "WithinBand" not in out
    _, out, _ = explained(capsys, "-f", str(FILE), "--last", "0")
    assert "No decisions" in out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = explained(capsys, "-f", str(FILE), "-o", "json", "--last", "1")
    data = json.loads(out)
    assert data["status"]["decisions"][0]["alternatives"][0]["costPerHour"] == "7.07"
    assert len(data["status"]["decisions"]) == 1
    accepted = next(c for c in data["conditions"] if c["type"] == "Accepted")
    assert accepted["action"].startswith("Do what the message says of each pool; else add nodes")


def test_a_new_resource(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resource = yaml.safe_load(FILE.read_text())
    resource["status"] = {"observedGeneration": -1}
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(resource))
    code, out, _ = explained(capsys, "-f", str(tmp_path / "new.yaml"))
    assert code == exits.OK
    assert "not seen this version" in out
    assert "Is it running?" in out
    assert "nothing yet" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("other", "-f", str(FILE)), "no InferenceService named other"),
        (("-f", "/nowhere.yaml"), "No such file"),
        ((), "name an InferenceService"),
    ],
)
def test_errors_say_what_to_do(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str) -> None:
    code, out, err = explained(capsys, *arguments)
    assert code == exits.UNUSABLE
    assert out == ""
    assert message in err


def test_a_status_of_another_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resource = yaml.safe_load(FILE.read_text())
    resource["status"]["invented"] = 1
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(resource))
    code, _, err = explained(capsys, "-f", str(tmp_path / "x.yaml"))
    assert code == exits.UNUSABLE
    assert "not of this version" in err
    assert "invented" in err


def test_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    code, _, err = explained(capsys, "x", "-n", "y")
    assert code == exits.NO_ANSWER
    assert "no cluster is configured: set KUBECONFIG" in err
