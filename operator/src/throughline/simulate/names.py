"""What the name of a column says that it holds: it is asked before the values, which many quantities share.

A rate says per what; a count is of its row; a counter only grows. What a name says of a request (its duration, its
status) or of a system (a percentile, CPU, an error rate) is never a rate of requests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

PER_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
PER_WORDS = {"s": "second", "min": "minute", "h": "hour", "d": "day"}


class Kind(Enum):
    """Of what a column holds, by its name."""

    RATE = auto()  # of requests
    COUNT = auto()  # of requests, over a time that the name leaves open
    COUNTER = auto()  # of requests since a server started
    REQUEST = auto()  # a property of one request
    SAMPLE = auto()  # a measurement that is no rate of requests
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Meaning:
    """`seconds`: of a rate, the time that it is per."""

    kind: Kind
    seconds: float = 1.0


_WORDS = r"(?<![a-z])(?:{})(?![a-z])"


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile(_WORDS.format("|".join(patterns)))


# All on names in lower case, with _ before what began with a capital.
_DURATION = re.compile(
    r"duration|latency|elapsed|took|taken|delay|"
    r"(request|response|upstream|processing|service|queue|wait|connect)\w*time|"
    + _WORDS.format("rtt|ttft|ttfb|tpot|itl|lag|age|ttl")
)
_TIME = re.compile(r"time|date|^ts$|^at$|_at$|arriv|second|offset|^t$")
# Of the moments of one request, that in which it came.
_ARRIVAL = re.compile(
    r"^@?_?time_?stamp$|^(date_?)?time$|^ts$|^at$|arriv|receiv|creat|start|began|begin|submit|enqueued"
)
_REQUEST = _words(
    "id", "ids", "status", "codes?", "ports?", "bytes?", "sizes?", "tokens?", "users?", "index", "lines?", "seq",
    "length", "retries", "attempts?", "ms", "msecs?", "millis\\w*", "us", "µs", "micros\\w*", "ns", "nanos\\w*",
)  # fmt: skip
_SAMPLE = re.compile(
    r"(?<![a-z0-9])p\d{2,3}(?![a-z0-9])|(?<![a-z0-9])p\d{2}[._]\d|quantile|percent|median|%|ratio(?![a-z])|utili[sz]|usage|"
    r"memory|_bucket|fail|error|exception|reject|dropped|timeout|saturation|temperature|(?<![a-z0-9])[45]xx|"
    r"(hit|miss|success|cache|loss|sampl\w+|frame|bit|conversion)s?\W*_?rate|"
    + _WORDS.format("cpus?|gpus?|mem|[kmgt]i?_?bs?|[kmg]?bps|watts?|replicas|pods|concurrency|in.?flight|avg.?batch")
)
_PER = re.compile(
    r"(?:(?<![a-z])per|/)[\s_]*(\d+)?[\s_]*(?:(s|secs?|seconds?)|(m|mins?|minutes?)|(h|hrs?|hours?)|(d|days?))(?![a-z])"
)
_PER_SIZES = tuple(PER_SECONDS.values())
_SHORT = re.compile(r"(?<![a-z])(k)?(?:reqp|rp|qp|op)(?:(s)|(m)|(h))(?![a-z])")  # tps may be of tokens
_EACH = (
    (re.compile(r"hourly"), PER_SECONDS["h"]),
    (re.compile(r"daily"), PER_SECONDS["d"]),
    (re.compile(r"minutely"), PER_SECONDS["min"]),
)
_REQUESTS = r"requests?|reqs?|quer(?:y|ies)|calls?|inferences?|invocations?|hits|arrivals?|traffic|http"
_RATE = re.compile(
    rf"^\W*(?:(?:total|mean|avg|average|current|in(?:coming|gress))[\W_]*|(?:{_REQUESTS})[\W_]*)*rates?\W*$|throughput"
)
_FUNCTION = re.compile(r"(?<![a-z])i?rate\s*\(")
_INCREASE = re.compile(r"(?<![a-z])(?:increase|delta)\s*\([^\[\]]*(?:\[(\d+)(s|m|h|d)\])?")
_INCREASE_SIZES = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_COUNTER = re.compile(r"_total(?![a-z_])|cumulative|counter|nv_inference_\w+")
_RATE_WORD = _words("rates?")
_REQUEST_COUNT = re.compile(
    r"^\W*counts?\W*$|(?<![a-z])(requests|reqs|queries|calls|inferences|invocations|hits)(?![a-z])|"
    r"(?<![a-z])(request|query|call|inference|invocation|hit)[\W_]*counts?(?![a-z])"
)
_COUNT = _words(_REQUESTS, "counts?", "number", "num", "events?", "ops", "transactions?")
# Labels and groupings of PromQL say of whom, not what.
_LABELS = re.compile(r"\{[^{}]*\}|(?<![a-z])(?:by|without|on|ignoring)\s*\([^()]*\)")


def meaning(name: str) -> Meaning:
    """What the name says; UNKNOWN: nothing."""
    said = _LABELS.sub(" ", plain(name))
    if _FUNCTION.search(said):
        return _of_function(said)
    if (found := _INCREASE.search(said)) is not None and not _other(said):
        window = None if re.search(r"[*/]", said) else found.group(1)
        return Meaning(Kind.RATE, int(window) * _INCREASE_SIZES[found.group(2)]) if window else Meaning(Kind.COUNT)
    per = _per(said)
    if _SAMPLE.search(said) or (per is not None and _other(said)):
        return Meaning(Kind.SAMPLE)
    if _other(said):
        return Meaning(Kind.REQUEST)
    if per is not None:
        return Meaning(Kind.RATE, per)
    if _RATE.search(said):
        return Meaning(Kind.RATE)
    if _COUNTER.search(said):
        return Meaning(Kind.COUNTER)
    if _COUNT.search(said):
        return Meaning(Kind.COUNT)
    return Meaning(Kind.REQUEST if is_timelike(name) else Kind.UNKNOWN)


def says_traffic(name: str) -> bool:
    """Whether it names a rate or requests in so many words, and not only some number (`image_count`)."""
    said = _LABELS.sub(" ", plain(name))
    return any(pattern.search(said) for pattern in (_RATE_WORD, _REQUEST_COUNT, _COUNTER, _INCREASE, _FUNCTION))


def is_duration(name: str) -> bool:
    return _DURATION.search(plain(name)) is not None


def is_timelike(name: str) -> bool:
    return _TIME.search(plain(name)) is not None


def is_arrival(name: str) -> bool:
    return _ARRIVAL.search(plain(name)) is not None


def plain(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _of_function(said: str) -> Meaning:
    """PromQL with `rate(…)`: of requests, unless the metric is another or arithmetic changes the unit."""
    counted = _DURATION.sub(" ", said) if "_count" in said else said  # a histogram of durations counts requests
    if _SAMPLE.search(counted) or _other(counted):
        return Meaning(Kind.SAMPLE)
    if re.search(r"[*/]", said):
        return Meaning(Kind.COUNT)
    return Meaning(Kind.RATE)


def _other(said: str) -> bool:
    return _DURATION.search(said) is not None or _REQUEST.search(said) is not None


def _per(said: str) -> float | None:
    """Seconds that a rate of this name is per; None: it names no time."""
    found = _PER.search(said)
    if found is not None:
        size = next(each for each, group in zip(_PER_SIZES, found.groups()[1:], strict=True) if group)
        return size * int(found.group(1) or 1) * _thousands(said)
    short = _SHORT.search(said)
    if short is not None:
        size = next(each for each, group in zip(_PER_SIZES, short.groups()[1:], strict=False) if group)
        return size / (1000.0 if short.group(1) else 1.0)
    return next((each for pattern, each in _EACH if pattern.search(said)), None)


def _thousands(said: str) -> float:
    return 0.001 if re.search(r"(?<![a-z])k[\s_]*(?:reqs?|requests?)(?![a-z])", said) else 1.0
