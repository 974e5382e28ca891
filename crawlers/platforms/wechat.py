"""WeChat: pages of articles at mp.weixin.qq.com, and the list of them that an account's own console gives. Pure.

An article is named by its account, message, index and `sn`, whichever address it was read at; one whose page tells none
of these by its short address. Variables of a page's scripts are read by bounded expressions, and nothing is executed.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

from lxml import etree, html

from crawlers.platforms.fields import count, needed_text, record, text
from crawlers.platforms.notices import Notice, Phrases, Says
from crawlers.post import Account, Kind, Media, ParseError, Post, PostId
from crawlers.text import is_web, names_account, read_html, read_plain

PARSER_VERSION = 1
PLATFORM = "wechat"
HOME = "https://mp.weixin.qq.com"

_PHRASES = Phrases.of(
    ("gate", "环境异常 完成验证后即可继续访问 操作频繁 访问过于频繁"),
    ("removed_by_author", "已被发布者删除"),
    ("restricted", "作者隐私设置"),
    # The platform closes accounts too, and then tells of a violation; one that is just closed is its owner's deed.
    ("removed_by_platform", "因违规无法查看 因违规已删除 违反相关法律法规 涉嫌违规 涉嫌侵权 涉嫌侵犯"),
    ("removed_by_platform", "账号…冻结 帐号…冻结 公众号…冻结 账号…屏蔽 帐号…屏蔽 公众号…屏蔽"),
    ("removed_by_platform", "账号…封禁 帐号…封禁 公众号…封禁"),
    ("account_gone", "账号…注销 帐号…注销 公众号…注销"),
    ("unknown", "参数错误 链接已过期"),
)
_SAID: dict[Says, str] = {
    "gate": "a page that asks for a verification",
    "removed_by_author": "its publisher deleted it",
    "removed_by_platform": "the platform removed it, or its account",
    "account_gone": "its account is closed",
    "restricted": "its author shows it to some only",
    "unknown": "the platform shows nothing at this address",
}

_KEY = re.compile(r"[A-Za-z0-9+/]{4,40}={0,2}")
_NUMBER = re.compile(r"[0-9]{1,20}")
_SIGN = re.compile(r"[0-9a-f]{8,64}")
_SHORT = re.compile(r"/s/([A-Za-z0-9_-]{10,64})")
_BODIES = ("js_content", "js_image_desc", "js_text_content", "js_share_notice")
_KINDS: dict[str, Kind] = {"0": "article", "11": "repost"}
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\(.)", re.DOTALL)
_PICTURE = re.compile(r"\bcdn_url['\"]?\s{0,4}:\s{0,4}['\"](https?:[^'\"\s]{1,1500})['\"]")
_ORIGINAL = "原创"
_MOST_SCRIPT = 2_000_000
_NEED = "neither a text nor a title nor a picture"


def canonical(url: str) -> str | None:
    """The one address of an article: of its account, message, index and `sn`, or its short one; None for another."""
    try:
        parts = urlsplit(unescape(url))
        asked = dict(parse_qsl(parts.query))
    except ValueError:
        return None
    if short := _SHORT.fullmatch(parts.path.rstrip("/")):
        return f"{HOME}/s/{short[1]}"
    if parts.path.rstrip("/") not in ("/s", "/mp/appmsg/show"):
        return None
    return _address(*(asked.get(name, "") for name in ("__biz", "mid", "idx", "sn")))


def standing(payload: bytes) -> Notice | None:
    """What a page says that shows no article; None for one that does, or that says nothing that is known. Errors:
    ParseError for what is no HTML."""
    return _standing(_tree(payload))


def parse_article(payload: bytes, host: str, fetched_at: datetime, url: str = "") -> Post:
    """The page of an article; `url` is where it was read. A page that says that the article is gone is no post.
    Errors: ParseError."""
    tree = _tree(payload)
    if (says := _standing(tree)) is not None:
        raise ParseError("page", _SAID[says.says])
    told = _Script(tree)
    biz = told.value("biz") or told.value("__biz")
    address = _address(biz, told.value("mid"), told.value("idx"), told.value("sn"))
    linked = (canonical(each) for each in (_meta(tree, "og:url"), told.value("msg_link"), url) if each)
    address = address or next((each for each in linked if each is not None), None)
    if address is None:
        raise ParseError("page", "no article: neither its message nor its address is told")
    show = told.value("item_show_type")
    body, images = _body(tree)
    markup = etree.tostring(body, encoding="unicode", with_tail=False, method="html") if body is not None else ""
    words = read_html(markup, base=HOME)
    if not words.text:
        words = read_plain(told.value("content_noencode") or _unescaped(_meta(tree, "og:description")))
    title = read_plain(_meta(tree, "og:title") or _of_id(tree, "activity-name") or told.value("msg_title"))
    media = [*images, *_pictures(told, show, images)]
    if not (title.text or words.text or media):
        raise ParseError("page", _NEED)
    source = unescape(told.value("msg_source_url"))
    further = [source] if is_web(source) and not names_account(source) else []
    original = canonical(_shared(tree)) if show == "11" else None
    return Post(
        id=PostId(PLATFORM, address),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        kind="post" if show == "11" and original is None else _KINDS.get(show, "post"),
        author=_account(biz or dict(parse_qsl(urlsplit(address).query)).get("__biz", ""), tree, told),
        url=address,
        created_at=_moment(told.value("ct")),
        title=title.text or None,
        text=words.text or None,
        repost_of=None if original is None else PostId(PLATFORM, original),
        hashtags=_topics(body),
        mention_count=title.mentions + words.mentions,
        links=list(dict.fromkeys([*title.links, *words.links, *further])),
        media=media,
        platform_labels=_labels(tree, told),
        raw={"byline": _meta(tree, "author"), **told.raw()},
    )


def parse_listed(payload: object, host: str, fetched_at: datetime) -> Post:
    """An entry of the list of articles that an account's console gives, which collectors keep: a digest, and no text.
    Errors: ParseError."""
    entry = record(payload, "entry")
    address = canonical(needed_text(entry, "link"))
    if address is None:
        raise ParseError("link", "not the address of an article")
    title, digest = read_plain(text(entry, "title") or ""), read_plain(text(entry, "digest") or "")
    if not (title.text or digest.text):
        raise ParseError("title", "neither a title nor a digest")
    biz = dict(parse_qsl(urlsplit(address).query)).get("__biz")
    cover, seconds = text(entry, "cover"), count(entry, "create_time")
    return Post(
        id=PostId(PLATFORM, address),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        kind="article" if count(entry, "item_show_type") == 0 else "post",
        author=Account(biz) if biz else None,
        url=address,
        created_at=None if seconds is None else _moment(str(seconds)),
        title=title.text or None,
        text=digest.text or None,
        truncated=True,
        mention_count=title.mentions + digest.mentions,
        links=list(dict.fromkeys([*title.links, *digest.links])),
        media=[Media("image", None, cover)] if cover else None,
        raw=entry,
    )


class _Script:
    """The variables of a page's scripts, by their names."""

    def __init__(self, tree: Any) -> None:
        scripts = (node.text or "" for node in tree.iter("script"))
        self._text = "\n".join(scripts)[:_MOST_SCRIPT]
        self._read: dict[str, str] = {}

    def value(self, name: str) -> str:
        """The first text or number that is no empty one, of `name = "…"`, `name: '…'` and what follows after `||`."""
        if name not in self._read:
            self._read[name] = next(self._values(name), "")
        return self._read[name]

    def raw(self) -> dict[str, Any]:
        """What was read."""
        return {name: value for name, value in self._read.items() if value}

    def _values(self, name: str) -> Iterator[str]:
        assigned = rf"(?<![\w.$])(?:window\.)?['\"]?{name}['\"]?\s{{0,4}}[=:]\s{{0,4}}(?:htmlDecode|JsDecode)?\(?"
        one = r"(?:\"((?:[^\"\\\n]|\\.){0,60000})\"|'((?:[^'\\\n]|\\.){0,60000})'|(\d{1,20})\b)"
        more = re.compile(rf"\)?\s{{0,4}}\|\|\s{{0,4}}{one}")
        for found in re.finditer(assigned + one, self._text):
            match: re.Match[str] | None = found
            while match is not None:
                if value := next((group for group in match.groups() if group), ""):
                    yield _unescaped(value)
                match = more.match(self._text, match.end())


