"""`throughline keys`, `sign` and `verify`, as on a laptop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from throughline import exits
from throughline.cli import main
from throughline.lineage import canonical, digest

from tests.api.modelrevisions import MODEL_REVISION
from tests.api.resources import EVALUATION_SUITE, changed
from tests.lineage.cases import Bundle

if TYPE_CHECKING:
    from pathlib import Path


class Laptop:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.bundle = Bundle.write(folder)
        self.folder = folder
        self.capsys = capsys
        self.run("keys", "generate", folder / "a.key")

    def run(self, *arguments: object) -> tuple[int, str, str]:
        self.capsys.readouterr()
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as exited:  # argparse
            code = int(str(exited.code))
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err

    @property
    def parts(self) -> list[object]:
        """All parts, for sign and verify alike."""
        b = self.bundle
        return [
            *("--model", b.model, "--suite", b.suite, "--data", b.data, "--result", b.result),
            *("--approval", b.approval, "--bom", b.bom),
        ]

    def sign(self, *arguments: object, parts: list[object] | None = None) -> tuple[int, str, str]:
        given = self.parts if parts is None else parts
        return self.run("sign", *given, "-k", self.folder / "a.key", "--out", self.statement, *arguments)

    def verify(self, *arguments: object, parts: list[object] | None = None) -> tuple[int, str, str]:
        given = self.parts if parts is None else parts
        return self.run("verify", "--statement", self.statement, "-k", self.folder / "a.pub", *given, *arguments)

    @property
    def statement(self) -> Path:
        return self.folder / "signed.json"


@pytest.fixture
def laptop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Laptop:
    return Laptop(tmp_path, capsys)


def row(out: str, part: str) -> str:
    return next(line for line in out.splitlines() if line.startswith(part))


def test_sign_and_verify(laptop: Laptop) -> None:
    code, out, _ = laptop.sign("--name", "fraud")
    assert code == exits.OK, out
    assert "census (Failed)" in row(out, "result")
    code, out, _ = laptop.verify("--strict")
    assert code == exits.OK, out
    assert [line.split()[0] for line in out.splitlines()[1:9]] == [
        *("signature", "statement", "model", "data", "suite", "result", "approval", "bom")
    ]
    assert out.splitlines()[-1] == "Verified"
    assert "FAILED" not in out
    assert "not checked" not in out


def test_the_bill_of_materials_is_valid(laptop: Laptop) -> None:
    laptop.bundle.bom.unlink()
    assert laptop.sign()[0] == exits.OK
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(laptop.bundle.bom.read_text()) is None


def test_what_is_not_given_is_never_ok(laptop: Laptop) -> None:
    laptop.sign()
    code, out, _ = laptop.verify(parts=["--data", laptop.bundle.data])
    assert code == exits.OK
    for part in ("model", "suite", "result", "approval", "bom"):
        assert "not checked" in row(out, part)
        assert " ok " not in row(out, part)
    assert " ok" in row(out, "data")
    assert out.splitlines()[-1] == "Verified, but for what was not checked: 5 of 8 parts"
    assert laptop.verify("--strict", parts=["--data", laptop.bundle.data])[0] == exits.REFUSED


@pytest.mark.parametrize("part", ["data", "suite", "result", "approval", "bom"])
def test_one_edit_is_named(laptop: Laptop, part: str) -> None:
    laptop.sign()
    path: Path = getattr(laptop.bundle, part)
    edits = {"data": (b"30", b"31"), "suite": (b"0.80", b"0.70"), "approval": (b"alice", b"alicf")}
    before, after = edits.get(part, (b"0.81", b"0.91"))
    assert before in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(before, after))
    code, out, _ = laptop.verify()
    assert code == exits.REFUSED
    assert [line.split()[0] for line in out.splitlines() if "FAILED" in line] == [part]
    assert out.splitlines()[-1].startswith(f"NOT VERIFIED: {part}")


def test_each_file_of_the_model_is_named(laptop: Laptop) -> None:
    laptop.sign()
    (laptop.bundle.model / "config.pbtxt").unlink()
    (laptop.bundle.model / "1/model.onnx").write_bytes(b"poisons")
    (laptop.bundle.model / "1/extra").write_bytes(b"")
    code, out, _ = laptop.verify()
    assert code == exits.REFUSED
    for told in ("1/extra was added", "1/model.onnx was changed", "config.pbtxt is missing"):
        assert told in out


def test_json(laptop: Laptop) -> None:
    code, out, _ = laptop.sign("-o", "json")
    told = json.loads(out)
    assert told["digest"] == f"sha256:{digest.file_digest(laptop.statement).sha256}"
    assert told["predicate"]["evaluations"][0]["verdict"] == "Failed"
    laptop.bundle.data.write_bytes(b"")
    code, out, _ = laptop.verify("-o", "json", parts=["--data", laptop.bundle.data])
    assert code == exits.REFUSED
    report = json.loads(out)
    assert (report["verified"], report["complete"]) == (False, False)
    data = next(check for check in report["checks"] if check["part"] == "data")
    assert data == {
        "part": "data",
        "name": "census",
        "status": "FAILED",
        "details": ["was changed (it had 18 bytes, it has 0)"],
    }
    assert report["predicate"] == told["predicate"]


def test_a_tampered_statement_says_nothing(laptop: Laptop) -> None:
    laptop.sign()
    content = bytearray(laptop.statement.read_bytes())
    content[40] ^= 1
    laptop.statement.write_bytes(content)
    code, out, _ = laptop.verify("-o", "json")
    report = json.loads(out)
    assert code == exits.REFUSED
    assert report["predicate"] is None
    assert {check["status"] for check in report["checks"]} == {"FAILED", "not checked"}


def test_rotation(laptop: Laptop) -> None:
    """Old statements verify by the old key while both are trusted; a new signature lets the old key go."""
    laptop.sign()
    folder = laptop.folder
    laptop.run("keys", "generate", folder / "b.key", "--algorithm", "ed25519")
    only_new = ("verify", "--statement", laptop.statement, "-k", folder / "b.pub")
    assert laptop.run(*only_new)[0] == exits.REFUSED
    assert laptop.run(*only_new, "-k", folder / "a.pub")[0] == exits.OK
    again = ("sign", "--add-to", laptop.statement, "-k", folder / "b.key", "--out", laptop.statement)
    assert laptop.run(*again)[0] == exits.OK
    assert laptop.run(*only_new)[0] == exits.OK
    assert laptop.verify(parts=[])[0] == exits.OK
    assert laptop.run(*only_new, "-k", folder / "a.pub", "--threshold", "2")[0] == exits.OK
    code, _, err = laptop.run(*only_new, "--threshold", "2")
    assert (code, err) == (exits.UNUSABLE, "error: --threshold 2: must be 1 to 1, the --keys\n")


def test_nothing_else_is_signed_with_a_second_signature(laptop: Laptop) -> None:
    laptop.sign()
    code, _, err = laptop.sign("--add-to", laptop.statement)
    assert code == exits.UNUSABLE
    assert "leave --model out" in err
    laptop.folder.joinpath("x").write_text("{}")
    code, _, err = laptop.sign("--add-to", laptop.folder / "x", parts=[])
    assert code == exits.REFUSED
    assert "is no DSSE envelope" in err


def edit(path: Path, *changes: Any) -> None:
    path.write_text(yaml.safe_dump(changed(yaml.safe_load(path.read_text()), *changes)))


OTHER = canonical.digest("other")


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("approval", ("spec/artifactDigest", OTHER), "but the model's digest is"),
        ("approval", ("metadata/uid", None), "metadata.uid: take it from the cluster"),
        ("approval", ("spec/decision", "Maybe"), "spec.decision: must be one of"),
        ("approval", ("kind", "ModelRevision"), "is no ModelApproval"),
        ("suite", ("spec/dataset/digest", OTHER), "spec.dataset.digest of census is another"),
        ("suite", ("spec/minimumSliceSize", 7), "suiteDigest is"),
        ("suite", ("spec/dataset/governance", None), "spec.dataset.governance: is required"),
        ("result", ("datasetDigest", OTHER), "datasetDigest is"),
        ("result", ("modelDigest", OTHER), "modelDigest is"),
        ("result", ("verdict", None), "has no verdict"),
        ("result", ("rows", "x"), "is no evaluation result: rows"),
    ],
)
def test_what_does_not_fit_together_is_not_signed(laptop: Laptop, part: str, change: Any, message: str) -> None:
    path: Path = getattr(laptop.bundle, part)
    if part == "result":
        path.write_bytes(canonical.encode(changed(canonical.parse(path.read_bytes()), change)))
    else:
        edit(path, change)
    code, _, err = laptop.sign()
    assert code == exits.REFUSED
    assert err.startswith("not signed: ")
    assert message in err
    assert not laptop.statement.exists()


def test_a_revision_is_recorded(laptop: Laptop) -> None:
    path = laptop.folder / "revision.yaml"
    own = laptop.bundle.predicate.model.digest
    revision = changed(MODEL_REVISION, ("spec/artifact/digest", own), ("spec/variant", "int8"))
    path.write_text(yaml.safe_dump(revision))
    code, out, err = laptop.sign("--revision", path, "-o", "json")
    assert code == exits.OK, err
    predicate = json.loads(out)["predicate"]
    assert {k: predicate[k] for k in ("service", "revision", "variant", "pool", "specHash", "parent")} == {
        "service": "fraud",
        "revision": "fraud-1a2b3c4d",
        "variant": "int8",
        "pool": "gpu",
        "specHash": "1a2b3c4d5e",
        "parent": MODEL_REVISION["spec"]["parent"],
    }
    assert predicate["model"]["name"] == "fraud"
    path.write_text(yaml.safe_dump(changed(revision, ("metadata/name", "another"))))
    assert "is of revision fraud-1a2b3c4d of fraud, not of another" in laptop.sign("--revision", path)[2]
    path.write_text(yaml.safe_dump(MODEL_REVISION))
    code, _, err = laptop.sign("--revision", path)
    assert code == exits.REFUSED
    assert "but the model's is" in err


def test_one_version_alone(laptop: Laptop) -> None:
    assert laptop.sign("--model-version", 1, parts=["--model", laptop.bundle.model])[0] == exits.OK
    (laptop.bundle.model / "config.pbtxt").unlink()
    code, out, _ = laptop.verify(parts=["--model", laptop.bundle.model])
    assert code == exits.OK
    assert "1 file of version 1" in row(out, "model")


def test_two_suites_are_named(laptop: Laptop) -> None:
    second = laptop.folder / "second.yaml"
    second.write_text(yaml.safe_dump(changed(EVALUATION_SUITE, ("metadata/name", "b"))))
    found = canonical.parse(laptop.bundle.result.read_bytes())
    result = laptop.folder / "b.json"
    result.write_bytes(canonical.encode(changed(found, ("suite", "b"))))
    b = laptop.bundle
    suites = ["--model", b.model, "--suite", b.suite, "--suite", second]
    named = [*suites, "--data", f"census={b.data}", "--data", f"b={b.data}"]
    named += ["--result", f"census={b.result}", "--result", f"b={result}"]
    assert laptop.sign(parts=named)[0] == exits.OK
    assert laptop.verify(parts=named)[0] == exits.OK
    exchanged = ["--result", f"census={result}", "--result", f"b={b.result}"]
    code, out, _ = laptop.verify(parts=exchanged)
    assert code == exits.REFUSED
    assert out.count("FAILED") == 2
    for command in (laptop.sign, laptop.verify):
        code, _, err = command(parts=[*suites, "--data", b.data, "--result", b.result])
        assert code == exits.UNUSABLE
        assert "=FILE" in err
    code, _, err = laptop.sign(parts=[*named, "--data", f"c={b.data}"])
    assert code == exits.UNUSABLE
    assert "there is no suite c" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "nowhere"), "nowhere: there is no such file"),
        (("--data", "nowhere"), "nowhere: there is no such file"),
        (("--bom", "nowhere"), "nowhere: No such file"),
        (("--suite", "nowhere"), "nowhere: No such file"),
        (("-k", "nowhere"), "nowhere: No such file"),
        (("-k", "a.key"), "is a private key"),
        (("--threshold", "0"), "must be 1 to 1"),
    ],
)
def test_wrong_usage_is_no_tampering(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    laptop.sign()
    monkeypatch.chdir(laptop.folder)
    code, out, err = laptop.verify(*arguments, parts=[])
    assert code == exits.UNUSABLE
    assert out == ""
    assert message in err


def test_a_key_that_others_may_read_signs_nothing(laptop: Laptop) -> None:
    (laptop.folder / "a.key").chmod(0o644)
    code, _, err = laptop.sign()
    assert code == exits.UNUSABLE
    assert "others may use this private key" in err
    assert not laptop.statement.exists()


def test_an_encrypted_key(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THROUGHLINE_KEY_PASSPHRASE", "secret")
    code, out, _ = laptop.run("keys", "generate", laptop.folder / "c.key", "-o", "json")
    made = json.loads(out)
    assert made["encrypted"]
    assert laptop.run("keys", "id", laptop.folder / "c.pub")[1].strip() == made["keyId"]
    only = ["--model", laptop.bundle.model]
    sign = ("sign", *only, "-k", laptop.folder / "c.key", "--out", laptop.statement)
    assert laptop.run(*sign)[0] == exits.OK
    monkeypatch.delenv("THROUGHLINE_KEY_PASSPHRASE")
    code, _, err = laptop.run(*sign)
    assert code == exits.UNUSABLE
    assert "passphrase" in err
    assert laptop.run("keys", "id", laptop.folder / "c.key")[0] == exits.UNUSABLE


def test_a_key_is_not_overwritten(laptop: Laptop) -> None:
    code, _, err = laptop.run("keys", "generate", laptop.folder / "a.key")
    assert code == exits.UNUSABLE
    assert "not overwritten" in err


def test_progress_is_for_terminals_alone(laptop: Laptop) -> None:
    assert laptop.sign()[2] == ""


def test_verify_needs_no_network_and_no_cluster(laptop: Laptop) -> None:
    """In a process that may open no socket, with no client of a cluster loaded."""
    laptop.sign()
    script = (
        # Loads the client of every cloud that is installed, and urllib3 binds a socket to see whether there is IPv6.
        "import securesystemslib.signer\n"
        "import sys, socket\n"
        "def refuse(event, _):\n"
        "    if event.startswith('socket.') and event != 'socket.__new__': raise SystemExit('network: ' + event)\n"
        "sys.addaudithook(refuse)\n"
        "from throughline.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "loaded = {'kubernetes', 'kopf', 'tritonclient', 'numpy', 'aiohttp'} & set(sys.modules)\n"
        "sys.exit(code or (f'loaded {loaded}' if loaded else 0))\n"
    )
    arguments = ["verify", "--statement", laptop.statement, "-k", laptop.folder / "a.pub", *laptop.parts]
    result = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KUBECONFIG": "/nowhere"},
    )
    assert result.returncode == 0, result.stderr + result.stdout
