"""Visits to posts of Weibo, against a server in the shape of m.weibo.cn."""

import json
from dataclasses import replace
from typing import Any

import pytest

from crawlers.post import input_digest
from crawlers.sighting import Known
from crawlers.source import Source
from tests.loopback import Reply, serving
from tests.sweeps import NOON
from tests.test_rechecks import SETTINGS, states, visited
from tests.weibo_server import COOKIE, LOGIN, VISITOR, Weibo, mblog, weibo

WITH_COOKIE = replace(SETTINGS, environment={"POSTSWEEP_WEIBO_COOKIE": COOKIE})


def known(told: dict[str, Any]) -> Known:
    digest = input_digest(None, None, told["text"])
    return Known(told["mid"], "weibo", told["mid"], None, None, None, None, None, "post", digest)


def source(url: str) -> Source:
    return Source("weibo", url, "user", "5719382046", allow_private=True)


def test_what_became_of_a_post_is_told_by_its_stub_or_not_at_all() -> None:
    posts = [mblog(number, NOON, text=f"渡口第{number}班已开") for number in range(6)]
    state = Weibo(mblogs=[dict(each) for each in posts[:5]])
    state.mblogs[1] |= {"text": "渡口停航"}
    state.mblogs[2] |= {"user": None, "text": "抱歉，此微博已被作者删除。"}
    state.mblogs[3] |= {"user": None, "text": "该微博因被多人投诉，已被删除。"}
    state.mblogs[4] |= {"visible": {"type": 10}}
    with weibo(state) as server:
        found = visited(source(server.url), [known(each) for each in posts], WITH_COOKIE)
    assert states(found) == ["alive", "edited", "removed_by_author", "removed_by_platform", "restricted", "gone"]


@pytest.mark.parametrize(
    "reply",
    [(418, {}, b""), (432, {}, b""), (403, {}, b""), (503, {}, b""), (200, {}, VISITOR), (200, {}, b"{}"),
     (200, {}, json.dumps(LOGIN).encode()), (200, {}, b'{"ok": 0, "msg": "x"}')],
)  # fmt: skip
def test_a_gate_or_what_is_not_known_removes_nothing(reply: Reply) -> None:
    def answer(path: str) -> Reply:
        return (200, {}, b'{"ok": 1, "data": {"login": true}}') if "config" in path else reply

    with serving(answer) as server:
        found = visited(source(server.url), [known(mblog(1, NOON))], WITH_COOKIE)
    assert states(found) in ([], ["unknown"])
