"""Bluesky: AppViews, which show posts, and PDSes, which hold the repositories."""

from crawlers.catalogue.about import About, SourceKind, filled, findings, remarks

ABOUT = About(
    name="bluesky",
    title="Bluesky",
    home="https://public.api.bsky.app",
    kinds=(
        SourceKind("author", "an account's feed, from an AppView", value="handle or DID", names_account=True, own=True),
        SourceKind(
            "records", "a repository, from a PDS", value="handle or DID", names_account=True, own=True, order="none"
        ),
        SourceKind(
            "repo", "the same in one answer, checked block by block, of 16 MB at most",
            value="handle or DID", names_account=True, own=True, order="none",
        ),
        SourceKind("search", "a search, with an app password", value="the query", query=True),
        SourceKind("jetstream", "all posts as they are written, from a Jetstream (wss://)", order="oldest first"),
    ),
    paging="cursor",
    clock="the earlier of `createdAt` and `indexedAt`",
    fills=filled(
        "author url created_at server_time edited_at text lang reply_to repost_of quote_of hashtags mention_count "
        "links media likes reposts replies platform_labels"
    ),
    notes=remarks(
        server_time="from an AppView or a Jetstream",
        edited_at="from a Jetstream, which also tells of posts of the window that were deleted: rejects that say so",
        likes="from an AppView",
        reposts="from an AppView",
        replies="from an AppView",
        repost_of="from an AppView",
        platform_labels="of a repository the author's own alone",
    ),
    costs="free; `search` needs an account's app password",
    terms="public by design; `!no-unauthenticated` is heeded (a Jetstream tells it of no account)",
    keys=("POSTSWEEP_BLUESKY_IDENTIFIER", "POSTSWEEP_BLUESKY_APP_PASSWORD"),
    keyed=("search",),
    removals=findings(
        removed_by_author="record gone, account active",
        removed_by_platform="account `takendown` or `suspended`; label `!takedown`; a record that the server withholds",
        account_gone="account `deleted` or `deactivated`, and not moved to another server",
        unknown="an AppView leaves the post out, and the PDS says nothing",
    ),
    verified=("recording", "real server"),
    schemes=("https", "http", "wss", "ws"),
)
