"""Recorded answers of the platforms, field by field, against a second and plain reading of the same bytes.

The recordings stand beside a checkout and none of them is part of it, so what is expected is read out of them here, by
other means than the parsers': html.parser for markup, slices of bytes for facets, pandas for times, ElementTree and
email.utils for feeds. Only how many posts and rejects each file holds is written down.
"""

import dataclasses
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from crawlers.platforms.bluesky import parse_record, parse_view
from crawlers.platforms.feed import parse_feed
from crawlers.platforms.mastodon import parse_status
from crawlers.post import Account, Media, ParseError, Post, PostId, Verification
from tests.shared_data import SHARED
from tests.test_crawlers import NOW
from tests.test_crawlers_text import as_rows

pytestmark = pytest.mark.skipif(SHARED is None, reason="the recordings are not here")
RECORDINGS = (SHARED or Path()) / "recordings"
HOST = "hearth.example"
Json = dict[str, Any]

UNREAD = {"raw", "parser_version", "fetched_at"}
FIELDS = {field.name for field in dataclasses.fields(Post)} - UNREAD


def agree(post: Post, expected: Json, place: str) -> None:
    """Every field of a post is expected, and as expected."""
    assert set(expected) == FIELDS, place
    for field in sorted(FIELDS):
        assert getattr(post, field) == expected[field], (place, field)
    as_rows(post)


def moment(value: str | None) -> datetime | None:
    if value is None:
        return None
    read = pd.Timestamp(value)
    read = read.tz_localize("UTC") if read.tzinfo is None else read.tz_convert("UTC")
    return read.floor("us").to_pydatetime()


NOTHING = dict.fromkeys(FIELDS)


# Mastodon

STATUSES = {
    "test_account_lookup.yaml": (0, 4),
    "test_account_update_credentials_quote_policy.yaml": (0, 3),
    "test_entity_context.yaml": (2, 1),
    "test_entity_mediaattachment.yaml": (2, 0),
    "test_entity_poll.yaml": (1, 0),
    "test_entity_polloption.yaml": (1, 0),
    "test_entity_quote.yaml": (2, 0),
    "test_entity_quoteapproval.yaml": (1, 0),
    "test_entity_status.yaml": (2, 0),
    "test_entity_statusmention.yaml": (1, 0),
    "test_entity_statussource.yaml": (0, 1),
    "test_get_pagination_info.yaml": (15, 11),
    "test_hashtag_tl.yaml": (2, 2),
    "test_public_tl_anonymous.yaml": (9, 2),
    "test_search.yaml": (0, 3),
    "test_status_context.yaml": (1, 2),
    "test_status_post_with_quote.yaml": (3, 2),
    "test_status_post_with_quote_approval_policy.yaml": (1, 2),
    "test_status_quote_approval_visibility.yaml": (6, 3),
    "test_status_reply_with_quote.yaml": (4, 4),
    "test_status_update_quote_approval_policy.yaml": (2, 1),
    "test_trending_statuses.yaml": (0, 0),
}
"""Posts, and answers that are none: accounts, instances, errors, deletions."""


def answers(path: Path) -> Iterator[Any]:
    for exchange in yaml.safe_load(path.read_text())["interactions"]:
        body = json.loads(exchange["response"]["body"]["string"])
        yield from body if isinstance(body, list) else [body]


def statuses_in(value: Any) -> Iterator[Json]:
    if isinstance(value, dict) and {"uri", "account", "content"} <= set(value):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        yield from statuses_in(inner)


class Shown(HTMLParser):
    """What a browser shows of a status, with the addresses of links, and placeholders for accounts."""

    def __init__(self, markup: str, hides_fallback: bool) -> None:
        super().__init__()
        self.hides_fallback = hides_fallback
        self.out, self.links = "", []  # type: tuple[str, list[str]]
        self.hidden_by: str | None = None
        self.anchor: Json | None = None
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if self.hidden_by is not None:
            return
        if self.hides_fallback and given.get("class") == "quote-inline":
            self.hidden_by = tag
        elif tag == "p" and self.out:
            self.out += "\n\n"
        elif tag == "br":
            self.out += "\n"
        elif tag == "a":
            self.anchor = {**given, "words": ""}

    def handle_endtag(self, tag: str) -> None:
        if tag == self.hidden_by:
            self.hidden_by = None
        elif tag == "a" and self.anchor is not None:
            anchor, self.anchor = self.anchor, None
            classes = anchor.get("class") or ""
            if "hashtag" in classes:
                self.out += anchor["words"]
            elif "mention" in classes or "/@" in anchor["href"] or "/profile/" in anchor["href"]:
                self.out += "@user"
            else:
                assert anchor["words"] == anchor["href"]
                self.out += anchor["href"]
                self.links.append(anchor["href"])

    def handle_data(self, data: str) -> None:
        if self.hidden_by is None and self.anchor is not None:
            self.anchor["words"] += data
        elif self.hidden_by is None:
            self.out += data


