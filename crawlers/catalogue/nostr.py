"""Nostr: relays, which keep signed events and pass them on."""

from crawlers.catalogue.about import About, SourceKind, filled, findings, remarks

ABOUT = About(
    name="nostr",
    title="Nostr relays",
    home=None,
    kinds=(
        SourceKind("notes", "all notes and reposts of a relay"),
        SourceKind("tag", "those of one hashtag", value="the tag without #"),
        SourceKind("author", "those of one author", value="npub or hexadecimal key", names_account=True, own=True),
    ),
    paging="`until`, walked down",
    clock="`created_at`, which the author claims",
    fills=filled(
        "author created_at title warning sensitive text lang reply_to repost_of quote_of hashtags mention_count links "
        "media"
    ),
    notes=remarks(
        author="the key; ids are checked against what is signed, signatures are not",
        title="where a `subject` is given",
        lang="where a label in ISO 639-1 is given",
        text="of a repost only where it carries what it reposts",
        media="those described by `imeta`",
    ),
    costs="free; a relay that asks for a login is a gap",
    terms="per relay (its NIP-11 document)",
    removals=findings(
        removed_by_author="an event of kind 5 by its author names it, whether the relay heeds it or not",
        account_gone="an event of kind 62 by its author asks the relay, or all, to keep nothing",
        unknown="the relay does not have it any more, and no deletion",
    ),
    verified=("real server",),
    schemes=("wss", "ws"),
)
