"""The garbage collector, set for a process that keeps much and drops little in cycles."""

from __future__ import annotations

import gc

# Allocations before the youngest are looked at, instead of 700: a look at a thousand services makes some ten thousand
# objects that stay until the next one, and going through them all the time takes a tenth of it.
YOUNG = 10_000


def settle() -> None:
    """Called once, when all that stays for the life of the process has been made: it is never gone through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 20)
