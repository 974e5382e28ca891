"""What each platform's parser must not lose or get wrong, and what no record may do to it."""

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawlers.platforms.bluesky import parse_feed_item, parse_record, parse_view
from crawlers.platforms.feed import NotAFeedError, parse_feed
from crawlers.platforms.mastodon import parse_status
from crawlers.post import Media, ParseError, Post
from tests.sweeps import NAMES
from tests.test_crawlers import NOW, STATUS, VIEW
from tests.test_crawlers_text import as_rows

PRESS = "https://press.example/news.rss"


def rss(items: str, url: str = PRESS) -> list[Post]:
    body = f'<rss version="2.0" xmlns:media="http://search.yahoo.com/mrss/"><channel>{items}</channel></rss>'
    posts, rejects = parse_feed(body.encode(), "application/rss+xml", url, NOW)
    assert rejects == []
    return posts


def uids(posts: list[Post]) -> list[str]:
    return [NAMES.post(post.id) for post in posts]


# Mastodon


def test_a_feed_of_more_entries_than_any_feed_has_is_refused_before_they_are_parsed() -> None:
    body = b'{"version": "https://jsonfeed.org/version/1.1", "items": [' + b"{}," * 20_000 + b"{}]}"
    with pytest.raises(NotAFeedError, match="20,001 entries"):
        parse_feed(body, "", "https://press.example/feed.json", NOW)


def test_the_fallback_line_of_a_quote_is_no_part_of_its_text() -> None:
    fallback = '<p class="quote-inline">RE: <a href="https://two.example/@birch/5">https://two.example/@birch/5</a></p>'
    quoted = {"id": "5", "uri": "https://two.example/users/birch/statuses/5"}
    quote: dict[str, Any] = {"state": "accepted", "quoted_status": quoted}
    status = {**STATUS, "content": f"{fallback}<p>So true</p>", "quote": quote, "in_reply_to_id": None}
    post = parse_status(status, "hearth.example", NOW)
    assert (post.text, post.kind, post.links) == ("So true", "quote", [])
    assert post.quote_of is not None
    assert post.quote_of.global_id == quoted["uri"]
    revoked = parse_status({**status, "quote": {"state": "revoked"}}, "hearth.example", NOW)
    assert (revoked.text, revoked.kind, revoked.quote_of) == ("RE: @user\n\nSo true", "post", None)


def test_the_answer_to_a_deletion_is_no_post() -> None:
    deleted = {**STATUS, "text": "Hi"}
    del deleted["content"]
    with pytest.raises(ParseError, match="content: missing"):
        parse_status(deleted, "hearth.example", NOW)


def test_the_address_of_a_card_is_a_link_only_where_it_leads_to_the_web() -> None:
    for url, links in [("https://news.example/b", ["https://news.example/b"]), ("javascript:alert(1)", [])]:
        post = parse_status({**STATUS, "content": "<p>look</p>", "card": {"url": url}}, "hearth.example", NOW)
        assert post.links == links


# Bluesky


def record_of(text: str, *facets: tuple[int, int, dict[str, Any]], **more: Any) -> dict[str, Any]:
    found = [{"index": {"byteStart": start, "byteEnd": end}, "features": [each]} for start, end, each in facets]
    return {"$type": "app.bsky.feed.post", "text": text, "createdAt": "2026-07-31T10:00:00Z", "facets": found, **more}


def link(uri: str) -> dict[str, Any]:
    return {"$type": "app.bsky.richtext.facet#link", "uri": uri}


def viewed(record: dict[str, Any], **more: Any) -> Post:
    return parse_view({**VIEW, "record": record, **more}, "view.example", NOW)


def test_a_link_is_not_read_into_the_words_that_follow_it() -> None:
    text = "看news.example/a更多"
    post = viewed(record_of(text, (3, 17, link("https://news.example/a"))))
    assert (post.text, post.links) == ("看https://news.example/a 更多", ["https://news.example/a"])


def test_a_link_that_leads_nowhere_on_the_web_stays_as_its_words() -> None:
    post = viewed(record_of("press here", (6, 10, link("javascript:alert(1)"))))
    assert (post.text, post.links) == ("press here", [])


def test_facets_that_overlap_or_cut_a_character_change_nothing() -> None:
    cut = viewed(record_of("é rain", (1, 3, link("https://news.example/a"))))
    assert cut.text == "é rain"
    words = viewed(
        record_of("one two three", (0, 7, link("https://news.example/a")), (4, 13, link("https://news.example/b")))
    )
    assert words.text == "one two three (https://news.example/b)"


