"""Weibo: an mblog in each of the shapes that it is shown in, to posts: m.weibo.cn (cards), weibo.com (ajax) and the API
(open.weibo.com/wiki/2/statuses). Pure.

A post is named by its mid, the number that `id` and `idstr` give too; `bid` and `mblogid` are that number in base 62.
One that was removed, or is not shown to everybody, is no post; a repost of it stays one.
"""

import re
from collections.abc import Iterator
from datetime import datetime

from crawlers.platforms.chinese_time import read_time
from crawlers.platforms.counts import approximate
from crawlers.platforms.fields import (
    Record,
    count,
    flag,
    needed_text,
    optional_record,
    profile_text,
    record,
    records,
    text,
)
from crawlers.platforms.weibo_text import hashtags_in, keeps, read_markup, read_words, topic
from crawlers.post import Account, Kind, Media, ParseError, Post, PostId, Verification, VerifiedAs
from crawlers.sighting import State
from crawlers.text import Reading

PARSER_VERSION = 1
PLATFORM = "weibo"

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MID = re.compile(r"[1-9][0-9]{5,18}")
_BID = re.compile(r"[0-9a-zA-Z]{5,11}")
_WORDLESS = frozenset({"", "转发微博", "轉發微博", "转发微博。", "快转微博", "分享微博", "repost"})
"""What stands in a repost to which its author added nothing."""
_STUBS: tuple[tuple[State, re.Pattern[str]], ...] = (
    ("removed_by_author", re.compile(r"已被作者删除|作者已删除")),
    ("restricted", re.compile(r"作者已设置|半年内|没有查看权限|无查看权限|权限查看|仅粉丝可见|暂无查看")),
    ("removed_by_platform", re.compile(r"被.{0,3}投诉|因违规|违反.{0,12}(?:规定|规则|公约|法律)|法律法规|已被屏蔽")),
    ("unknown", re.compile(r"已被删除|已经被删除|不存在|不可见|无法查看|暂时不能查看|账号.{0,8}(?:异常|注销)")),
)
"""What Weibo writes in place of a text that is gone; the first that fits counts."""
_PUBLIC = 0
_VIDEOS = ("stream_url_hd", "mp4_720p_mp4", "mp4_hd_url", "stream_url", "mp4_sd_url", "mp4_ld_mp4")
_PICTURES = ("largest", "original", "large", "bmiddle", "thumbnail")
_PLAYS = re.compile(r"[^0-9.,万亿+]+")


def parse_mblog(payload: object, host: str, fetched_at: datetime) -> Post:
    """One mblog. `fetched_at` is when it was shown, as its times may be told against it. Errors: ParseError."""
    mblog = record(payload, "mblog")
    native = native_id(mblog)
    if (state := stub_state(mblog)) is not None:
        raise ParseError("text", f"a stub in place of a post that is gone ({state})")
    author = _account(mblog, fetched_at)
    if author is None:
        raise ParseError("user", "missing")
    visible = optional_record(mblog, "visible")
    if visible is not None and count(visible, "type", "visible.") not in (_PUBLIC, None):
        raise ParseError("visible.type", "not shown to everybody")
    reading, tags = _read(mblog, "")
    kind, other = _relation(mblog, reading.text)
    carried, place = mblog, ""
    if kind == "repost" and other is not None:
        carried, place = other, "retweeted_status."
        reading, tags = (
            (Reading(""), []) if stub_state(other) or _account(other, fetched_at) is None else _read(other, place)
        )
    original = None if other is None else _other_id(other)
    replied = None if other is not None else text(mblog, "in_reply_to_status_id")
    return Post(
        id=PostId(PLATFORM, native),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        kind="reply" if replied and _MID.fullmatch(replied) else kind,
        author=author,
        url=f"https://weibo.com/{author.id}/{bid_of(native)}",
        created_at=needed_time(mblog, "created_at", fetched_at),
        edited_at=_edited(mblog, fetched_at),
        text=reading.text or None,
        truncated=_truncated(carried, place),
        reply_to=PostId(PLATFORM, replied) if replied and _MID.fullmatch(replied) else None,
        repost_of=original if kind == "repost" else None,
        quote_of=original if kind == "quote" else None,
        hashtags=tags,
        mention_count=reading.mentions,
        links=_links(carried, reading, place),
        media=_media(carried, place),
        likes=shown_count(mblog, "attitudes_count"),
        reposts=shown_count(mblog, "reposts_count"),
        replies=shown_count(mblog, "comments_count"),
        views=_plays(carried, place),
        raw=mblog,
    )


