"""What one look keeps for the next, as JSON beside the samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from throughline.api.base import Outcome, Resource
from throughline.evaluator.drift.labels import ErrorState
from throughline.evaluator.errors import EvaluationInputError

if TYPE_CHECKING:
    from pathlib import Path


class WatchState(Resource):
    """How far samples and labels have been looked at."""

    file: str = ""  # the last sample file that a judged window has rows of
    offset: int = 0  # its rows that were judged
    seen: str = ""  # the last file that was there
    waiting_rows: int = 0  # of those files, not judged
    outcome: Outcome = Outcome.UNKNOWN  # of the newest window
    message: str = ""
    next_label: int = 0
    errors: ErrorState = ErrorState()
    pending: str = ""  # labelled rows that fill no window yet: 1 for a right answer, 0 for a wrong one
    labelled_rows: int = 0  # in the windows so far


def load(path: Path) -> WatchState:
    """The state of the look before; a fresh one where there was none.

    Raises:
        EvaluationInputError: the file is not of this program.
    """
    try:
        return WatchState.model_validate_json(path.read_text())
    except FileNotFoundError:
        return WatchState()
    except (ValidationError, UnicodeDecodeError) as error:
        raise EvaluationInputError(f"--state {path}: is no state of a look before; remove it") from error


def save(path: Path, state: WatchState) -> None:
    """Replaces it whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(state.model_dump_json(by_alias=True))
    part.replace(path)
