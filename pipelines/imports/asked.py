"""What the command line of an import asks for; apart from other commands, so that nothing that classifies is loaded."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from crawlers.source import Window
from pipelines.config import ID
from pipelines.digests import file_sha256
from pipelines.errors import ConfigError
from pipelines.imports.importing import ImportRequest, kind_of


def import_request(  # noqa: PLR0917 - the command's own options
    kind: str,
    files: Sequence[Path],
    sweep: str,
    archive: Path,
    since: str | None,
    until: str | None,
    columns: Path | None,
    platform: str | None,
    fetched_at: str | None,
    keep_raw: bool,
    keep_accounts: bool,
) -> ImportRequest:
    """What an import's command line asks for. Errors: ConfigError."""
    if not re.fullmatch(ID, sweep):
        raise ConfigError(f"--sweep {sweep}: must begin with a small letter; letters, digits, - and _ may follow")
    if (since is None) != (until is None):
        raise ConfigError("--since and --until go together")
    window = None
    if since is not None and until is not None:
        try:
            window = Window(_moment("--since", since), _moment("--until", until))
        except ValueError as error:
            raise ConfigError(f"--since, --until: {error}") from None
    return ImportRequest(
        kind=kind_of(kind, columns),
        files=tuple(files),
        archive=archive,
        sweep=sweep,
        window=window,
        platform=platform,
        fetched_at=None if fetched_at is None else _moment("--fetched-at", fetched_at),
        keep_raw=keep_raw,
        keep_accounts=keep_accounts,
        map_sha256=None if columns is None else file_sha256(columns),
    )


def _moment(option: str, value: str) -> datetime:
    """A moment of a command line, in UTC where it names no zone. Errors: ConfigError."""
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConfigError(f"{option} {value}: not a moment such as 2026-01-01 or 2026-01-01T00:00:00Z") from None