def test_an_appview_gives_the_addresses_of_media() -> None:
    image = {"alt": "a puddle", "image": {"$type": "blob"}}
    view = {"$type": "app.bsky.embed.images#view", "images": [{"fullsize": "https://cdn.example/1.jpg", "alt": ""}]}
    post = viewed(record_of("x", embed={"$type": "app.bsky.embed.images", "images": [image]}), embed=view)
    assert post.media == [Media("image", "a puddle", "https://cdn.example/1.jpg")]
    video = {"$type": "app.bsky.embed.video", "alt": "rain falls"}
    shown = {"$type": "app.bsky.embed.video#view", "playlist": "https://cdn.example/1.m3u8"}
    halves = {"$type": "app.bsky.embed.recordWithMedia", "media": video, "record": {}}
    both = {"$type": "app.bsky.embed.recordWithMedia#view", "media": shown, "record": {}}
    assert viewed(record_of("x", embed=halves), embed=both).media == [
        Media("video", "rain falls", "https://cdn.example/1.m3u8")
    ]


def test_labels_that_an_author_gives_are_kept_from_a_repository_too() -> None:
    labels = {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "graphic-media"}]}
    item = {"uri": VIEW["uri"], "value": record_of("x", labels=labels)}
    post = parse_record(item, VIEW["author"]["did"], "pds.example", NOW)
    assert post.platform_labels == ["graphic-media"]


# Feeds


def test_ids_that_are_no_addresses_are_told_apart_by_their_feed() -> None:
    items = "<item><guid>1</guid><title>Rain</title></item><item><guid isPermaLink='false'>2</guid></item>"
    news, sport = rss(items), rss(items, "https://press.example/sport.rss")
    assert len(set(uids(news) + uids(sport))) == 4
    assert [post.url for post in news] == [None, None]
    body = b'{"version": "https://jsonfeed.org/version/1.1", "items": [{"id": 1}, {"id": "2"}]}'
    one = parse_feed(body, "", "https://press.example/one.json", NOW)[0]
    two = parse_feed(body, "", "https://press.example/two.json", NOW)[0]
    assert len(set(uids(one) + uids(two))) == 4


def test_a_feed_is_the_same_over_http_and_https_and_another_with_another_query() -> None:
    item = "<item><guid>1</guid></item>"
    first = uids(rss(item, "https://press.example/news?tag=rain"))
    assert uids(rss(item, "http://PRESS.example/news?tag=rain#top")) == first
    assert uids(rss(item, "https://press.example/news?tag=sun")) != first


@pytest.mark.parametrize("name", ["https://press.example/a", "tag:press.example,2026:a", "urn:uuid:6b7a", "yt:video:a"])
def test_an_article_in_two_feeds_of_a_host_is_one_post(name: str) -> None:
    item = f"<item><guid isPermaLink='false'>{name}</guid></item>"
    assert uids(rss(item)) == uids(rss(item, "https://press.example/sport.rss"))
    assert uids(rss(item)) != uids(rss(item, "https://other.example/news.rss"))


def test_a_login_in_the_address_of_a_feed_reaches_no_post() -> None:
    (post,) = rss(
        '<item><guid>1</guid><link>/a</link><description>&lt;a href="/b"&gt;b&lt;/a&gt;</description></item>',
        "https://jane:secret@press.example/news.rss",
    )
    assert "secret" not in repr(post)
    assert (post.host, post.links) == ("press.example", ["https://press.example/a", "https://press.example/b"])


def test_the_author_of_a_whole_feed_is_the_author_of_its_items() -> None:
    body = (
        b'{"version": "https://jsonfeed.org/version/1", "author": {"name": "Press"}, "items": '
        b'[{"id": "1"}, {"id": "2", "author": {"name": "Fern"}}]}'
    )
    posts, _ = parse_feed(body, "", "https://press.example/feed.json", NOW)
    assert [post.author and post.author.display_name for post in posts] == ["Press", "Fern"]


def test_the_picture_of_an_item_is_its_media() -> None:
    body = (
        b'{"version": "https://jsonfeed.org/version/1.1", "items": [{"id": "1", "image": "/1.png", "attachments": '
        b'[{"url": "/1.mp3", "mime_type": "audio/mpeg"}, {"mime_type": "audio/mpeg"}]}]}'
    )
    (post,), _ = parse_feed(body, "", "https://press.example/feed.json", NOW)
    assert post.media == [
        Media("audio", None, "https://press.example/1.mp3"),
        Media("image", None, "https://press.example/1.png"),
    ]


