"""TikTok, out of captures alone."""

from crawlers.catalogue.about import About, filled, findings, remarks

ABOUT = About(
    name="tiktok",
    title="TikTok",
    home=None,
    kinds=(),
    paging="none",
    clock="as the capture tells it",
    fills=filled(
        "author url created_at text lang quote_of hashtags mention_count links media likes reposts replies views "
        "platform_labels"
    ),
    notes=remarks(quote_of="of duets and stitches", platform_labels="warnings that are shown with it"),
    costs="nothing is asked of the platform",
    terms="not read live: it asks for a login, a signature or a challenge",
    removals=findings(unknown="it is not visited"),
    verified=("documentation",),
)
