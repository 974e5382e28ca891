"""What each platform says of an account: its bio, its mark, as what it was verified, and the sites that it owns."""

from datetime import UTC, datetime
from typing import Any

import pytest

from crawlers.platforms.bluesky import parse_view
from crawlers.platforms.douyin import parse_item
from crawlers.platforms.mastodon import parse_status
from crawlers.platforms.weibo import parse_mblog
from crawlers.platforms.x import parse_status as parse_x_status
from crawlers.post import Account, Verification

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def weibo(**user: Any) -> Account:
    mblog = {
        "id": "5143000000104729", "mid": "5143000000104729", "created_at": "Thu Jan 01 10:00:00 +0800 2026",
        "text": "早", "user": {"id": 5719382046, "screen_name": "云岭县公安局", **user},
    }  # fmt: skip
    return author(parse_mblog(mblog, "weibo.com", NOW))


def mastodon(**account: Any) -> Account:
    status = {
        "id": "1", "uri": "https://hearth.example/statuses/1", "created_at": "2026-01-01T10:00:00Z",
        "content": "<p>a</p>", "account": {"acct": "oakford", "url": "https://hearth.example/@oakford", **account},
    }  # fmt: skip
    return author(parse_status(status, "hearth.example", NOW))


def bluesky(**profile: Any) -> Account:
    view = {
        "uri": "at://did:plc:oakford/app.bsky.feed.post/3k", "author": {"did": "did:plc:oakford", **profile},
        "record": {"$type": "app.bsky.feed.post", "text": "a", "createdAt": "2026-01-01T10:00:00Z"},
        "indexedAt": "2026-01-01T10:00:01Z",
    }  # fmt: skip
    return author(parse_view(view, "view.example", NOW))


def douyin(**profile: Any) -> Account:
    item = {"aweme_id": "7398765432109876543", "create_time": 1767261600, "desc": "早"}
    item |= {"author": {"sec_uid": "MS4wL", **profile}}
    return author(parse_item(item, "www.douyin.com", NOW))


def x(**user: Any) -> Account:
    status = {
        "id_str": "2006678901234567890", "created_at": "Thu Jan 01 10:00:00 +0000 2026", "full_text": "a",
        "user": {"id_str": "77", "screen_name": "oakford", "verified": False, **user},
    }  # fmt: skip
    return author(parse_x_status(status, "api.x.com", NOW))


def author(post: Any) -> Account:
    assert isinstance(post.author, Account)
    return post.author


@pytest.mark.parametrize(
    ("told", "verification"),
    [
        ({"verified": True, "verified_type": 1, "verified_reason": "云岭县公安局"}, ("government", "云岭县公安局")),
        ({"verified": True, "verified_type": "3", "verified_reason": ""}, ("media", None)),
        ({"verified": True, "verified_type": 0, "verified_reason": "执业律师"}, ("person", "执业律师")),
        ({"verified": False, "verified_type": -1}, None),
        ({"verified": False, "verified_type": 220, "verified_reason": "达人"}, None),
        ({"verified_type": [[1]], "description": 7}, None),
    ],
)
def test_weibo_tells_as_what_it_verified_an_account(told: dict[str, Any], verification: tuple[Any, Any] | None) -> None:
    found = weibo(**told)
    assert found.verification == (None if verification is None else Verification(*verification))
    assert found.verified == told.get("verified")
    assert weibo(description=" 警情通报 \n 报案请拨打110 ").bio == "警情通报 报案请拨打110"


def test_mastodon_verifies_nobody_and_tells_which_links_lead_back() -> None:
    link = '<a href="https://www.oakford.gov/" rel="me"><span class="invisible">https://</span>www.oakford.gov</a>'
    lines = [
        {"name": "Website", "value": link, "verified_at": "2025-11-03T09:00:00Z"},
        {"name": "Said", "value": '<a href="https://army.mil/">army.mil</a>', "verified_at": None},
        "no field",
    ]
    found = mastodon(note="<p>Bins, roads<br>&amp; libraries</p>", fields=lines)
    assert (found.bio, found.verified) == ("Bins, roads & libraries", None)
    assert found.verification == Verification(sites=("www.oakford.gov",))
    assert mastodon(fields={"a": 1}, note=None) == mastodon()


def test_bluesky_tells_a_mark_where_there_is_one_and_a_handle_that_is_a_domain_of_ones_own() -> None:
    valid = {"verifications": [], "verifiedStatus": "valid", "trustedVerifierStatus": "none"}
    found = bluesky(handle="embassy.kestria.gov", verification=valid)
    assert (found.verified, found.verification) == (True, Verification(sites=("embassy.kestria.gov",)))
    assert bluesky(handle="a.bsky.social", verification={**valid, "verifiedStatus": "invalid"}).verified is False
    plain = bluesky(handle="a.bsky.social", description="tea")
    assert (plain.verified, plain.verification, plain.bio) == (False, None, "tea")
    assert bluesky(handle="handle.invalid").verification is None


def test_douyin_tells_the_words_of_its_two_marks() -> None:
    assert douyin(custom_verify="", enterprise_verify_reason="").verified is False
    assert douyin().verified is None
    person = douyin(custom_verify="主治医师", enterprise_verify_reason="", signature="科普")
    assert (person.verified, person.verification, person.bio) == (True, Verification("person", "主治医师"), "科普")
    assert douyin(enterprise_verify_reason="云岭医院").verification == Verification("organisation", "云岭医院")
    office = douyin(enterprise_verify_reason="云岭县公安局", is_gov_media_vip=True)
    assert office.verification == Verification("government", "云岭县公安局")


def test_on_x_a_mark_that_was_bought_is_told_from_one_that_was_given() -> None:
    assert x(verified=True, verified_type="Government").verification == Verification("government")
    assert x(verified_type="blue", description="Bins").verification == Verification("paid")
    assert x(is_blue_verified=True).verification == Verification("paid")
    assert x(ext_verified_type="Business").verification == Verification("company")
    assert x(description=" Bins\nand roads").bio == "Bins and roads"
    assert x(verified_type="none").verification is None
