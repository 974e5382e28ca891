"""The sample network answers as the real ones do: paging, faults, validators, and the posts that were written."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import feedparser
import pytest

from pipelines.demo.network import (
    APP_PASSWORD,
    IDENTIFIER,
    Network,
    embedded_claimants,
    embedded_people,
    embedded_posts,
    synthetic_posts,
)

Answer = tuple[int, Any, dict[str, str]]


@pytest.fixture(scope="module")
def calm() -> Iterator[Network]:
    with Network(faults=False) as running:
        yield running


def get(url: str, body: object = None, **headers: str) -> Answer:
    data = None if body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data, named)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            body = answer.read()
            is_json = "json" in answer.headers["Content-Type"]
            return answer.status, json.loads(body) if is_json else body, dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            body = error.read()
        return error.code, json.loads(body) if body else None, dict(error.headers)


def statuses_by_link(url: str | None) -> Iterator[Any]:
    while url:
        _, page, headers = get(url)
        yield from page
        following = re.search(r'<([^>]+)>; rel="next"', headers.get("Link", ""))
        url = following[1] if following else None


def statuses_by_id(url: str) -> Iterator[Any]:
    last = ""
    while True:
        _, page, headers = get(f"{url}{last}")
        assert "Link" not in headers
        if not page:
            return
        yield from page
        last = f"&max_id={page[-1]['id']}"


def entries(url: str, field: str) -> Iterator[Any]:
    cursor = ""
    while True:
        _, page, _ = get(f"{url}{cursor}")
        yield from page[field]
        if "cursor" not in page:
            return
        cursor = f"&cursor={page['cursor']}"


def test_the_sample_holds_several_hundred_posts_in_four_languages() -> None:
    posts = embedded_posts()
    assert len(posts) > 300
    assert len({post.id for post in posts}) == len(posts)
    assert {post.lang for post in posts} == {"en", "zh", "es", "ar"}
    known = embedded_people()
    assert {post.account for post in posts} <= known.keys()
    assert all(known[post.account].platform == post.platform for post in posts)
    ids = {post.id: post for post in posts}
    for post in posts:
        for other in (post.reply_to, post.quote_of, post.repost_of):
            assert other is None or ids[other].platform == post.platform


def test_accounts_that_claim_to_be_an_institution_are_added_on_two_platforms_and_write_like_anybody() -> None:
    claimants = embedded_claimants()
    assert {(each["role"], each["platform"]) for each in claimants} == {
        (role, platform) for role in ("posing", "verified", "private") for platform in ("mastodon", "bluesky")
    }
    with Network(faults=False) as without, Network(faults=False, claimants=True) as network:
        assert len(network.people) - len(without.people) == len(claimants)
        added = {id: post for id, post in network.by_id.items() if id not in without.by_id}
        assert len(added) == sum(len(each["posts"]) for each in claimants)
        texts = [post.text for post in added.values()]
        assert all(each["display"] not in text for each in claimants for text in texts)
        assert "keep_accounts = true" in network.sweep_file(Path("archive"))
        assert "keep_accounts" not in without.sweep_file(Path("archive"))
        _, page, _ = get(f"{network.hosts['lantern']}/api/v1/timelines/public?limit=40&local=true")
        _, council, _ = get(f"{network.hosts['hearth']}/api/v1/accounts/lookup?acct=oakford_council")
        actor = next(each["handle"] for each in claimants if each.get("verified"))
        _, feed, _ = get(f"{network.hosts['view']}/xrpc/app.bsky.feed.getAuthorFeed?actor={actor}")
    assert any(status["account"]["note"] for status in page)
    assert [field["verified_at"] for field in council["fields"]] == ["2025-11-03T09:00:00.000Z"]
    assert feed["feed"][0]["post"]["author"]["verification"]["verifiedStatus"] == "valid"


def test_both_mastodon_servers_give_every_post_once_newest_first_under_the_same_uri(calm: Network) -> None:
    linked = list(statuses_by_link(f"{calm.hosts['hearth']}/api/v1/timelines/public?limit=40"))
    by_id = list(statuses_by_id(f"{calm.hosts['lantern']}/api/v1/timelines/public?limit=40"))
    uris = [status["uri"] for status in linked]
    assert len(set(uris)) == len(uris) == len(calm.timeline("mastodon"))
    assert uris == [status["uri"] for status in by_id]
    times = [status["created_at"] for status in linked]
    assert times == sorted(times, reverse=True)


def test_a_mention_has_the_markup_of_the_platform(calm: Network) -> None:
    page = list(statuses_by_link(f"{calm.hosts['hearth']}/api/v1/timelines/public?limit=40"))
    mentioning = [status for status in page if status["mentions"]]
    assert mentioning
    assert all('<span class="h-card"><a href="' in status["content"] for status in mentioning)


def test_an_account_is_found_by_name_and_its_statuses_are_its_own(calm: Network) -> None:
    handle = embedded_people()["tilda"].handle
    _, account, _ = get(f"{calm.hosts['hearth']}/api/v1/accounts/lookup?acct={handle}")
    found = list(statuses_by_link(f"{calm.hosts['hearth']}/api/v1/accounts/{account['id']}/statuses?limit=40"))
    assert len(found) == sum(post.account == "tilda" for post in calm.timeline("mastodon"))
    assert get(f"{calm.hosts['hearth']}/api/v1/accounts/lookup?acct=nobody")[0] == 404


def test_a_repository_and_its_author_feed_hold_the_same_posts(calm: Network) -> None:
    handle = embedded_people()["yun"].handle
    _, resolved, _ = get(f"{calm.hosts['pds']}/xrpc/com.atproto.identity.resolveHandle?handle={handle}")
    records = f"{calm.hosts['pds']}/xrpc/com.atproto.repo.listRecords?collection=app.bsky.feed.post&limit=100&repo="
    feed = f"{calm.hosts['view']}/xrpc/app.bsky.feed.getAuthorFeed?limit=100&actor={handle}"
    listed = {record["uri"] for record in entries(records + quote(resolved["did"]), "records")}
    shown = {item["post"]["uri"] for item in entries(feed, "feed")}
    assert listed == shown
    assert len(listed) == sum(post.account == "yun" for post in calm.timeline("bluesky"))


def test_facets_count_bytes_of_the_text(calm: Network) -> None:
    for key in ("quill", "dune", "yun"):
        repo = f"{calm.hosts['pds']}/xrpc/com.atproto.repo.listRecords?repo={embedded_people()[key].handle}"
        for record in entries(repo, "records"):
            text = record["value"]["text"].encode()
            for facet in record["value"]["facets"]:
                shown = text[facet["index"]["byteStart"] : facet["index"]["byteEnd"]].decode()
                (feature,) = facet["features"]
                assert shown[0] == {"mention": "@", "tag": "#"}.get(feature["$type"].partition("#")[2], shown[0])


def test_each_feed_is_read_once_and_then_not_modified(calm: Network) -> None:
    found = 0
    for name in ("news.rss", "news.atom", "news.json"):
        status, body, headers = get(f"{calm.hosts['press']}/{name}")
        assert status == 200
        found += len(body["items"] if isinstance(body, dict) else feedparser.parse(body).entries)
        assert get(f"{calm.hosts['press']}/{name}", If_None_Match=headers["ETag"])[0] == 304
        assert get(f"{calm.hosts['press']}/{name}", If_Modified_Since=headers["Last-Modified"])[0] == 304
        earlier = {"If_Modified_Since": "Thu, 01 Jan 2026 00:00:00 GMT"}
        assert get(f"{calm.hosts['press']}/{name}", **earlier)[0] == 200
        changed = {"If_None_Match": '"another"', "If_Modified_Since": headers["Last-Modified"]}
        assert get(f"{calm.hosts['press']}/{name}", **changed)[0] == 200, "the entity tag alone decides"
    assert found == len(calm.timeline("feed"))


def test_a_fault_meets_the_first_try_of_an_address_only_and_broken_records_stand_in_pages() -> None:
    with Network() as network:
        base = f"{network.hosts['hearth']}/api/v1/timelines/public?limit="
        tries = [[get(base + str(limit))[0] for _ in range(2)] for limit in range(10, 40)]
        assert {first for first, _ in tries} == {200, 429, 503}
        assert {second for _, second in tries} == {200}
        _, page, _ = get(f"{base}40")
    broken = [each for each in page if not isinstance(each, dict) or "uri" not in each or each["created_at"] is None]
    assert len(broken) == 3
    assert sum(isinstance(each, dict) and not isinstance(each["content"], str) for each in page) == 1


def test_two_requests_of_all_meet_the_rate_limit_which_is_told_in_the_dialect_of_the_host() -> None:
    with Network() as network:
        addresses = [
            *(f"{network.hosts['hearth']}/api/v1/timelines/public?limit={limit}" for limit in range(1, 11)),
            *(f"{network.hosts['pds']}/xrpc/com.atproto.repo.listRecords?repo=a&limit={limit}" for limit in range(60)),
        ]
        answers = [get(address) for address in addresses]
    (mastodon, bluesky) = [headers for status, _, headers in answers if status == 429]
    assert mastodon["Retry-After"] == bluesky["Retry-After"] == "1"
    assert mastodon["X-RateLimit-Remaining"] == bluesky["RateLimit-Remaining"] == "0"
    assert datetime.fromisoformat(mastodon["X-RateLimit-Reset"]).tzinfo is not None
    assert int(bluesky["RateLimit-Reset"]) > 1_700_000_000


def test_search_is_shown_to_a_session_only_newest_first_within_its_times_and_depth() -> None:
    with Network(faults=False, search_depth=25, session_requests=6) as network:
        pds = f"{network.hosts['pds']}/xrpc"
        login, search = f"{pds}/com.atproto.server.createSession", f"{pds}/app.bsky.feed.searchPosts?q=e&limit=100"
        assert get(search)[:2] == (401, {"error": "AuthMissing", "message": "Authentication Required"})
        assert get(login, {"identifier": IDENTIFIER, "password": "wrong"})[0] == 401
        status, session, _ = get(login, {"identifier": IDENTIFIER, "password": APP_PASSWORD})
        assert status == 200
        bearer = {"Authorization": f"Bearer {session['accessJwt']}"}
        times, cursor = [], ""
        for size in (10, 10, 5):
            _, page, _ = get(f"{search}{cursor}", **bearer)
            times += [post["record"]["createdAt"] for post in page["posts"]]
            assert len(page["posts"]) == size
            cursor = f"&cursor={page.get('cursor')}"
        assert "cursor" not in page, "no cursor leads deeper"
        assert times == sorted(times, reverse=True)
        between = f"{search}&since={times[8]}&until={times[1]}"
        found = [post["record"]["createdAt"] for post in get(between, **bearer)[1]["posts"]]
        assert found == times[2:9], "until is exclusive, since is not"
        assert get(f"{pds}/app.bsky.feed.searchPosts?q=nosuchword", **bearer)[1] == {"posts": []}
        assert get(search, **bearer)[0] == 200
        assert get(search, **bearer)[:2] == (400, {"error": "ExpiredToken", "message": "Token has expired"})


def test_made_up_posts_are_paged_without_holding_them() -> None:
    with Network(synthetic_posts(205), faults=False) as network:
        found = [status["content"] for status in statuses_by_link(
            f"{network.hosts['hearth']}/api/v1/timelines/public?limit=40"
        )]
    assert len(found) == len(set(found)) == 205
