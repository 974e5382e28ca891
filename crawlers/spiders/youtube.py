"""YouTube: a channel's feed, asked for conditionally; its videos, and a video's comments, by the Data API v3.

developers.google.com/youtube/v3/docs. Every request of the API costs one unit of the key's quota of a day.
"""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from crawlers.catalogue.youtube import API, KEY
from crawlers.fetching import Answer, SourceGapError
from crawlers.platforms.youtube import parse_comment, parse_feed, parse_video
from crawlers.post import ParseError
from crawlers.sighting import Visit
from crawlers.sink import Page
from crawlers.spiders.keys import keys_for
from crawlers.spiders.pages import Reading, Trail, created, is_past, parse_records

FEED_LENGTH = 15
"""Videos that a feed holds at most."""
LIMIT = 100
VIDEOS = 50
"""The most videos that the API gives at once."""

_CHANNEL = re.compile(r"UC[A-Za-z0-9_-]{22}")
_VIDEO = re.compile(r"[A-Za-z0-9_-]{11}")
_QUOTA = f"the quota of the key in {KEY} is used up; the same command goes on when it is renewed"
_REFUSALS = {
    "quotaExceeded": _QUOTA,
    "dailyLimitExceeded": _QUOTA,
    "rateLimitExceeded": f"the key in {KEY} asks more often than it may",
    "keyInvalid": f"the key in {KEY} is not valid",
    "badRequest": f"the request is refused as it stands; is the key in {KEY} valid?",
    "accessNotConfigured": f"the project of the key in {KEY} does not have the YouTube Data API enabled",
    "commentsDisabled": "the video's comments are turned off",
    "videoNotFound": "there is no such video",
    "playlistNotFound": "there is no such channel, or it shows no videos",
}
"""What the API says of an error, by its `reason`."""


async def read(reading: Reading) -> AsyncIterator[Page]:
    """Reads a feed, a channel's videos or a video's comments. Errors: SourceGapError."""
    kind = {"channel": _feed, "videos": _videos, "comments": _comments}[reading.source.kind]
    async for page in kind(reading):
        yield page


async def _feed(reading: Reading) -> AsyncIterator[Page]:
    """One document. A full one may have dropped videos of the window: what lies before its oldest is a gap then."""
    answer, came = await reading.get_changed("/feeds/videos.xml", {"channel_id": _channel(reading)})
    if answer.status == 404:
        raise SourceGapError("the platform has no feed of such a channel (HTTP 404)")
    if answer.status != 200:
        raise SourceGapError(f"the server answered HTTP {answer.status}")
    try:
        posts, rejects = parse_feed(answer.body, reading.source.authority, answer.fetched_at)
    except ParseError:
        raise SourceGapError("the server shows a page in place of the feed: a consent form or a challenge") from None
    if came:
        reading.remember(answer)
    parsed = parse_records(posts, lambda post: post, reading.window, created)
    yield Page(reading.start.page, reading.start.cursor, None, parsed.kept, rejects, answer.fetched_at, parsed.outside)
    window = reading.window
    if len(posts) + len(rejects) >= FEED_LENGTH and parsed.oldest is not None and parsed.oldest > window.since:
        told = f"a feed holds the {FEED_LENGTH} newest videos only; kind videos reads all of them, with a key"
        raise SourceGapError(told, (window.since, min(parsed.oldest, window.until)))


async def _videos(reading: Reading) -> AsyncIterator[Page]:
    """The playlist of a channel's uploads, newest first, whose ids are then asked for at once."""
    api = Api(reading)
    query = {"playlistId": f"UU{_channel(reading)[2:]}", "part": "contentDetails", "maxResults": str(VIDEOS)}
    number, cursor = reading.start.page, reading.start.cursor
    trail = Trail(cursor)
    while True:
        listed, _, following = await api.get("playlistItems", {**query, **_token(cursor)})
        ids = [native for item in listed if (native := _text(item, "contentDetails", "videoId"))]
        asked = {"part": "snippet,contentDetails,statistics", "id": ",".join(ids), "maxResults": str(VIDEOS)}
        videos, answer, _ = await api.get("videos", asked) if ids else ([], api.answer, None)
        parsed = parse_records(
            videos,
            lambda item: parse_video(item, reading.source.authority, answer.fetched_at),  # noqa: B023 - used at once
            reading.window,
            created,
        )
        following = None if is_past(parsed, reading) else following
        if following is not None:
            trail.follow(following, len(listed))
        yield Page(number, cursor, following, parsed.kept, parsed.rejects, answer.fetched_at, parsed.outside)
        if following is None:
            return
        number, cursor = number + 1, following


