"""What the act stage decides from: the situation, and what was done before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from throughline.domain.control.predict.situation import Situation

if TYPE_CHECKING:
    from throughline.domain.control.act.state import ActState
    from throughline.domain.control.optimise.proposal import OptimiserState


@dataclass(frozen=True, slots=True)
class Context(Situation):
    """As it is handed on: nothing in it changes any more."""

    optimiser: OptimiserState
    state: ActState
