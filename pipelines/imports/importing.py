"""The import: files of captures become the sources of one sealed sweep.

A file is a source for each platform that it has, named by the hash of its bytes; a page is a thousand records, its
cursor the number of the first one. So the same command goes on where it was stopped, and a file that changed is another
source.
"""

import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crawlers.platforms.optouts import OPTED_OUT, opted_out
from crawlers.post import ParseError, Post
from crawlers.pseudonyms import Pseudonyms
from crawlers.sink import Gap, Page, Position, Reject, Traffic
from crawlers.source import Source, Window
from pipelines.archive import incoming, moment, open_archive, refuse_erasing, sweep_manifest
from pipelines.digests import file_sha256
from pipelines.errors import ArchiveError, ConfigError, Exit, SealedError
from pipelines.imports.columns import load_map, table
from pipelines.imports.kinds import Capture, ImportKind
from pipelines.imports.readers import Broken, CutError
from pipelines.imports.registry import KINDS
from pipelines.keys import load_key
from pipelines.lease import held
from pipelines.progress import Progress, Stage
from pipelines.seal import SealSettings, clear_incoming, is_sealing, seal
from pipelines.shards import Shard, ShardSink, SinkSettings, shards_of
from pipelines.store import Store

PAGE_RECORDS = 1000


@dataclass(frozen=True)
class ImportRequest:
    """What a command line asks for."""

    kind: ImportKind
    files: tuple[Path, ...]
    archive: Path
    sweep: str
    window: Window | None = None
    platform: str | None = None
    fetched_at: datetime | None = None
    keep_raw: bool = False
    keep_accounts: bool = False
    part_rows: int = 50_000
    map_sha256: str | None = None


@dataclass(frozen=True)
class Imported:
    """What came of an import: counts as the manifest has them, and how the command ends (4 without a post)."""

    counts: dict[str, Any]
    exit: Exit


@dataclass(frozen=True)
class _File:
    """One file as the sources that it gives."""

    path: Path
    size: int
    changed_ns: int
    sha256: str
    sources: tuple[Source, ...]


def kind_of(name: str, columns: Path | None) -> ImportKind:
    """The kind of that name; `table` needs a map file. Errors: ConfigError."""
    if name == "table":
        if columns is None:
            raise ConfigError("table: name a column map with --map; docs/imports.md shows one")
        return table(load_map(columns))
    if columns is not None:
        raise ConfigError(f"--map goes with table, not with {name}")
    if name not in KINDS:
        raise ConfigError(f"{name}: no kind of import; known are {', '.join(['table', *sorted(KINDS)])}")
    return KINDS[name]


def import_files(request: ImportRequest, progress: Progress) -> Imported:
    """Imports and seals, or goes on where an earlier call was cut off.

    Errors: ConfigError (a file that is none of the kind), SealedError, ArchiveError, LeaseHeldError, KeyMismatchError.
    """
    names = load_key()
    files = _files(request, progress)
    store = open_archive(request.archive, f"sweep-{request.sweep}", names.fingerprint)
    _refuse_sealed(store, request)
    with held(store, f"sweep-{request.sweep}") as lease:
        refuse_erasing(store)
        _refuse_sealed(store, request)
        store.clear_scratch()
        _open(store, request, files, names)
        settings = SinkSettings(
            store=store,
            sweep=request.sweep,
            lease=lease,
            names=names,
            keep_raw=request.keep_raw,
            keep_accounts=request.keep_accounts,
        )
        if not is_sealing(store, request.sweep):
            with progress.stage("import") as stage:
                totals = [0, 0]
                for file in files:
                    for source in file.sources:
                        _import(file, source, request, settings, stage, totals)
        with progress.stage("seal"):
            manifest = seal(store, lease, _seal_settings(store, request, files, names))
    if any(source["gaps"] for source in manifest["sources"]):
        return Imported(manifest["counts"], Exit.GAPS)
    return Imported(manifest["counts"], Exit.DONE if manifest["counts"]["posts"] else Exit.WARNINGS)


def _refuse_sealed(store: Store, request: ImportRequest) -> None:
    sealed = sweep_manifest(store, request.sweep)
    if sealed is not None:
        if store.exists(incoming(request.sweep)):
            with held(store, f"sweep-{request.sweep}"):
                clear_incoming(store, request.sweep)
        raise SealedError(
            f"{request.archive}: sweep {request.sweep} was sealed at {sealed['sealed_at']} and cannot change; "
            "choose another id with --sweep"
        )


