from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlers.platforms.bluesky import parse_feed_item, parse_record, parse_view
from crawlers.platforms.feed import NotAFeedError, parse_feed
from crawlers.platforms.mastodon import parse_status
from crawlers.politeness import retry_after, wait_for_reset
from crawlers.post import ParseError, input_digest
from crawlers.safety import is_public, literal_is_private
from crawlers.text import clean, mask, read_html

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
STATUS: dict[str, Any] = {
    "id": "901",
    "uri": "https://hearth.example/users/oakfern/statuses/901",
    "url": "https://hearth.example/@oakfern/901",
    "account": {"id": "7", "acct": "oakfern", "url": "https://hearth.example/@oakfern", "bot": False},
    "created_at": "2026-07-31T10:00:00.000Z",
    "edited_at": "2026-07-31T11:00:00.000Z",
    "content": '<p>Hi <span class="h-card"><a href="https://two.example/@birch" class="u-url mention">@<span>birch'
    '</span></a></span>,<br />see <a href="https://news.example/a?b=1&amp;c=2"><span class="invisible">https://</span>'
    '<span class="ellipsis">news.example/a</span></a> <a href="https://hearth.example/tags/rain" class="mention '
    'hashtag" rel="tag">#<span>Rain</span></a></p>',
    "spoiler_text": "weather",
    "sensitive": True,
    "language": "en",
    "in_reply_to_id": "800",
    "mentions": [{"id": "9", "acct": "birch@two.example", "url": "https://two.example/@birch"}],
    "tags": [{"name": "Rain"}],
    "media_attachments": [{"type": "image", "url": "https://hearth.example/m/1.png", "description": "a puddle"}],
    "favourites_count": 3,
    "reblogs_count": 0,
    "replies_count": 1,
}


def test_a_status_becomes_a_post_with_every_field() -> None:
    post = parse_status(STATUS, "hearth.example", NOW)
    assert post.text == "Hi @user,\nsee https://news.example/a?b=1&c=2 #Rain"
    assert post.links == ["https://news.example/a?b=1&c=2"]
    assert (post.warning, post.sensitive, post.lang, post.kind) == ("weather", True, "en", "reply")
    assert post.id.key == "mastodon:https://hearth.example/users/oakfern/statuses/901"
    assert post.reply_to is not None
    assert post.reply_to.key == "mastodon:hearth.example:800"
    assert post.edited_at == datetime(2026, 7, 31, 11, tzinfo=UTC)
    assert (post.likes, post.reposts, post.replies, post.views) == (3, 0, 1, None)
    assert post.hashtags == ["rain"]
    assert post.mention_count == 1
    assert post.media is not None
    assert post.media[0].alt == "a puddle"


