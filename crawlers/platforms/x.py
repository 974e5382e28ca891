"""Posts of X: of API v2, with what its pages include joined to each, and of API v1.1, as captures hold them. Pure.

Fields: docs.x.com/x-api/fundamentals/data-dictionary. Positions of entities are not needed: a shortened address is
found by itself, and so is a mention by its name.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

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
    texts,
    time,
)
from crawlers.post import Account, Kind, Media, ParseError, Post, PostId, Verification, VerifiedAs
from crawlers.sink import Reject
from crawlers.text import (
    END,
    MARK,
    MENTION,
    is_web,
    links_in,
    mask,
    names_account,
    part_addresses,
    read_plain,
    tidy,
)

PARSER_VERSION = 1
PLATFORM = "x"
LEFT_OUT_WHEN_EMPTY = ("entities", "attachments")
"""Fields that API v2 leaves out where they hold nothing, even when they were asked for."""

_ID = re.compile(r"[1-9][0-9]{0,18}")
_TIMED = 30_000_000_000
"""From this id on (November 2010) an id tells its time, in milliseconds since `_FIRST`, above its lowest 22 bits."""
_FIRST = datetime.fromtimestamp(1_288_834_974_657 / 1000, UTC)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_OLD_TIME = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) (\d\d) (\d\d):(\d\d):(\d\d) \+0000 (\d{4})")
_NO_LANGUAGE = frozenset({"und", "zxx", "art", "qam", "qct", "qht", "qme", "qst"})
"""What stands for a language where none was found: undetermined, only mentions, only tags, only media and the like."""

_SHORT = re.compile(r"https?://t\.co/[A-Za-z0-9]+")
_CUT_ADDRESS = re.compile(r"https?:?/?/?[^\s…]*…$")
_ESCAPE = re.compile(r"&(amp|lt|gt);")
_ESCAPED = {"amp": "&", "lt": "<", "gt": ">"}
_STATUS = re.compile(r"/status(?:es)?/(\d+)(/(?:photo|video)/\d+)?/?$")
_SITES = frozenset({"x.com", "twitter.com", "mobile.twitter.com", "www.twitter.com", "www.x.com"})
_MEDIA = {"photo": "image", "video": "video", "animated_gif": "gifv"}
_MEDIA_OF_KEY = {"3": "image", "7": "video", "13": "video", "16": "gifv"}


def joined(page: object, *, asked_for: Iterable[str] = ()) -> list[object]:
    """The posts of a page of API v2, each with the author, the media, the poll and the posts that it names, as the page
    includes them: the shape that `parse_tweet` reads, and that twarc calls flattened.

    Of the fields that are `asked_for`, one that is left out is written as empty. Errors: ParseError.
    """
    answer = record(page, "page")
    includes = optional_record(answer, "includes") or {}
    users, media, polls, tweets = (
        _by(key, includes.get(name))
        for name, key in (("users", "id"), ("media", "media_key"), ("polls", "id"), ("tweets", "id"))
    )
    found = answer.get("data")
    if found is None:
        return []

    def whole(tweet: object, *, refers: bool) -> object:
        if not isinstance(tweet, dict):
            return tweet
        full = _filled(tweet, asked_for)
        if (author := users.get(_key(tweet.get("author_id")))) is not None:
            full["author"] = author
        attached = full.get("attachments")
        if isinstance(attached, dict):
            shown = {
                "media": _named(attached.get("media_keys"), media),
                "poll": _named(attached.get("poll_ids"), polls),
            }
            full["attachments"] = {**attached, **{name: each for name, each in shown.items() if each}}
        named = tweet.get("referenced_tweets")
        if refers and isinstance(named, list):
            full["referenced_tweets"] = [
                {**whole(tweets[_key(each.get("id"))], refers=False), **each}  # type: ignore[dict-item]
                if isinstance(each, dict) and _key(each.get("id")) in tweets
                else each
                for each in named
            ]
        return full

    return [whole(tweet, refers=True) for tweet in (found if isinstance(found, list) else [found])]


def parse_tweet(payload: object, host: str, fetched_at: datetime) -> Post:
    """A post of API v2, with or without what was joined to it. A repost has the text of what it reposts, which is cut
    where that was not joined. Errors: ParseError."""
    tweet = record(payload, "tweet")
    post = _tweet(tweet, host, fetched_at)
    named = _named_tweets(tweet)
    if (original := named.get("retweeted")) is None:
        return post
    of = _tweet(original, host, fetched_at) if text(original, "text", "referenced_tweets.") is not None else None
    return _repost(post, _id_of(original, "referenced_tweets."), of)


def parse_status(payload: object, host: str, fetched_at: datetime) -> Post:
    """A post of API v1.1, extended or not. Errors: ParseError."""
    status = record(payload, "status")
    post = _status(status, host, fetched_at)
    original = optional_record(status, "retweeted_status")
    if original is None:
        return post
    return _repost(post, PostId(PLATFORM, _native(original, "retweeted_status.")), _status(original, host, fetched_at))


def parse_captured(payload: object, host: str, fetched_at: datetime) -> Post:
    """A post of a capture, of whichever of the two. Errors: ParseError."""
    captured = record(payload, "tweet")
    if "delete" in captured:
        raise ParseError("delete", "a notice of a deletion, and no post")
    if "id_str" in captured or "user" in captured or "full_text" in captured:
        return parse_status(captured, host, fetched_at)
    return parse_tweet(captured, host, fetched_at)


def parse_capture(payload: object, host: str, fetched_at: datetime) -> tuple[list[Post], list[Reject]]:
    """A line of a capture by twarc: a page of API v2, or one post of either, flattened or not. When twarc got it counts
    before `fetched_at`. Errors: ParseError for a line that is neither."""
    line = record(payload, "line")
    by_twarc = optional_record(line, "__twarc")
    # twarc asks for all fields, so what is left out is empty.
    asked_for = () if by_twarc is None else LEFT_OUT_WHEN_EMPTY
    at = fetched_at if by_twarc is None else time(by_twarc, "retrieved_at", "__twarc.") or fetched_at
    if "data" not in line and "includes" not in line and "meta" not in line:
        return [parse_captured(_filled(line, asked_for), host, at)], []
    posts, rejects = [], []
    for position, item in enumerate(joined(line, asked_for=asked_for)):
        try:
            posts.append(parse_captured(item, host, at))
        except ParseError as error:
            rejects.append(Reject(position, error.place, error.reason))
    return posts, rejects


def _filled(tweet: Record, asked_for: Iterable[str]) -> Record:
    """A post with what it leaves out of the fields that were asked for as empty; so too the posts written into it."""
    empty: Record = {key: {} for key in asked_for}
    full = {**empty, **tweet}
    named = tweet.get("referenced_tweets")
    if empty and isinstance(named, list):
        full["referenced_tweets"] = [
            {**empty, **each} if isinstance(each, dict) and "text" in each else each for each in named
        ]
    return full


# API v2


def _tweet(tweet: Record, host: str, fetched_at: datetime) -> Post:
    note = optional_record(tweet, "note_tweet") or {}
    whole = text(note, "text", "note_tweet.")
    shown = text(tweet, "text") if whole is None else whole
    if shown is None:
        raise ParseError("text", "missing")
    given = optional_record(tweet, "entities")
    entities = given or {}
    if whole is not None:  # those beside it are of the text that was cut
        entities = {**entities, **(optional_record(note, "entities", "note_tweet.") or {})}
    urls = records(entities, "urls", "entities.") or []
    named = _named_tweets(tweet)
    parent, quoted = (
        None if each is None else _id_of(each, "referenced_tweets.")
        for each in (named.get("replied_to"), named.get("quoted"))
    )
    native = _number(text(tweet, "id"), "id")
    history = _history(tweet) or [native]
    created_at = time(tweet, "created_at") or _time_of(native)
    edited = history[0] != native
    attached = optional_record(tweet, "attachments")
    body = _body(
        shown,
        {_key(each.get("url")): _target(each) for each in urls},
        [
            needed_text(each, "username", "entities.mentions.")
            for each in records(entities, "mentions", "entities.") or []
        ],
        own=native,
        quoted=_named_id(named.get("quoted")),
    )
    metrics = optional_record(tweet, "public_metrics") or {}
    author = optional_record(tweet, "author")
    author_id = text(tweet, "author_id")
    account = (
        _account(author, author_id)
        if author is not None
        else Account(_number(author_id, "author_id"))
        if author_id
        else None
    )
    tags = [needed_text(each, "tag", "entities.hashtags.") for each in records(entities, "hashtags", "entities.") or []]
    return Post(
        id=PostId(PLATFORM, history[0]),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        kind=_kind(parent, quoted),
        author=account,
        url=_address(account, native),
        created_at=_time_of(history[0]) if edited else created_at,
        edited_at=created_at if edited else None,
        sensitive=flag(tweet, "possibly_sensitive"),
        text="\n".join([*filter(None, [body.text]), *_options(attached)]) or None,
        truncated=True if body.cut else None,
        lang=_language(tweet),
        reply_to=parent,
        quote_of=quoted,
        hashtags=None if given is None else list(dict.fromkeys(tag.casefold() for tag in tags)),
        mention_count=body.mentions,
        links=body.links,
        media=None if attached is None else list(_media_of_tweet(attached)),
        likes=count(metrics, "like_count", "public_metrics."),
        reposts=count(metrics, "retweet_count", "public_metrics."),
        replies=count(metrics, "reply_count", "public_metrics."),
        views=count(metrics, "impression_count", "public_metrics."),
        platform_labels=_withheld(tweet),
        raw=tweet,
    )


def _history(tweet: Record) -> list[str]:
    """The ids of all versions of a post, the first one's first."""
    found = texts(tweet, "edit_history_tweet_ids") or []
    return sorted((_number(each, "edit_history_tweet_ids") for each in found), key=int)


