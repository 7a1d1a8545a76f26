#!/usr/bin/env bash
# Triton 2.51.0 (nvidia-pytriton 0.7.0): a part of an ensemble that is loaded with a smaller max_batch_size than the
# ensemble's is taken, and the ensemble is unloaded; the load answers 200, and the index gives no reason but "unloaded".
#
# Guess: the load of the part is refused, since what depends on it would break, or the ensemble keeps the old part.
# Seen: 200 for the part; from then on the ensemble answers 404, as if it had never been there. A later load of the part
# with a size that fits brings the ensemble back without being asked. Whoever tunes the batch size of a part has to
# check what is built on it after each load.
# Output seen:
#   ensemble before: 200
#   load of the part with 4: 200
#   ensemble then: 404
#   index: ['UNAVAILABLE', 'unloaded']
#   load of the part with 8: 200
#   ensemble in the end: 200
set -euo pipefail
. "$(dirname "$0")/lib/triton.sh"
play <<'PYTHON'
from triton import *

model("part", 'backend: "python" max_batch_size: 8 ' + SHAPE)
whole = model("whole", 'platform: "ensemble" max_batch_size: 8 '
    'input { name: "A" data_type: TYPE_FP32 dims: [1] } output { name: "B" data_type: TYPE_FP32 dims: [1] } '
    'ensemble_scheduling { step { model_name: "part" model_version: -1 '
    'input_map { key: "X" value: "A" } output_map { key: "Y" value: "B" } } }')
(whole / "1/model.py").unlink()
with Triton() as triton:
    part = triton.config("part")
    expect("ensemble before", triton.infer("whole", 1.0, "A")[0], 200)
    expect("load of the part with 4", triton.load("part", part | {"max_batch_size": 4}), 200)
    expect("ensemble then", triton.infer("whole", 1.0, "A")[0], 404)
    index = json.loads(triton.ask("/v2/repository/index", {})[1])
    expect("index", [[m["state"], m["reason"]] for m in index if m["name"] == "whole"][0], ["UNAVAILABLE", "unloaded"])
    expect("load of the part with 8", triton.load("part", part), 200)
    expect("ensemble in the end", triton.infer("whole", 1.0, "A")[0], 200)
PYTHON
