"""Keys of the operator's own, out of the environment: who asks for one without it is told its name, and none leaves for
another server than the one that it is for.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from crawlers.fetching import SourceGapError
from crawlers.source import Source


def keys_for(
    source: Source, environment: Mapping[str, str], variables: tuple[str, ...], *homes: str, instead: str = ""
) -> tuple[str, ...]:
    """The keys in variables of the environment, for a server at one of `homes` (https; without any, wherever the source
    is read over https). `instead` says what serves whoever has none.

    Errors: SourceGapError.
    """
    named, end = " and ".join(variables), instead and f"; {instead}"
    if missing := [variable for variable in variables if not environment.get(variable, "").strip()]:
        raise SourceGapError(f"this needs your own key: set {' and '.join(missing)} in the environment{end}")
    keys = tuple(environment[variable].strip() for variable in variables)
    for variable, key in zip(variables, keys, strict=True):
        if not key.isascii() or not key.isprintable():
            raise SourceGapError(f"{variable} is no key: it holds other than printable ASCII characters")
    secure = urlsplit(source.url).scheme == "https"
    at_home = not homes or any(source.authority == urlsplit(home).netloc for home in homes)
    if not source.allow_private and not (secure and at_home):
        told = f"to {homes[0]} only: leave the source's url out" if homes else "over https only: name such a url"
        raise SourceGapError(f"what {named} holds is sent {told}")
    return keys