def _named_tweets(tweet: Record) -> dict[str, Record]:
    """What a post refers to, by the way it does."""
    return {_key(each.get("type")): each for each in records(tweet, "referenced_tweets") or []}


def _named_id(named: Record | None) -> str | None:
    return None if named is None else text(named, "id", "referenced_tweets.")


def _id_of(named: Record, place: str) -> PostId:
    """The name of a post that is referred to: that of its first version, where it is known."""
    native = _number(text(named, "id", place), f"{place}id")
    return PostId(PLATFORM, (_history(named) or [native])[0])


def _options(attached: Record | None) -> list[str]:
    """The options of a poll, a line each."""
    found = None if attached is None else attached.get("poll")
    polls = [found] if isinstance(found, dict) else found if isinstance(found, list) else []
    return [
        f"- {read_plain(_unescaped(needed_text(option, 'label', 'poll.options.'))).text}"
        for poll in polls
        for option in records(record(poll, "poll"), "options", "poll.") or []
    ]


def _media_of_tweet(attached: Record) -> Iterator[Media]:
    """The media of a post, in its order; of those that the page does not include only the kind is known, by the key."""
    shown = {_key(each.get("media_key")): each for each in records(attached, "media", "attachments.") or []}
    for key in texts(attached, "media_keys", "attachments.") or list(shown):
        each = shown.get(key)
        if each is None:
            yield Media(_MEDIA_OF_KEY.get(key.partition("_")[0], "unknown"))
            continue
        kind = needed_text(each, "type", "media.")
        variants = [
            (count(one, "bit_rate", "media.variants."), one) for one in records(each, "variants", "media.") or []
        ]
        url = text(each, "url", "media.") or _best(variants) or text(each, "preview_image_url", "media.")
        yield Media(_MEDIA.get(kind, "unknown"), _alt(text(each, "alt_text", "media.")), url)


