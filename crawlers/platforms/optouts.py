"""Authors who asked not to be collected: what platforms let them say, read from the payload of a post. Pure.

Mastodon: `noindex` of an account (docs.joinmastodon.org/entities/Account), which a server knows of its own users only.
`indexable`, which is off by default, is consent to full-text search and no request to stay away. Bluesky: the label
`!no-unauthenticated`, by which an account asks to be shown to signed-in readers only. It stands in an account's
profile, which a Jetstream of posts does not pass on: of its commits only those are heard whose own record says so.
"""

from collections.abc import Iterator
from typing import Any

OPTED_OUT = "the author opted out"
"""The reason of a reject."""

_TOLD_IN = ("account", "reblog", "post", "author", "reason", "record", "value", "labels", "commit")
_SIGNED_IN_ONLY = "!no-unauthenticated"


def opted_out(payload: object) -> bool:
    """Whether the author of a record, or of what it reposts, opted out. Takes a Mastodon status, an item or a post view
    of a Bluesky AppView, any record of a PDS, a profile too, and a commit of a Jetstream; anything else is False."""
    item = _object(payload)
    if not any(isinstance(item.get(key), dict | list) for key in _TOLD_IN):  # as in most records of other platforms
        return False
    statuses = (item, _object(item.get("reblog")))
    if any(_object(status.get("account")).get("noindex") is True for status in statuses):
        return True
    return any(label.get("val") == _SIGNED_IN_ONLY and not label.get("neg") for label in _labels(item))


def _labels(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The labels of a post, of its author, of who reposts it, and those that its record claims for itself."""
    post = _object(item.get("post")) or item
    carried = (post.get("record"), item.get("value"), _object(item.get("commit")).get("record"))
    reason, record = _object(item.get("reason")), next(filter(None, map(_object, carried)), {})
    holders = (post, _object(post.get("author")), _object(reason.get("by")))
    found = [holder.get("labels") for holder in holders] + [_object(record.get("labels")).get("values")]
    for labels in found:
        yield from (_object(label) for label in (labels if isinstance(labels, list) else []))


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
