"""Hacker News: its search, and its items by id."""

from crawlers.catalogue.about import About, SourceKind, filled, findings, remarks

ABOUT = About(
    name="hackernews",
    title="Hacker News",
    home="https://hn.algolia.com",
    kinds=(
        SourceKind("all", "stories and comments", order="none"),
        SourceKind("stories", "stories, polls and jobs", order="none"),
        SourceKind("comments", "comments", order="none"),
        SourceKind("search", "a search", value="the query", query=True, order="none"),
        SourceKind("author", "an account's posts", value="the account", names_account=True, own=True, order="none"),
        SourceKind("items", "every item by its id, from https://hacker-news.firebaseio.com", order="none"),
    ),
    paging="slices of time; runs of ids",
    clock="`created_at_i`, `time`",
    fills=filled("author url created_at title text reply_to mention_count links likes replies"),
    notes=remarks(likes="points", replies="all comments below"),
    costs="free",
    terms="open data; nothing is known to ask to be left out",
    removals=findings(removed_by_author="`deleted`", removed_by_platform="`dead`", unknown="the item is null"),
    verified=("recording", "documentation"),
)
