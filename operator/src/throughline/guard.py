"""The outermost frame of every command: an exception that nobody foresaw has an exit code of its own."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from throughline import exits

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = Path(__file__).parent


def guarded(
    program: str, command: Callable[[], int], *, tell: Callable[[str], None] | None = None, extra: str | None = None
) -> int:
    """The command's exit code, or `exits.UNFORESEEN` with the traceback and one line of what to do on stderr.

    Args:
        program: Name of the command, for messages.
        command: Runs it.
        tell: Also gets that line, for whoever reads a pod's status. It names the kind of the error and its place in
            our code but not its text, which may quote the user's data.
        extra: Of our package, which the command needs: its absence is no fault.
    """
    try:
        return command()
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if extra is None or missing in {"", PACKAGE.name}:
            return _unforeseen(program, error, tell)
        print(f"{program}: needs the package {missing}; pip install 'throughline[{extra}]'", file=sys.stderr)
        return exits.UNUSABLE
    except Exception as error:  # noqa: BLE001 - the one place that may: above it nothing tells it from a verdict
        return _unforeseen(program, error, tell)


def _unforeseen(program: str, error: Exception, tell: Callable[[str], None] | None) -> int:
    traceback.print_exception(error)
    said = f"unforeseen {type(error).__name__} at {_place(error)}: a fault of Throughline, and no verdict"
    print(f"{program}: {said}; report this line with the traceback above", file=sys.stderr)
    if tell is not None:
        tell(f"{said}; report it with the traceback in the container's log")
    return exits.UNFORESEEN


def _place(error: BaseException) -> str:
    """The last frame in our package, FILE:LINE."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)]
    last = own[-1] if own else frames[-1]
    path = Path(last.filename)
    return f"{path.relative_to(PACKAGE.parent) if path.is_relative_to(PACKAGE) else path.name}:{last.lineno}"
