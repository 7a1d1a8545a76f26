#!/usr/bin/env bash
# Triton 2.51.0 (nvidia-pytriton 0.7.0): with summary_latencies=true, a model with response_cache has no
# nv_inference_request_summary_us, the only latency of whole requests; the other summaries and the help text, which says
# "includes cached requests", are there. Its p99 cannot be had from the server.
#
# Guess: as the help text says, the summary includes the cached requests. Seen: two models that differ in the cache
# alone; nv_inference_request_summary_us has series for the plain one only, nv_inference_queue_summary_us for both.
# Output seen:
#   models with nv_inference_request_summary_us: ['plain']
#   models with nv_inference_queue_summary_us: ['cached', 'plain']
#   help: Summary of inference request duration in microseconds (includes cached requests)
set -euo pipefail
. "$(dirname "$0")/lib/triton.sh"
play <<'PYTHON'
import re
from triton import *

model("plain", 'backend: "python" max_batch_size: 4 ' + SHAPE)
model("cached", 'backend: "python" max_batch_size: 4 response_cache { enable: true } ' + SHAPE)
with Triton("--cache-config=local,size=1048576", "--metrics-config=summary_latencies=true") as triton:
    for name in ("plain", "cached"):
        for value in (1.0, 1.0, 2.0):
            triton.infer(name, value)
    for metric, wanted in (("request", ["plain"]), ("queue", ["cached", "plain"])):
        series = [re.match(rf'nv_inference_{metric}_summary_us_count\{{model="(\w+)"', line) for line in triton.metrics()]
        expect(f"models with nv_inference_{metric}_summary_us", sorted({s[1] for s in series if s}), wanted)
    texts = re.findall(r"# HELP nv_inference_request_summary_us (.*)", triton.ask("/metrics", port=triton.metrics_port)[1])
    expect("help", texts[0], "Summary of inference request duration in microseconds (includes cached requests)")
PYTHON