def test_renditions_in_a_group_of_media_are_one_and_others_stand_for_themselves() -> None:
    (post,) = rss(
        "<item><guid>1</guid><enclosure url='https://cdn.example/1.mp3' type='audio/mpeg'/>"
        "<media:group><media:content url='https://cdn.example/big.jpg' medium='image'/>"
        "<media:content url='https://cdn.example/small.jpg' medium='image'/></media:group>"
        "<media:content url='https://cdn.example/2.mp4' type='video/mp4'/>"
        "<media:content url='https://cdn.example/1.mp3' type='audio/mpeg'/></item>"
    )
    assert post.media == [
        Media("audio", None, "https://cdn.example/1.mp3"),
        Media("image", None, "https://cdn.example/big.jpg"),
        Media("video", None, "https://cdn.example/2.mp4"),
    ]


def test_times_in_a_feed_keep_their_fractions_and_zones() -> None:
    body = (
        b'<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>urn:a</id><published>2026-07-31T12:00:00.123456+02:00'
        b"</published><updated>2026-07-31T10:00:00.5Z</updated></entry></feed>"
    )
    (post,), _ = parse_feed(body, "", PRESS, NOW)
    assert (str(post.created_at), str(post.edited_at)) == (
        "2026-07-31 10:00:00.123456+00:00",
        "2026-07-31 10:00:00.500000+00:00",
    )
    (post,) = rss("<item><guid>1</guid><pubDate>Fri, 31 Jul 2026 12:00:00 EST</pubDate></item>")
    assert str(post.created_at) == "2026-07-31 17:00:00+00:00"


def test_the_name_beside_a_mail_address_is_the_name_of_the_author() -> None:
    (post,) = rss("<item><guid>1</guid><author>desk@press.example (Fern Oak)</author></item>")
    assert post.author is not None
    assert post.author.display_name == "Fern Oak"


@pytest.mark.parametrize("piece", [b"<!DOCTYPE[", b"<!ENTITY [x]", b"<media:group>", b"&#x", b"<!DOCTYPE x [<!ENTITY "])
def test_no_document_takes_long_to_be_told_from_a_feed(piece: bytes) -> None:
    with pytest.raises(NotAFeedError):
        parse_feed(piece * 30_000 + b"]<", "application/xml", PRESS, NOW)


# Hostile records

MARKER = "zzoakzz"


def nested(depth: int) -> Any:
    value: Any = MARKER
    for _ in range(depth):
        value = [value]
    return value


def hostile() -> list[Any]:
    """Made anew each time, as one value can be put into another."""
    return [
        None,
        True,
        -1,
        10**400,
        -0.5,
        float("nan"),
        "",
        MARKER,
        f"\ud800{MARKER}\x00",
        f"https://[{MARKER}",
        f"at://{MARKER}",
        "9999-12-31T23:59:59.999999-23:59",
        "0001-01-01T00:00:00+23:59",
        [],
        {},
        [[]],
        [None],
        [MARKER],
        [{}],
        {MARKER: MARKER},
        nested(400),
    ]


FULL_STATUS: dict[str, Any] = {
    **STATUS,
    "poll": {"options": [{"title": "yes"}, {"title": "no"}]},
    "card": {"url": "https://news.example/b"},
    "quote": {"state": "accepted", "quoted_status": {"id": "5", "uri": "https://two.example/users/b/statuses/5"}},
}
FULL_VIEW: dict[str, Any] = {
    **VIEW,
    "record": {
        **VIEW["record"],
        "tags": ["rain"],
        "labels": {"values": [{"val": "spam"}]},
        "embed": {
            "$type": "app.bsky.embed.recordWithMedia",
            "media": {"$type": "app.bsky.embed.images", "images": [{"alt": "a puddle", "image": {}}]},
            "record": {"$type": "app.bsky.embed.record", "record": {"uri": "at://did:plc:q/app.bsky.feed.post/2"}},
        },
    },
    "embed": {"$type": "app.bsky.embed.images#view", "images": [{"fullsize": "https://cdn.example/1.jpg"}]},
}
FEED_ITEM = {
    "post": FULL_VIEW,
    "reason": {"$type": "app.bsky.feed.defs#reasonRepost", "by": VIEW["author"], "indexedAt": "2026-08-01T00:00:00Z"},
}
RECORD = {"uri": VIEW["uri"], "cid": "bafy", "value": FULL_VIEW["record"]}
ARTICLE = {
    "id": "7",
    "url": "https://press.example/7",
    "title": "Rain",
    "content_html": "<p>Bring a <b>coat</b></p>",
    "date_published": "2026-07-31T10:00:00Z",
    "date_modified": "2026-07-31T11:00:00Z",
    "authors": [{"name": "Fern", "url": "https://press.example/fern"}],
    "tags": ["weather"],
    "attachments": [{"url": "https://press.example/7.mp3", "mime_type": "audio/mpeg"}],
    "image": "https://press.example/7.png",
    "language": "en",
}
PARSERS = {
    "status": (FULL_STATUS, lambda payload: parse_status(payload, "hearth.example", NOW)),
    "reblog": ({**STATUS, "reblog": FULL_STATUS}, lambda payload: parse_status(payload, "hearth.example", NOW)),
    "feed item": (FEED_ITEM, lambda payload: parse_feed_item(payload, "view.example", NOW)),
    "record": (RECORD, lambda payload: parse_record(payload, VIEW["author"]["did"], "pds.example", NOW)),
}


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [at, *(place for key in keys for place in places(value[key], (*at, key)))]


