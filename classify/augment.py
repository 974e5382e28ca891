"""Alterations of a text's surface that leave what it says: so that no head learns a link, a bracket or a length.

Pure functions of the text and a generator of random numbers. In one Weibo set 【】 heads stand on rumors, in another on
news; links stand on the harmless side of some English sets and on the harmful side of others.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from random import Random

_LINK = re.compile(r"https?://[^\s\u4e00-\u9fff]+|\bURL\b|\bHTTPURL\b")
_HASHTAG = re.compile(r"#([^#\s]{1,40})#?")
_MENTION = re.compile(r"@[A-Za-z0-9_]+|\[user\]|<user>", re.IGNORECASE)
_HEAD = re.compile(r"【([^】]{1,60})】")
_SENTENCE_END = re.compile(r"(?<=[.!?。！？；;…\n])\s*")
_LINKS = ("https://t.example/{}", "http://t.example/{}", "https://www.news.example/{}/", "www.site.example/{}")
_LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"


def without_links(text: str, random: Random) -> str:
    """Links go."""
    return _LINK.sub(" ", text).strip()


def with_link(text: str, random: Random) -> str:
    """A link comes before or after."""
    link = random.choice(_LINKS).format("".join(random.choices(_LETTERS, k=7)))
    return f"{text} {link}" if random.random() < 0.8 else f"{link} {text}"


def without_heads(text: str, random: Random) -> str:
    """A head in 【】 becomes a plain first sentence."""
    return _HEAD.sub(lambda found: found[1] + "，", text)


def with_head(text: str, random: Random) -> str:
    """The first sentence of a text in Chinese becomes a head in 【】."""
    parts = sentences(text)
    if len(parts) < 2 or "【" in text or not _is_chinese(parts[0]) or not 6 <= len(parts[0]) <= 40:
        return text
    return f"【{parts[0].rstrip('。！？；，')}】" + "".join(parts[1:])


def without_hashtags(text: str, random: Random) -> str:
    """Hashtags become words, or go from the end."""
    if random.random() < 0.5:
        return re.sub(r"(\s*#[^#\s]+#?)+\s*$", "", text)
    return _HASHTAG.sub(r"\1", text)


def with_our_mentions(text: str, random: Random) -> str:
    """Mentions become the placeholder of the archive, or go."""
    return _MENTION.sub("@user" if random.random() < 0.6 else " ", text).strip()


def in_lower_case(text: str, random: Random) -> str:
    """Capitals go."""
    return text.lower()


def without_emoji(text: str, random: Random) -> str:
    """Emoji and bracketed faces go."""
    plain = "".join(char for char in text if unicodedata.category(char) not in ("So", "Cs", "Sk"))
    return re.sub(r"\[[\u4e00-\u9fff]{1,4}\]", "", plain)


def shorter(text: str, random: Random) -> str:
    """The first sentences only, at least two thirds of the text."""
    parts = sentences(text)
    kept = ""
    for part in parts:
        if len(kept) >= len(text) * 2 / 3:
            break
        kept += part
    return kept


def tidier(text: str, random: Random) -> str:
    """Runs of punctuation become one sign, and runs of space one space."""
    return re.sub(r"\s+", " ", re.sub(r"([!?！？。~～.])\1+", r"\1", text))


ALTERATIONS: Sequence[Callable[[str, Random], str]] = (
    without_links, with_link, without_heads, with_head, without_hashtags, with_our_mentions, in_lower_case,
    without_emoji, shorter, tidier,
)  # fmt: skip


def altered(text: str, random: Random) -> str:
    """The text after one to three alterations; itself where nothing would be left."""
    found = text
    for change in random.sample(ALTERATIONS, random.randint(1, 3)):
        found = change(found, random)
    return found if any(char.isalpha() for char in found) else text


def sentences(text: str) -> list[str]:
    """The sentences of a text with what ends them; together they are the text, but for the spaces between."""
    return [part for part in _SENTENCE_END.split(text) if part]


def _is_chinese(text: str) -> bool:
    return any("\u4e00" <= char <= "\u9fff" for char in text)
