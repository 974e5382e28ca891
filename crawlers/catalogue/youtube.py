"""YouTube: feeds of channels, and its Data API v3."""

from crawlers.catalogue.about import About, SourceKind, filled, findings, remarks

KEY = "POSTSWEEP_YOUTUBE_KEY"
API = "https://www.googleapis.com"

_CHANNEL = "the channel's id, UC and 22 characters"

ABOUT = About(
    name="youtube",
    title="YouTube",
    home="https://www.youtube.com",
    kinds=(
        SourceKind("channel", "the 15 newest videos of a channel's feed", value=_CHANNEL, names_account=True, own=True),
        SourceKind(
            "videos",
            f"all videos of a channel, from {API}, with a key",
            value=_CHANNEL,
            names_account=True,
            own=True,
            home=API,
        ),
        SourceKind(
            "comments",
            f"a video's comments and the answers below them, from {API}, with a key",
            value="the video's id",
            order="none",
            home=API,
        ),
    ),
    paging="`pageToken`; a feed is one document",
    clock="`published`, `publishedAt`",
    fills=filled(
        "author url created_at edited_at title sensitive text lang reply_to hashtags mention_count links media likes "
        "replies views"
    ),
    notes=remarks(
        edited_at="of comments",
        sensitive="by the API: for those of age only",
        lang="of title and description, as given",
        hashtags="the uploader's keywords, by the API",
        likes="where they are shown",
        replies="by the API",
        views="of videos",
    ),
    costs="free; the API counts 1 unit a request, 10,000 a day",
    terms="developers' policies: API data older than 30 days is to be refreshed or deleted",
    removals=findings(
        removed_by_platform="`uploadStatus` is `rejected`",
        restricted="`privacyStatus` is `private`",
        unknown="a video or comment that the API does not list any more: nobody says why",
    ),
    verified=("recording", "documentation"),
    keys=(KEY,),
    keyed=("videos", "comments"),
)
