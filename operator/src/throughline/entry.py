"""The console scripts. They import a command only inside its frame, so that a missing package is told as such."""

from __future__ import annotations

from throughline import guard

EXTRA = "evaluator"


def evaluate() -> int:
    """`throughline-evaluate`."""

    def start() -> int:
        from throughline.evaluator.cli import main  # noqa: PLC0415

        return main()

    return guard.guarded("throughline-evaluate", start, extra=EXTRA)


def sample() -> int:
    """`throughline-sample`."""

    def start() -> int:
        from throughline.evaluator.sampling.cli import main  # noqa: PLC0415

        return main()

    return guard.guarded("throughline-sample", start, extra=EXTRA)


def drift() -> int:
    """`throughline-drift`."""

    def start() -> int:
        from throughline.evaluator.watching.cli import main  # noqa: PLC0415

        return main()

    return guard.guarded("throughline-drift", start, extra=EXTRA)
