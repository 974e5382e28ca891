"""Exports of Bluesky repositories (atproto.com/specs/repository): the posts of an account, by ascending key."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from crawlers.platforms.bluesky import PLATFORM, POST, parse_record
from crawlers.platforms.car import Repository
from crawlers.platforms.fields import record
from crawlers.platforms.optouts import opted_out
from crawlers.post import ParseError
from pipelines.errors import ConfigError
from pipelines.imports.kinds import Capture, ImportKind, Parsed, by_ending
from pipelines.imports.readers import Broken, CutError

HOST = "repository"
"""No host showed them: an export tells whose it is, and not where it came from."""
_PROFILE = "app.bsky.actor.profile"


def repository(path: Path, skip: int) -> Iterator[Any]:
    """The records of a repository's posts, each with the DID. Errors: CutError, ConfigError for what is none."""
    try:
        with path.open("rb") as file:
            try:
                whole = Repository(file)
            except ParseError as error:
                raise ConfigError(f"{path}: not a repository's export ({error})") from None
            closed = any(map(opted_out, whole.records(_PROFILE)))
            for item in islice(whole.records(POST), skip, None):
                yield Broken("the author opted out") if closed else {"did": whole.did, "record": item}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except ParseError as error:
        raise CutError(f"the repository cannot be read on ({error})") from None


def _parse(item: Any, capture: Capture) -> Parsed:
    told = record(item, "item")
    return parse_record(told["record"], told["did"], HOST, capture.fetched_at)


CAR = ImportKind(
    name="car",
    about="a Bluesky repository's export (com.atproto.sync.getRepo)",
    platforms=(PLATFORM,),
    read=by_ending(car=repository),
    parse=_parse,
)
