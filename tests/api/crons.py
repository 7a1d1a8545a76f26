"""Cron expressions for the tests of the grammar, here and on the real API server."""

from __future__ import annotations

from hypothesis import strategies as st

ACCEPTED = [
    *("0 8 * * 1-5", "*/15 * * * *", "0 0 * * mon-fri", "0 0 * * MON-fri", "0 0 1 jan,JUL ?", "? ? ? ? ?"),
    *("0 3 * * 0", "0 3 * * sun", "0 3 * * SUN-6", "10-40/10,55 * * * *", "5/20 * * * *", "007 08 * * *"),
    *("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"),
    *("@every 1h", "@every 1h30m", "@every 1.5h", "@every 90s", "@every 100ms", "@every -5m", "@every 0"),
    *("0  8\t* * *", " 0 8 * * * ", "0 8 * * *\n", "0 0 29 2 *", "0 0 30 2 mon", "1,,2, * * * *", "*-5 * * * *"),
    *("+5 * * * *", "*/100 * * * *", "0 0 31 4,5 *"),
]
# Text → part of what is said of it.
REFUSED = {
    "0 3 * * 7": "a CronJob writes Sunday as 0",
    "0 3 * * 1-7": "a CronJob writes Sunday as 0",
    "0 0 L * *": "'L' is no day of month",
    "0 0 LW * *": "'LW' is no day of month",
    "0 0 * * 5L": "'5L' is no day of week",
    "0 0 * * MON#1": "'MON#1' is no day of week",
    "0 0 * * monday": "'monday' is no day of week",
    "0 25 * * *": "hour 25 is not from 0 to 23",
    "60 * * * *": "minute 60 is not from 0 to 59",
    "0 0 0 * *": "day of month 0 is not from 1 to 31",
    "0 0 1 13 *": "month 13 is not from 1 to 12",
    "0 0 * * fri-mon": "'fri-mon' ends before it begins",
    "30-10 * * * *": "ends before it begins",
    "1-2-3 * * * *": "more than one '-'",
    "*/2/3 * * * *": "more than one '/'",
    "*/0 * * * *": "whole number from 1",
    "*/x * * * *": "whole number from 1",
    "-1 * * * *": "'' is no minute",
    "0 0 30 2 *": "never starts",
    "0 0 31 2,4 ?": "never starts",
    ", * * * *": "names no minute",
    "* * * *": "has 4",
    "0 * * * * *": "has 6",
    "": "has 0",
    "every day": "has 2",
    "@reboot": "@reboot is unknown",
    "@Daily": "@Daily is unknown",
    "@daily ": "is unknown",
    "@every": "is unknown",
    "@every 1d": "no duration",
    "@every 1h 30m": "no duration",
    "@every 5": "no duration",
    "@every 2562048h": "too long",
    "TZ=Europe/Berlin 0 8 * * *": "timeZone",
    "CRON_TZ=UTC 0 8 * * *": "timeZone",
}
# A CronJob takes these all the same, and never starts anything.
NEVER = ("never starts",)
# What a regular expression does not see.
ONLY_OFFLINE = (*NEVER, "ends before it begins", "too long", "from 1", "timeZone")

_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_NAMES = ((), (), (), ("jan", "MAY", "Dec"), ("sun", "MON", "Sat"))
_DURATIONS = ("1h", "90s", "1h30m", "", "0", "-5m", "1.5h", ".5h", "1d", "1us", "5", "1h 30m", "9999999h", "300000000h")


@st.composite
def _values(draw: st.DrawFn, place: int) -> str:
    least, most = _BOUNDS[place]
    numbers = st.integers(max(0, least - 1), most + 2).map(str)
    inside = st.integers(least, most).map(str)
    odd = st.sampled_from(["", "L", "x", "01", "+3", "1#2", "5L", "100", "1.5"])
    named = st.sampled_from(_NAMES[place]) if _NAMES[place] else inside
    return draw(st.one_of(inside, inside, inside, named, numbers, *([odd] if draw(st.integers(0, 9)) == 0 else [])))


@st.composite
def _items(draw: st.DrawFn, place: int) -> str:
    value = _values(place)
    span = draw(st.one_of(st.sampled_from(["*", "?"]), value, st.tuples(value, value).map("-".join)))
    steps = st.sampled_from(["", "", "", "", "/1", "/2", "/5", "/40", "/0", "/", "/x", "/-1", "/+2", "/2/2"])
    return span + draw(steps)


@st.composite
def expressions(draw: st.DrawFn) -> str:
    """Text that looks like a schedule; about half of it is one."""
    if draw(st.integers(0, 9)) == 0:
        return draw(
            st.one_of(
                st.sampled_from([*ACCEPTED, *REFUSED]), st.sampled_from(_DURATIONS).map(lambda text: f"@every {text}")
            )
        )
    fields = [
        ",".join(draw(st.lists(_items(place), min_size=1, max_size=draw(st.sampled_from([1, 1, 3])))))
        for place in range(len(_BOUNDS))
    ]
    # Most fields are plain, so that whole expressions are right often enough.
    plain = draw(st.lists(st.booleans(), min_size=5, max_size=5))
    fields = ["*" if easy and place else field for place, (field, easy) in enumerate(zip(fields, plain, strict=True))]
    return draw(st.sampled_from([" ", " ", " ", "  ", "\t"])).join(fields)
