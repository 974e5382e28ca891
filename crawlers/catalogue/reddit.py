"""Reddit: its API, for an application of one's own."""

from crawlers.catalogue.about import About, SourceKind, filled, findings, remarks

CLIENT_ID, CLIENT_SECRET = "POSTSWEEP_REDDIT_CLIENT_ID", "POSTSWEEP_REDDIT_CLIENT_SECRET"

ABOUT = About(
    name="reddit",
    title="Reddit",
    home="https://oauth.reddit.com",
    kinds=(
        SourceKind("subreddit", "new posts of a subreddit", value="the subreddit"),
        SourceKind("comments", "comments in a subreddit", value="the subreddit"),
        SourceKind("user", "an account's posts and comments", value="the account", names_account=True, own=True),
        SourceKind("search", "a search for posts", value="the query", query=True),
    ),
    paging="`after`; a listing ends after 1,000 posts, a search after some 250",
    clock="`created_utc`",
    fills=filled(
        "author url created_at edited_at title sensitive text reply_to repost_of quote_of mention_count links media "
        "likes reposts replies views platform_labels"
    ),
    notes=remarks(
        likes="the score, unless it is hidden or below zero",
        reposts="crossposts",
        repost_of="a crosspost under the same title",
        quote_of="a crosspost under another title",
        replies="of posts; all comments below",
        platform_labels="spoiler, quarantine",
    ),
    costs="free; 100 requests a minute for an application",
    terms="research asks for the platform's permission",
    removals=findings(
        removed_by_author="`[deleted]`, `removed_by_category` is `deleted` or `author`",
        removed_by_platform="`[removed]`, any other `removed_by_category`",
        unknown="the API leaves it out",
    ),
    verified=("recording", "documentation"),
    keys=(CLIENT_ID, CLIENT_SECRET),
)
