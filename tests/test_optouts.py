"""What counts as an author's request not to be collected, in the shapes that platforms say it in."""

from typing import Any

import pytest

from crawlers.platforms.optouts import opted_out

HIDDEN = [{"src": "did:plc:fern", "val": "!no-unauthenticated"}]
CLAIMED = {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "!no-unauthenticated"}]}


@pytest.mark.parametrize(
    "payload",
    [
        {"account": {"noindex": True}},
        {"account": {}, "reblog": {"account": {"noindex": True}}},
        {"author": {"labels": HIDDEN}},
        {"labels": HIDDEN, "author": {}},
        {"record": {"labels": CLAIMED}},
        {"post": {"author": {"labels": HIDDEN}}},
        {"post": {"author": {}}, "reason": {"by": {"labels": HIDDEN}}},
        {"uri": "at://did:plc:fern/app.bsky.actor.profile/self", "value": {"labels": CLAIMED}},
        {"did": "did:plc:fern", "kind": "commit", "commit": {"operation": "create", "record": {"labels": CLAIMED}}},
    ],
)
def test_an_opt_out_of_the_author_or_of_whom_they_repost_is_heard(payload: dict[str, Any]) -> None:
    assert opted_out(payload)


@pytest.mark.parametrize(
    "payload",
    [
        {"account": {"noindex": None, "indexable": False, "discoverable": False}},
        {"account": {"noindex": "true"}},
        {"account": {}, "quote": {"quoted_status": {"account": {"noindex": True}}}},
        {"author": {"labels": [{**HIDDEN[0], "neg": True}]}},
        {"author": {"labels": [{"val": "spam"}]}},
        {"account": [], "reblog": "x", "author": None, "labels": "x", "record": [], "reason": 5, "post": []},
        {"commit": 7},
        {"author": {"labels": [None, "!no-unauthenticated"]}},
        *(None, [], "text", 7),
    ],
)
def test_anything_else_is_no_opt_out(payload: object) -> None:
    assert not opted_out(payload)
