"""What a text must not lose, and must not keep, whoever wrote it."""

import copy
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawlers.platforms.bluesky import parse_record, parse_view
from crawlers.platforms.feed import parse_feed
from crawlers.platforms.mastodon import parse_status
from crawlers.post import ACCOUNT_SCHEMA, IDENTITY_SCHEMA, POST_SCHEMA, ParseError, Post
from crawlers.pseudonyms import account_row, identity_row, post_row
from crawlers.source import Source
from crawlers.text import read_html, read_plain
from tests.sweeps import NAMES
from tests.test_crawlers import NOW, STATUS, VIEW


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("谢谢@oakfern的帮助", "谢谢@user的帮助"),
        ("@oakfern你好世界", "@user你好世界"),
        ("＠oakfern hi", "@user hi"),
        ("at://oakfern.example/app.bsky.feed.post/3k", "@user"),
        ("see hearth.example/@oakfern now", "see @user now"),
        ("bsky.app/profile/oakfern.example", "@user"),
        ("I am oakfern.bsky.social", "I am @user"),
        ("acct:oakfern@hearth.example", "@user"),
        ("https://hearth.example/%40oakfern", "@user"),
        ("https://viewer.example/at://did:plc:abc", "@user"),
        ("https://viewer.example/?u=https://bsky.app/profile/oak.example", "@user"),
        ("https://pictures.example/plain/did%3Aplc%3Aabc/x", "@user"),
        ("mail a@b.example, 3 @ 4", "mail a@b.example, 3 @ 4"),
        ("https://news.example/2026/a-story", "https://news.example/2026/a-story"),
    ],
)
def test_whatever_names_an_account_is_replaced_and_nothing_beside_it(text: str, masked: str) -> None:
    reading = read_plain(text)
    assert reading.text == masked
    assert not any("oak" in link or "did" in link for link in reading.links)


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ('<p>你好<a class="mention" href="https://two.example/@b">@b</a>今天天气很好</p>', "你好@user今天天气很好"),
        ('<p><a class="mention" href="https://two.example/@b">@b</a>-made</p>', "@user-made"),
        ('<p>the <a href="https://x.example/report">report</a></p>', "the report (https://x.example/report)"),
        ('<a href="https://www.x.example/a/b">x.example/a…</a>', "https://www.x.example/a/b"),
        ("<div>" * 3000 + "deep &amp; dark" + "</div>" * 3000, "deep & dark"),
        ("<script>let x</script>" + "<div>" * 3000 + "deep", "deep"),
    ],
)
def test_words_beside_a_mention_in_a_link_and_deep_inside_stay(markup: str, text: str) -> None:
    assert read_html(markup).text == text


def test_words_right_after_a_mention_of_bluesky_stay() -> None:
    view = copy.deepcopy(VIEW)
    view["record"]["text"] = "@birch.example你好世界"
    feature = {"$type": "app.bsky.richtext.facet#mention", "did": "did:plc:z"}
    view["record"]["facets"] = [{"index": {"byteStart": 0, "byteEnd": 14}, "features": [feature]}]
    post = parse_view(view, "view.example", NOW)
    assert (post.text, post.mention_count) == ("@user你好世界", 1)


def test_a_link_of_bluesky_that_carries_a_did_is_in_neither_text_nor_links() -> None:
    view = copy.deepcopy(VIEW)
    view["record"]["text"] = "look here"
    feature = {"$type": "app.bsky.richtext.facet#link", "uri": "https://viewer.example/at://did:plc:abcdefg/x"}
    view["record"]["facets"] = [{"index": {"byteStart": 5, "byteEnd": 9}, "features": [feature]}]
    post = parse_view(view, "view.example", NOW)
    assert (post.text, post.links) == ("look here (@user)", [])


def test_a_repository_gives_records_of_its_own_account_only() -> None:
    with pytest.raises(ParseError, match="not of this repository"):
        parse_record({"uri": VIEW["uri"], "value": VIEW["record"]}, "did:plc:other", "pds.example", NOW)


def as_rows(post: Post) -> None:
    """What a sink does with a post; one that Arrow cannot hold would end a whole crawl."""
    source = Source("mastodon", "https://hearth.example", "public")
    pa.Table.from_pylist([post_row(post, "source", 0, None, NAMES)], schema=POST_SCHEMA)
    pa.Table.from_pylist([identity_row(post, source, NAMES, keep_raw=True)], schema=IDENTITY_SCHEMA)
    if post.author is not None:
        pa.Table.from_pylist([account_row(post, NAMES)], schema=ACCOUNT_SCHEMA)


HALF = st.text(st.characters(categories=["L", "N", "Cs", "Cc"]), max_size=6) | st.just("\ud800")
VALUE = HALF | st.integers() | st.none()
OPEN = st.recursive(VALUE, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(HALF, inner, max_size=2))
NESTED: dict[str, Any] = {
    "tags": HALF.map(lambda text: [{"name": text}]),
    "account": HALF.map(lambda text: {"id": "7", "acct": text, "url": text, "display_name": text}),
    "media_attachments": HALF.map(lambda text: [{"type": text, "description": text, "url": text}]),
}


@settings(deadline=None)  # times on a shared machine say nothing
@given(st.fixed_dictionaries({}, optional={key: NESTED.get(key, OPEN) for key in STATUS}))
def test_no_status_that_parses_ends_a_crawl(changes: dict[str, Any]) -> None:
    try:
        post = parse_status({**STATUS, **changes}, "hearth.example", NOW)
    except ParseError:
        return
    as_rows(post)


@settings(deadline=None)  # times on a shared machine say nothing
@given(st.fixed_dictionaries({}, optional=dict.fromkeys([*VIEW["record"], "tags", "labels"], OPEN)), HALF)
def test_no_view_that_parses_ends_a_crawl(changes: dict[str, Any], label: str) -> None:
    try:
        record = {**VIEW["record"], **changes}
        post = parse_view({**VIEW, "record": record, "labels": [{"val": label}]}, "view.example", NOW)
    except ParseError:
        return
    as_rows(post)


@pytest.mark.parametrize(
    "body",
    [
        b'<rss version="2.0"><channel><item><guid>1</guid><title>a&#xD800;</title><author>x&#55296;</author>'
        b"<category>&#x1;k</category></item></channel></rss>",
        b'{"version":"https://jsonfeed.org/version/1.1","language":"\\ud800","items":[{"id":"\\ud800","title":"\\ud800",'
        b'"tags":["\\ud800"],"authors":[{"name":"\\ud800"}]}]}',
    ],
)
def test_half_characters_in_a_feed_are_replaced(body: bytes) -> None:
    (post,), rejects = parse_feed(body, "application/xml", "https://press.example/feed", NOW)
    assert rejects == []
    assert all(char >= " " for tag in post.hashtags or [] for char in tag)
    as_rows(post)
