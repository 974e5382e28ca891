"""4chan's read-only API."""

from crawlers.catalogue.about import About, SourceKind, filled, findings, remarks

ABOUT = About(
    name="fourchan",
    title="4chan",
    home="https://a.4cdn.org",
    kinds=(
        SourceKind(
            "board", "the threads of a board and of its archive", value="the board's short name: g, news", order="none"
        ),
    ),
    paging="a thread at a time, the highest number first",
    clock="`time`",
    fills=filled(
        "author url created_at title text reply_to mention_count links media replies platform_labels"
    ),
    notes=remarks(
        author="where a tripcode is given, or an id within the thread; a name alone is nobody's",
        title="of threads",
        reply_to="the first post that it answers, else its thread",
        replies="of threads",
        platform_labels="`file deleted`, `banned for this post`",
    ),
    costs="free; one request a second, one a thread, so a busy board takes an hour",
    terms="API rules: one request a second, `If-Modified-Since`, a thread no more often than every 10 s",
    removals=findings(
        unknown="missing from a thread that is there: nobody says why; a thread that is not: most expire within days"
    ),
    verified=("documentation",),
)
