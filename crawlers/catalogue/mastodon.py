"""Servers that speak Mastodon's client API."""

from crawlers.catalogue.about import About, SourceKind, filled, findings, remarks

ABOUT = About(
    name="mastodon",
    title="Mastodon-API servers",
    home=None,
    kinds=(
        SourceKind("public", "the server's public timeline"),
        SourceKind("local", "the posts of its own accounts"),
        SourceKind("tag", "a tag", value="the tag"),
        SourceKind("account", "an account's posts", value="the account", names_account=True, own=True),
    ),
    paging="`Link`, else `max_id`",
    clock="`created_at`",
    fills=filled(
        "author url created_at edited_at warning sensitive text lang reply_to repost_of quote_of hashtags "
        "mention_count links media likes reposts replies"
    ),
    notes=remarks(reply_to="by native id", quote_of="from 4.5 on"),
    costs="free; 300 requests in 5 minutes",
    terms="each server has its own; `noindex` is heeded",
    removals=findings(
        account_gone="410 of the actor, 404 of its lookup",
        removed_by_platform="the account is `suspended`",
        unknown="404 of the status: gone, and nobody says why",
    ),
    verified=("recording", "real server"),
)
