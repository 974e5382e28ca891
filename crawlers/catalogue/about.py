"""The words in which a platform is described: what can be read of it, what its posts tell, and what it asks for."""

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

Order = Literal["newest first", "oldest first", "none"]
"""In which order of time a source is read: what is missing of one that ends too early follows from it."""

Verified = Literal["recording", "real server", "documentation"]

FIELDS = (
    "author", "url", "created_at", "server_time", "edited_at", "title", "warning", "sensitive", "text", "truncated",
    "lang", "reply_to", "repost_of", "quote_of", "hashtags", "mention_count", "links", "media", "likes", "reposts",
    "replies", "views", "platform_labels",
)  # fmt: skip
"""The fields of a post that a platform can give or not."""

REMOVALS = ("removed_by_author", "removed_by_platform", "account_gone", "restricted", "unknown")
"""What a later visit can find, other than the post (as `crawlers.sighting`)."""


@dataclass(frozen=True)
class SourceKind:
    """One thing that can be read of a platform. `value` says what the source's value is; None where it takes none.

    `urls`: it reads a list of addresses out of a file. `query`: the value is a query, which may ask for an account.
    `names_account`: it leads to a person, so that outside identities its name is a keyed hash. `own`: it is one
    account's timeline, repository or channel (and names it). `home`: the base address of the server that it is read
    from, where that is another than the platform's.
    """

    name: str
    reads: str
    value: str | None = None
    urls: bool = False
    query: bool = False
    names_account: bool = False
    own: bool = False
    order: Order = "newest first"
    home: str | None = None


@dataclass(frozen=True)
class About:
    """A platform. `home` is the base address of its one server, None where each source names its own.

    `fills` are the fields that its posts can have, `notes` says of some of them when or how. `keys` are environment
    variables that the kinds in `keyed` need (empty: all kinds). `removals` says what a later visit takes for what.
    """

    name: str
    title: str
    home: str | None
    kinds: tuple[SourceKind, ...]
    paging: str
    clock: str
    fills: frozenset[str]
    costs: str
    terms: str
    removals: MappingProxyType[str, str]
    verified: tuple[Verified, ...]
    notes: MappingProxyType[str, str] = field(default_factory=lambda: MappingProxyType({}))
    keys: tuple[str, ...] = ()
    keyed: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ("https", "http")

    def __post_init__(self) -> None:
        if unknown := (self.fills | set(self.notes)) - set(FIELDS):
            raise ValueError(f"{self.name}: no fields of a post: {sorted(unknown)}")
        if strange := set(self.removals) - set(REMOVALS):
            raise ValueError(f"{self.name}: no findings of a visit: {sorted(strange)}")
        if any(way not in get_args(Verified) for way in self.verified):
            raise ValueError(f"{self.name}: not a way to verify: {self.verified}")
        if strangers := set(self.keyed) - {kind.name for kind in self.kinds}:
            raise ValueError(f"{self.name}: no kinds of source: {sorted(strangers)}")

    def kind(self, name: str) -> SourceKind | None:
        """The kind of source of that name."""
        return next((kind for kind in self.kinds if kind.name == name), None)


def filled(fields: str) -> frozenset[str]:
    """The fields that are named, separated by spaces."""
    return frozenset(fields.split())


def findings(**signals: str) -> MappingProxyType[str, str]:
    """What a later visit takes for which finding."""
    return MappingProxyType(signals)


def remarks(**notes: str) -> MappingProxyType[str, str]:
    """When, or how, a field is given."""
    return MappingProxyType(notes)
