"""Threads, out of captures alone."""

from crawlers.catalogue.about import About, filled, findings, remarks

ABOUT = About(
    name="threads",
    title="Threads",
    home=None,
    kinds=(),
    paging="none",
    clock="as the capture tells it",
    fills=filled(
        "author url created_at text repost_of quote_of hashtags mention_count links media likes reposts replies"
    ),
    notes=remarks(),
    costs="nothing is asked of the platform",
    terms="not read live: it asks for a login, a signature or a challenge",
    removals=findings(unknown="it is not visited"),
    verified=("documentation",),
)
