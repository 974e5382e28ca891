"""Kuaishou (快手), out of captures alone."""

from crawlers.catalogue.about import About, filled, findings, remarks

ABOUT = About(
    name="kuaishou",
    title="Kuaishou (快手)",
    home=None,
    kinds=(),
    paging="none",
    clock="as the capture tells it",
    fills=filled("author url created_at text reply_to mention_count links media likes replies views"),
    notes=remarks(replies="of comments"),
    costs="nothing is asked of the platform",
    terms="not read live: it asks for a login, a signature or a challenge",
    removals=findings(unknown="it is not visited"),
    verified=("documentation",),
)