def expected_status(status: Json) -> Json:
    assert status["reblog"] is None
    assert status["card"] is None
    account, quote, poll = status["account"], status["quote"], status["poll"]
    target = None
    if quote is not None:
        assert quote["state"] == "accepted"
        whole = quote.get("quoted_status") or {"uri": None, "id": quote.get("quoted_status_id")}
        target = PostId("mastodon", whole["uri"], HOST, whole["id"])
    shown = Shown(status["content"], target is not None)
    lines = [shown.out, *(f"- {option['title']}" for option in (poll or {"options": []})["options"])]
    parent = status["in_reply_to_id"]
    bio: str | None = "🌉 bridged (@user) from 🦋 @user, follow @user to interact"
    if "fed.brid.gy" not in account["note"]:  # that has three anchors, and each names an account
        bio = " ".join(Shown(account["note"], False).out.split()) or None
    verified = [each["value"] for each in account["fields"] if each["verified_at"]]
    sites = tuple(dict.fromkeys(re.findall(r'href="https://([^/"]+)', " ".join(verified))))
    return NOTHING | {
        "id": PostId("mastodon", status["uri"], HOST, status["id"]),
        "host": HOST,
        "kind": "reply" if parent else "quote" if target else "post",
        "author": Account(
            account["uri"],
            account["acct"],
            account["display_name"],
            account["url"],
            account["bot"],
            None,
            moment(account["created_at"]),
            bio,
            Verification(sites=sites) if sites else None,
        ),
        "url": status["url"],
        "created_at": moment(status["created_at"]),
        "edited_at": moment(status["edited_at"]),
        "warning": status["spoiler_text"] or None,
        "sensitive": status["sensitive"],
        "text": "\n".join(lines),
        "lang": status["language"],
        "reply_to": PostId("mastodon", None, HOST, parent) if parent else None,
        "quote_of": target,
        "hashtags": [tag["name"].lower() for tag in status["tags"]],
        "mention_count": len(status["mentions"]),
        "links": shown.links,
        "media": [
            Media(each["type"], each["description"], each["remote_url"] or each["url"])
            for each in status["media_attachments"]
        ],
        "likes": status["favourites_count"],
        "reposts": status["reblogs_count"],
        "replies": status["replies_count"],
    }


@pytest.mark.parametrize("name", STATUSES)
def test_recorded_statuses_parse_with_no_field_wrong(name: str) -> None:
    posts, rejects = 0, 0
    for answer in answers(RECORDINGS / "mastodon" / name):
        for status in statuses_in(answer):
            agree(parse_status(status, HOST, NOW), expected_status(status), f"{name}, status {posts}")
            posts += 1
        if next(statuses_in(answer), None) is not answer:
            with pytest.raises(ParseError):
                parse_status(answer, HOST, NOW)
            rejects += 1
    assert (posts, rejects) == STATUSES[name]


# Bluesky

RECORDS = {
    "bluesky-hydrated-firehose-posts.json": (9, 0),
    "bluesky-partial-profiles.json": (0, 2),
    "bluesky-profiles.json": (0, 5),
    "bluesky-tap-posts.json": (14, 0),
    "custom_record.json": (0, 1),
    "data-model-fixtures.json": (0, 3),
    "did_doc.json": (0, 1),
    "extended_like_record.json": (0, 1),
    "extended_post_record.json": (1, 0),
    "feed_record.json": (0, 1),
    "feedpost_record.cbor": (1, 0),
    "get_follows.json": (0, 1),
    "jetstream-golden_v1.jsonl": (1, 9),
    "like_record.json": (0, 1),
    "post_record.json": (1, 0),
    "resolve_handle.json": (0, 1),
    "thread_view_post_with_embed_media.json": (1, 1),
}
"""Posts, and what is none: accounts, records and events of other kinds, the short view of a quoted post."""
DID = "did:plc:madeupforthistest"


def cbor(stream: BytesIO) -> Any:
    """The part of DAG-CBOR that the recording uses; a link (tag 42) is told as `$link`."""
    kind, low = divmod(stream.read(1)[0], 32)
    size = low if low < 24 else int.from_bytes(stream.read(1 << (low - 24)), "big")
    if kind == 0:
        return size
    if kind in (2, 3):
        return stream.read(size).decode() if kind == 3 else stream.read(size).hex()
    if kind == 4:
        return [cbor(stream) for _ in range(size)]
    if kind == 5:
        return {cbor(stream): cbor(stream) for _ in range(size)}
    assert (kind, size) == (6, 42)
    return {"$link": cbor(stream)}


