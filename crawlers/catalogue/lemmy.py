"""Lemmy servers."""

from crawlers.catalogue.about import About, SourceKind, filled, findings, remarks

ABOUT = About(
    name="lemmy",
    title="Lemmy servers",
    home=None,
    kinds=(
        SourceKind("posts", "all posts that the server knows"),
        SourceKind("local", "the posts of its own communities"),
        SourceKind("community", "the posts of a community", value="name, or name@host"),
        SourceKind("comments", "all comments that the server knows"),
    ),
    paging="`page_cursor`; comments of version 3 by page number",
    clock="`published`, `published_at`",
    fills=filled(
        "author url created_at edited_at title sensitive text lang reply_to mention_count links media likes replies"
    ),
    notes=remarks(likes="upvotes", reply_to="a comment's parent by native id", replies="all comments below"),
    costs="free; each server has its own limits",
    terms="each server has its own",
    removals=findings(
        removed_by_author="`deleted`",
        removed_by_platform="`removed`, also in the log of the moderators",
        unknown="404, `Tombstone`",
    ),
    verified=("recording", "documentation"),
)
