"""One change of a constant on some traces, in a process of its own, so that the change is everywhere."""

from __future__ import annotations

import json
import sys

from throughline.domain.control import tuning


def main(name: str, value: str, traces: list[str]) -> None:
    """Prints, by trace, cost and late share in per cent; null where the code does not run with that value."""
    if name:
        setattr(tuning, name, json.loads(value))
    from bench.sensitivity import run_one  # noqa: PLC0415 - whatever it imports has to see the change

    found: dict[str, tuple[float, float] | None] = {}
    for trace in traces:
        try:
            found[trace] = run_one(trace)
        except (ArithmeticError, IndexError, ValueError) as error:
            print(f"{name} = {value}, {trace}: {error!r}", file=sys.stderr)
            found[trace] = None
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
