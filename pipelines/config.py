"""The sweep file: read once, validated whole, every mistake told with its key and its line."""

import difflib
import json
import re
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from classify.spec import ModelSpec, hub_id, located
from crawlers.catalogue import LIVE
from crawlers.catalogue.about import SourceKind
from crawlers.pseudonyms import Pseudonyms
from crawlers.safety import literal_is_private
from crawlers.source import Source, Window, authority_of
from pipelines.errors import ConfigError


def _dated(value: object) -> object:
    if not isinstance(value, datetime):
        raise ValueError("not a date with time and zone, written without quotes, such as 2026-01-01T00:00:00Z")
    if not 1990 <= value.year < 9000:
        raise ValueError("the year is out of the range that posts can have")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_dated)]


MOST_ID = 64
ID = r"^[a-z][A-Za-z0-9_-]{0,63}$"
_COLUMN = r"^[A-Za-z][A-Za-z0-9_]{0,63}$"
_NAME = r"^[A-Za-z][A-Za-z0-9._-]{0,63}$"
_DEVICE = r"^(cpu|cuda(:\d{1,3})?)$"
_PATTERNS = {
    ID: "must begin with a small letter; letters, digits, - and _ may follow, 64 in all",
    _COLUMN: "must begin with a letter; letters, digits and _ may follow, 64 in all",
    _NAME: "must begin with a letter; letters, digits, '.', - and _ may follow, 64 in all",
    _DEVICE: "use cpu, cuda or cuda:<number>",
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SweepPart(_Part):
    """`[sweep]`."""

    id: str = Field(pattern=ID)
    since: Moment
    until: Moment
    archive: str = Field(min_length=1)
    contact: str
    keep_raw: StrictBool = False
    keep_accounts: StrictBool = False
    part_rows: StrictInt = Field(default=50_000, ge=1, le=10_000_000)
    delay_seconds: float = Field(default=1.0, ge=0, le=3600, strict=True)
    retries: StrictInt = Field(default=6, ge=0, le=20)
    fills: str | None = Field(default=None, pattern=ID)

    @field_validator("archive")
    @classmethod
    def _a_folder(cls, value: str) -> str:
        if "://" in value:
            raise ValueError("object stores are not supported yet; name a folder")
        if "\0" in value:
            raise ValueError("not a path")
        return value

    @field_validator("contact")
    @classmethod
    def _reachable(cls, value: str) -> str:
        if not re.fullmatch(r"mailto:[^\s@<>]+@[^\s@<>]+|https://[^\s<>]+", value):
            raise ValueError("must be how a server's operator reaches you: mailto:... or https://...")
        return value

    @field_validator("until")
    @classmethod
    def _forward(cls, value: datetime, info: ValidationInfo) -> datetime:
        if "since" in info.data and info.data["since"] >= value:
            raise ValueError("the window is empty or backwards: since must be before until")
        return value


class ClusterPart(_Part):
    """`[cluster]`."""

    kind: Literal["local", "cuda", "address"] = "local"
    workers: StrictInt = Field(default=2, ge=1, le=1024)
    address: str | None = Field(default=None, validate_default=True)

    @field_validator("address")
    @classmethod
    def _addressed(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "kind" in info.data and (info.data["kind"] == "address") != (value is not None):
            raise ValueError('address belongs to kind = "address", and is needed there')
        return value


Threshold = Annotated[float, Field(ge=0, le=1, strict=True)]
Column = Annotated[str, Field(pattern=_COLUMN)]


class ModelPart(_Part):
    """One `[[classify.models]]`; a run with one model has the same keys in `[classify]` itself."""

    model: str = Field(default="default", min_length=1)
    name: str | None = Field(default=None, pattern=_NAME)
    labels: dict[str, Column] | None = Field(default=None, min_length=1)
    thresholds: dict[str, Threshold] = {}
    definitions: dict[str, Annotated[str, Field(min_length=1)]] = {}
    engine: Literal["auto", "onnxruntime", "torch"] = "auto"
    device: str = Field(default="cpu", pattern=_DEVICE)
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    @property
    def spec(self) -> ModelSpec:
        """What `classify` is asked for."""
        return ModelSpec(
            model=self.model,
            name=self.name,
            labels=None if self.labels is None else tuple(self.labels.items()),
            thresholds=tuple(self.thresholds.items()),
            definitions=tuple(self.definitions.items()),
            engine=self.engine,
            device=self.device,
            dtype=self.dtype,
        )


class ClassifyPart(ModelPart):
    """`[classify]`."""

    token_budget: StrictInt = Field(default=512, ge=16, le=1_000_000)
    models: tuple[ModelPart, ...] = ()

    @field_validator("models")
    @classmethod
    def _one_way(cls, value: tuple[ModelPart, ...], info: ValidationInfo) -> tuple[ModelPart, ...]:
        own = set(ModelPart.model_fields)
        if value and any(info.data.get(key) != ModelPart.model_fields[key].default for key in own & set(info.data)):
            raise ValueError("models stand in [[classify.models]] or one in [classify], not both")
        return value

    @property
    def each(self) -> tuple[ModelPart, ...]:
        """The models of a run, one or several."""
        single = ModelPart(**{key: getattr(self, key) for key in ModelPart.model_fields})
        return self.models or (single,)


class SourcePart(_Part):
    """One `[[source]]`."""

    platform: str
    url: str = Field(default="", validate_default=True)
    kind: str = Field(default="", validate_default=True)
    value: str | None = Field(default=None, min_length=1, validate_default=True)
    urls: str | tuple[str, ...] = Field(default=(), validate_default=True)
    allow_private: StrictBool = Field(default=False, validate_default=True)
    since: Moment | None = None
    until: Moment | None = Field(default=None, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _at_home(cls, told: object) -> object:
        """A kind that is read from a server of its own has its address."""
        if not isinstance(told, dict) or told.get("url"):
            return told
        about = LIVE.get(str(told.get("platform")))
        kind = None if about is None else about.kind(str(told.get("kind")))
        return told if kind is None or kind.home is None else {**told, "url": kind.home}

    @field_validator("platform")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in LIVE:
            raise ValueError(f"unknown platform{_guess(value, LIVE)}; known are {', '.join(LIVE)}")
        return value

    @field_validator("url")
    @classmethod
    def _address(cls, value: str, info: ValidationInfo) -> str:
        about = LIVE.get(info.data.get("platform", ""))
        if not value:
            if about is None:
                return value  # the platform is the mistake
            if about.home is None:
                raise ValueError("missing; name the server, as https://host")
            return about.home
        schemes = ("https", "http") if about is None else about.schemes
        try:
            parts = urlsplit(value)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host, parts = None, urlsplit("")
        if parts.scheme not in schemes or not host or re.search(r"[\s<>\"]", value):
            raise ValueError(f"not an address of the form {schemes[0]}://host")
        if parts.username is not None or parts.password is not None:
            raise ValueError("an address carries no name and no password")
        if info.data.get("platform", "feed") != "feed" and (parts.query or parts.fragment or "@" in parts.path):
            raise ValueError("the url is a server's base address, without account, ? and #")
        return value

    @field_validator("kind")
    @classmethod
    def _of_platform(cls, value: str, info: ValidationInfo) -> str:
        if "platform" not in info.data:
            return value
        kinds = [kind.name for kind in LIVE[info.data["platform"]].kinds]
        kind = value or (kinds[0] if len(kinds) == 1 else "")
        if kind not in kinds:
            raise ValueError(f"{value!r} is not one of {info.data['platform']}: {', '.join(kinds)}")
        return kind

    @field_validator("value")
    @classmethod
    def _of_kind(cls, value: str | None, info: ValidationInfo) -> str | None:
        kind = _kind(info)
        if kind is not None and (kind.value is None) != (value is None):
            needs = "takes no value" if kind.value is None else f"needs a value: {kind.value}"
            raise ValueError(f"kind {kind.name} {needs}")
        if kind is not None and value is not None:
            _check_value(kind, value)
        return value

    @field_validator("urls")
    @classmethod
    def _listed(cls, value: str | tuple[str, ...], info: ValidationInfo) -> str | tuple[str, ...]:
        kind = _kind(info)
        if kind is not None and kind.urls != bool(value):
            needs = "needs urls: a file with an address a line, or a list" if kind.urls else "takes no urls"
            raise ValueError(f"kind {kind.name} {needs}")
        return value

    @field_validator("until")
    @classmethod
    def _both(cls, value: datetime | None, info: ValidationInfo) -> datetime | None:
        since = info.data.get("since")
        if (since is None) != (value is None) or (value is not None and since is not None and since >= value):
            raise ValueError("a source's own window needs since and until, since before until")
        return value

    @field_validator("allow_private")
    @classmethod
    def _of_url(cls, value: bool, info: ValidationInfo) -> bool:
        if not value and _private(info.data.get("url", "")):
            raise ValueError("private address not allowed; set allow_private = true if it is meant")
        return value

    @classmethod
    def kept(cls, told: dict[str, Any]) -> "SourcePart":
        """One that the archive kept as JSON, which has no times of its own."""
        times = {key: datetime.fromisoformat(told[key]) for key in ("since", "until") if told.get(key) is not None}
        return cls.model_validate({**told, **times})

    @property
    def source(self) -> Source:
        """What it means."""
        return Source(
            platform=self.platform,
            url=self.url if self.platform == "feed" else self.url.rstrip("/"),
            kind=self.kind,
            value=None if self.value is None else _bare(LIVE[self.platform].kind(self.kind), self.value),
            allow_private=self.allow_private,
            urls=self.urls if isinstance(self.urls, tuple) else (),
            window=Window(self.since.astimezone(UTC), self.until.astimezone(UTC))
            if self.since and self.until
            else None,
        )


class HostPart(SourcePart):
    """One `[[recheck.source]]`: a host to ask. What else the kind reads of it, a recheck does not need."""

    @field_validator("value")
    @classmethod
    def _of_kind(cls, value: str | None, info: ValidationInfo) -> str | None:
        return value

    @field_validator("urls")
    @classmethod
    def _listed(cls, value: str | tuple[str, ...], info: ValidationInfo) -> str | tuple[str, ...]:
        return value


def _kind(info: ValidationInfo) -> SourceKind | None:
    """The kind of a source whose platform and kind are right so far."""
    about = LIVE.get(info.data.get("platform", ""))
    return None if about is None else about.kind(info.data.get("kind", ""))


def wrong_device(kind: str, device: str) -> str | None:
    """What is wrong with a model's device on a kind of cluster: a worker of a `cuda` one has a device of its own, which
    it sees as its first."""
    if kind == "cuda" and device not in ("cpu", "cuda"):
        return f'device {device}: a worker of cluster.kind "cuda" has one device, called "cuda"'
    return None


Keeping = Literal["redact", "keep"]


class RecheckPart(_Part):
    """`[recheck]`. `source`: which host is asked for a platform's posts, where it is not the one that showed them."""

    confirm_after_minutes: float = Field(default=60.0, ge=0, le=60 * 24 * 30, strict=True)
    removed_by_author: Keeping = "redact"
    removed_by_platform: Keeping = "keep"
    probe_holes: int = Field(default=500, ge=0, le=1_000_000, strict=True)
    source: tuple[HostPart, ...] = ()

    @property
    def redacts(self) -> tuple[str, ...]:
        """The states whose posts lose their texts once a round is sealed."""
        of = {
            "removed_by_author": self.removed_by_author,
            "account_gone": self.removed_by_author,
            "removed_by_platform": self.removed_by_platform,
        }
        return tuple(state for state, keeping in of.items() if keeping == "redact")


class SweepConfig(_Part):
    """A validated sweep file. `archive` in it is absolute."""

    sweep: SweepPart
    source: tuple[SourcePart, ...] = ()
    cluster: ClusterPart = ClusterPart()
    classify: ClassifyPart = ClassifyPart()
    recheck: RecheckPart = RecheckPart()

    @model_validator(mode="after")
    def _distinct(self) -> "SweepConfig":
        names = [source.canonical + source.span for source in self.sources]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise ValueError(f"source[{index}] is the same as source[{names.index(name)}]")
        return self

    @model_validator(mode="after")
    def _own_device(self) -> "SweepConfig":
        """No model asks for a device that no worker has."""
        for part in self.classify.each:
            if (wrong := wrong_device(self.cluster.kind, part.device)) is not None:
                raise ValueError(wrong)
        return self

    @property
    def id(self) -> str:
        """The sweep's id."""
        return self.sweep.id

    @property
    def window(self) -> Window:
        """The sweep's window, in UTC."""
        return Window(self.sweep.since.astimezone(UTC), self.sweep.until.astimezone(UTC))

    @property
    def archive(self) -> Path:
        """The archive's folder."""
        return Path(self.sweep.archive)

    @property
    def sources(self) -> tuple[Source, ...]:
        """What is read."""
        return tuple(part.source for part in self.source)

    def public(self, names: Pseudonyms) -> dict[str, Any]:
        """The configuration as manifests show it: accounts by keyed hash, no path of this machine, no address."""
        whole = json.loads(self.model_dump_json())
        del whole["sweep"]["archive"], whole["sweep"]["contact"]
        whole["cluster"].pop("address")
        del whole["recheck"]  # a round's own manifest tells it
        for part in (whole["classify"], *whole["classify"]["models"]):
            part["model"] = part["model"] if hub_id(part["model"]) else Path(part["model"]).name
        whole["source"] = [
            {"source": names.source(source), "allow_private": source.allow_private} for source in self.sources
        ]
        return whole  # type: ignore[no-any-return]

    def private(self) -> dict[str, Any]:
        """The whole configuration, for the restricted part of the archive."""
        return json.loads(self.model_dump_json())  # type: ignore[no-any-return]


def load_sweep(path: Path) -> SweepConfig:
    """Reads and validates a sweep file. Errors: ConfigError with one line per mistake."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); `postsweep init` writes a new one") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    try:
        config = SweepConfig.model_validate(values)
    except ValidationError as error:
        places = _lines(text)
        raise ConfigError("\n".join(_told(path, places, mistake) for mistake in error.errors())) from None
    return _rooted(config, path.resolve().parent)


def place_of(target: Path, sweep: str | None) -> tuple[Path, str]:
    """The archive and the id of a sweep, by its file, or by the archive's folder and its id. Errors: ConfigError."""
    if (place := named_place(target, sweep)) is not None:
        return place
    config = load_sweep(target)
    return config.archive, config.id


def named_place(target: Path, sweep: str | None) -> tuple[Path, str] | None:
    """An archive's folder and a sweep's id as a command names them; None where it names a sweep file instead.

    Errors: ConfigError for the one without the other.
    """
    if target.is_dir():
        if sweep is None:
            raise ConfigError(f"{target}: an archive holds many sweeps; name one with --sweep")
        return target.resolve(), sweep
    if sweep is not None:
        raise ConfigError(f"--sweep goes with an archive's folder; {target} is a file")
    return None


def _rooted(config: SweepConfig, folder: Path) -> SweepConfig:
    """Paths in a sweep file are relative to it; `~` is the user's home."""

    def rooted(name: str) -> str:
        return str((folder / Path(name).expanduser()).resolve())

    sweep = config.sweep.model_copy(update={"archive": rooted(config.sweep.archive)})
    models = tuple(part.model_copy(update={"model": located(part.model, folder)}) for part in config.classify.models)
    changed = {"model": located(config.classify.model, folder), "models": models}
    source = tuple(part.model_copy(update={"urls": _addresses(part, folder)}) for part in config.source)
    classify = config.classify.model_copy(update=changed)
    return config.model_copy(update={"sweep": sweep, "classify": classify, "source": source})


def _addresses(part: SourcePart, folder: Path) -> tuple[str, ...]:
    """The addresses of a source that reads a list of them, each once. Errors: ConfigError."""
    if isinstance(part.urls, tuple):
        told = [(f"source.urls[{index}]", line) for index, line in enumerate(part.urls)]
    else:
        path = folder / Path(part.urls).expanduser()
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: the list of addresses cannot be read ({type(error).__name__})") from None
        told = [(f"{path}:{number}", line) for number, line in enumerate(lines, 1)]
    found = [(place, line.strip()) for place, line in told if line.strip() and not line.lstrip().startswith("#")]
    home = part.source.authority
    for place, line in found:
        if _authority(line) != home:
            raise ConfigError(f"{place}: not an address of {home}, the host of this source")
    if part.urls and not found:
        raise ConfigError(f"{part.urls}: a list without an address")
    return tuple(dict.fromkeys(line for _, line in found))


def _authority(url: str) -> str | None:
    try:
        return authority_of(url) if urlsplit(url).scheme in ("http", "https") else None
    except ValueError:
        return None


def _told(path: Path, places: dict[tuple[str | int, ...], int], mistake: Any) -> str:
    location: tuple[str | int, ...] = mistake["loc"]
    line = next((places[location[:end]] for end in range(len(location), -1, -1) if location[:end] in places), 1)
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
    kind, said = mistake["type"], mistake["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        said = f"unknown key{_guess(str(location[-1]), _keys(location[:-1]))}"
    elif kind == "missing":
        said = "missing"
    elif kind == "string_pattern_mismatch":
        said = _PATTERNS[mistake["ctx"]["pattern"]]
    elif kind == "timezone_aware":
        said = "needs a time zone, such as the Z in 2026-01-01T00:00:00Z"
    return f"{path}:{line}: {key or 'file'}: {said}"


def _keys(location: tuple[str | int, ...]) -> list[str]:
    parts: dict[str, type[_Part]] = {
        "sweep": SweepPart, "cluster": ClusterPart, "classify": ClassifyPart, "source": SourcePart,
        "recheck": RecheckPart,
    }  # fmt: skip
    if location[:2] == ("classify", "models"):
        return list(ModelPart.model_fields)
    if location[:2] == ("recheck", "source"):
        return list(HostPart.model_fields)
    return list((parts[str(location[0])] if location else SweepConfig).model_fields)


def _guess(value: str, known: Any) -> str:
    close = difflib.get_close_matches(value, list(known), n=1)
    return f" {value!r}; did you mean {close[0]!r}?" if close else f" {value!r}"


def _lines(text: str) -> dict[tuple[str | int, ...], int]:
    """The line of each table and key of a sweep file, by its place in the values."""
    places: dict[tuple[str | int, ...], int] = {}
    here: tuple[str | int, ...] = ()
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.match(r"\s*\[\[\s*([\w.-]+)\s*\]\]", line):
            index = counts.get(found[1], 0)
            counts[found[1]] = index + 1
            table = tuple(found[1].split("."))
            here = (*table, index)
            places.setdefault(table, number)
            places[here] = number
        elif found := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            here = tuple(found[1].split("."))
            places.setdefault(here, number)
        elif found := re.match(r"\s*\"?([\w-]+)\"?\s*=", line):
            places.setdefault((*here, found[1]), number)
    return places


def _check_value(kind: SourceKind, value: str) -> None:
    """Raises ValueError for a value that can name nothing: servers answer some of those with an empty timeline."""
    if not value.strip():
        raise ValueError(f"is blank; name {kind.value}")
    if kind.query:
        return
    if "://" in value:
        raise ValueError(f"name {kind.value} alone, not its address")
    if re.search(r"\s", value):
        raise ValueError(f"holds white space; name {kind.value} alone")


def _bare(kind: SourceKind | None, value: str) -> str:
    """A tag without its #, an account without its first @: one name for one source. A query stays as it is."""
    if kind is None or kind.query:
        return value
    return value.removeprefix("#" if kind.name == "tag" else "@")


def _private(url: str) -> bool:
    """Whether a URL's host is written as an address that is not public, or is this machine by name."""
    host = urlsplit(url).hostname or ""
    return host == "localhost" or host.endswith(".localhost") or literal_is_private(url)


def example(today: datetime) -> str:
    """A commented sweep file for yesterday."""
    day, next_day = (moment.astimezone(UTC).date().isoformat() for moment in (today, today + timedelta(days=1)))
    return f"""# A sweep: one snapshot of public posts. Start it with `postsweep run FILE`.

[sweep]
id = "d{day}"                        # begins with a small letter; names the sweep in the archive
since = {day}T00:00:00Z              # the window is half open: since <= time < until
until = {next_day}T00:00:00Z
archive = "archive"                    # a folder, relative to this file
contact = "mailto:you@example.org"     # stands in the user agent: how a server's operator reaches you
# keep_raw = false                     # keep the platforms' own JSON, restricted
# keep_accounts = false                # keep accounts' profiles, restricted
# part_rows = 50000                    # the most posts of a part, the unit of work of a classification
# delay_seconds = 1.0                  # between two requests to a host
# retries = 6                          # of a request that may yet succeed, with growing waits

[cluster]
kind = "local"                         # or "cuda", or "address" with address = "tls://scheduler:8786"
workers = 2

[classify]
model = "default"                      # or a folder, or an id of a hub at a pinned revision: owner/name@<40 hex digits>
# thresholds = {{ rumor = 0.6 }}         # a score at or over it is a flag
# token_budget = 512                   # tokens of a batch
# Several models at once: a [[classify.models]] for each, with model, name, labels = {{ toxic = "abuse" }} (the model's
# label and the column that it becomes), thresholds, definitions, engine, device ("cpu", "cuda") and dtype.

# [recheck]
# confirm_after_minutes = 60           # a removal counts after a second visit, no earlier than this
# removed_by_author = "redact"         # the texts of posts that their authors took away go; or "keep"
# removed_by_platform = "keep"
# probe_holes = 500                    # ids missing in a Telegram channel or a forum that the first round asks for

# Mastodon-API servers: public, local, tag (value), account (value).
[[source]]
platform = "mastodon"
url = "https://mastodon.example"
kind = "public"

# Bluesky: author (value, from an AppView), records (value, from a PDS), search (value, needs an app password in
# POSTSWEEP_BLUESKY_IDENTIFIER and POSTSWEEP_BLUESKY_APP_PASSWORD).
[[source]]
platform = "bluesky"
url = "https://public.api.bsky.app"
kind = "author"
value = "bsky.app"

# Hacker News: all, stories, comments, search (value), author (value) from its search at https://hn.algolia.com; items,
# all of them one by one, from https://hacker-news.firebaseio.com.
[[source]]
platform = "hackernews"
url = "https://hn.algolia.com"
kind = "all"

# Feeds: RSS, Atom, JSON Feed.
[[source]]
platform = "feed"
url = "https://news.example/feed.xml"
"""