def _withheld(tweet: Record) -> list[str] | None:
    found = optional_record(tweet, "withheld")
    if found is None:
        return None
    copyright = ["withheld: copyright"] if flag(found, "copyright", "withheld.") else []
    return copyright + _countries(texts(found, "country_codes", "withheld."))


# API v1.1


def _status(status: Record, host: str, fetched_at: datetime) -> Post:
    extended = optional_record(status, "extended_tweet")
    holder, place = (status, "") if extended is None else (extended, "extended_tweet.")
    shown = text(holder, "full_text", place)
    cut = None if shown is None else False
    if shown is None:
        shown, cut = text(status, "text"), flag(status, "truncated")
    if shown is None:
        raise ParseError("text", "missing")
    given = optional_record(holder, "entities", place)
    entities = given or {}
    native = _native(status)
    quoted = _reference(status, "quoted_status_id")
    parent = _reference(status, "in_reply_to_status_id")
    urls = [*(records(entities, "urls", "entities.") or []), *(records(entities, "media", "entities.") or [])]
    body = _body(
        shown,
        {_key(each.get("url")): _target(each) for each in urls},
        [
            needed_text(each, "screen_name", "entities.user_mentions.")
            for each in records(entities, "user_mentions", "entities.") or []
        ],
        own=native,
        quoted=quoted,
    )
    more = optional_record(holder, "extended_entities", place) or entities
    user = optional_record(status, "user")
    account = None if user is None else _account_of_status(user)
    tags = [
        needed_text(each, "text", "entities.hashtags.") for each in records(entities, "hashtags", "entities.") or []
    ]
    reply_to = None if parent is None else PostId(PLATFORM, parent)
    quote_of = None if quoted is None else PostId(PLATFORM, quoted)
    return Post(
        id=PostId(PLATFORM, native),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        kind=_kind(reply_to, quote_of),
        author=account,
        url=_address(account, native),
        created_at=_old_time(status, "created_at") or _time_of(native),
        sensitive=flag(status, "possibly_sensitive"),
        text=body.text or None,
        truncated=True if body.cut else cut,
        lang=_language(status),
        reply_to=reply_to,
        quote_of=quote_of,
        hashtags=None if given is None else list(dict.fromkeys(tag.casefold() for tag in tags)),
        mention_count=body.mentions,
        links=body.links,
        media=None if given is None else [_media_of_status(each) for each in records(more, "media", "media.") or []],
        likes=count(status, "favorite_count"),
        reposts=count(status, "retweet_count"),
        replies=count(status, "reply_count"),
        platform_labels=_withheld_status(status),
        raw=status,
    )


