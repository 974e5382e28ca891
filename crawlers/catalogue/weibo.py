"""Weibo (微博), with the operator's own login, and the captures of its tools."""

from crawlers.catalogue.about import About, SourceKind, filled, findings, remarks

ABOUT = About(
    name="weibo",
    title="Weibo",
    home="https://m.weibo.cn",
    kinds=(
        SourceKind("user", "an account's posts", value="the account's number", names_account=True, own=True),
        SourceKind(
            "search", "what the search shows of a query, which is not all", value="the query", query=True, order="none"
        ),
        SourceKind("posts", "the posts of a list", urls=True, names_account=True, order="none"),
    ),
    paging="`since_id`, `page`",
    clock="`created_at`",
    fills=filled(
        "author url created_at edited_at text truncated reply_to repost_of quote_of hashtags mention_count links media "
        "likes reposts replies views"
    ),
    notes=remarks(
        created_at="to the minute, hour or day where it is told so",
        edited_at="where the time is told beside the count of edits",
        reply_to="of comments, and of answers in the API",
        likes="rounded from 1,000,000 on",
        reposts="rounded from 1,000,000 on",
        replies="rounded from 1,000,000 on",
        views="rounded plays of a video",
    ),
    costs="free; live with the session cookie of your own account",
    terms="they allow no automatic reading without consent; a gate is heeded, never passed",
    keys=("POSTSWEEP_WEIBO_COOKIE",),
    removals=findings(
        removed_by_author="error 20101; the stub says so",
        removed_by_platform="permission denied; the stub tells of complaints or rules",
        restricted="the stub says so",
        unknown="a visitor's page, a login, a stub that tells no cause",
    ),
    verified=("recording", "documentation"),
)
