"""Texts of Weibo, in markup or plain, to what is kept of them: pictures of emoji become their words, mentions the
placeholder, short links what they lead to. Pure.

A name on Weibo is of letters of any script, digits, `_` and `-`, and ends where anything else begins.
"""

import re
from collections.abc import Mapping
from html import escape, unescape
from urllib.parse import parse_qs, urlsplit

from crawlers.text import END, MARK, Reading, clean, links_in, mask, names_account, part_addresses, read_html

_MENTION = re.compile(r"(?<![A-Za-z0-9_.@＠])[@＠][\w-]+")
_MARKUP = re.compile(r"<[A-Za-z/!]|&(?:[A-Za-z]{2,8}|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});")
_TAG = re.compile(r"(<[^<>]*>)")
_ALT = re.compile(r"""\balt\s*=\s*["']?(\[[^\[\]"'<>]{1,30}\])""", re.IGNORECASE)
_HREF = re.compile(r"""\bhref\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_ACCOUNT = re.compile(r"^(?:(?:https?:)?//(?:[a-z]+\.)?weibo\.c(?:n|om))?/(?:n|u|profile)/", re.IGNORECASE)
_TOPIC = re.compile(r"[?&]q=%23|q%3D(?:%2523|%23|#)|[?/=](?:231522|100808)", re.IGNORECASE)
_PROFILE = re.compile(r"https?://(?:[a-z]+\.)?weibo\.c(?:n|om)/(?:n|u|profile)/[\w%-]+", re.IGNORECASE)
_NAMED = re.compile(rf"{_PROFILE.pattern}|{_MENTION.pattern}", re.IGNORECASE)
_REST = re.compile(r"<a\b[^<>]*>(?:全文|展开)</a>[\s\u200b]{0,20}\Z")
"""What leads from a cut text to the whole."""
_SHORT = re.compile(r"https?://t\.cn/[A-Za-z0-9]+")
_HASHTAG = re.compile(r"#([^#\n]{1,100})#")
_ADDRESS = re.compile(r"https?://\S+")
_SPACE = " \t\n\u200b"


def read_markup(markup: str) -> Reading:
    """A text in markup, as m.weibo.cn and weibo.com show it; one without any is read as plain."""
    if _MARKUP.search(markup) is None:
        return read_words(markup)
    if "<br" not in markup:
        markup = markup.replace("\n", "<br>")
    pieces, within = [], False
    for place, piece in enumerate(_TAG.split(_REST.sub("", markup))):
        start = piece[:3].lower()
        if place % 2 == 0:
            pieces.append(piece if within else _NAMED.sub(r'<a class="mention">\g<0></a>', piece))
        elif start == "<im" and (words := _ALT.search(piece)) is not None:
            pieces.append(words[1])
        elif start in ("<a ", "<a>"):
            within = True
            pieces.append(_anchor(piece))
        else:
            within = within and start != "</a"
            pieces.append(piece)
    reading = read_html("".join(pieces), base="https://weibo.com/")
    reading.text = reading.text.strip(_SPACE)
    return reading


def _anchor(tag: str) -> str:
    """The opening tag of a link, with what it is said in words that `read_html` knows."""
    found = _HREF.search(tag)
    href = unescape(found[1] or found[2] or "") if found is not None else ""
    if _ACCOUNT.search(href) is not None:
        return '<a class="mention">'
    if _TOPIC.search(href) is not None:
        return '<a class="hashtag">'
    if "/sinaurl?" in href:
        try:
            asked = parse_qs(urlsplit(href).query)
        except ValueError:
            return tag
        target = next((asked[key][0] for key in ("u", "toasturl") if key in asked), "")
        return f'<a href="{escape(target)}">' if target else tag
    return tag


def read_words(text: str, addresses: Mapping[str, str] | None = None) -> Reading:
    """A plain text. `addresses` says where short links lead, where that is known."""
    known = addresses or {}
    whole = _SHORT.sub(lambda found: known.get(found[0], found[0]) + END, clean(text))
    marked = _MENTION.sub(MARK, _PROFILE.sub(MARK, part_addresses(whole)))
    masked, count = mask(marked)
    return Reading(masked.strip(_SPACE), links_in(masked), marked.count(MARK) + count)


def hashtags_in(text: str) -> list[str]:
    """The topics of a text (`#...#`), once each; a super topic's mark is no part of its name."""
    found = _HASHTAG.findall(_ADDRESS.sub(" ", text))
    return list(dict.fromkeys(name for each in found if (name := topic(each))))


def topic(name: str) -> str:
    """A topic's name as it is kept."""
    masked, _ = mask(_MENTION.sub(MARK, clean(name)))
    return masked.removesuffix("[超话]").strip(_SPACE).casefold()


def keeps(link: str) -> bool:
    """Whether a link may be listed: it is one of the web, and names no account."""
    return link.startswith(("http://", "https://")) and not names_account(link)