def _native(status: Record, place: str = "") -> str:
    named = text(status, "id_str", place)
    return _number(named if named is not None else _key(count(status, "id", place)), f"{place}id")


def _reference(status: Record, key: str) -> str | None:
    """The id of another post; some captures have it as a number only."""
    named = text(status, f"{key}_str")
    number = count(status, key) if named is None else None
    found = named if number is None else str(number)
    return None if found is None else _number(found, key)


def _account_of_status(user: Record) -> Account:
    named = text(user, "id_str", "user.")
    native = _number(named if named is not None else _key(count(user, "id", "user.")), "user.id")
    handle = text(user, "screen_name", "user.")
    return Account(
        id=native,
        handle=handle,
        display_name=text(user, "name", "user."),
        url=_profile(handle),
        verified=flag(user, "verified", "user."),
        created_at=_old_time(user, "created_at", "user."),
        bio=profile_text(user, "description"),
        verification=_verification(user),
    )


def _media_of_status(each: Record) -> Media:
    kind = needed_text(each, "type", "media.")
    video = optional_record(each, "video_info", "media.") or {}
    variants = [(count(one, "bitrate", "media.variants."), one) for one in records(video, "variants", "media.") or []]
    url = _best(variants) or text(each, "media_url_https", "media.") or text(each, "media_url", "media.")
    return Media(_MEDIA.get(kind, "unknown"), _alt(text(each, "ext_alt_text", "media.")), url)


def _withheld_status(status: Record) -> list[str] | None:
    countries, copyright = texts(status, "withheld_in_countries"), flag(status, "withheld_copyright")
    if countries is None and copyright is None:
        return None
    return (["withheld: copyright"] if copyright else []) + _countries(countries)