def _files(request: ImportRequest, progress: Progress) -> tuple[_File, ...]:
    """The files, each once, with their hashes and platforms. Errors: ConfigError."""
    found: dict[str, _File] = {}
    with progress.stage("files", total=len(request.files)) as stage:
        for path in request.files:
            if request.kind.read(path.name.lower()) is None:
                raise ConfigError(f"{path}: no file of {request.kind.name}, by its name's ending")
            try:
                told = path.stat()
                if not stat.S_ISREG(told.st_mode):
                    raise ConfigError(f"{path}: no file; name files")
                sha256 = file_sha256(path)
            except OSError as error:
                raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
            _check(request.kind, path)
            sources = tuple(_source(request.kind, platform, sha256) for platform in _platforms(request, path))
            if not sources:
                known = ", ".join(request.kind.platforms)
                raise ConfigError(f"{path}: no record of a platform that {request.kind.name} knows ({known})")
            found.setdefault(sha256, _File(path, told.st_size, told.st_mtime_ns, sha256, sources))
            stage.advance(1)
    return tuple(found.values())


def _check(kind: ImportKind, path: Path) -> None:
    """Looks at a file's first record, before anything is noted. Errors: ConfigError for what is no such file."""
    reader = kind.read(path.name.lower())
    with suppress(CutError):
        next(iter(reader(path, 0) if reader else ()), None)
        if kind.check is not None:
            kind.check(path)


def _source(kind: ImportKind, platform: str, sha256: str) -> Source:
    return Source(platform, f"import://{kind.name}", "import", sha256[:32])


def _platforms(request: ImportRequest, path: Path) -> list[str]:
    """The platforms that a file has: all of its records tell where one file can have several."""
    kind = request.kind
    if request.platform is not None:
        if request.platform not in kind.platforms:
            raise ConfigError(f"--platform {request.platform}: {kind.name} knows {', '.join(kind.platforms)}")
        return [request.platform]
    if kind.platform_of is None:
        return list(kind.platforms)
    reader = kind.read(path.name.lower())
    found: set[str] = set()
    try:
        for record in reader(path, 0) if reader else ():
            platform = None if isinstance(record, Broken) else kind.platform_of(record)
            if platform in kind.platforms:
                found.add(platform)
    except CutError as error:
        if not found:
            raise ConfigError(f"{path}: {error}; no record of it can be read") from None
    return sorted(found)


def _open(store: Store, request: ImportRequest, files: tuple[_File, ...], names: Pseudonyms) -> None:
    """Notes what is imported; a later call must ask for the same."""
    public = _public(request, files, names)
    name = f"{incoming(request.sweep)}/_open.json"
    if not store.create(name, orjson.dumps(public)) and orjson.loads(store.read(name) or b"{}") != public:
        raise ArchiveError(
            f"{request.archive}: sweep {request.sweep} was begun with other files or options; "
            "give the same command, or choose another id with --sweep"
        )
    private = {"sweep": {"id": request.sweep}, "source": []}
    store.put(f"identities/sweeps/{request.sweep}.json", orjson.dumps(private), private=True)


def _public(request: ImportRequest, files: tuple[_File, ...], names: Pseudonyms) -> dict[str, Any]:
    """The configuration as manifests show it: no file's name, as it may name an account."""
    window = request.window
    return {
        "sweep": {
            "id": request.sweep,
            "keep_raw": request.keep_raw,
            "keep_accounts": request.keep_accounts,
            "part_rows": request.part_rows,
        },
        "source": [
            {"source": names.source(source), "allow_private": False} for file in files for source in file.sources
        ],
        "import": {
            "kind": request.kind.name,
            "files": [{"sha256": file.sha256, "bytes": file.size} for file in files],
            "window": None if window is None else [moment(window.since), moment(window.until)],
            "fetched_at": None if request.fetched_at is None else moment(request.fetched_at),
            "map_sha256": request.map_sha256,
        },
    }


def _seal_settings(store: Store, request: ImportRequest, files: tuple[_File, ...], names: Pseudonyms) -> SealSettings:
    return SealSettings(
        sweep=request.sweep,
        window=_window(store, request),
        config=_public(request, files, names),
        sources=[names.source(source) for file in files for source in file.sources],
        fingerprint=names.fingerprint,
        part_rows=request.part_rows,
    )


def _window(store: Store, request: ImportRequest) -> dict[str, str]:
    """The window that was asked for, else the span of the posts. Errors: ArchiveError where there is none."""
    if request.window is not None:
        return {"since": moment(request.window.since), "until": moment(request.window.until)}
    spanned = _spanned(store, shards_of(store, request.sweep))
    if spanned is None:
        now = moment(datetime.now(UTC))
        return {"since": now, "until": now}
    return {"since": moment(spanned[0]), "until": moment(_after(spanned[1]))}


def _spanned(store: Store, shards: list[Shard]) -> tuple[datetime, datetime] | None:
    """When the first and the last post of some shards were written."""
    spans = []
    for shard in shards:
        column = pq.read_table(store.path(shard.name), columns=["created_at"], partitioning=None).column(0)
        span = pc.min_max(column).as_py()
        if span["min"] is not None:
            spans.append((span["min"], span["max"]))
    return (min(first for first, _ in spans), max(last for _, last in spans)) if spans else None


def _after(last: datetime) -> datetime:
    return last if last.year > 9998 else last.replace(microsecond=0) + timedelta(seconds=1)


