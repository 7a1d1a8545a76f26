"""Times that users name: cron expressions and time zones, as a CronJob of Kubernetes has them."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Annotated
from zoneinfo import ZoneInfo

from cronsim import CronSim
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from throughline.api import cron
from throughline.api.base import Label, Resource

_FOLD_SECONDS = 7200  # no clock is put back by more


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
    times = cron.parse(schedule)
    if isinstance(times, cron.Every):
        return float(minute * 60 // times.seconds * times.seconds)
    # The search begins before its time, and this minute is to be found, too.
    at = datetime.fromtimestamp(minute * 60 + 1, ZoneInfo(time_zone))
    if at.fold:  # read as the first of the two hours, so look from behind both
        at = datetime.fromtimestamp(minute * 60 + 1 + _FOLD_SECONDS, ZoneInfo(time_zone))
    starts = (start.timestamp() for start in CronSim(times.expression, at, reverse=True))
    return next((start for start in starts if start <= minute * 60), float("-inf"))


def next_start_seconds(schedule: str, time_zone: str, now_seconds: float) -> float:
    """Unix time of the first start after now; inf where there is none."""
    times = cron.parse(schedule)
    if isinstance(times, cron.Every):
        return float((now_seconds // times.seconds + 1) * times.seconds)
    at = datetime.fromtimestamp(now_seconds, ZoneInfo(time_zone))
    # In the second of two hours cronsim names a start of the first, which has passed.
    return next((s.timestamp() for s in CronSim(times.expression, at) if s.timestamp() > now_seconds), float("inf"))


def _known_cron(text: str) -> str:
    problem = cron.problem(text)
    if problem is not None:
        raise PydanticCustomError("cron", "{problem}", {"problem": problem})
    return text


def _known_time_zone(text: str) -> str:
    if not is_time_zone(text):
        raise PydanticCustomError(
            "time_zone",
            "{zone} is not in the IANA time zone database; write a name such as Europe/Berlin",
            {"zone": text},
        )
    return text


CronText = Annotated[
    str, AfterValidator(_known_cron), Field(max_length=cron.MAX_LENGTH, json_schema_extra={"pattern": cron.PATTERN})
]
TimeZone = Annotated[
    str,
    Field(pattern=r"^[A-Za-z][A-Za-z0-9_+/-]*$", max_length=64, description="Of the IANA database."),
    AfterValidator(_known_time_zone),
]


class Schedule(Resource):
    """A time of which it is known beforehand that it needs replicas, whatever is measured before it."""

    name: Label
    schedule: Annotated[
        CronText,
        Field(
            description="When it begins, as in a CronJob: minute, hour, day of month, month, day of week; or @daily."
        ),
    ]
    time_zone: TimeZone = "Etc/UTC"
    duration_minutes: Annotated[int, Field(ge=1, le=10_080)]
    min_replicas: Annotated[
        int,
        Field(ge=1, le=1000, description="At least so many are ready from its beginning; they are ordered before it."),
    ]