def things(name: str) -> Iterator[tuple[str, Any]]:
    """Everything in a recording that could be taken for a post: the shape it has, and the thing."""
    path = RECORDINGS / "bluesky" / name
    if name.endswith(".cbor"):
        yield "record", {"uri": f"at://{DID}/app.bsky.feed.post/1", "value": cbor(BytesIO(path.read_bytes()))}
        return
    lines = path.read_text().splitlines() if name.endswith(".jsonl") else [path.read_text()]
    for document in map(json.loads, lines):
        for item in document if isinstance(document, list) else [document]:
            if "thread" in item:
                yield "view", item["thread"]["post"]
                yield "view", item["thread"]["post"]["embed"]["record"]["record"]
            elif "time_us" in item or item.get("type") == "record":
                event = item.get("commit", item.get("record", {}))
                did = event.get("did", item.get("did"))
                uri = f"at://{did}/{event.get('collection')}/{event.get('rkey')}"
                yield "record", {"uri": uri, "value": event.get("record")}
            elif "json" in item:
                yield "record", {"uri": f"at://{DID}/app.bsky.feed.post/1", "value": item["json"]}
            elif "value" in item:
                yield "record", item
            else:
                yield "view", item


def is_account_link(uri: str) -> bool:
    return uri.startswith("https://x.com/")


def expected_record(uri: str, value: Json) -> Json:
    did, _, key = uri.removeprefix("at://").split("/")
    source, text, at, mentions = value["text"].encode(), "", 0, 0
    links: list[str] = []
    tags: list[str] = []
    for facet in sorted(value.get("facets", []), key=lambda facet: facet["index"]["byteStart"]):
        (feature,) = facet["features"]
        start, end = facet["index"]["byteStart"], facet["index"]["byteEnd"]
        shown = source[start:end].decode()
        kind = feature["$type"].split("#")[1]
        if kind == "link":
            assert shown.removesuffix("...") in feature["uri"]
            links += [] if is_account_link(feature["uri"]) else [feature["uri"]]
            mentions += is_account_link(feature["uri"])
            shown = "@user" if is_account_link(feature["uri"]) else feature["uri"]
        elif kind == "mention":
            assert shown.startswith("@")
            shown, mentions = "@user", mentions + 1
        else:
            assert shown == f"#{feature['tag']}"
            tags.append(feature["tag"].lower())
        text, at = text + source[at:start].decode() + shown, end
    embed = value.get("embed", {"$type": None})
    media = embed["media"] if embed["$type"] == "app.bsky.embed.recordWithMedia" else embed
    quoted = embed["record"]["record"]["uri"] if embed["$type"] == "app.bsky.embed.recordWithMedia" else None
    if "external" in embed:
        links.append(embed["external"]["uri"])
    parent = value.get("reply", {}).get("parent", {}).get("uri")
    return NOTHING | {
        "id": PostId("bluesky", uri),
        "host": HOST,
        "kind": "reply" if parent else "quote" if quoted else "post",
        "author": Account(did),
        "url": f"https://bsky.app/profile/{did}/post/{key}",
        "created_at": moment(value["createdAt"]),
        "text": text + source[at:].decode(),
        "lang": value.get("langs", [None])[0],
        "reply_to": PostId("bluesky", parent) if parent else None,
        "quote_of": PostId("bluesky", quoted) if quoted else None,
        "hashtags": tags,
        "mention_count": mentions,
        "links": list(dict.fromkeys(links)),
        "media": [Media("image", image["alt"] or None) for image in media.get("images", [])],
    }


def expected_view(view: Json) -> Json:
    author, expected = view["author"], expected_record(view["uri"], view["record"])
    shown = view.get("embed", {})
    pictures = shown.get("media", shown).get("images", [])
    return expected | {
        "author": Account(
            author["did"],
            author["handle"],
            author["displayName"],
            f"https://bsky.app/profile/{author['handle']}",
            created_at=moment(author["createdAt"]),
            verified=author.get("verification", {}).get("verifiedStatus") == "valid",
            verification=None
            if author["handle"].endswith(".bsky.social")
            else Verification(sites=(author["handle"],)),
        ),
        "server_time": moment(view["indexedAt"]),
        "media": [
            Media(each.type, each.alt, picture["fullsize"])
            for each, picture in zip(expected["media"], pictures, strict=True)
        ],
        "likes": view["likeCount"],
        "reposts": view["repostCount"],
        "replies": view["replyCount"],
        "platform_labels": [label["val"] for label in view["labels"]],
    }


