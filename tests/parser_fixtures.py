"""Fixtures of parsers: a folder `tests/fixtures/<platform>/<case>/` holds what a platform sends (`input.json`, or
`input.<anything>` for bytes), how it is parsed and when it was fetched (`case.toml`), and what comes out
(`expected.json`).

`python -m tests.parser_fixtures [PLATFORM...]` shows how today's parsers differ from what is written down;
`--record` writes it down.
"""

import argparse
import dataclasses
import difflib
import json
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from crawlers.post import ParseError, Post, PostId

FOLDER = Path(__file__).parent / "fixtures"


@dataclass(frozen=True)
class Case:
    """One fixture. `parser` is the whole name of a function `(payload, *, fetched_at, **arguments)`."""

    folder: Path
    parser: str
    fetched_at: datetime
    arguments: dict[str, Any]

    @property
    def platform(self) -> str:
        return self.folder.parent.name

    @property
    def name(self) -> str:
        return f"{self.platform}/{self.folder.name}"

    @property
    def input(self) -> Path:
        (found,) = self.folder.glob("input.*")
        return found

    def payload(self) -> Any:
        """JSON as it is decoded, anything else as bytes."""
        data = self.input.read_bytes()
        return json.loads(data) if self.input.suffix == ".json" else data

    def parse(self, payload: Any) -> Any:
        """What the parser makes of a payload; a ParseError passes."""
        module, _, function = self.parser.rpartition(".")
        return getattr(import_module(module), function)(payload, fetched_at=self.fetched_at, **self.arguments)

    def found(self) -> str:
        """Today's outcome, as `expected.json` writes it."""
        try:
            outcome = self.parse(self.payload())
        except ParseError as error:
            outcome = error
        return json.dumps(_plain(outcome), ensure_ascii=False, indent=1) + "\n"

    @property
    def expected(self) -> Path:
        return self.folder / "expected.json"


def cases(*platforms: str) -> list[Case]:
    """All fixtures, or those of some platforms, in order of their names."""
    return [
        case for case in map(_case, sorted(FOLDER.glob("*/*/case.toml"))) if not platforms or case.platform in platforms
    ]


def posts_in(outcome: Any) -> Iterator[Post]:
    """The posts of an outcome, be it one, a list, or posts beside rejects."""
    if isinstance(outcome, Post):
        yield outcome
    elif isinstance(outcome, list | tuple):
        for each in outcome:
            yield from posts_in(each)


def _case(path: Path) -> Case:
    told = tomllib.loads(path.read_text(encoding="utf-8"))
    return Case(path.parent, told["parser"], told["fetched_at"], told.get("arguments", {}))


def _plain(value: Any) -> Any:
    """JSON without what is null, without `raw` and `fetched_at`, which the input and the case say."""
    if isinstance(value, ParseError):
        return {"reject": {"place": value.place, "reason": value.reason}}
    if isinstance(value, PostId):
        return value.key if value.alias is None else f"{value.key} ({value.alias})"
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {
            name: _plain(each)
            for name, each in fields.items()
            if each is not None and name not in ("raw", "fetched_at")
        }
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.isoformat() if isinstance(value, datetime) else value


def main() -> int:
    """Shows differences, and with `--record` writes today's outcome down."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("platforms", nargs="*")
    options.add_argument("--record", action="store_true")
    asked = options.parse_args()
    if not cases(*asked.platforms):
        options.error(f"no fixture of {', '.join(asked.platforms)} under tests/fixtures")
    differ = 0
    for case in cases(*asked.platforms):
        before = case.expected.read_text(encoding="utf-8") if case.expected.exists() else ""
        if before == (after := case.found()):
            continue
        differ += 1
        lines = (text.splitlines(keepends=True) for text in (before, after))
        sys.stdout.writelines(difflib.unified_diff(*lines, f"{case.name} as written", f"{case.name} today"))
        if asked.record:
            case.expected.write_text(after, encoding="utf-8")
    sys.stdout.write(
        f"{differ} of {len(cases(*asked.platforms))} fixtures {'recorded' if asked.record else 'differ'}\n"
    )
    return int(bool(differ) and not asked.record)


if __name__ == "__main__":
    sys.exit(main())
