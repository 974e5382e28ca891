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
from crawlers.text import Reading, read_html, read_plain
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
        (".@oakfern said so", ".@user said so"),
        ("@@oakfern", "@user"),
        ("thanks @oakfern/@oakley", "thanks @user/@user"),
        ("@oakfern@hearth.example@oak", "@user"),
        ("www.oakfern.bsky.social", "@user"),
        ("@oakfern.bsky.social", "@user"),
        ("mail a@oak.bsky.social", "mail a@oak.bsky.social"),
        ("my blog is oakfern.tumblr.com, 看oakfern.tumblr.com", "my blog is @user, 看@user"),
        ("mail a@oak.tumblr.com, see www.tumblr.com", "mail a@oak.tumblr.com, see www.tumblr.com"),
        ("https://tmblr.co/mOakfernOakfern-0akfern", "@user"),
        ("by did:plc:oakoak.", "by @user."),
        ("at://oakfern.example/app.bsky.feed.post/3k你好", "@user你好"),
        ("看https://hearth.example/@oakfern你好", "看@user你好"),
        ("看hearth.example/@oakfern你好", "看@user你好"),
        ("https://hearth.example/@橡树", "@user"),
        ("https://x.com/oakfern/status/17", "@user"),
        ("mobile.twitter.com/oakfern", "@user"),
        ("https://www.instagram.com/oakfern/", "@user"),
        ("https://www.youtube.com/c/oakfern", "@user"),
        ("https://m.youtube.com/channel/oak", "@user"),
        ("https://talk.example/u/oakfern", "@user"),
        ("https://weibo.com/1234567890/Mabc", "@user"),
        ("https://news.example/share?by=@oakfern", "@user"),
    ],
)
def test_whatever_names_an_account_is_replaced_and_nothing_beside_it(text: str, masked: str) -> None:
    reading = read_plain(text)
    assert reading.text == masked
    assert not any("oak" in link or "did" in link for link in reading.links)


