# Sourced by the scripts beside this folder: a temporary environment with Triton 2.51.0 (nvidia-pytriton 0.7.0) and the
# packages that are given as arguments, and triton.py, by which a script makes models and asks a server on 127.0.0.1.
# `play` runs what is given as standard input there.
# shellcheck shell=bash
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
# The backend's stub links to a shared libpython of its own version.
for python in python3.11 python3.12 python3.10 python3.13 python3; do
  lib=$("$python" -c 'import pathlib, sysconfig as s; d = s.get_config_var("LIBDIR"); n = s.get_config_var("LDLIBRARY"); m = s.get_config_var("MULTIARCH") or ""; print(next((f.parent for f in (pathlib.Path(d, n), pathlib.Path(d, m, n)) if ".so" in n and f.exists()), ""))' 2>/dev/null) || continue
  if [ -n "$lib" ]; then break; fi
done
[ -n "${lib:-}" ] || { echo "needs a Python 3.10 to 3.13 with a shared libpython (Debian: libpython3-dev)" >&2; exit 2; }
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check nvidia-pytriton==0.7.0 numpy==1.26.4 "$@"
export LIBPYTHON=$lib WORK=$work
cat >"$work/triton.py" <<'PYTHON'
import json, os, pathlib, shutil, socket, subprocess, sys, sysconfig, time, urllib.error, urllib.request

WORK = pathlib.Path(os.environ["WORK"])
SITE = pathlib.Path(sysconfig.get_path("purelib"))
HOME = SITE / "pytriton/tritonserver"
SHAPE = 'input { name: "X" data_type: TYPE_FP32 dims: [1] } output { name: "Y" data_type: TYPE_FP32 dims: [1] }'
SHAPE += " instance_group { kind: KIND_CPU count: 1 }"
ECHO = """
import json, time
import triton_python_backend_utils as utils
class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        self.seconds = float(parameters["seconds"]["string_value"]) if "seconds" in parameters else 0.0
    def execute(self, requests):
        time.sleep(self.seconds)
        given = [utils.get_input_tensor_by_name(r, "X").as_numpy() for r in requests]
        return [utils.InferenceResponse([utils.Tensor("Y", FACTOR * g)]) for g in given]
"""

def model(name, config, factor=1):
    folder = WORK / "models" / name
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_text(config)
    (folder / "1/model.py").write_text(ECHO.replace("FACTOR", str(factor)))
    return folder

class Triton:
    def __enter__(self):
        return self

    def __init__(self, *flags):
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        shutil.copy(HOME / f"python_backend_stubs/{version}/triton_python_backend_stub", HOME / "backends/python")
        held = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        ports = [one.getsockname()[1] for one in held]
        for one in held:
            one.close()
        self.http, self.metrics_port = ports[0], ports[2]
        arguments = [HOME / "bin/tritonserver", "--model-repository", WORK / "models", "--model-control-mode=explicit"]
        arguments += ["--load-model=*", "--backend-directory", HOME / "backends", "--cache-directory", HOME / "caches"]
        for kind, port in zip(("http", "grpc", "metrics"), ports):
            arguments += [f"--{kind}-address=127.0.0.1", f"--{kind}-port={port}"]
        libraries = f"{SITE / 'nvidia_pytriton.libs'}:{os.environ['LIBPYTHON']}"
        path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = os.environ | {"LD_LIBRARY_PATH": libraries, "PYTHONPATH": str(SITE), "PATH": path}
        self.log = (WORK / "server.log").open("w")
        command = [*arguments, "--exit-timeout-secs=2", *flags]
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=subprocess.STDOUT)
        for _ in range(600):
            try:
                if self.ask("/v2/health/ready")[0] == 200:
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.__exit__()
        sys.exit("Triton did not start:\n" + (WORK / "server.log").read_text()[-2000:])

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def ask(self, path, body=None, port=None):
        sent = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port or self.http}{path}", data=sent)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def load(self, name, config=None):
        body = {} if config is None else {"parameters": {"config": json.dumps(config)}}
        return self.ask(f"/v2/repository/models/{name}/load", body)[0]

    def infer(self, name, value, tensor="X"):
        inputs = [{"name": tensor, "datatype": "FP32", "shape": [1, 1], "data": [value]}]
        return self.ask(f"/v2/models/{name}/infer", {"inputs": inputs})

    def answer(self, name, value):
        return json.loads(self.infer(name, value)[1])["outputs"][0]["data"][0]

    def config(self, name):
        return json.loads(self.ask(f"/v2/models/{name}/config")[1])

    def statistics(self, name):
        return json.loads(self.ask(f"/v2/models/{name}/stats")[1])["model_stats"][0]

    def metrics(self):
        return [line for line in self.ask("/metrics", port=self.metrics_port)[1].splitlines() if line[0] != "#"]

def expect(what, seen, wanted):
    print(f"{what}: {seen}")
    if seen != wanted:
        sys.exit(f"changed: {what} was {wanted}")
PYTHON
play() {
  cd "$work"
  "$work/venv/bin/python" -
}
