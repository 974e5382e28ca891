"""A server on loopback in the shape of m.weibo.cn: timelines by `since_id`, a search by pages, single posts, long
texts, and whether the session is logged in."""

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from crawlers.platforms.chinese_time import BEIJING
from tests.loopback import Loopback, Reply, serving

COOKIE = "SUB=_2A25Kq7Xs-tidewater; SUBP=0033WrSX"
USER = 5719382046
PER_PAGE = 10
Mblog = dict[str, Any]

_OPENINGS = (
    "今天河边的水位又涨了",
    "桥下的灯坏了两盏",
    "早市的荠菜很新鲜",
    "The ferry was late again",
    "地铁口排了很长的队",
)
_ENDINGS = ("有人知道原因吗？", "明天再去看看。", "希望早点修好[雨]", "nobody said why.", "照片晚点补。")


@dataclass
class Weibo:
    """The state, newest first, and how the server misbehaves."""

    mblogs: list[Mblog] = field(default_factory=list)
    long_texts: dict[str, str] = field(default_factory=dict)
    faults: dict[int, Reply] = field(default_factory=dict)
    """What the request with this number is answered with, once."""
    changes: dict[int, Callable[["Weibo"], None]] = field(default_factory=dict)
    """What is done to the state before the request with this number is answered."""
    logged_in: bool = True
    empty_when_logged_out: bool = False
    """Whether a session that died is shown empty timelines, not a login."""
    ignores_pages: bool = False
    """Whether a timeline's first page is shown whatever page is asked for."""
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str) -> Reply:
        """One answer; a path may begin with `/again<n>`, so that one server is several sources."""
        with self.lock:
            number, self.requests = self.requests, self.requests + 1
            self.changes.pop(number, lambda _: None)(self)
            if (fault := self.faults.pop(number, None)) is not None:
                return fault
            asked = urlsplit(path)
            where = asked.path.removeprefix("/" + asked.path.split("/")[1]) if "/again" in path else asked.path
            query = {key: values[0] for key, values in parse_qs(asked.query).items()}
            if where == "/api/config":
                return _json({"preferQuickapp": 0, "data": {"login": self.logged_in, "st": "c0ffee"}, "ok": 1})
            if not self.logged_in:
                return _json(NOTHING if self.empty_when_logged_out else LOGIN)
            if where == "/api/container/getIndex":
                return _json(self._index(query))
            if where == "/statuses/show":
                found = [each for each in self.mblogs if each["mid"] == query["id"]]
                return _json({"ok": 1, "data": found[0]} if found else {"ok": 0, "msg": "微博不存在或暂无查看权限!"})
            if where == "/statuses/extend":
                text = self.long_texts.get(query["id"])
                return _json(
                    {"ok": 1, "data": {"longTextContent": text}} if text else {"ok": 0, "msg": "打开长微博失败"}
                )
            return 404, {}, b"not here"

    def _index(self, query: dict[str, str]) -> Any:
        if query["containerid"] == f"107603{USER}":
            since = query.get("since_id")
            shown = [each for each in self.mblogs if since is None or int(each["mid"]) <= int(since)]
            if not self.ignores_pages:
                shown = shown[PER_PAGE * (int(query.get("page", "1")) - 1) :]
            page, rest = shown[:PER_PAGE], shown[PER_PAGE:]
            info = {"containerid": query["containerid"], "total": len(self.mblogs)}
            if rest:
                info["since_id"] = int(rest[0]["mid"])
            cards: list[Any] = [{"card_type": 9, "mblog": each} for each in page]
        else:
            wanted = query["containerid"].partition("&q=")[2]
            found = [each for each in self.mblogs if wanted in each["text"]]
            start = PER_PAGE * (int(query.get("page", "1")) - 1)
            cards = [{"card_type": 11, "card_group": [_person()]}] if start == 0 else []
            page = found[start : start + PER_PAGE]
            cards += [{"card_type": 11, "card_group": [{"card_type": 9, "mblog": each}]} for each in page]
            info = {"containerid": query["containerid"], "total": len(found)}
        return {"ok": 1, "data": {"cardlistInfo": info, "cards": cards}} if page else NOTHING


NOTHING = {"ok": 0, "msg": "这里还没有内容", "data": {"cards": []}}
LOGIN = {"ok": -100, "url": "https://passport.weibo.com/sso/signin?entry=wapsso"}
VISITOR = b"<!DOCTYPE html><html><head><title>Sina Visitor System</title></head><body></body></html>"


@contextmanager
def weibo(state: Weibo) -> Iterator[Loopback]:
    """Serves a state until the block ends."""
    with serving(state.answer) as server:
        yield server


def _json(value: object) -> Reply:
    return 200, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(value, ensure_ascii=False).encode()


def _person() -> Mblog:
    return {"card_type": 10, "user": {"id": USER, "screen_name": "晚风里的桥"}}


def mblog(number: int, moment: datetime, **fields: Any) -> Mblog:
    """A post; the same for the same number."""
    chance = random.Random(number)
    mid = str(5_143_000_000_000_000 + number * 104_729)
    return {
        "created_at": f"{moment.astimezone(BEIJING):%a %b %d %H:%M:%S %z %Y}",
        "id": mid,
        "mid": mid,
        "text": f"{chance.choice(_OPENINGS)}（{number}），{chance.choice(_ENDINGS)}",
        "source": "iPhone客户端",
        "user": {"id": USER, "screen_name": "晚风里的桥", "verified": False},
        "reposts_count": chance.randrange(9),
        "comments_count": chance.randrange(40),
        "attitudes_count": chance.choice([chance.randrange(400), "1.5万"]),
        "isLongText": False,
        "visible": {"type": 0, "list_id": 0},
        "mblogtype": 0,
        **fields,
    }


def day_of(since: datetime, posts: int = 36) -> Weibo:
    """A day of posts with some of the days around it, newest first; some are long, and an old one is pinned."""
    state = Weibo()
    step = timedelta(days=1) / posts
    for number in range(-60, posts + 12):
        made = mblog(1_000 + number, since + step * number + timedelta(seconds=1))
        if number % 9 == 4:
            state.long_texts[made["mid"]] = made["text"] + "<br />其余的写在后面：" + "水位" * 200
            made |= {"isLongText": True, "text": made["text"] + f'...<a href="/status/{made["mid"]}">全文</a>'}
        state.mblogs.insert(0, made)
    return state
