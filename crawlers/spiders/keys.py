"""Keys of the operator's own, out of the environment: who asks for one without it is told its name, and none leaves for
another server than the one that it is for.
"""

from urllib.parse import urlsplit

from crawlers.fetching import SourceGapError
from crawlers.spiders.pages import Reading


def key_for(reading: Reading, variable: str, home: str) -> str:
    """The key in a variable of the environment, for the server at `home`. Errors: SourceGapError."""
    source = reading.source
    if not source.allow_private and (urlsplit(source.url).scheme, source.authority) != ("https", urlsplit(home).netloc):
        raise SourceGapError(f"the key in {variable} is sent to {home} only; leave the source's url out")
    key = reading.settings.environment.get(variable, "").strip()
    if not key:
        raise SourceGapError(f"this needs your own key: set {variable} in the environment")
    return key