def changed(sample: Any, data: st.DataObject) -> Any:
    """The sample with one to three of its places dropped or replaced."""
    payload = copy.deepcopy(sample)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.sampled_from(places(payload)))
        value = hostile()[data.draw(st.integers(0, len(hostile()) - 1))]
        if not at:
            return value
        parent = payload
        for key in at[:-1]:
            parent = parent[key]
        if isinstance(parent, dict) and data.draw(st.booleans()):
            del parent[at[-1]]
        else:
            parent[at[-1]] = value
    return payload


def told_by(payload: Any) -> list[str]:
    """What the record says, which no message may repeat."""
    values = [payload]
    for value in values:
        values += value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [MARKER, *(value for value in values if isinstance(value, str) and set(value) & set(" /:"))]


@pytest.mark.parametrize("name", PARSERS)
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_good_record_with_any_part_dropped_or_replaced_is_a_post_or_a_parse_error(
    name: str, data: st.DataObject
) -> None:
    sample, parse = PARSERS[name]
    payload = changed(sample, data)
    try:
        post = parse(payload)
    except ParseError as error:
        assert not any(told in str(error) for told in told_by(payload))
        return
    as_rows(post)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_good_article_with_any_part_dropped_or_replaced_is_a_post_or_a_reject(data: st.DataObject) -> None:
    item = changed(ARTICLE, data)
    document = {"version": "https://jsonfeed.org/version/1.1", "language": "en", "items": [item]}
    posts, rejects = parse_feed(json.dumps(document).encode(), "application/feed+json", PRESS, NOW)
    assert len(posts) + len(rejects) == 1
    for post in posts:
        as_rows(post)
    assert not any(told in f"{each.place}: {each.reason}" for each in rejects for told in told_by(item))


ATOM = (
    '<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom" xmlns:media="http://search.yahoo.com/mrss/">'
    '<entry xml:lang="en"><id>urn:a</id><title type="html">Rain</title><link href="/a"/><published>2026-07-31T10:00:00Z'
    '</published><author><name>Fern</name><uri>https://press.example/fern</uri></author><category term="weather"/>'
    '<media:group><media:content url="/1.jpg" medium="image"/></media:group><content type="html">&lt;p&gt;Bring a coat'
    "&lt;/p&gt;</content></entry></feed>"
)
PIECES = ["", "<", ">", "]]>", "<![CDATA[", "&#xD800;", "&#0;", "&boom;", "\x00", '"', "<entry>", "</entry>", "9" * 500]


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, len(ATOM)), st.integers(0, 30), st.sampled_from(PIECES)), max_size=4))
def test_a_good_feed_with_any_piece_cut_out_or_put_in_is_posts_or_rejects_or_no_feed(
    cuts: list[tuple[int, int, str]],
) -> None:
    body = ATOM
    for start, length, piece in cuts:
        body = body[:start] + piece + body[start + length :]
    try:
        posts, rejects = parse_feed(body.encode(), "application/atom+xml", PRESS, NOW)
    except NotAFeedError as error:
        assert "coat" not in str(error)
        return
    for post in posts:
        as_rows(post)
    assert all("coat" not in reject.reason for reject in rejects)


def test_a_record_that_is_nested_without_end_is_a_post_without_its_raw_form() -> None:
    post = parse_status({**STATUS, "emojis": nested(50_000)}, "hearth.example", NOW)
    as_rows(post)
    with pytest.raises(ParseError):
        parse_status({**STATUS, "tags": nested(50_000)}, "hearth.example", NOW)
