"""Tieba (百度贴吧), out of captures alone."""

from crawlers.catalogue.about import About, filled, findings

ABOUT = About(
    name="tieba",
    title="Tieba (百度贴吧)",
    home=None,
    kinds=(),
    paging="none",
    clock="as the capture tells it",
    fills=filled("author url created_at title text reply_to mention_count links replies"),
    costs="nothing is asked of the platform",
    terms="not read live: it asks for a login, a signature or a challenge",
    removals=findings(unknown="it is not visited"),
    verified=("documentation",),
)
