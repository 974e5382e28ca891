"""Bilibili (哔哩哔哩), out of captures alone."""

from crawlers.catalogue.about import About, filled, findings

ABOUT = About(
    name="bilibili",
    title="Bilibili (哔哩哔哩)",
    home=None,
    kinds=(),
    paging="none",
    clock="as the capture tells it",
    fills=filled("author url created_at title text reply_to mention_count links likes reposts replies views"),
    costs="nothing is asked of the platform",
    terms="not read live: it asks for a login, a signature or a challenge",
    removals=findings(unknown="it is not visited"),
    verified=("documentation",),
)
