#!/usr/bin/env bash
# Triton 2.51.0 (nvidia-pytriton 0.7.0): an output that holds NaN or an infinity is answered over HTTP in JSON with
# status 200 and the bare words NaN and -Infinity, which RFC 8259 does not have; so a caller with a strict parser (here
# orjson 3.11.4) fails on an answer that the server counts as success, for all values of all outputs.
#
# Guess: an error, null, or a string, as the OIP protocol says nothing of such values. Seen: bare words. Python's json
# takes them silently, so the fault shows at callers in other languages first. Binary outputs carry the values.
# Output seen:
#   status: 200
#   data: [-Infinity,0.0]
#   bare word in it: -Infinity
#   failures counted: 0
#   Python's json: [-inf, 0.0]
#   orjson: JSONDecodeError
set -euo pipefail
. "$(dirname "$0")/lib/triton.sh" orjson==3.11.4
play <<'PYTHON'
import re, math, orjson
from triton import *

folder = model("m", 'backend: "python" max_batch_size: 4 ' + SHAPE)
(folder / "1/model.py").write_text(ECHO.replace("import json", "import numpy, json").replace("FACTOR * g", "numpy.log(g)"))
with Triton() as triton:
    inputs = [{"name": "X", "datatype": "FP32", "shape": [2, 1], "data": [0.0, 1.0]}]
    status, text = triton.ask("/v2/models/m/infer", {"inputs": inputs})
    expect("status", status, 200)
    print("data:", re.search(r'"data":(\[.*?\])', text)[1])
    expect("bare word in it", re.search(r'"data":\[([^,]*),', text)[1], "-Infinity")
    expect("failures counted", triton.statistics("m")["inference_stats"]["fail"]["count"], 0)
    expect("Python's json", json.loads(text)["outputs"][0]["data"], [-math.inf, 0.0])
    try:
        orjson.loads(text)
        strict = "parsed"
    except orjson.JSONDecodeError as error:
        strict = type(error).__name__
    expect("orjson", strict, "JSONDecodeError")
PYTHON
