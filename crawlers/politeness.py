"""Rate limits: what a server's headers ask for, in all the dialects that platforms speak. Pure functions.

Sources: RFC 9110 section 10.2.3 (Retry-After), draft-ietf-httpapi-ratelimit-headers, and the API pages of Mastodon,
Bluesky, X, Reddit and Tumblr.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isinf, isnan

_LONGEST = 7 * 86400.0
"""A reset further away than this, in seconds, is read as another unit or a mistake, and not believed."""
_MOST_TOLD = 10_000
"""Bytes of an answer that are read for what it asks."""
_EPOCH = 1e9
"""A number of seconds that is larger is a moment since 1970, not a span."""
_EPOCH_MILLISECONDS = 1e11
"""A number that is larger counts milliseconds since 1970."""


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that `Retry-After` asks to wait, whether it gives a span or an HTTP date; None when it says nothing."""
    if value is None:
        return None
    if spans := _numbers(value):
        return max(0.0, _span(max(spans), now))
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):
        return None
    return max(0.0, ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds())


def wait_told(body: bytes) -> float:
    """Seconds that the body of a 429 asks to wait, as Discourse writes it (`extras.wait_seconds`); 0 where it says
    nothing."""
    try:
        found = json.loads(body[:_MOST_TOLD])
        seconds = float(found["extras"]["wait_seconds"])
    except (ValueError, TypeError, LookupError, RecursionError, OverflowError):
        return 0.0
    return seconds if seconds > 0 and not isinf(seconds) else 0.0


def wait_for_reset(headers: Mapping[str, str], now: datetime) -> float:
    """Seconds until the server takes another request: 0 unless a header says that none is left.

    `headers` has names in lower case.
    """
    waits = [0.0]
    for prefix in ("x-ratelimit-", "x-rate-limit-", "ratelimit-", "x-ratelimit-perhour-", "x-ratelimit-perday-"):
        remaining = _numbers(headers.get(prefix + "remaining"))
        if remaining and min(remaining) < 1:
            waits.append(_seconds(headers.get(prefix + "reset"), now))
    for left, seconds in _combined(headers.get("ratelimit", "")):
        if left < 1:
            waits.append(_believed(_span(seconds, now)))
    return max(waits)


def _combined(value: str) -> list[tuple[float, float]]:
    """`RateLimit: limit=100, remaining=0, reset=30` and the newer `RateLimit: "name";r=0;t=30`, several by commas."""
    old = {key: float(number) for key, number in re.findall(r"\b(remaining|reset)=(\d+(?:\.\d+)?)", value)}
    if "remaining" in old:
        return [(old["remaining"], old.get("reset", 0.0))]
    found = []
    for item in value.split(","):
        parts = {key: float(number) for key, number in re.findall(r";\s*([rt])=(\d+)", item)}
        if "r" in parts:
            found.append((parts["r"], parts.get("t", 0.0)))
    return found


def _numbers(value: str | None) -> list[float]:
    """The numbers of a header, of which there are several where a server and a proxy before it both send it; none when
    it holds anything else."""
    try:
        found = [float(each) for each in (value or "").split(",")]
    except ValueError:
        return []
    return [] if any(map(isnan, found)) else found


def _seconds(value: str | None, now: datetime) -> float:
    """A reset as a span in seconds, a moment in seconds or milliseconds since 1970, or an ISO 8601 moment."""
    if value is None:
        return 0.0
    if numbers := _numbers(value):
        number = _span(max(numbers), now)
    else:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return 0.0
        number = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds()
    return _believed(number)


def _span(number: float, now: datetime) -> float:
    """A number as a span in seconds: what is too large for one is a moment."""
    if number <= _EPOCH:
        return number
    return (number / 1000 if number > _EPOCH_MILLISECONDS else number) - now.timestamp()


def _believed(seconds: float) -> float:
    return seconds if 0 < seconds <= _LONGEST else 0.0