def mblogs_in(payload: object) -> list[object]:
    """The mblogs of an answer, in its order: of cards and groups of cards (m.weibo.cn), of a list (weibo.com), or of
    the API's. What else a page holds (people, advertisements of other kinds) is none. Errors: ParseError when the
    answer is none that lists mblogs."""
    answer = record(payload, "answer")
    data = answer.get("data")
    held = data if isinstance(data, dict) else answer
    for key in ("cards", "list", "statuses"):
        if isinstance(held.get(key), list):
            return [mblog for each in held[key] for mblog in (_on_card(each) if key == "cards" else [each])]
    raise ParseError("data", "neither cards nor a list of posts")


def _on_card(card: object) -> Iterator[object]:
    if not isinstance(card, dict):
        return
    if "mblog" in card:
        yield card["mblog"]
    group = card.get("card_group")
    for each in group if isinstance(group, list) else []:
        if isinstance(each, dict) and "mblog" in each:
            yield each["mblog"]


def mid_of(bid: str) -> str:
    """The mid that a bid stands for. Errors: ParseError."""
    if _BID.fullmatch(bid) is None:
        raise ParseError("bid", "not a number in base 62")
    parts, rest = [], bid
    while rest:
        value = 0
        for letter in rest[-4:]:
            value = value * 62 + _DIGITS.index(letter)
        parts.append(f"{value:07}")
        rest = rest[:-4]
    mid = "".join(reversed(parts)).lstrip("0")
    if any(len(part) > 7 for part in parts) or _MID.fullmatch(mid) is None:
        raise ParseError("bid", "stands for no post's number")
    return mid


def bid_of(mid: str) -> str:
    """The bid of a mid: its digits by sevens from the right, each group in base 62, four letters wide."""
    parts, rest = [], mid
    while rest:
        value, letters = int(rest[-7:]), ""
        while value or not letters:
            value, digit = divmod(value, 62)
            letters = _DIGITS[digit] + letters
        rest = rest[:-7]
        parts.append(letters.rjust(4, "0") if rest else letters)
    return "".join(reversed(parts))


def native_id(mblog: Record, place: str = "") -> str:
    """The mid. Errors: ParseError where none is told, or several."""
    told = [mblog[key] for key in ("mid", "idstr", "id") if mblog.get(key) not in (None, "")]
    found = {str(each) for each in told if isinstance(each, int | str) and _MID.fullmatch(str(each)[:20])}
    if told and (len(found) != 1 or not all(isinstance(each, int | str) and str(each) in found for each in told)):
        raise ParseError(f"{place}mid", "mid, idstr and id are not one number of a post")
    if found:
        return found.pop()
    bid = text(mblog, "bid", place) or text(mblog, "mblogid", place)
    if not bid:
        raise ParseError(f"{place}mid", "missing")
    return mid_of(bid)


def needed_time(parent: Record, key: str, fetched_at: datetime) -> datetime:
    """A time that is there, as Weibo writes it. Errors: ParseError."""
    moment = read_time(needed_text(parent, key), fetched_at)
    if moment is None:
        raise ParseError(key, "not a time")
    return moment


def shown_count(parent: Record, key: str, place: str = "") -> int | None:
    """A count that is a number, or was shortened to `100万+`."""
    value = parent.get(key)
    return approximate(value) if isinstance(value, str) else count(parent, key, place)