def _old_time(parent: Record, key: str, place: str = "") -> datetime | None:
    value = text(parent, key, place)
    if value is None:
        return None
    found = _OLD_TIME.fullmatch(value)
    try:
        if found is None:
            raise ValueError
        month, *rest = found.groups()
        day, hour, minute, second, year = map(int, rest)
        return datetime(year, _MONTHS.index(month) + 1, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise ParseError(f"{place}{key}", "not a time") from None


# Both


@dataclass(frozen=True)
class _Body:
    """A text as it is kept. `cut`: it ends in an address of the post itself, where a client would show the rest."""

    text: str
    links: list[str]
    mentions: int
    cut: bool


def _body(shown: str, targets: dict[str, str], names: list[str], *, own: str, quoted: str | None) -> _Body:
    """A text with the names of mentions replaced and addresses written out, but for those that stand for the post's own
    media and for what it quotes."""
    source = _unescaped(shown.replace(MARK, "\x02").replace(END, "\x02"))
    mentions, cut = 0, False
    links: list[str] = []
    if names:
        one_of = "|".join(map(re.escape, sorted(set(names), key=len, reverse=True)))
        source, mentions = re.subn(
            rf"(?<![A-Za-z0-9_@＠])[@＠](?:{one_of})(?![A-Za-z0-9_])", MARK, source, flags=re.IGNORECASE
        )

    def written(found: re.Match[str]) -> str:
        nonlocal mentions, cut
        target = targets.get(found[0])
        if target is None:
            return found[0]
        named, media = _post_at(target)
        if named is not None and (named in (own, quoted) or media):
            cut = cut or (named == own and not media)
            return ""
        if names_account(target):
            mentions += 1
            return MARK
        if not is_web(target):
            return found[0]
        links.append(target)
        return target + END

    pieces = part_addresses(_SHORT.sub(written, source)).split(MARK)
    masked, masked_count = mask(MARK.join(tidy(piece) for piece in pieces).strip())
    kept = masked.strip()
    whole = _CUT_ADDRESS.sub("…", kept)  # what is left of an address leads nowhere
    return _Body(kept, list(dict.fromkeys([*links, *links_in(whole)])), mentions + masked_count, cut)


def _post_at(address: str) -> tuple[str | None, bool]:
    """The id of the post that an address of the site leads to, and whether to one of its media."""
    try:
        parts = urlsplit(address)
        found = _STATUS.search(parts.path) if (parts.hostname or "") in _SITES else None
    except ValueError:
        return None, False
    return (None, False) if found is None else (found[1], found[2] is not None)


def _repost(post: Post, of: PostId, original: Post | None) -> Post:
    """A repost: its own name, author and time, and what the original says; no count of its own is given."""
    said = original or _cut_repost(post)
    return replace(
        said,
        id=post.id,
        kind="repost",
        author=post.author,
        url=post.url,
        created_at=post.created_at,
        edited_at=None,
        reply_to=None,
        quote_of=None,
        repost_of=of if original is None else original.id,
        likes=None,
        reposts=None,
        replies=None,
        views=None,
        platform_labels=post.platform_labels,
        raw=post.raw,
    )


def _cut_repost(post: Post) -> Post:
    """What a repost itself holds of the original: `RT`, a mention and a text of 140 characters at most."""
    shown = post.text or ""
    body = shown.removeprefix(f"RT {MENTION}: ")
    whole = _CUT_ADDRESS.sub("…", body)
    mentions = (post.mention_count or 0) - (body != shown)
    links = [link for link in post.links or [] if link in whole]
    return replace(post, text=whole or None, truncated=whole.endswith("…"), mention_count=max(0, mentions), links=links)


def _kind(parent: PostId | None, quoted: PostId | None) -> Kind:
    if parent is not None:
        return "reply"
    return "post" if quoted is None else "quote"


def _account(author: Record, known: str | None) -> Account:
    handle = text(author, "username", "author.")
    return Account(
        id=_number(text(author, "id", "author.") or known, "author.id"),
        handle=handle,
        display_name=text(author, "name", "author."),
        url=_profile(handle),
        verified=flag(author, "verified", "author."),
        created_at=time(author, "created_at", "author."),
        bio=profile_text(author, "description"),
        verification=_verification(author),
    )


_VERIFIED_AS: dict[str, VerifiedAs] = {"government": "government", "business": "company", "blue": "paid"}


def _verification(user: Record) -> Verification | None:
    """By `verified_type`; where there is none, a mark that is told to be the blue one was bought."""
    told = profile_text(user, "verified_type") or profile_text(user, "ext_verified_type") or ""
    kind = _VERIFIED_AS.get(told.casefold()) or ("paid" if user.get("is_blue_verified") is True else None)
    return None if kind is None else Verification(kind)


def _profile(handle: str | None) -> str | None:
    return f"https://x.com/{handle}" if handle else None


def _address(account: Account | None, native: str) -> str:
    return f"https://x.com/{(account and account.handle) or 'i'}/status/{native}"


def _target(url: Record) -> str:
    return text(url, "expanded_url", "entities.urls.") or text(url, "url", "entities.urls.") or ""


def _best(variants: list[tuple[int | None, Record]]) -> str | None:
    """The address of the variant with the most bits a second."""
    return (
        max(((rate or 0, text(one, "url", "media.variants.") or "") for rate, one in variants), default=(0, ""))[1]
        or None
    )


def _alt(told: str | None) -> str | None:
    return read_plain(_unescaped(told)).text or None if told else None


def _language(tweet: Record) -> str | None:
    told = text(tweet, "lang")
    return None if told in _NO_LANGUAGE else told


def _countries(codes: list[str] | None) -> list[str]:
    return [f"withheld: {code}" for code in codes or [] if re.fullmatch(r"[A-Z]{2}", code)]


def _unescaped(shown: str) -> str:
    return _ESCAPE.sub(lambda found: _ESCAPED[found[1]], shown)


def _number(value: str | None, place: str) -> str:
    if value is None or _ID.fullmatch(value) is None:
        raise ParseError(place, "not the number of a post or account")
    return value


def _time_of(native: str) -> datetime | None:
    """When a post was made, as its id tells; None for one that is older than such ids."""
    number = int(native)
    return None if number < _TIMED else _FIRST + timedelta(milliseconds=number >> 22)


def _key(value: Any) -> str:
    return "" if value is None or isinstance(value, dict | list) else str(value)


def _by(key: str, found: object) -> dict[str, Record]:
    """Objects by what names them; what is none is left out, and so not joined."""
    each = found if isinstance(found, list) else []
    return {_key(one.get(key)): one for one in each if isinstance(one, dict) and _key(one.get(key))}


def _named(keys: object, found: dict[str, Record]) -> list[Record]:
    return [found[key] for key in map(_key, keys if isinstance(keys, list) else []) if key in found]
