"""RSS, Atom and JSON Feed."""

from crawlers.catalogue.about import About, SourceKind, filled, findings, remarks

ABOUT = About(
    name="feed",
    title="RSS, Atom, JSON Feed",
    home=None,
    kinds=(SourceKind("feed", "the entries of one document", names_account=True, order="none"),),
    paging="one document",
    clock="published, else updated",
    fills=filled("author url created_at edited_at title text lang hashtags mention_count links media"),
    notes=remarks(edited_at="when later than published", author="a name, as given", lang="as given", media="as given"),
    costs="free",
    terms="published to be read by machines",
    removals=findings(unknown="an entry that left the document may just be old"),
    verified=("recording", "documentation"),
)