def stub_state(mblog: Record) -> State | None:
    """What a stub in place of a post says became of it; None for a post. Only a record without a user, or one that is
    marked as deleted, is a stub: a person may write the same words."""
    deleted = mblog.get("deleted") in ("1", 1)
    if mblog.get("user") is not None and not deleted:
        return None
    told = mblog.get("text_raw") or mblog.get("text")
    words = told[:300] if isinstance(told, str) else ""
    found = next((state for state, pattern in _STUBS if pattern.search(words)), None)
    return found or ("unknown" if deleted else None)


def cut(mblog: Record) -> Record | None:
    """The record whose text the post carries, where that text is cut and not yet made whole (`longText`): the mblog's
    own, or that of the original of a repost without words."""
    try:
        kind, other = _relation(mblog, _read(mblog, "")[0].text)
        carried = other if kind == "repost" and other is not None else mblog
        return carried if _truncated(carried, "") else None
    except ParseError:
        return None


def _relation(mblog: Record, words: str) -> tuple[Kind, Record | None]:
    """Weibo knows only reposts; one with words of its own quotes."""
    other = optional_record(mblog, "retweeted_status")
    if other is None:
        return "post", None
    return ("repost" if words.strip().casefold() in _WORDLESS else "quote"), other


def _other_id(other: Record) -> PostId | None:
    """A stub may tell no number."""
    try:
        return PostId(PLATFORM, native_id(other, "retweeted_status."))
    except ParseError:
        if stub_state(other) is None:
            raise
        return None


def _read(mblog: Record, place: str) -> tuple[Reading, list[str]]:
    """The text, and its topics."""
    long = _long_text(mblog, place)
    raw = text(mblog, "text_raw", place)
    markup = text(mblog, "text", place)
    if long is None and raw is None and markup is None:
        raise ParseError(f"{place}text", "missing")
    if raw is not None:
        reading = read_words(raw if long is None else long, _addresses(mblog, place))
    else:
        reading = read_markup(markup or "" if long is None else long)
    told = records(mblog, "topic_struct", place)
    named = [topic(text(each, "topic_title", f"{place}topic_struct.") or "") for each in told or []]
    return reading, list(dict.fromkeys([*(name for name in named if name), *hashtags_in(reading.text)]))


def _long_text(mblog: Record, place: str) -> str | None:
    long = mblog.get("longText")
    if not isinstance(long, dict):
        return None
    return text(long, "longTextContent", f"{place}longText.") or None


def _truncated(mblog: Record, place: str) -> bool | None:
    is_long = mblog.get("isLongText")
    if is_long in (0, 1):
        is_long = bool(is_long)
    elif is_long is not None:
        raise ParseError(f"{place}isLongText", "expected true or false")
    return is_long and _long_text(mblog, place) is None


def _addresses(mblog: Record, place: str) -> dict[str, str]:
    """Where short links lead; what opens an app is no address."""
    found = {}
    for each in records(mblog, "url_struct", place) or []:
        short, long = (text(each, key, f"{place}url_struct.") for key in ("short_url", "long_url"))
        if short and long and long.startswith(("http://", "https://")):
            found[short] = long
    return found


def _links(mblog: Record, reading: Reading, place: str) -> list[str]:
    page = _page(mblog, place)
    article = page is not None and _type(page) == "article"
    more = text(page, "page_url", f"{place}page_info.") if page is not None and article else None
    return list(dict.fromkeys([*reading.links, *([more] if more and keeps(more) else [])]))


def _page(mblog: Record, place: str) -> Record | None:
    """What is shown below the text: a video, an article, a topic, a place. An empty one comes as a list too."""
    return optional_record(mblog, "page_info", place) if mblog.get("page_info") else None


def _type(page: Record) -> str | None:
    told = (page.get("type"), page.get("object_type"))
    return next((name for name in ("video", "article") if name in told), None)


def _media(mblog: Record, place: str) -> list[Media] | None:
    found = [*_pictures(mblog, place), *_mixed(mblog, place)]
    page = _page(mblog, place)
    if page is not None and _type(page) == "video" and not any(each.type == "video" for each in found):
        found.append(Media("video", url=_video(page, place)))
    told = ("pics", "pic_ids", "pic_urls", "pic_infos", "pic_num", "mix_media_info", "page_info")
    return found if found or any(mblog.get(key) is not None for key in told) else None


