"""Keys of the operator's own, out of the environment: who asks for one without it is told its name, and none leaves for
another server than the one that it is for.
"""

from typing import Protocol
from urllib.parse import urlsplit

from crawlers.fetching import SourceGapError
from crawlers.settings import CrawlSettings
from crawlers.source import Source


class Asking(Protocol):
    """Whoever asks a source's server: a reading or a visit."""

    @property
    def source(self) -> Source:
        """Whose server it is."""

    @property
    def settings(self) -> CrawlSettings:
        """What holds the environment."""


def key_for(asking: Asking, variable: str, home: str) -> str:
    """The key in a variable of the environment, for the server at `home`. Errors: SourceGapError."""
    source = asking.source
    if not source.allow_private and (urlsplit(source.url).scheme, source.authority) != ("https", urlsplit(home).netloc):
        raise SourceGapError(f"the key in {variable} is sent to {home} only; leave the source's url out")
    key = asking.settings.environment.get(variable, "").strip()
    if not key:
        raise SourceGapError(f"this needs your own key: set {variable} in the environment")
    return key
