"""Channels of Telegram, in the previews that its site shows to visitors."""

from crawlers.catalogue.about import About, SourceKind, filled, findings, remarks

ABOUT = About(
    name="telegram",
    title="Telegram channels, by their public previews",
    home="https://t.me",
    kinds=(SourceKind("channel", "a channel's messages", value="the channel", names_account=True, own=True),),
    paging="`before`, 20 messages a page",
    clock="the time of the message",
    fills=filled(
        "author url created_at text truncated reply_to repost_of hashtags mention_count links media likes views"
    ),
    notes=remarks(
        author="the channel; a signature is no account",
        truncated="when there is more that only the app shows",
        repost_of="when forwarded from a public channel",
        likes="all reactions together, rounded",
        views="rounded",
    ),
    costs="free",
    terms="pages for visitors, robots.txt is heeded; a channel can turn its preview off",
    removals=findings(
        removed_by_platform="a notice in place of the channel: terms of service, copyright",
        restricted="a notice in place of the channel: local laws, pornographic content",
        unknown="the embedded message is not found: gone, and nobody says why",
    ),
    verified=("recording", "documentation"),
)
