"""Tumblr's API, version 2."""

from crawlers.catalogue.about import About, SourceKind, filled, findings, remarks

KEY = "POSTSWEEP_TUMBLR_KEY"
HOME = "https://api.tumblr.com"

ABOUT = About(
    name="tumblr",
    title="Tumblr",
    home=HOME,
    kinds=(
        SourceKind("tag", "the posts with a tag", value="the tag, without #"),
        SourceKind("blog", "the posts of a blog", value="its name", names_account=True, own=True),
    ),
    paging="`before`, a second",
    clock="`timestamp`",
    fills=filled("author url created_at title text repost_of quote_of hashtags mention_count links media"),
    notes=remarks(
        title="of posts in the older format",
        text="a reblog that adds nothing has the text of what it reblogs",
        media="in the older format photos, videos and sound, not pictures within a text",
        likes="`note_count` counts likes, reblogs and answers together: no column is that",
    ),
    costs="free with a key: 1,000 requests an hour, 5,000 a day",
    terms="Application Developer and API License Agreement: what was deleted is to be deleted",
    removals=findings(
        restricted="error 4012: the blog is shown on the dashboard only",
        unknown="404: nobody says why",
    ),
    verified=("documentation",),
    keys=(KEY,),
)