async def _comments(reading: Reading) -> AsyncIterator[Page]:
    """All threads of a video, the newest first, each page of them followed by the answers that it did not show.

    No thread is too old: what answers it may lie in the window. One that began after the window has none that does.
    """
    api = Api(reading)
    video = str(reading.source.value)
    if _VIDEO.fullmatch(video) is None:
        raise SourceGapError("the value is no video's id: 11 letters, digits, _ and -")
    number, cursor = reading.start.page, reading.start.cursor
    at, trail = _Comments.read(cursor), Trail(cursor)
    while True:
        if at.parents:
            query = {"part": "snippet", "parentId": at.parents[0], "maxResults": str(LIMIT), **_token(at.reply)}
            items, answer, following = await api.get("comments", query)
            found, after = items, at.answered(following)
        else:
            query = {"part": "snippet,replies", "videoId": video, "order": "time", "maxResults": str(LIMIT)}
            items, answer, following = await api.get("commentThreads", {**query, **_token(at.thread)})
            found, after = _with_answers(items), _Comments(following, _unanswered(items, reading))
        parsed = parse_records(
            found,
            lambda item: parse_comment(item, reading.source.authority, answer.fetched_at, video),  # noqa: B023
            reading.window,
            created,
        )
        kept = str(after) if after.parents or after.thread else None
        if kept is not None:
            trail.follow(kept, len(items))
        yield Page(number, cursor, kept, parsed.kept, parsed.rejects, answer.fetched_at, parsed.outside)
        if kept is None:
            return
        number, cursor, at = number + 1, kept, after


@dataclass(frozen=True)
class _Comments:
    """Where the reading of comments stands: the threads whose answers are to be read, the first of them from the page
    `reply` on, and the page of threads after that."""

    thread: str | None = None
    parents: tuple[str, ...] = ()
    reply: str | None = None

    @classmethod
    def read(cls, told: str | None) -> "_Comments":
        """What `str` told; the beginning without it."""
        thread, parents, reply = json.loads(told) if told else ("", "", "")
        return cls(thread or None, tuple(parents.split()), reply or None)

    def __str__(self) -> str:
        return json.dumps([self.thread or "", " ".join(self.parents), self.reply or ""])

    def answered(self, following: str | None) -> "_Comments":
        """After a page of answers, and the token of the one after it."""
        return replace(self, reply=following, parents=self.parents if following else self.parents[1:])


def _with_answers(threads: list[Any]) -> list[Any]:
    """Each thread, and after it the answers that it shows."""
    found: list[Any] = []
    for thread in threads:
        found += [thread, *_list(thread, "replies", "comments")]
    return found


def _unanswered(threads: list[Any], reading: Reading) -> tuple[str, ...]:
    """The threads that have more answers than they show, but those that began after the window."""
    found = []
    for thread in threads:
        snippet = thread.get("snippet") if isinstance(thread, dict) else None
        total = snippet.get("totalReplyCount") if isinstance(snippet, dict) else None
        if not isinstance(total, int) or total <= len(_list(thread, "replies", "comments")):
            continue
        native = thread.get("id")
        try:
            begun = parse_comment(thread, "", reading.window.since).created_at
        except ParseError:
            begun = None
        if isinstance(native, str) and (begun is None or begun < reading.window.until):
            found.append("".join(native.split()))
    return tuple(found)


class Api:
    """Asks the API with the operator's key, which stands in no cursor and in no error."""

    answer: Answer

    def __init__(self, asking: Reading | Visit) -> None:
        self._fetcher = asking.fetcher
        (self._key,) = keys_for(asking.source, asking.settings.environment, (KEY,), API)

    async def get(self, what: str, query: dict[str, str]) -> tuple[list[Any], Answer, str | None]:
        """The items of a list, the answer, and the token of the next page. Errors: SourceGapError."""
        self.answer = answer = await self._fetcher.get(f"/youtube/v3/{what}", {**query, "key": self._key})
        told = answer.json()
        if answer.status != 200:
            raise SourceGapError(f"{_refusal(told)} (HTTP {answer.status})")
        if not isinstance(told, dict) or not isinstance(told.get("items"), list):
            raise SourceGapError("the answer is not a list of the YouTube Data API")
        token = told.get("nextPageToken")
        return told["items"], answer, token if isinstance(token, str) and token else None


def _refusal(told: Any) -> str:
    """What an error means. Of its words only known reasons are told, as its message may repeat the request."""
    for error in _list(told, "error", "errors"):
        reason = error.get("reason") if isinstance(error, dict) else None
        if isinstance(reason, str) and reason in _REFUSALS:
            return _REFUSALS[reason]
    return "the API refuses the request"


def _channel(reading: Reading) -> str:
    channel = str(reading.source.value)
    if _CHANNEL.fullmatch(channel) is None:
        raise SourceGapError("the value is no channel's id: UC and 22 characters, as its page's source tells")
    return channel


def _token(cursor: str | None) -> dict[str, str]:
    return {"pageToken": cursor} if cursor else {}


def _list(parent: Any, first: str, second: str) -> list[Any]:
    inner = parent.get(first) if isinstance(parent, dict) else None
    found = inner.get(second) if isinstance(inner, dict) else None
    return found if isinstance(found, list) else []


def _text(parent: Any, first: str, second: str) -> str | None:
    inner = parent.get(first) if isinstance(parent, dict) else None
    found = inner.get(second) if isinstance(inner, dict) else None
    return found if isinstance(found, str) and found else None
