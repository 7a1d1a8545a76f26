"""Cron expressions and time zones, as a CronJob of Kubernetes has them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_ANY = datetime(2024, 1, 1, tzinfo=UTC)


def cron_problem(text: str) -> str | None:
    """What is wrong with the expression and how it is written, in words; None when it is right."""
    try:
        CronSim(text, _ANY)
    except CronSimError as error:
        return (
            f'"{text}": {str(error).lower()}; write minute, hour, day of month, month, day of week, as in "0 8 * * 1-5"'
        )
    return None


def is_time_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; not a name; a directory of the database
        return False
    return True


@lru_cache(maxsize=4096)
def last_start_seconds(schedule: str, time_zone: str, minute: int) -> float:
    """Unix time of the latest start at or before `minute` (whole minutes since 1970); -inf where there was none.

    Daylight saving as in Debian's cron (cronsim): a start in the hour that is skipped comes right after it, one in the
    hour that comes twice comes once.
    """
    # The search begins before its time, and this minute is to be found, too.
    at = datetime.fromtimestamp(minute * 60 + 1, ZoneInfo(time_zone))
    start = next(CronSim(schedule, at, reverse=True), None)
    return start.timestamp() if start is not None else float("-inf")
