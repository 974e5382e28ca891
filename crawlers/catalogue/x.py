"""X: its search and its accounts over API v2, and captures of both."""

from crawlers.catalogue.about import About, SourceKind, filled, findings, remarks

ABOUT = About(
    name="x",
    title="X",
    home="https://api.x.com",
    kinds=(
        SourceKind("search", "a search of the last seven days", value="the query", query=True),
        SourceKind("archive", "a search of all times, where the token may", value="the query", query=True),
        SourceKind("user", "an account's newest 3,200 posts", value="the account", names_account=True, own=True),
    ),
    paging="`next_token`",
    clock="`created_at`, of an edited post that of its first version",
    fills=filled(
        "author url created_at edited_at sensitive text truncated lang reply_to repost_of quote_of hashtags"
        " mention_count links media likes reposts replies views platform_labels"
    ),
    notes=remarks(
        truncated="where the API says so, or cut the text itself",
        lang="as X detects it",
        reposts="quotes are not among them",
        views="impressions; not of captures of API v1.1",
        platform_labels="where it is withheld: countries, `copyright`",
    ),
    costs="each post is paid for",
    terms="developer agreement; posts that are deleted must be deleted",
    removals=findings(
        removed_by_platform="the account is suspended",
        account_gone="the account is not found",
        restricted="not authorized, and the account is protected",
        unknown="not found, and the account is there",
    ),
    verified=("recording", "documentation"),
    keys=("POSTSWEEP_X_BEARER_TOKEN",),
)
