#!/usr/bin/env bash
# Triton 2.51.0 (nvidia-pytriton 0.7.0): the response cache keeps answering with what the old files computed, after the
# model's code was replaced and loaded again, and even after the model was unloaded and loaded.
#
# Guess: a load that reads changed files, or at least an unload, empties the model's cache. Seen: model.py multiplies by
# 1, then by 10; the new code answers a new input with 10 times it, while the input asked before still gets the old
# answer, as success, after the reload and after unload and load. Neither version nor name changes when files are
# replaced in place, so the key stays the same. Replace weights under a new version number, or do without the cache.
# Output seen:
#   5 with the old files: 5.0
#   6 after the new files were loaded: 60.0
#   5 after the new files were loaded: 5.0
#   5 after unload and load: 5.0
set -euo pipefail
. "$(dirname "$0")/lib/triton.sh"
play <<'PYTHON'
from triton import *

folder = model("m", 'backend: "python" max_batch_size: 4 response_cache { enable: true } ' + SHAPE)
with Triton("--cache-config=local,size=1048576") as triton:
    expect("5 with the old files", triton.answer("m", 5.0), 5.0)
    (folder / "1/model.py").write_text(ECHO.replace("FACTOR", "10"))
    triton.load("m")
    expect("6 after the new files were loaded", triton.answer("m", 6.0), 60.0)
    expect("5 after the new files were loaded", triton.answer("m", 5.0), 5.0)
    triton.ask("/v2/repository/models/m/unload", {})
    while triton.ask("/v2/models/m/ready")[0] == 200:
        time.sleep(0.1)
    triton.load("m")
    expect("5 after unload and load", triton.answer("m", 5.0), 5.0)
PYTHON
