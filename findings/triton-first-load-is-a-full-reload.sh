#!/usr/bin/env bash
# Triton 2.51.0 (nvidia-pytriton 0.7.0): the first load with a configuration after a model came from its file is a full
# reload, even where only the instance count differs; from the second on, instances alone are changed in place.
#
# Guess: Triton documents that a change of instance_group alone updates the model in place, so that statistics stay.
# Seen: they stay from the second load on. The first starts the model again beside the old one (both copies in memory)
# and zeroes inference_count and batch_stats. A tuner that reckons memory or learns from counters has to know which
# load of a server's life it is making.
# Output seen:
#   requests counted before: 1
#   after count 2 (first load with a configuration): 0
#   after count 3 (second): 1
set -euo pipefail
. "$(dirname "$0")/lib/triton.sh"
play <<'PYTHON'
from triton import *

model("m", 'backend: "python" max_batch_size: 8 ' + SHAPE)
given = {"name": "m", "backend": "python", "max_batch_size": 8, "instance_group": [{"kind": "KIND_CPU", "count": 1}]}
given |= {key: [{"name": name, "data_type": "TYPE_FP32", "dims": [1]}] for key, name in (("input", "X"), ("output", "Y"))}
with Triton() as triton:
    triton.infer("m", 1.0)
    expect("requests counted before", triton.statistics("m")["inference_count"], 1)
    given["instance_group"][0]["count"] = 2
    triton.load("m", given)
    expect("after count 2 (first load with a configuration)", triton.statistics("m")["inference_count"], 0)
    triton.infer("m", 1.0)
    given["instance_group"][0]["count"] = 3
    triton.load("m", given)
    expect("after count 3 (second)", triton.statistics("m")["inference_count"], 1)
PYTHON
