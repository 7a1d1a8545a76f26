#!/usr/bin/env bash
# Triton 2.51.0 (nvidia-pytriton 0.7.0): the configuration given to the load API outlives a plain load, until any file
# in the model's folder changes; and a change of the instance count alone then deploys that file, too.
#
# Guess: a plain load either always reads config.pbtxt again or never does; and a load that changes only the count of
# instances leaves the model's code and weights alone. Seen: a plain load keeps the configuration that the load API was
# given (max_batch_size 4, not the file's 8) as long as nothing in the folder changed. A README beside the version
# folder is enough for the same plain load to return to the file's 8. With nothing changed, a count of 2 is set in
# place; with model.py changed meanwhile, the same kind of load serves the new code. Whoever tunes by the load API
# must expect that an unrelated copy into the repository undoes the tuning, or that the tuning rolls out a model.
# Output seen:
#   given to the load API: 4
#   plain load, nothing changed: 4
#   plain load after a README came: 8
#   count changed alone, answer to 1: 1.0
#   count changed after model.py, answer to 1: 10.0
set -euo pipefail
. "$(dirname "$0")/lib/triton.sh"
play <<'PYTHON'
from triton import *

folder = model("m", 'backend: "python" max_batch_size: 8 ' + SHAPE)
with Triton() as triton:
    tuned = triton.config("m") | {"max_batch_size": 4}
    triton.load("m", tuned)
    expect("given to the load API", triton.config("m")["max_batch_size"], 4)
    triton.load("m")
    expect("plain load, nothing changed", triton.config("m")["max_batch_size"], 4)
    (folder / "README.md").write_text("what this model is for\n")
    triton.load("m")
    expect("plain load after a README came", triton.config("m")["max_batch_size"], 8)
    triton.load("m", tuned)
    tuned["instance_group"][0]["count"] = 2
    triton.load("m", tuned)
    expect("count changed alone, answer to 1", triton.answer("m", 1.0), 1.0)
    (folder / "1/model.py").write_text(ECHO.replace("FACTOR", "10"))
    tuned["instance_group"][0]["count"] = 1
    triton.load("m", tuned)
    expect("count changed after model.py, answer to 1", triton.answer("m", 1.0), 10.0)
PYTHON
