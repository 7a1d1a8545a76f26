"""The flags of tritonserver that a spec may set: those that neither open an API nor contradict the operator's own.

Names and values as `tritonserver --help` of 2.51 has them, and of later ones where it says so. Left out are addresses,
ports, TLS and other protocols (the probes, the operator and the NetworkPolicy count on them), everything about the
repository, metrics, tracing and restricted APIs (the operator sets them), files (the root cannot be written), and the
response cache and rate limiter (the metrics that scaling needs do not count what they do).
"""

from __future__ import annotations

import re

from throughline.api.base import Rule

# Triton ends at start where a number is too large for its type.
_THREADS, _NUMBER, _BYTES, _GPU = "[0-9]{1,4}", "[0-9]{1,9}", "[0-9]{1,18}", "[0-9]{1,2}"
_BOOLEAN, _TEXT = "(true|false|0|1)", ".+"

# Flag, without the dashes → its value as a regular expression of RE2 and of Python.
FLAGS: dict[str, str] = {
    "backend-config": r"[a-z0-9_]+,[A-Za-z0-9_.-]+=.+",
    "buffer-manager-thread-count": _THREADS,
    "cuda-memory-pool-byte-size": f"{_GPU}:{_BYTES}",
    "cuda-virtual-address-size": f"{_GPU}:{_BYTES}",
    "enable-peer-access": _BOOLEAN,
    "grpc-header-forward-pattern": _TEXT,
    "grpc-http2-max-ping-strikes": _NUMBER,
    "grpc-http2-max-pings-without-data": _NUMBER,
    "grpc-http2-min-recv-ping-interval-without-data": _NUMBER,
    "grpc-infer-allocation-pool-size": _NUMBER,
    "grpc-infer-response-compression-level": "(none|low|medium|high)",
    "grpc-infer-thread-count": _THREADS,  # later than 2.51
    "grpc-keepalive-permit-without-calls": _BOOLEAN,
    "grpc-keepalive-time": _NUMBER,
    "grpc-keepalive-timeout": _NUMBER,
    "grpc-max-response-pool-size": _NUMBER,  # later than 2.51
    "host-policy": r"[A-Za-z0-9_]+,(numa-node|cpu-cores)=[0-9-]+",
    "http-header-forward-pattern": _TEXT,
    "http-max-input-size": _BYTES,  # later than 2.51
    "http-thread-count": _THREADS,
    "log-error": _BOOLEAN,
    "log-format": "(default|ISO8601)",
    "log-info": _BOOLEAN,
    "log-verbose": _NUMBER,
    "log-warning": _BOOLEAN,
    "min-supported-compute-capability": r"[0-9]+(\.[0-9]+)?",
    "model-load-gpu-limit": _GPU + r":(0(\.[0-9]+)?|1(\.0+)?)",
    "model-load-retry-count": _NUMBER,
    "model-load-thread-count": _THREADS,
    "pinned-memory-pool-byte-size": _BYTES,
}
_ALLOWED = "^--(" + "|".join(f"{name}={value}" for name, value in FLAGS.items()) + ")$"
# Settings of every backend's: this one turns "no batch dimension" into "batches of 4".
_TAKEN = "^--backend-config=[a-z0-9_]+,default-max-batch-size="


def _holds(flag: str) -> bool:
    return re.fullmatch(_ALLOWED, flag) is not None and re.match(_TAKEN, flag) is None


RULE = Rule(
    cel=f"!has(self.args) || self.args.all(a, a.matches(r'{_ALLOWED}') && !a.matches('{_TAKEN}'))",
    holds=lambda s: all(_holds(flag) for flag in s.args),
    message="spec.runtime.args takes --flag=value with a value as Triton reads it and one of these flags: "
    + ", ".join(FLAGS)
    + "; the others open an API, or contradict what the operator sets or measures",
    field="args",
    # Without its value, which may be anybody's secret.
    got=lambda s: next(flag.partition("=")[0] for flag in s.args if not _holds(flag))[:64],
)
