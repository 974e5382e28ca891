"""A server of article pages on loopback: it shows articles, says which are gone, fails, limits and asks for a
verification as mp.weixin.qq.com does."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from tests.loopback import Loopback, Reply, serving

BIZ = "MzA4ODg1MDIyMQ=="
DELETED, VIOLATION = "该内容已被发布者删除", "此内容因违规无法查看"
GATE = "环境异常"


@dataclass
class WeChat:
    """Articles by their `mid`: a title and a text. `gone` says what is shown instead; `faults` are the answers to
    requests of a number; from request `shut` on all is a gate."""

    articles: dict[str, tuple[str, str]]
    gone: dict[str, str] = field(default_factory=dict)
    faults: dict[int, Reply] = field(default_factory=dict)
    robots: str = ""
    shut: int | None = None
    requests: int = 0

    def answer(self, path: str) -> Reply:
        if path == "/robots.txt":
            return 200, {"Content-Type": "text/plain"}, self.robots.encode()
        number, self.requests = self.requests, self.requests + 1
        if number in self.faults:
            return self.faults[number]
        if self.shut is not None and number >= self.shut:
            return shown(message(GATE + "</h2><p>完成验证后即可继续访问</p><h2>"))
        asked = parse_qs(urlsplit(path).query)
        mid = asked.get("mid", [""])[0]
        if mid in self.gone:
            return shown(message(self.gone[mid]))
        return shown(article(mid, *self.articles[mid])) if mid in self.articles else shown(message("参数错误"))


def shown(page: str) -> Reply:
    return 200, {"Content-Type": "text/html; charset=UTF-8"}, page.encode()


def address(base: str, mid: str) -> str:
    """As people pass them on: with all that the platform adds."""
    return f"{base}/s?__biz={BIZ}&mid={mid}&idx=1&sn={sign(mid)}&chksm=97d1f0aa&scene=27#wechat_redirect"


def sign(mid: str) -> str:
    return f"{int(mid):032x}"


def article(mid: str, title: str, words: str) -> str:
    paragraphs = "".join(f"<p>{line}</p>" for line in words.split("\n"))
    return (
        f'<!DOCTYPE html><html><head><meta charset="utf-8"><meta property="og:title" content="{title}"></head><body>'
        f'<div id="js_content" style="visibility: hidden;">{paragraphs}</div><script>var biz = "{BIZ}"||"";'
        f'var mid = "{mid}"; var idx = "" || "1"; var sn = "" || "{sign(mid)}"; var nickname = "潮汐公社";'
        f'var ct = "1767268800"; window.item_show_type = "0";</script></body></html>'
    )


def message(told: str) -> str:
    return f'<!DOCTYPE html><html><body><h2 class="weui-msg__title warn">{told}</h2></body></html>'


@contextmanager
def wechat(state: WeChat) -> Iterator[Loopback]:
    with serving(state.answer) as server:
        yield server