@pytest.mark.parametrize("name", RECORDS)
def test_recorded_views_records_and_events_parse_with_no_field_wrong(name: str) -> None:
    posts, rejects = 0, 0
    for shape, thing in things(name):
        try:
            if shape == "view":
                agree(parse_view(thing, HOST, NOW), expected_view(thing), f"{name}, {posts}")
            else:
                did = thing["uri"].removeprefix("at://").partition("/")[0]
                expected = None
                with suppress(KeyError, TypeError):
                    expected = expected_record(thing["uri"], thing["value"])
                post = parse_record(thing, did, HOST, NOW)
                assert expected is not None
                agree(post, expected, f"{name}, {posts}")
            posts += 1
        except ParseError:
            rejects += 1
    assert (posts, rejects) == RECORDS[name]


# Feeds

FEEDS = {
    "always_strip_doctype.xml": (0, 0),
    "atom10_version.xml": (0, 0),
    "entry_author_name.xml": (0, 1),
    "entry_content_text_plain.xml": (0, 1),
    "entry_link_href.xml": (1, 0),
    "example.json": (2, 0),
    "item_author.xml": (0, 1),
    "item_description.xml": (0, 1),
    "item_enclosure_url.xml": (1, 0),
    "item_guid.xml": (1, 0),
    "real-cnn.rss": (69, 0),
    "rss_incomplete_cdata.xml": (0, 1),
    "rss_version_20.xml": (0, 0),
    "undeclared_namespace.xml": (0, 0),
}
"""Articles, and entries that have neither id nor link."""
URL = "https://press.example/feed"
MRSS = "{http://search.yahoo.com/mrss/}"


def words(element: ET.Element | None) -> str | None:
    """The words of an element; none of the recorded ones holds markup."""
    told = "" if element is None else " ".join((element.text or "").split())
    assert re.search(r"<\w|&\w+;", told) is None
    return told or None


def article(native: str, **fields: Any) -> Json:
    authority = "press.example" if native.startswith("http") else "press.example/feed"
    expected = NOTHING | {"mention_count": 0, "media": [], "host": "press.example", "kind": "article"} | fields
    links = [expected["url"]] if expected["url"] else []
    return expected | {"id": PostId("feed", None, authority, native), "links": links}


def expected_items(body: bytes) -> Iterator[Json]:
    """The entries of a feed in XML that have an id or a link."""
    root = ET.fromstring(body.strip())
    lang = words(root.find("channel/language"))
    for item in [*root.iter("item"), *root.iter("{http://www.w3.org/2005/Atom}entry")]:
        href = item.find("{http://www.w3.org/2005/Atom}link")
        link = href.get("href") if href is not None else words(item.find("link")) or words(item.find("guid"))
        native = words(item.find("guid")) or link
        if native is None:
            continue
        published = words(item.find("pubDate"))
        enclosed = [(each.get("type", "").split("/")[0], each.get("url")) for each in item.iter("enclosure")]
        groups = [group.findall(f"{MRSS}content")[:1] for group in item.iter(f"{MRSS}group")]
        enclosed += [(each.get("medium", ""), each.get("url")) for group in groups for each in group]
        yield article(
            native,
            url=link,
            title=words(item.find("title")),
            text=words(item.find("description")),
            created_at=None if published is None else parsedate_to_datetime(published).astimezone(UTC),
            lang=lang,
            media=[Media(kind, None, url) for kind, url in enclosed],
        )


def expected_json_items(document: Json) -> Iterator[Json]:
    for item in document["items"]:
        author = item.get("author", document["author"])
        markup = re.sub(r"<script>.*</script>|</?p>", "", item.get("content_html", ""))
        address = author.get("url")
        yield article(
            item["id"],
            url=item["url"],
            author=Account(address or f"press.example/feed#{author['name']}", None, author["name"], address),
            title=item.get("title"),
            text=item.get("content_text", markup.strip()),
            hashtags=[tag.lower() for tag in item["tags"]] if "tags" in item else None,
            media=[
                Media(each["mime_type"].split("/")[0], None, each["url"]) for each in item.get("attachments", [])
            ],
        )


@pytest.mark.parametrize("name", FEEDS)
def test_recorded_feeds_parse_with_no_field_wrong(name: str) -> None:
    body = (RECORDINGS / "feeds" / name).read_bytes()
    posts, rejects = parse_feed(body, "application/xml", URL, NOW)
    assert (len(posts), len(rejects)) == FEEDS[name]
    if not posts:
        return
    expected = expected_json_items(json.loads(body)) if name.endswith(".json") else expected_items(body)
    for position, (post, fields) in enumerate(zip(posts, expected, strict=True)):
        agree(post, fields, f"{name}, {position}")