def _tree(payload: bytes) -> Any:
    try:
        parser = html.HTMLParser(no_network=True, huge_tree=True, encoding="utf-8")
        tree = html.document_fromstring(payload.decode("utf-8", "replace").replace("\0", "").encode(), parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        raise ParseError("page", "not HTML") from None
    return tree


def _standing(tree: Any) -> Notice | None:
    if _node(tree, "js_content") is not None or _Script(tree).value("ct"):
        return None
    words = "".join(tree.xpath("//text()[not(parent::script or parent::style)]"))
    return _PHRASES.find(words)


def _address(biz: str, mid: str, idx: str, sn: str) -> str | None:
    if not (_KEY.fullmatch(biz) and _NUMBER.fullmatch(mid) and _NUMBER.fullmatch(idx) and _SIGN.fullmatch(sn)):
        return None
    return f"{HOME}/s?__biz={biz}&mid={mid}&idx={idx}&sn={sn}"


def _account(biz: str, tree: Any, told: _Script) -> Account | None:
    if not _KEY.fullmatch(biz):
        return None
    shown = told.value("nickname") or _of_class(tree, "wx_follow_nickname") or _of_id(tree, "js_name")
    profile = f"{HOME}/mp/profile_ext?action=home&__biz={biz}"
    return Account(biz, told.value("user_name") or None, read_plain(unescape(shown)).text or None, profile)


def _body(tree: Any) -> tuple[Any, list[Media]]:
    body = next((node for name in _BODIES if (node := _node(tree, name)) is not None), None)
    if body is None:
        return None, []
    media = []
    for node in body.iter("img", "mpvoice", "iframe"):
        address = node.get("data-src") or ""
        if node.tag == "mpvoice":
            voice = node.get("voice_encode_fileid")
            media.append(Media("audio", _plain(node.get("name")), f"{_VOICES}{voice}" if voice else None))
        elif address:
            kind = "image" if node.tag == "img" else "video"
            media.append(Media(kind, _plain(node.get("alt")), _web(address)))
    return body, media


_VOICES = "https://res.wx.qq.com/voice/getvoice?mediaid="


def _pictures(told: _Script, show: str, shown: list[Media]) -> list[Media]:
    """The pictures of a post that is made of them, which its scripts list."""
    if show != "8":
        return []
    listed = dict.fromkeys(_PICTURE.findall(_unescaped(told._text)))
    known = {each.url for each in shown}
    return [Media("image", None, unescape(url)) for url in listed if unescape(url) not in known]


def _topics(body: Any) -> list[str] | None:
    if body is None:
        return None
    shown = (read_plain("".join(node.itertext())).text for node in body.iter("a") if "wx_topic_link" in _classes(node))
    return list(dict.fromkeys(topic.strip("#＃ ") for topic in shown if topic.strip("#＃ ")))


def _labels(tree: Any, told: _Script) -> list[str]:
    original = _of_id(tree, "copyright_logo") == _ORIGINAL or told.value("copyright_stat") == "1"
    region = read_plain(told.value("provinceName") or told.value("countryName")).text
    return [*([_ORIGINAL] if original else []), *([f"IP属地：{region}"] if region else [])]


def _shared(tree: Any) -> str:
    node = _node(tree, "js_share_source")
    return "" if node is None else node.get("data-url") or node.get("href") or ""


def _moment(seconds: str) -> datetime | None:
    if not seconds:
        return None
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        raise ParseError("ct", "not a time") from None


def _node(tree: Any, name: str) -> Any:
    return next(iter(tree.xpath("//*[@id=$name]", name=name)), None)


def _of_id(tree: Any, name: str) -> str:
    node = _node(tree, name)
    return "" if node is None else " ".join("".join(node.itertext()).split())


def _of_class(tree: Any, name: str) -> str:
    found = tree.xpath("//*[contains(concat(' ', normalize-space(@class), ' '), $name)]", name=f" {name} ")
    return " ".join("".join(found[0].itertext()).split()) if found else ""


def _meta(tree: Any, name: str) -> str:
    found = tree.xpath("//meta[@property=$name or @name=$name]/@content", name=name)
    return str(found[0]) if found else ""


def _plain(told: str | None) -> str | None:
    return read_plain(told or "").text or None


def _web(address: str) -> str | None:
    try:
        whole = urljoin(HOME, address)
    except ValueError:
        return None
    return whole if is_web(whole) else None


def _classes(node: Any) -> list[str]:
    return (node.get("class") or "").split()


def _unescaped(told: str) -> str:
    """A text as a script means it; entities that the script was to decode are read too."""

    def meant(match: re.Match[str]) -> str:
        code = match[1] or match[2]
        return chr(int(code, 16)) if code else {"n": "\n", "r": "", "t": "\t"}.get(match[3], match[3])

    return unescape(_ESCAPE.sub(meant, told))