@pytest.mark.parametrize(
    "url",
    [
        "https://news.example/c/economy",
        "https://news.example/channel/weather",
        "https://photos.example/u/0/albums",
        "https://x.com/hashtag/rain",
        "https://x.com/search?q=rain",
        "https://www.instagram.com/p/Cabc/",
        "https://maps.example/maps/@52.52,13.40,15z",
        "https://pictures.example/puddle@2x.png",
        "https://news.example/a?mail=desk@news.example",
    ],
)
def test_an_ordinary_link_that_only_looks_like_a_profile_stays(url: str) -> None:
    assert read_plain(f"see {url}, please") == Reading(f"see {url}, please", [url], 0)


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("https://wiki.example/Rain_(weather)", ["https://wiki.example/Rain_(weather)"]),
        ("(see https://wiki.example/Rain_(weather))", ["https://wiki.example/Rain_(weather)"]),
        ("[rain](https://news.example/a)", ["https://news.example/a"]),
        ("**https://news.example/a**", ["https://news.example/a"]),
        ("https://news.example/a…", ["https://news.example/a"]),
        ("看https://news.example/a！真的", ["https://news.example/a"]),
        ("https://news.example/天气", ["https://news.example/天气"]),
        ("wait... https://news.example/a?b=1&c=2#d.", ["https://news.example/a?b=1&c=2#d"]),
    ],
)
def test_a_link_ends_where_its_address_ends(text: str, links: list[str]) -> None:
    reading = read_plain(text)
    assert (reading.text, reading.links) == (text, links)


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ('<p>你好<a class="mention" href="https://two.example/@b">@b</a>今天天气很好</p>', "你好@user今天天气很好"),
        ('<p><a class="mention" href="https://two.example/@b">@b</a>-made</p>', "@user-made"),
        ('<p>ask @<a class="tumblelog" href="https://tmblr.co/mQ1w2E3r4T5y6U7i">oakfern</a> too</p>', "ask @user too"),
        ('<a class="tumblr_blog" href="https://press.example/post/1">oakfern</a>:<p>rain</p>', "@user:\nrain"),
        ('<p>the <a href="https://x.example/report">report</a></p>', "the report (https://x.example/report)"),
        ('<a href="https://www.x.example/a/b">x.example/a…</a>', "https://www.x.example/a/b"),
        ("<div>" * 3000 + "deep &amp; dark" + "</div>" * 3000, "deep & dark"),
        ("<script>let x</script>" + "<div>" * 3000 + "deep", "deep"),
        ("<ul><li>coat</li><li>boots</li></ul><p>and a hat</p>", "coat\nboots\n\nand a hat"),
        ("<pre><code>if rain:\n    stay()</code></pre>", "if rain:\nstay()"),
        ("<p>one <b>two</b>\nthree</p>", "one two three"),
        ("<table><tr><td>Mon</td><td>rain</td></tr><tr><td>Tue</td><td>sun</td></tr></table>", "Mon rain\nTue sun"),
        ("<dl><dt>rain</dt><dd>water</dd></dl>", "rain\nwater"),
        ("<figure><figcaption>a puddle</figcaption></figure>after", "a puddle\n\nafter"),
        ('wet <img alt="☔" class="wp-smiley" src="x"> day<img alt="me" src="y">', "wet ☔ day"),
        ('<a href="https://news.example/1">#1 story today</a>', "#1 story today (https://news.example/1)"),
        ('<a href="https://hearth.example/tags/rain" rel="tag">#rain</a>', "#rain"),
        ('<a href="https://news.example/1">@ the beach</a>', "@ the beach (https://news.example/1)"),
        ('<a href="https://news.example/1"><h2>Rain</h2><p>today</p></a>', "Rain today (https://news.example/1)"),
        ('<a href="https://news.example/1"><img src="x"></a>More', "https://news.example/1 More"),
        ('<a href="https://news.example/1">news.example/1</a>更多', "https://news.example/1 更多"),
        ('<a href="https://news.example/1">news.example/1</a>.', "https://news.example/1."),
        ('<a href="https://two.example/@birch/5">what they said</a>', "what they said (@user)"),
        ('<a href="https://two.example/@birch">birch</a>', "@user"),
        ('@<a href="https://two.example/profile/birch"><span>birch</span></a> hi', "@user hi"),
        ('<a href="https://oak.example/" rel="me">my site</a>', "my site (https://oak.example/)"),
        ("<p>أهلا @birch، שלום</p>", "أهلا @user، שלום"),
        ("<p>👩‍👩‍👧 🏳️‍🌈 👍🏽 :blobcat:</p>", "👩‍👩‍👧 🏳️‍🌈 👍🏽 :blobcat:"),
    ],
)
def test_words_beside_a_mention_in_a_link_and_deep_inside_stay(markup: str, text: str) -> None:
    assert read_html(markup).text == text


def test_addresses_in_markup_are_relative_to_its_base() -> None:
    reading = read_html('<a href="../rain">rain</a>', base="https://press.example/2026/feed")
    assert reading == Reading("rain (https://press.example/rain)", ["https://press.example/rain"], 0)


@pytest.mark.parametrize("markup", ["<div>" * 3000 + "<" * 100_000, "@" * 200_000, "a." * 100_000, "https://" * 30_000])
def test_no_text_takes_long_to_read(markup: str) -> None:
    read_html(markup)


def test_words_right_after_a_mention_of_bluesky_stay() -> None:
    view = copy.deepcopy(VIEW)
    view["record"]["text"] = "@birch.example你好世界"
    feature = {"$type": "app.bsky.richtext.facet#mention", "did": "did:plc:z"}
    view["record"]["facets"] = [{"index": {"byteStart": 0, "byteEnd": 14}, "features": [feature]}]
    post = parse_view(view, "view.example", NOW)
    assert (post.text, post.mention_count) == ("@user你好世界", 1)


def test_a_text_of_bluesky_may_be_all_mentions() -> None:
    count, view = 20_000, copy.deepcopy(VIEW)
    view["record"]["text"] = "@b 雨 " * count
    features = [{"$type": "app.bsky.richtext.facet#mention", "did": "did:plc:z"}]
    places = range(0, 7 * count, 7)
    view["record"]["facets"] = [{"index": {"byteStart": at, "byteEnd": at + 2}, "features": features} for at in places]
    post = parse_view(view, "view.example", NOW)
    assert (post.text, post.mention_count) == (("@user 雨 " * count).strip(), count)


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
