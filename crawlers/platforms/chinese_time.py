"""Times as Chinese platforms write them: `刚刚`, `5分钟前`, `昨天 12:00`, `04-25`, `Mon Apr 25 00:51:42 +0800 2016`.

Pure. They are told on the clock of Beijing (UTC+8, no summer time), and many only against the moment that they were
shown at.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

BEIJING = timezone(timedelta(hours=8))

_UNITS = {"秒": "seconds", "秒钟": "seconds", "分钟": "minutes", "分": "minutes", "小时": "hours", "天": "days"}
_UNITS |= {"周": "weeks", "星期": "weeks"}
_SPAN = re.compile(rf"([0-9]{{1,5}}|半)\s*个?({'|'.join(sorted(_UNITS, key=len, reverse=True))})前")
_DAYS = {"今天": 0, "昨天": 1, "前天": 2}
_CLOCK = r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?"
_DAY = re.compile(rf"({'|'.join(_DAYS)})\s*(?:{_CLOCK})?")
_DATE = re.compile(rf"(?:([0-9]{{4}})[-/.年])?([0-9]{{1,2}})[-/.月]([0-9]{{1,2}})日?(?:[\sT]*{_CLOCK})?")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FULL = re.compile(
    rf"[A-Z][a-z]{{2}} ({'|'.join(_MONTHS)}) ([0-9]{{1,2}}) {_CLOCK} ([+-])([0-9]{{2}})([0-9]{{2}}) ([0-9]{{4}})"
)


def read_time(told: str, fetched_at: datetime) -> datetime | None:
    """The moment in UTC that is meant by a time shown at `fetched_at`; None for what is no such time.

    A span counts back from `fetched_at`; a day without a clock is its first minute in Beijing; a date without a year is
    the latest one that is not after `fetched_at`.
    """
    told = told.strip()
    if told == "刚刚":
        return fetched_at.astimezone(UTC)
    try:
        for shape, read in _READERS:
            if (found := shape.fullmatch(told)) is not None:
                return read(found, fetched_at.astimezone(BEIJING)).astimezone(UTC)
        # No date in ISO 8601 is shorter, and numbers alone are none.
        moment = datetime.fromisoformat(told) if len(told) > 10 and "-" in told else None
        return moment.astimezone(UTC) if moment is not None and moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _span(found: re.Match[str], now: datetime) -> datetime:
    return now - timedelta(**{_UNITS[found[2]]: 0.5 if found[1] == "半" else int(found[1])})


def _day(found: re.Match[str], now: datetime) -> datetime:
    return _at(now - timedelta(days=_DAYS[found[1]]), found[2], found[3], found[4])


def _date(found: re.Match[str], now: datetime) -> datetime:
    month, day = int(found[2]), int(found[3])
    if found[1]:
        return _at(datetime(int(found[1]), month, day, tzinfo=BEIJING), found[4], found[5], found[6])
    # Four years back there is a 29 February again, but for a century's end: eight are enough.
    for year in range(now.year, now.year - 9, -1):
        try:
            moment = _at(datetime(year, month, day, tzinfo=BEIJING), found[4], found[5], found[6])
        except ValueError:
            continue
        if moment <= now:
            return moment
    raise ValueError("no such day")


def _full(found: re.Match[str], _: datetime) -> datetime:
    zone = timedelta(hours=int(found[7]), minutes=int(found[8]))
    whole = datetime(
        int(found[9]),
        _MONTHS.index(found[1]) + 1,
        int(found[2]),
        tzinfo=timezone(zone if found[6] == "+" else -zone),
    )
    return _at(whole, found[3], found[4], found[5])


def _at(day: datetime, hour: str | None, minute: str | None, second: str | None) -> datetime:
    return day.replace(hour=int(hour or 0), minute=int(minute or 0), second=int(second or 0), microsecond=0)


_READERS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], datetime], datetime]], ...] = (
    (_FULL, _full),
    (_SPAN, _span),
    (_DAY, _day),
    (_DATE, _date),
)
