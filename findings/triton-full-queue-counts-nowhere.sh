#!/usr/bin/env bash
# Triton 2.51.0 (nvidia-pytriton 0.7.0): a request that a full queue refuses (max_queue_size, 503) is counted by no
# metric and no statistic, although nv_inference_request_failure has the reason REJECTED.
#
# Guess: each 503 is one more nv_inference_request_failure{reason="REJECTED"}. Seen: of eight requests to a model that
# takes 0.5 s and queues two, three are answered and five get 503; all four reasons of the metric stay 0, and so does
# inference_stats.fail. An error rate or an availability SLO that is computed from Triton's own metrics is perfect
# while most callers are refused; only the callers, or a proxy before the server, can count them.
# Output seen:
#   answers: [200, 200, 200, 503, 503, 503, 503, 503]
#   both kinds of answer: [200, 503]
#   failures in metrics: {'BACKEND': 0, 'CANCELED': 0, 'OTHER': 0, 'REJECTED': 0}
#   failures in statistics: 0
set -euo pipefail
. "$(dirname "$0")/lib/triton.sh"
play <<'PYTHON'
import concurrent.futures, re
from triton import *

config = 'backend: "python" max_batch_size: 1 dynamic_batching { default_queue_policy { max_queue_size: 2 } } '
model("m", config + 'parameters { key: "seconds" value { string_value: "0.5" } } ' + SHAPE)
with Triton() as triton, concurrent.futures.ThreadPoolExecutor(8) as callers:
    answers = sorted(code for code, _ in callers.map(lambda _: triton.infer("m", 1.0), range(8)))
    print("answers:", answers)
    # How many are taken depends on when they arrive; that some are answered and some refused does not.
    expect("both kinds of answer", sorted(set(answers)), [200, 503])
    failures = [re.fullmatch(r'nv_inference_request_failure\{.*reason="(\w+)".*\} (\d+)', l) for l in triton.metrics()]
    expect("failures in metrics", {f[1]: int(f[2]) for f in sorted(filter(None, failures), key=lambda f: f[1])},
        dict.fromkeys(("BACKEND", "CANCELED", "OTHER", "REJECTED"), 0))
    expect("failures in statistics", triton.statistics("m")["inference_stats"]["fail"]["count"], 0)
PYTHON
