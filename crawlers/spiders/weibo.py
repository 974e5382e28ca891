"""Weibo as m.weibo.cn shows it to whoever is logged in: an account's posts, newest first, a search, and single posts.

The session is the operator's own, given as the cookie that a browser keeps of it. Nothing else is sent that a browser
would send; where the site asks for more (a login, a visitor's page, a challenge), the source ends with a gap.
"""

import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from crawlers.fetching import Answer, LeavesHostError, SourceGapError
from crawlers.platforms.weibo import cut, mblogs_in, mid_of, native_id, parse_mblog
from crawlers.post import ParseError, Post
from crawlers.sighting import Visit
from crawlers.sink import Page
from crawlers.spiders.keys import keys_for
from crawlers.spiders.pages import Parsed, Reading, Trail, created, is_past, parse_records

COOKIE = "POSTSWEEP_WEIBO_COOKIE"
HOME = "https://m.weibo.cn"
BATCH = 20
"""Posts of a list that make a page."""

_INSTEAD = "`postsweep import` of a weibo-crawler or weibo-search capture serves instead"
_GATES = {418: "a block page", 432: "a visitor's gate", 403: "a refusal", 401: "a login"}
_VISITOR = re.compile(rb"passport\.weibo|Sina Visitor System|visitor\.passport|\xe9\xaa\x8c\xe8\xaf\x81\xe7\xa0\x81")
_NO_MORE = re.compile("还没有内容|没有更多|没有找到")
_GONE = re.compile("不存在|已被删除|已删除|无查看权限|没有权限|permission denied|not exist", re.IGNORECASE)
_POST = re.compile(r"(?:.*/)?(?:(?P<mid>[1-9][0-9]{12,18})|(?P<bid>[0-9A-Za-z]{9,11}))/?(?:[?#].*)?", re.DOTALL)


class GateError(SourceGapError):
    """The site asks for what is not given to it."""


async def read(reading: Reading) -> AsyncIterator[Page]:
    """Reads an account's timeline until a page lies wholly before the window, a search or a list to its end.

    Errors: SourceGapError.
    """
    site = Session(reading)
    await site.check()
    pages = _posts(reading, site) if reading.source.kind == "posts" else _cards(reading, site)
    async for page in pages:
        yield page


async def _cards(reading: Reading, site: "Session") -> AsyncIterator[Page]:
    source, window = reading.source, reading.window
    query = _asked(reading)
    number, cursor = reading.start.page, reading.start.cursor
    trail = Trail(cursor)
    before: list[object] = []
    while True:
        key, _, value = (cursor or "").partition("=")
        answer = await site.get("/api/container/getIndex", {**query, **({key: value} if cursor else {})})
        told = site.told(answer)
        if told.get("ok") != 1:
            await site.ended(told)
            yield Page(number, cursor, None, [], [], answer.fetched_at)
            return
        try:
            mblogs = mblogs_in(told)
        except ParseError:
            raise SourceGapError("the answer is none of m.weibo.cn: it lists no cards") from None
        # Pages that are numbered lead nowhere where the site shows the same one under each number.
        if mblogs and mblogs == before:
            raise SourceGapError("the server gives the same posts again: its paging goes in circles")
        before = mblogs
        mblogs = [await site.whole(each, answer, reading) for each in mblogs]
        parsed = parse_records(mblogs, _parser(source.authority, answer.fetched_at), window, created)
        following = _following(told, cursor, source.kind)
        if source.kind == "user" and is_past(parsed, reading):
            following = None
        if not mblogs and following is None:
            await site.check()
        if following is not None:
            trail.follow(following, len(mblogs))
        yield _page(number, cursor, following, parsed, answer.fetched_at)
        if following is None:
            return
        number, cursor = number + 1, following


def _asked(reading: Reading) -> dict[str, str]:
    value = str(reading.source.value)
    if reading.source.kind == "search":
        return {"containerid": f"100103type=1&q={value}", "page_type": "searchall"}
    if re.fullmatch(r"[1-9][0-9]{4,18}", value) is None:
        raise SourceGapError("the value is no account's number, as weibo.com/u/<number> shows it")
    return {"containerid": f"107603{value}"}


def _following(told: dict[str, Any], cursor: str | None, kind: str) -> str | None:
    """Where the timeline goes on: after the post that the answer names, else on the next page. A search that shows
    nothing has ended."""
    data = told.get("data")
    data = data if isinstance(data, dict) else {}
    info = data.get("cardlistInfo")
    since = info.get("since_id") if isinstance(info, dict) and kind == "user" else None
    if isinstance(since, int | str) and not isinstance(since, bool) and str(since) not in ("", "0"):
        return f"since_id={since}"
    if not data.get("cards") or (cursor or "").startswith("since_id="):
        return None
    before = (cursor or "page=1").removeprefix("page=")
    return f"page={int(before) + 1}" if before.isdecimal() else None


async def _posts(reading: Reading, site: "Session") -> AsyncIterator[Page]:
    """Posts by their addresses or numbers, some to a page; the cursor counts them, in an order that is
    not the list's."""
    listed = sorted(reading.source.urls)
    start, number = int(reading.start.cursor or 0), reading.start.page
    while True:
        found = [await site.single(address, reading) for address in listed[start : start + BATCH]]
        fetched_at = datetime.now(UTC)
        parsed = parse_records(found, _parser(reading.source.authority, fetched_at), reading.window, created)
        cursor, following = (str(start) if start else None), start + BATCH
        last = following >= len(listed)
        yield _page(number, cursor, None if last else str(following), parsed, fetched_at)
        if last:
            return
        start, number = following, number + 1