def test_a_reblog_carries_what_it_reposts() -> None:
    reblog = {**STATUS, "id": "902", "uri": STATUS["uri"] + "/activity", "content": "", "reblog": STATUS}
    post = parse_status(reblog, "hearth.example", NOW)
    original = parse_status(STATUS, "hearth.example", NOW)
    assert (post.kind, post.repost_of) == ("repost", original.id)
    assert input_digest(post.title, post.warning, post.text) == input_digest(
        original.title, original.warning, original.text
    )


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"uri": None}, "uri"),
        ({"created_at": "soon"}, "created_at"),
        ({"content": 5}, "content"),
        ({"tags": "x"}, "tags"),
    ],
)
def test_a_broken_status_says_where_and_never_what(change: dict[str, Any], place: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_status({**STATUS, **change}, "hearth.example", NOW)
    assert caught.value.place == place
    assert "soon" not in str(caught.value)


VIEW: dict[str, Any] = {
    "uri": "at://did:plc:abcdefghijklmnopqrstuvwx/app.bsky.feed.post/3kaaa",
    "cid": "bafy",
    "author": {"did": "did:plc:abcdefghijklmnopqrstuvwx", "handle": "oakfern.example", "displayName": "Oak"},
    "record": {
        "$type": "app.bsky.feed.post",
        "text": "héllo @birch.example see news.example/a...",
        "createdAt": "2026-07-31T10:00:00Z",
        "langs": ["en"],
        "facets": [
            {
                "index": {"byteStart": 7, "byteEnd": 21},
                "features": [{"$type": "app.bsky.richtext.facet#mention", "did": "did:plc:zzzzzzzzzzzzzzzzzzzzzzzz"}],
            },
            {
                "index": {"byteStart": 26, "byteEnd": 43},
                "features": [{"$type": "app.bsky.richtext.facet#link", "uri": "https://news.example/a/long"}],
            },
        ],
        "reply": {"parent": {"uri": "at://did:plc:q/app.bsky.feed.post/1"}, "root": {"uri": "at://x"}},
    },
    "indexedAt": "2026-07-31T10:00:05Z",
    "likeCount": 4,
    "labels": [{"val": "spam"}, {"val": "old", "neg": True}],
}


def test_a_view_becomes_a_post_by_byte_offsets() -> None:
    post = parse_view(VIEW, "view.example", NOW)
    assert post.text == "héllo @user see https://news.example/a/long"
    assert post.links == ["https://news.example/a/long"]
    assert (post.likes, post.reposts, post.platform_labels) == (4, None, ["spam"])
    assert post.server_time == datetime(2026, 7, 31, 10, 0, 5, tzinfo=UTC)
    assert post.kind == "reply"


def test_a_record_of_a_pds_is_the_same_post_as_the_view() -> None:
    did = VIEW["author"]["did"]
    post = parse_record({"uri": VIEW["uri"], "value": VIEW["record"]}, did, "pds.example", NOW)
    view = parse_view(VIEW, "view.example", NOW)
    assert (post.id, post.text, post.author and post.author.id) == (view.id, view.text, view.author and view.author.id)
    assert (post.likes, post.server_time, post.platform_labels) == (None, None, None)


def test_a_repost_in_a_feed_is_a_post_of_its_own() -> None:
    reason: dict[str, Any] = {"$type": "app.bsky.feed.defs#reasonRepost", "by": {"did": "did:plc:r"}}
    reason["indexedAt"] = "2026-08-01T00:00:00Z"
    post = parse_feed_item({"post": VIEW, "reason": reason}, "view.example", NOW)
    assert post.kind == "repost"
    assert post.repost_of == parse_view(VIEW, "view.example", NOW).id
    assert post.author is not None
    assert post.author.id == "did:plc:r"


RSS = b"""<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY boom SYSTEM "file:///etc/passwd">]>
<rss version="2.0"><channel><title>x</title><language>en</language>
<item><title>Rain &amp; wind</title><link>/a</link><guid>g1</guid><pubDate>Fri, 31 Jul 2026 10:00:00 GMT</pubDate>
<description>
&lt;p&gt;Bring a &lt;b&gt;coat&lt;/b&gt;&lt;script&gt;alert(1)&lt;/script&gt; &amp;boom;&lt;/p&gt;</description>
</item>
<item><title>no name</title></item></channel></rss>"""


def test_a_feed_gives_articles_and_rejects_and_resolves_no_entity() -> None:
    (post,), (reject,) = parse_feed(RSS, "application/rss+xml", "https://press.example/feed", NOW)
    assert (post.title, post.kind, post.url) == ("Rain & wind", "article", "https://press.example/a")
    assert post.created_at == datetime(2026, 7, 31, 10, tzinfo=UTC)
    assert (post.text or "").startswith("Bring a coat")
    assert "alert" not in (post.text or "")
    assert "root:" not in (post.text or "")
    assert (reject.position, reject.place) == (1, "id")


def test_a_page_that_is_no_feed_is_told_apart() -> None:
    with pytest.raises(NotAFeedError):
        parse_feed(b"<html><body>login</body></html>", "text/html", "https://press.example/feed", NOW)


@given(st.text())
def test_clean_text_has_no_control_character(text: str) -> None:
    assert all(char in "\n\t" or ord(char) >= 0x20 for char in clean(text))
    assert clean(clean(text)) == clean(text)


@given(st.text(alphabet=st.sampled_from("<>/ap&;\"'=@#br div scrit\n"), max_size=200))
def test_any_markup_can_be_read(markup: str) -> None:
    read_html(markup)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*STATUS, "reblog", "quote", "poll", "card"]), JSON))
def test_a_status_with_any_field_replaced_is_a_post_or_a_parse_error(changes: dict[str, Any]) -> None:
    with suppress(ParseError):
        parse_status({**STATUS, **changes}, "hearth.example", NOW)


@given(st.dictionaries(st.sampled_from([*VIEW["record"], "embed", "tags", "labels"]), JSON))
def test_a_record_with_any_field_replaced_is_a_post_or_a_parse_error(changes: dict[str, Any]) -> None:
    with suppress(ParseError):
        parse_view({**VIEW, "record": {**VIEW["record"], **changes}}, "view.example", NOW)


def test_handles_dids_and_profiles_are_masked_and_mail_is_not() -> None:
    text = "ask @oakfern@hearth.example or did:plc:abc123 at https://hearth.example/@oakfern, mail a@b.example"
    assert mask(text) == ("ask @user or @user at @user, mail a@b.example", 3)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "2026-08-01T12:05:00.000Z"}, 300),
        ({"ratelimit-remaining": "0", "ratelimit-reset": str(int(NOW.timestamp()) + 40)}, 40),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "25"}, 25),
        ({"x-ratelimit-perhour-remaining": "0", "x-ratelimit-perhour-reset": "11"}, 11),
        ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": str(int(NOW.timestamp()) + 7)}, 7),
        ({"x-ratelimit-remaining": "0.0", "x-ratelimit-reset": "133"}, 133),
        ({"ratelimit": "limit=100, remaining=0, reset=30"}, 30),
        ({"ratelimit": '"default";r=0;t=12'}, 12),
        ({"x-ratelimit-remaining": "12", "x-ratelimit-reset": "2026-08-01T12:05:00Z"}, 0),
        ({"ratelimit-remaining": "junk"}, 0),
        ({}, 0),
    ],
)
def test_every_dialect_of_rate_limits_is_understood(headers: dict[str, str], seconds: float) -> None:
    assert wait_for_reset(headers, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("30", 30.0), ("Sat, 01 Aug 2026 12:01:00 GMT", 60.0), ("-4", 0.0), ("soon", None), (None, None)],
)
def test_retry_after_is_a_span_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fe80::1", "::ffff:10.0.0.1"])
def test_private_addresses_are_known(address: str) -> None:
    assert not is_public(address)
    assert literal_is_private(f"http://{f'[{address}]' if ':' in address else address}:80/x")
