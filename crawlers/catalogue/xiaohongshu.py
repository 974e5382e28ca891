"""Xiaohongshu (小红书, RedNote), out of captures alone."""

from crawlers.catalogue.about import About, filled, findings, remarks

ABOUT = About(
    name="xiaohongshu",
    title="Xiaohongshu (小红书, RedNote)",
    home=None,
    kinds=(),
    paging="none",
    clock="as the capture tells it",
    fills=filled(
        "author url created_at edited_at title text truncated reply_to hashtags mention_count links media likes "
        "reposts replies"
    ),
    notes=remarks(truncated="of cards in a list, which show a title alone"),
    costs="nothing is asked of the platform",
    terms="not read live: it asks for a login, a signature or a challenge",
    removals=findings(unknown="it is not visited"),
    verified=("documentation",),
)
