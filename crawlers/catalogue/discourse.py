"""Forums that run Discourse."""

from crawlers.catalogue.about import About, SourceKind, filled, findings, remarks

ABOUT = About(
    name="discourse",
    title="Discourse forums",
    home=None,
    kinds=(
        SourceKind("posts", "all public posts"),
        SourceKind("category", "the posts of a category, out of all", value="the category's number"),
        SourceKind("topic", "the posts of a topic", value="the topic's number"),
    ),
    paging="`before`; of a topic by its list of ids",
    clock="`created_at`",
    fills=filled(
        "author url created_at edited_at title text lang reply_to quote_of mention_count links media likes "
        "replies views"
    ),
    notes=remarks(
        title="of a topic's first post",
        edited_at="when `version` tells of an edit",
        lang="newer servers",
        reply_to="the topic's first post, where none is named",
        quote_of="the first quotation, whose words are no part of the text",
        views="readers",
    ),
    costs="free; 200 requests in a minute, 50 in 10 seconds",
    terms="each forum has its own",
    removals=findings(
        removed_by_author="`user_deleted`",
        removed_by_platform="`hidden`, `deleted_at`",
        unknown="404 of the post: gone, and nobody says why",
    ),
    verified=("recording", "documentation"),
)