def _pictures(mblog: Record, place: str) -> Iterator[Media]:
    """In the order that they are shown in, from whichever of the four shapes there is."""
    infos = optional_record(mblog, "pic_infos", place) or {}
    pics = mblog.get("pics")
    if infos:
        for each in infos.values():
            yield _picture(record(each, f"{place}pic_infos"), place)
    elif pics:
        for each in pics.values() if isinstance(pics, dict) else records(mblog, "pics", place) or []:
            yield _picture(record(each, f"{place}pics"), place)
    else:
        for each in records(mblog, "pic_urls", place) or []:
            yield Media("image", url=text(each, "thumbnail_pic", f"{place}pic_urls."))


def _picture(picture: Record, place: str) -> Media:
    kind = "video" if picture.get("type") == "video" else "image"
    if kind == "video" and (url := text(picture, "videoSrc", f"{place}pics.")):
        return Media(kind, url=url)
    for size in _PICTURES:
        sized = picture.get(size)
        if isinstance(sized, dict) and (url := text(sized, "url", f"{place}pics.{size}.")):
            return Media(kind, url=url)
    return Media(kind, url=text(picture, "url", f"{place}pics."))


def _mixed(mblog: Record, place: str) -> Iterator[Media]:
    """Pictures and videos side by side, as weibo.com shows them."""
    mixed = optional_record(mblog, "mix_media_info", place)
    for each in [] if mixed is None else records(mixed, "items", f"{place}mix_media_info.") or []:
        data = optional_record(each, "data", f"{place}mix_media_info.") or {}
        if each.get("type") == "video":
            yield Media("video", url=_video(data, place))
        elif not mblog.get("pic_infos"):
            yield _picture(data, place)


def _video(page: Record, place: str) -> str | None:
    for key in ("media_info", "urls"):
        held = page.get(key)
        if not isinstance(held, dict):
            continue
        for name in _VIDEOS:
            if url := text(held, name, f"{place}page_info.{key}."):
                return url
    return None


def _plays(mblog: Record, place: str) -> int | None:
    """Plays of the video, which are told in words: `44万次播放`."""
    page = _page(mblog, place)
    if page is None or _type(page) != "video":
        return None
    told = page.get("play_count")
    if isinstance(told, str):
        return approximate(_PLAYS.sub("", told))
    return count(page, "play_count", f"{place}page_info.")


def _edited(mblog: Record, fetched_at: datetime) -> datetime | None:
    """The time of the last edit; that there was one is told without its time too."""
    if not shown_count(mblog, "edit_count"):
        return None
    told = text(mblog, "edit_at")
    return read_time(told, fetched_at) if told else None


def _account(mblog: Record, fetched_at: datetime) -> Account | None:
    user = optional_record(mblog, "user")
    if user is None:
        return None
    native = user.get("idstr") or user.get("id")
    if isinstance(native, bool) or not isinstance(native, int | str) or not re.fullmatch(r"[0-9]{1,19}", str(native)):
        raise ParseError("user.id", "not the number of an account")
    name, since = text(user, "screen_name", "user."), text(user, "created_at", "user.")
    return Account(
        id=str(native),
        handle=name,
        display_name=name,
        url=f"https://weibo.com/u/{native}",
        verified=flag(user, "verified", "user."),
        created_at=read_time(since, fetched_at) if since else None,
        bio=profile_text(user, "description"),
        verification=_verification(user),
    )


_VERIFIED_AS: dict[str, VerifiedAs] = {
    "0": "person", "1": "government", "2": "company", "3": "media", "4": "organisation", "5": "company",
    "6": "company", "7": "organisation",
}  # fmt: skip
"""What `verified_type` says. Others, such as 200 and 220, are grades of private accounts, and -1 is none."""


def _verification(user: Record) -> Verification | None:
    told = user.get("verified_type")
    kind = _VERIFIED_AS.get(str(told)) if isinstance(told, int | str) else None
    words = profile_text(user, "verified_reason")
    return Verification(kind, words) if user.get("verified") is True and (kind or words) else None
