"""The whole command on small traces: what it prints, what it refuses, and that nothing else pays for it."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from throughline.cli import main, simulate
from throughline.simulate import columns, rates

if TYPE_CHECKING:
    from pathlib import Path

POOL = """\
apiVersion: throughline.io/v1alpha1
kind: ServingPool
metadata:
  name: gpu
spec:
  nodeSelector: {pool: gpu}
  costPerHour: "3"
  capacity: {maxReplicas: 5}
"""
SERVICE = """\
apiVersion: throughline.io/v1alpha1
kind: InferenceService
metadata:
  name: a
  namespace: "n"
spec:
  model:
    storage: {uri: pvc://m/a}
    backend: onnxruntime
  slo: {latencyP99Milliseconds: 200}
  placement: {pools: [{name: gpu}]}
  batching:
    maxBatchSize: {max: 8}
    instances: {max: 1}
"""
LEARNED = """\
status:
  control:
    serviceTime:
      alphaMicroseconds: 20000
      betaMicroseconds: 4000
      contentionPermille: 700
      largestBatch: 4
      executions: 900
"""
COST = ("--alpha-ms", "20", "--beta-ms", "4")
SHORT = ("--shape", "poisson", "--rate", "40", "--hours", "0.1")


class Run:
    """The command in this process."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._file = folder / "service.yaml"
        self._capsys = capsys
        self.err = ""

    def __call__(self, *arguments: str, text: str = f"{POOL}---\n{SERVICE}") -> tuple[int, str]:
        self._file.write_text(text)
        try:
            code = main(["simulate", str(self._file), *arguments])
        except SystemExit as error:
            code = int(str(error.code))
        out, self.err = self._capsys.readouterr()
        return code, out

    def document(self, *arguments: str, **more: Any) -> dict[str, Any]:
        code, out = self(*arguments, "-o", "json", **more)
        assert code == 0, self.err
        return dict(json.loads(out))


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(tmp_path, capsys)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Eight minutes at 50/s."""
    path = tmp_path / "arrivals.csv"
    times = np.sort(np.random.default_rng(1).uniform(0.0, 480.0, 24_000))
    path.write_text("id,arrived_at\n" + "".join(f"{i},{t:.4f}\n" for i, t in enumerate(times)))
    return path


def test_a_trace_from_file_to_verdict(run: Run, trace: Path, tmp_path: Path) -> None:
    picture = tmp_path / "a.svg"
    code, out = run("--trace", str(trace), "--column", "arrived_at", *COST, "--picture", str(picture))
    assert code == 0, run.err
    lines = out.splitlines()
    assert lines[0] == "InferenceService n/a"
    assert "  Pool      gpu, up to 5 replicas, 3 an hour each" in lines
    header = next(i for i, line in enumerate(lines) if line.startswith("CONTENDER"))
    assert lines[header + 1].startswith("* Throughline "), "ours first, and marked"
    assert sum("tuned" in line for line in lines[header:]) >= 5
    assert "Throughline kept the SLO" in out
    assert f"Picture: {picture}" in out
    assert "n/a on arrivals: p99 within 200 ms" in picture.read_text()


def test_the_same_as_a_document(run: Run, trace: Path) -> None:
    found = run.document("--trace", str(trace), "--column", "arrived_at", *COST)
    ours, *others = found["contenders"]
    assert ours["ours"]
    assert ours["name"] == "Throughline"
    assert not any(other["ours"] for other in others)
    assert len(others) == 13
    assert [o["cost"] for o in others] == sorted(o["cost"] for o in others)
    for one in found["contenders"]:
        assert one["cost"] == pytest.approx(3.0 * one["replicaHours"])
        assert one["relativeCost"] == pytest.approx(one["cost"] / ours["cost"])
        assert one["violations"] == pytest.approx((one["over"] + one["lost"]) / one["requests"])
        assert one["keptSlo"] == (one["violations"] <= 0.01)
    traffic = found["traffic"]
    assert traffic["warmupSeconds"] == pytest.approx(traffic["durationSeconds"] / 4)
    assert traffic["requests"] == ours["requests"] == pytest.approx(18_000, rel=0.05)
    assert found["verdict"].startswith("Throughline kept the SLO")


def test_ours_alone_and_scaled(run: Run, trace: Path) -> None:
    found = run.document("--trace", str(trace), "--column", "arrived_at", "--rate", "10", *COST, "--no-alternatives")
    assert [c["name"] for c in found["contenders"]] == ["Throughline"]
    assert found["traffic"]["requests"] == pytest.approx(3600, rel=0.1)


def test_the_seed_decides(run: Run) -> None:
    first, again, other = (
        run.document(*SHORT, *COST, "--no-alternatives", "--seed", seed)["traffic"]["requests"] for seed in "112"
    )
    assert first == again != other


def test_surroundings_are_taken(run: Run) -> None:
    found = run.document(
        *SHORT, *COST, "--no-alternatives", "--pool-replicas", "2", "--price", "0.5", "--start-seconds", "5",
        "--load-seconds", "6", "--reload-seconds", "7", "--noise", "0.2", "--contention", "0.3",
    )  # fmt: skip
    assert found["pool"] == {"name": "gpu", "replicas": 2, "pricePerHour": 0.5}
    assert found["environment"].items() >= {"startSeconds": 5.0, "loadSeconds": 6.0, "reloadSeconds": 7.0}.items()
    assert found["model"] == {"alphaMilliseconds": 20.0, "betaMilliseconds": 4.0, "contention": 0.3, "noise": 0.2}
    assert found["contenders"][0]["cost"] == pytest.approx(0.5 * found["contenders"][0]["replicaHours"])


def test_what_the_operator_learned_is_the_cost(run: Run) -> None:
    text = f"{POOL}---\n{SERVICE}{LEARNED}"
    found = run.document(*SHORT, "--no-alternatives", text=text)
    assert found["model"].items() >= {"alphaMilliseconds": 20.0, "betaMilliseconds": 4.0, "contention": 0.7}.items()
    assert any("batches of up to 4" in note for note in found["notes"])
    found = run.document(*SHORT, "--no-alternatives", "--alpha-ms", "30", text=text)
    assert (found["model"]["alphaMilliseconds"], found["model"]["betaMilliseconds"]) == (30.0, 4.0), (
        "a flag is stronger"
    )


def test_an_unknown_cost_names_both_ways(run: Run) -> None:
    code, _ = run(*SHORT, "--alpha-ms", "3")
    assert code == 2
    for word in ("--alpha-ms", "--beta-ms", "kubectl get tis", "throughline explain"):
        assert word in run.err


def test_without_a_pool_one_is_assumed_and_said(run: Run) -> None:
    found = run.document(*SHORT, *COST, "--no-alternatives", text=SERVICE)
    assert found["pool"] == {"name": "gpu", "replicas": 10, "pricePerHour": 1.0}
    (note,) = found["notes"]
    assert "no ServingPool was given: gpu is taken to hold 10 replicas at 1 an hour" in note


def test_a_replica_with_two_gpus_is_simulated_with_one_and_said(run: Run) -> None:
    two = POOL.rstrip("\n") + "\n  accelerator: {resource: nvidia.com/gpu, countPerReplica: 2}\n"
    found = run.document(*SHORT, *COST, "--no-alternatives", text=f"{two}---\n{SERVICE}")
    assert any("has 2 devices and is simulated with one" in note for note in found["notes"])


def test_a_pool_too_small_for_the_least_count(run: Run) -> None:
    code, _ = run(*SHORT, *COST, "--pool-replicas", "1", text=f"{SERVICE}  scaling: {{minReplicas: 2}}\n")
    assert code == 1
    assert "gpu can hold 1" in run.err


def test_modes_that_do_nothing_are_simulated_as_auto(run: Run) -> None:
    text = f"{POOL}---\n{SERVICE}    mode: Recommend\n  scaling: {{mode: 'Off', minReplicas: 2}}\n"
    ramp = ("--shape", "slow-ramp", "--rate", "450", "--hours", "0.2")
    found = run.document(*ramp, *COST, "--no-alternatives", text=text)
    (ours,) = found["contenders"]
    assert ours["settings"]["maxBatchSize"] > 1, "else it would have stayed where it began"
    counted = found["traffic"]["durationSeconds"] - found["traffic"]["warmupSeconds"]
    assert ours["replicaHours"] > 2.2 * counted / 3600, "and here with 2 replicas"
    notes = "\n".join(found["notes"])
    for word in ("spec.scaling.mode is Off; simulated as Auto", "spec.batching.mode is Recommend", "minReplicas 2"):
        assert word in notes


@pytest.mark.parametrize(
    "shape",
    ["diurnal", "flash-crowd", "bursty", "slow-ramp", "on-off", "cost-drift", "node-loss", "metrics-gap"],
)
def test_every_shape(run: Run, shape: str) -> None:
    found = run.document(
        "--shape", shape, "--rate", "20", "--hours", "0.2", *COST, "--no-alternatives", "--pool-replicas", "4"
    )
    assert found["traffic"]["name"].replace(" ", "-") == shape
    assert found["traffic"]["requests"] > 500


def test_an_slo_that_no_setting_meets(run: Run) -> None:
    code, _ = run(*SHORT, "--alpha-ms", "400", "--beta-ms", "4")
    assert code == 1
    assert "p99 of 200 ms: one item alone takes 404 ms" in run.err
    assert "spec.slo.latencyP99Milliseconds" in run.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--shape", "poisson"), "--shape needs --rate"),
        ((*SHORT, "--column", "x"), "--time-column belongs to --trace"),
        ((*SHORT, "--rate-unit", "row"), "--rate-unit belongs to --trace"),
        ((*SHORT, "--query", "x"), "--query belongs to --prometheus"),
        (("--trace", "x.csv", "--hours", "2"), "--hours belongs to --shape"),
        (("--trace", "nowhere.csv"), "nowhere.csv: No such file"),
        ((*SHORT, "--picture", "a.jpg"), "must end in .svg or .png"),
        ((*SHORT, "--picture", "nowhere/a.svg"), "no directory nowhere"),
        (("--shape", "poisson", "--rate", "-1"), "-1 is not above 0"),
        (("--shape", "poisson", "--rate", "1e6", "--hours", "1"), "lower --hours or --rate"),
        (("--prometheus", "ftp://x"), "--prometheus: "),
        (("--prometheus", "http://x", "--since", "5 days"), "write 90m, 24h or 7d"),
        ((*SHORT, "--pool-replicas", "0"), "no whole number from 1"),
        ((*SHORT, "--service", "b"), "no InferenceService named b"),
        ((*SHORT, "--trace", "x"), "not allowed with argument"),
        ((), "one of the arguments --trace --prometheus --shape is required"),
        (("--shape", "poisson", "--rate", "0.001", "--hours", "0.1"), "no request arrives after"),
    ],
)
def test_wrong_usage(run: Run, arguments: tuple[str, ...], message: str) -> None:
    code, out = run(*arguments, *COST)
    assert (code, out) == (2, "")
    assert message in run.err
    assert "Traceback" not in run.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("time\n1\nx\n", "line 3: 'x' in column time is no time"),
        ("a,b\n1,2\n3,4\n", "--time-column"),
        ("seconds,requests_per_second\n0,1\n60,-3\n", "line 3: '-3' is no rate"),
        ("time\n\xff\n", "not UTF-8"),
    ],
)
def test_a_bad_trace(run: Run, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode("latin-1"))
    code, _ = run("--trace", str(path), *COST)
    assert code == 2, "a file that cannot be used is no verdict"
    assert message in run.err
    assert run.err.count("\n") == 1


def test_what_was_taken_for_time_and_rate_is_said(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    lines = "".join(f"{1_762_000_000_000 + 20 * n},0.0{n % 9}\n" for n in range(24_000))
    path.write_text(f"timestamp,request_time\n{lines}")
    code, out = run("--trace", str(path), *COST, "--no-alternatives")
    assert code == 0
    assert "each line is an arrival, at timestamp (Unix time in milliseconds); not used: request_time" in out
    code, _ = run("--trace", str(path), "--time-column", "request_time", *COST)
    assert code == 2
    assert "in no order, as durations are" in run.err


def test_counts_are_taken_over_the_time_that_the_unit_says(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    path.write_text("time,count\n" + "".join(f"{15 * n},{600 + n % 7}\n" for n in range(40)))
    code, _ = run("--trace", str(path), *COST)
    assert code == 2
    assert "--rate-unit=row" in run.err
    found = run.document("--trace", str(path), "--rate-unit", "row", *COST, "--no-alternatives")
    assert any("count is requests per row" in note for note in found["notes"])
    assert found["traffic"]["requests"] == pytest.approx(40 * 450, rel=0.05)


def test_an_unknown_column_names_those_there(run: Run, trace: Path) -> None:
    code, _ = run("--trace", str(trace), "--column", "when", *COST)
    assert code == 2
    assert "no column 'when'; there are ['id', 'arrived_at']" in run.err


def test_a_spec_that_is_not_valid(run: Run) -> None:
    code, out = run(*SHORT, *COST, text=SERVICE.replace("200", "0"))
    assert (code, out) == (1, "")
    assert "service.yaml:10:9: InferenceService/n/a: spec.slo.latencyP99Milliseconds" in run.err


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (POOL, 2, "there is no InferenceService"),
        (f"{SERVICE}---\n{SERVICE.replace('name: a', 'name: b')}", 2, "name one with --service"),
        (f"{POOL.replace('gpu', 'cpu')}---\n{SERVICE}", 1, "no ServingPool named gpu"),
        (f"{SERVICE}status: {{control: {{serviceTime: {{alphaMicroseconds: x}}}}}}\n", 1, "status.control.serviceTime"),
    ],
)
def test_resources_that_do_not_fit(run: Run, text: str, code: int, message: str) -> None:
    assert run(*SHORT, *COST, text=text)[0] == code
    assert message in run.err


def test_one_of_several_services(run: Run) -> None:
    text = f"{POOL}---\n{SERVICE}---\n{SERVICE.replace('name: a', 'name: b')}"
    assert run.document(*SHORT, *COST, "--no-alternatives", "--service", "b", text=text)["service"]["name"] == "b"


class Prometheus(BaseHTTPRequestHandler):
    """Ten minutes at 20/s, and two minutes of it missing."""

    def do_GET(self) -> None:
        known = '"n"' if "model%3D%22a%22%2Cnamespace%3D%22n%22" in self.path else ""
        values = [(t, "20") for t in range(0, 600, 15) if not 300 < t <= 420]
        result = [{"metric": {}, "values": values}] if known else []
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"status": "success", "data": {"result": result}}).encode())

    def log_message(self, *_: Any) -> None: ...


def test_the_users_own_prometheus(run: Run) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Prometheus)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        found = run.document("--prometheus", url, "--since", "10m", *COST, "--no-alternatives")
        empty, _ = run("--prometheus", url, "--query", "sum(x)", *COST)
    finally:
        server.shutdown()
        server.server_close()
    assert found["traffic"]["name"] == "history of a"
    assert found["traffic"]["requests"] == pytest.approx(20 * 450, rel=0.05)
    assert any("for 2 min nothing was recorded" in note for note in found["notes"])
    assert empty == 3
    gone, _ = run("--prometheus", url, *COST)
    assert gone == 3
    assert "does not answer" in run.err


@pytest.mark.parametrize(
    ("missing", "arguments"), [("numba", ()), ("numpy", ()), ("matplotlib", ("--picture", "a.svg"))]
)
def test_without_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch, missing: str, arguments: tuple[str, ...]) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    code, out = run(*SHORT, *COST, *arguments)
    assert (code, out) == (2, "")
    assert f"needs {missing}" in run.err
    assert "pip install 'throughline[simulate]'" in run.err
    assert run.err.count("\n") == 1


def test_a_picture_is_not_needed_without_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(*SHORT, *COST, "--no-alternatives")[0] == 0


def test_help_imports_nothing_of_it() -> None:
    code = (
        "import sys; from throughline.cli import parser; parser(('simulate',)).format_help(); "
        "print(*{'numpy', 'numba', 'matplotlib', 'requests'} & {*sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "\n"


def test_the_units_offered_are_those_that_are_read() -> None:
    """Written out in the command line, which starts without what reads traces."""
    commands = argparse.ArgumentParser().add_subparsers()
    simulate.register(commands)
    offered = {a.dest: set(a.choices) for a in commands.choices["simulate"]._actions if a.choices}
    assert offered["unit"] == set(columns.UNITS)
    assert offered["rate_unit"] == set(rates.RATE_UNITS)