def _import(  # noqa: PLR0917 - a file, as what, to where, and who is told
    file: _File, source: Source, request: ImportRequest, settings: SinkSettings, stage: Stage, totals: list[int]
) -> None:
    """Imports one file's records of one platform. A file that breaks off leaves a gap: nobody knows what followed."""
    sink = ShardSink(settings, source)
    start = sink.position()
    if start is None:
        return
    fetched_at = request.fetched_at or datetime.fromtimestamp(file.path.stat().st_mtime, UTC)
    earlier = shards_of(settings.store, request.sweep, settings.names.file_hash(source)) if start.page else []
    spanned = _spanned(settings.store, earlier)
    pages = _Pages(request, source.platform, Capture(fetched_at, file.path.name.partition(".")[0]), spanned)
    reader = request.kind.read(file.path.name.lower())
    gaps = []
    try:
        for page in pages.read(reader(file.path, int(start.cursor or 0)) if reader else iter(()), start):
            sink.page(page)
            totals[0] += len(page.posts)
            totals[1] += len(page.rejects)
            stage.note(f"{totals[0]:,} posts, {totals[1]:,} rejects")
    except CutError as error:
        gaps = [Gap(*pages.span(), str(error))]
    now = file.path.stat()
    if (now.st_size, now.st_mtime_ns) != (file.size, file.changed_ns):
        raise ArchiveError(
            f"{file.path}: changed while it was imported; import it with another --sweep once nothing writes to it"
        )
    sink.finish(gaps, Traffic())


class _Pages:
    """Cuts the records of a file into pages of posts and rejects."""

    def __init__(
        self, request: ImportRequest, platform: str, capture: Capture, spanned: tuple[datetime, datetime] | None
    ) -> None:
        self._request = request
        self._platform = platform
        self._capture = capture
        self._times = spanned

    def read(self, records: Iterator[Any], start: Position) -> Iterator[Page]:
        """Pages of the records from `start` on; a cut file's last page is handed over before its CutError passes."""
        number, first, page, cut = start.page, int(start.cursor or 0), _Page(), None
        while True:
            try:
                record = next(records)
            except StopIteration:
                break
            except CutError as error:
                cut = error
                break
            self._add(page, record)
            if page.records == PAGE_RECORDS:
                yield self._page(number, first, page, more=True)
                number, first, page = number + 1, first + page.records, _Page()
        if page.records or cut is None:
            yield self._page(number, first, page, more=cut is not None)
        if cut is not None:
            raise cut

    def span(self) -> tuple[datetime, datetime]:
        """What may be missing of a file that breaks off: the window; where none was asked for, what its posts span."""
        if self._request.window is not None:
            return self._request.window.since, self._request.window.until
        return self._times or (self._capture.fetched_at, self._capture.fetched_at)

    def _page(self, number: int, first: int, page: "_Page", *, more: bool) -> Page:
        following = str(first + page.records) if more else None
        cursor = str(first) if first else None
        return Page(number, cursor, following, page.posts, page.rejects, self._capture.fetched_at, page.outside)

    def _add(self, page: "_Page", record: Any) -> None:
        """Takes one record: one of another platform is another source's, a broken one a reject."""
        position, page.records = page.records, page.records + 1
        kind = self._request.kind
        if isinstance(record, Broken):
            page.rejects.append(Reject(position, "record", record.reason))
            return
        try:
            if kind.platform_of is not None and kind.platform_of(record) != self._platform:
                page.outside += 1
                return
            parsed = kind.parse(record, self._capture)
        except ParseError as error:
            page.rejects.append(Reject(position, error.place, error.reason))
            return
        except Exception as error:
            # A bug in a parser must not stop an import; what it did not foresee is told, without the record.
            page.rejects.append(Reject(position, "record", f"not foreseen by the parser: {type(error).__name__}"))
            return
        posts, rejects = parsed if isinstance(parsed, tuple) else (parsed if isinstance(parsed, list) else [parsed], [])
        page.rejects += [replace(reject, position=position) for reject in rejects]
        for post in posts:
            self._keep(page, position, post, record)

    def _keep(self, page: "_Page", position: int, post: Post, record: Any) -> None:
        known = [time for time in (post.created_at, post.server_time) if time is not None]
        when, window = min(known, default=None), self._request.window
        if post.id.platform != self._platform:
            page.rejects.append(Reject(position, "platform", "a post of another platform"))
        elif window is not None and when is None:
            page.rejects.append(Reject(position, "created_at", "missing"))
        elif window is not None and when is not None and not window.holds(when):
            page.outside += 1
        elif opted_out(record) or (post.raw is not record and opted_out(post.raw)):
            page.rejects.append(Reject(position, "author", OPTED_OUT))
        else:
            page.posts.append(post)
            if when is not None:
                first, last = self._times or (when, when)
                self._times = min(first, when), max(last, when)


class _Page:
    def __init__(self) -> None:
        self.records = 0
        self.outside = 0
        self.posts: list[Post] = []
        self.rejects: list[Reject] = []