def _mid(address: str) -> str | None:
    """The number of the post that an address, a mid or a bid names; None for anything else."""
    found = _POST.fullmatch(address.strip())
    try:
        return None if found is None else found["mid"] or mid_of(found["bid"])
    except ParseError:
        return None


def _parser(host: str, fetched_at: datetime) -> Callable[[Any], Post]:
    """Parses an mblog; a string stands where there is none, and says why."""

    def parse(item: object) -> Post:
        if isinstance(item, str):
            raise ParseError("mblog", item)
        return parse_mblog(item, host, fetched_at)

    return parse


def _page(number: int, cursor: str | None, following: str | None, parsed: Parsed, fetched_at: datetime) -> Page:
    return Page(number, cursor, following, parsed.kept, parsed.rejects, fetched_at, parsed.outside)


class Session:
    """Asks m.weibo.cn as the operator, and knows its gates."""

    def __init__(self, reading: Reading | Visit) -> None:
        (cookie,) = keys_for(reading.source, reading.settings.environment, (COOKIE,), HOME, instead=_INSTEAD)
        self._fetcher = reading.fetcher
        self._headers = {"Cookie": cookie, "Accept": "application/json"}

    async def get(self, path: str, query: dict[str, str]) -> Answer:
        """An answer that is no gate. Errors: SourceGapError."""
        try:
            answer = await self._fetcher.get(path, query, self._headers)
        except LeavesHostError:
            raise _gate("a redirect to another host, as to a login or a visitor's page") from None
        if answer.status in _GATES:
            raise _gate(f"{_GATES[answer.status]} (HTTP {answer.status})")
        if not answer.body.lstrip().startswith(b"{"):
            if _VISITOR.search(answer.body) is not None:
                raise _gate("a login or visitor's page in place of the answer")
            raise SourceGapError(f"HTTP {answer.status} with a body that is not JSON; {_INSTEAD}")
        if answer.status != 200:
            raise SourceGapError(f"the server answered HTTP {answer.status}")
        return answer

    def told(self, answer: Answer) -> dict[str, Any]:
        """The answer's object; one that asks for a login is a gate. Errors: SourceGapError."""
        told = answer.json()
        if not isinstance(told, dict):
            raise SourceGapError("the answer is no object, so none of m.weibo.cn")
        if told.get("ok") == -100:
            raise _dead()
        return told

    async def check(self) -> None:
        """That the session is alive. Errors: SourceGapError where it is not: a dead one may show empty timelines."""
        data = self.told(await self.get("/api/config", {})).get("data")
        if not isinstance(data, dict) or not isinstance(data.get("login"), bool):
            raise SourceGapError("the server does not say whether the session is logged in; is this m.weibo.cn?")
        if not data["login"]:
            raise _dead()

    async def ended(self, told: dict[str, Any]) -> None:
        """That an answer without cards is the end of a timeline. Errors: SourceGapError."""
        await self.check()
        said = told.get("msg")
        if told.get("ok") != 0 or not isinstance(said, str) or _NO_MORE.search(said) is None:
            raise SourceGapError("the server answers with an error that is not known (ok is not 1)")

    async def single(self, address: str, reading: Reading) -> object:
        """The mblog at an address; where there is none, why."""
        mid = _mid(address)
        if mid is None:
            return "not the address or the number of a post"
        answer = await self.get("/statuses/show", {"id": mid})
        told = self.told(answer)
        if told.get("ok") == 1 and isinstance(told.get("data"), dict):
            return await self.whole(told["data"], answer, reading)
        await self.check()
        if says_gone(told):
            return "the platform shows no post at this address"
        raise SourceGapError("the server answers with an error that is not known (ok is not 1)")

    async def whole(self, mblog: object, answer: Answer, reading: Reading) -> object:
        """An mblog with its long text, where it is one of the window and its text is cut. One more request at most; a
        text that is not told stays cut."""
        try:
            post = parse_mblog(mblog, reading.source.authority, answer.fetched_at)
        except ParseError:
            return mblog
        if not isinstance(mblog, dict) or post.created_at is None or not reading.window.holds(post.created_at):
            return mblog
        short = cut(mblog)
        if short is None:
            return mblog
        found = self.told(await self.get("/statuses/extend", {"id": native_id(short)})).get("data")
        text = found.get("longTextContent") if isinstance(found, dict) else None
        if not isinstance(text, str) or not text:
            return mblog
        full = {**short, "longText": {"longTextContent": text}}
        return full if short is mblog else {**mblog, "retweeted_status": full}


def says_gone(told: dict[str, Any]) -> bool:
    """Whether a refusal says that there is no such post, or none for this session."""
    said = told.get("msg")
    return isinstance(said, str) and (_GONE.search(said) or _NO_MORE.search(said)) is not None


def _gate(seen: str) -> GateError:
    return GateError(f"m.weibo.cn answers with {seen}, which is not passed; {_INSTEAD}")


def _dead() -> GateError:
    return GateError(f"the session of {COOKIE} is not logged in any more: log in anew and set it again; {_INSTEAD}")
