"""Erasing and redacting: rows go out of every table of an archive, and a ledger keeps them from coming back.

A private intent stands before anything changes and until all is done; while it does, nobody else writes. Then come the
ledger's entries (`targets.py` finds them), each affected file is replaced by one rename (`clearing.py` says
what stays in it), and each affected sweep gets a manifest of its next generation. Every step finds for itself whether
it is done, so the same command, or `--resume`, goes on after a kill and ends the same.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from crawlers.pseudonyms import Pseudonyms
from pipelines import lease
from pipelines.archive import (
    ERASING,
    FORMAT,
    TABLES,
    Manifest,
    claims_name,
    incoming,
    moment,
    private_incoming,
    reopen_archive,
    replace_accounts_manifest,
    replace_round_manifest,
    replace_run_manifest,
    round_manifests,
    run_ids,
    run_manifests,
    sweep_generations,
    sweep_ids,
    sweep_manifest,
    sweep_manifest_name,
    write_manifest,
)
from pipelines.digests import Digest, file_sha256, part_rows
from pipelines.erasure.clearing import (
    clear_accounts,
    clear_identities,
    clear_posts,
    clear_rejects,
    clear_scores,
    clear_sightings,
    clear_sources,
    going,
    public_source,
    related,
)
from pipelines.erasure.ledger import (
    Ledger,
    done_before,
    ledger_meta,
    ledger_name,
    read_ledger,
    receipt_name,
    write_ledger,
)
from pipelines.erasure.targets import (
    Request,
    Targets,
    Who,
    configured,
    find,
    open_sweeps,
    pieces,
    possible_posts,
    resolve,
)
from pipelines.errors import ArchiveError, Interrupted, LeaseHeldError
from pipelines.keys import key_for
from pipelines.progress import Progress
from pipelines.recheck_rounds import open_rounds
from pipelines.recheck_seal import count_rows, finish_round, told_counts
from pipelines.score_counts import count_scores, near_threshold, no_counts
from pipelines.seal import clear_incoming, finish_sealing, is_sealing
from pipelines.shards import Shard, every_shard
from pipelines.store import PRIVATE_FILE, Store

Row = dict[str, Any]

_LEASE = "erasure"
_META = b"postsweep"
_DECIDES = ["uid", "author", "kind", "repost_of", "created_at", "server_time", "fetched_at"]


@dataclass(frozen=True)
class Intent:
    """What stands while an erasure is under way: whom it is about, in pseudonyms, and nothing that was typed."""

    id: str
    doing: str
    by: str
    at: str
    asked: str
    authors: list[str]
    posts: list[str]
    before: str | None

    @property
    def who(self) -> Who:
        """Whom or what it is about."""
        before = None if self.before is None else datetime.fromisoformat(self.before)
        return Who(tuple(self.authors), tuple(self.posts), before)


@dataclass(frozen=True)
class Outcome:
    """How a request ended: with a receipt, or because it was done before, or with nothing changed."""

    doing: str
    posts: int = 0
    met: int = 0
    sweeps: int = 0
    receipt: str | None = None
    done_before: str | None = None
    declined: bool = False


Confirm = Callable[[Targets], bool]


def foresee(archive: Path, request: Request, progress: Progress) -> Outcome:
    """What a request would take out; changes nothing, takes no lease and leaves no trace. Errors: as `erase`."""
    store, names = _opened(archive)
    with progress.stage("find"):
        who = resolve(store, names, request)
        found = find(store, names, who, request.doing) if who else _NOTHING
    return Outcome(request.doing, found.posts, found.met, len(found.sealed) + len(found.open))


def erase(archive: Path, request: Request, progress: Progress, confirm: Confirm) -> Outcome:
    """Erases or redacts what is asked for, once `confirm` says yes to what was found; goes on where an earlier call
    with the same request was cut off.

    Errors: ArchiveError (no archive, a damaged part, another erasure under way), ConfigError (a name that several
    have), LeaseHeldError when anything of the archive is being written, KeyMismatchError.
    """
    store, names = _opened(archive)
    asked = names.ledger("asked", f"{request.doing} {request.by} {request.value.strip()}").hex()
    with lease.held(store, _LEASE):
        store.clear_scratch()
        standing = _standing(store)
        is_own = standing is None
        if standing is None:
            with progress.stage("resolve"):
                who = resolve(store, names, request)
            if not who:
                return Outcome(request.doing, done_before=_done_before(store, names, request))
            standing = Intent(
                id=secrets.token_hex(4),
                doing=request.doing,
                by="author" if who.authors else "before" if who.before else "post",
                at=moment(datetime.now(UTC).replace(microsecond=0)),
                asked=asked,
                authors=list(who.authors),
                posts=list(who.posts),
                before=None if who.before is None else moment(who.before),
            )
            store.create(ERASING, orjson.dumps(asdict(standing)), private=True)
        elif standing.asked != asked:
            raise ArchiveError(
                f"{archive}: another erasure is under way; finish it with `postsweep erase {archive} --resume`"
            )
        try:
            outcome = _finish(store, names, standing, progress, confirm)
        except (Exception, Interrupted):
            if is_own and not store.exists(ledger_name(standing.id)):  # nothing changed, nothing promised
                _withdraw(store)
            raise
        if not outcome.receipt and not outcome.declined:
            outcome = replace(outcome, done_before=_done_before(store, names, request))
        return outcome


def redact_posts(archive: Path, uids: list[str], progress: Progress) -> Outcome | None:
    """Redacts posts by their uids, those that are not redacted yet; None when none is left to do. Goes on where an
    earlier call with the same posts was cut off. Errors: as `erase`."""
    store, names = _opened(archive)
    with lease.held(store, _LEASE):
        standing = _standing(store)
        whole = names.ledger("asked", f"redact posts {' '.join(sorted(uids))}").hex()
        if standing is None:
            redacted = read_ledger(store, names).redacted
            left = [uid for uid in sorted(uids) if not redacted.holds("post", uid)]
            if not left:
                return None
            store.clear_scratch()
            at = moment(datetime.now(UTC).replace(microsecond=0))
            standing = Intent(secrets.token_hex(4), "redact", "post", at, whole, [], left, None)
            store.create(ERASING, orjson.dumps(asdict(standing)), private=True)
        elif standing.asked != whole:
            raise ArchiveError(
                f"{archive}: another erasure is under way; finish it with `postsweep erase {archive} --resume`"
            )
        return _finish(store, names, standing, progress, lambda _: True)


def resume(archive: Path, progress: Progress, confirm: Confirm) -> Outcome | None:
    """Finishes the erasure that is under way; None when there is none. Errors: as `erase`."""
    store, names = _opened(archive)
    with lease.held(store, _LEASE):
        store.clear_scratch()
        standing = _standing(store)
        return None if standing is None else _finish(store, names, standing, progress, confirm)


_NOTHING = Targets(b"", {}, {}, 0)


def _opened(archive: Path) -> tuple[Store, Pseudonyms]:
    names = key_for(archive)
    return reopen_archive(archive, _LEASE, names.fingerprint), names


def _standing(store: Store) -> Intent | None:
    data = store.read(ERASING)
    return None if data is None else Intent(**orjson.loads(data))


def _done_before(store: Store, names: Pseudonyms, request: Request) -> str | None:
    if request.by == "before":
        return None
    posts = possible_posts(names, request.value) if request.by in ("post", "url") else ()
    return done_before(store, names, request.doing, posts, request.value)


def _finish(store: Store, names: Pseudonyms, intent: Intent, progress: Progress, confirm: Confirm) -> Outcome:
    """Everything after the intent, or what is left of it."""
    receipt = receipt_name(intent.at, intent.id)
    if not store.exists(ledger_name(intent.id)):
        outcome = _begin(store, names, intent, progress, confirm)
        if outcome is not None:
            _withdraw(store)
            return outcome
    else:
        _fence(store)
    ledger = read_ledger(store, names, intent.id)
    meta = ledger_meta(store, ledger_name(intent.id))
    if not store.exists(receipt):
        _rewrite_all(store, ledger, intent, meta, progress)
        write_manifest(store, receipt, _receipt(store, intent, meta))
    _withdraw(store)
    counted = [each["posts"] for each in (*meta["sealed"].values(), *meta["open"].values())]
    return Outcome(intent.doing, sum(counted), meta["met"], sum(map(bool, counted)), receipt)


def _begin(
    store: Store, names: Pseudonyms, intent: Intent, progress: Progress, confirm: Confirm
) -> Outcome | None:
    """Makes sure that nobody else writes and that all is sound, and writes the ledger's entries; an outcome where it
    ends there."""
    _fence(store)
    for sweep in open_sweeps(store):
        if is_sealing(store, sweep):
            finish_sealing(store, sweep)
    for sweep in sweep_ids(store):
        clear_incoming(store, sweep)
    for opened in open_rounds(store):
        if store.exists(opened.draft):
            finish_round(store, opened)
    with progress.stage("find"):
        found = find(store, names, intent.who, "redact" if intent.doing == "redact" else "erase")
    if not found:
        return Outcome(intent.doing)
    if not confirm(found):
        return Outcome(intent.doing, found.posts, found.met, declined=True)
    manifests = [manifest for sweep in sweep_ids(store) if (manifest := sweep_manifest(store, sweep)) is not None]
    parts = [part for manifest in manifests for table in TABLES for part in manifest["parts"][table]]
    parts += [part for each in (*run_manifests(store), *round_manifests(store)) for part in each["parts"]]
    with progress.stage("check", total=len(parts)) as stage:
        for part in parts:
            _check_sound(store, part)
            stage.advance(1)
    meta = {
        "format": FORMAT,
        "id": intent.id,
        "doing": intent.doing,
        "by": intent.by,
        "at": intent.at,
        "before": intent.before,
        "met": found.met,
        "sealed": {
            manifest["sweep"]: {
                "generation": manifest["generation"],
                "posts": found.sealed.get(manifest["sweep"], 0),
            }
            for manifest in manifests
        },
        "open": {sweep: {"posts": posts} for sweep, posts in found.open.items()},
    }
    write_ledger(store, intent.id, found.hashes, meta)
    return None


def _fence(store: Store) -> None:
    """Lets nobody who writes to the archive go on. Errors: LeaseHeldError when somebody does."""
    for name in lease.names(store):
        if name != _LEASE:
            try:
                lease.fence(store, name)
            except LeaseHeldError as error:
                raise LeaseHeldError(f"{error}, then run the same command again") from None


def _withdraw(store: Store) -> None:
    store.remove(ERASING)
    with suppress(OSError):
        store.path(ERASING).parent.rmdir()


def _check_sound(store: Store, part: Row) -> None:
    """A part that was damaged before must not come out of it with a manifest that calls it sound."""
    path = store.path(part["path"])
    if not path.is_file() or file_sha256(path) != part["sha256"]:
        raise ArchiveError(f"{path}: not as it was committed; restore it first (`postsweep verify` tells more)")


def _rewrite_all(store: Store, ledger: Ledger, intent: Intent, meta: Manifest, progress: Progress) -> None:
    """Everything between the ledger and the receipt."""
    opened, runs = open_sweeps(store), run_manifests(store)
    with progress.stage(intent.doing, total=len(meta["sealed"]) + len(opened)) as stage:
        for sweep, before in meta["sealed"].items():
            manifest = sweep_manifest(store, sweep)
            if manifest is None:
                raise ArchiveError(f"{store.path(sweep_manifest_name(sweep))}: missing; restore it from a backup")
            if manifest["generation"] == before["generation"]:
                manifest = _rewrite_sweep(store, manifest, ledger, intent, before["posts"])
            if manifest["generation"] > before["generation"]:
                # What was told of the accounts is of the rows before; it is made anew out of those that stay.
                replace_accounts_manifest(store, sweep, None)
                store.remove(claims_name(sweep))
                for run in runs:
                    if run["sweep"] == sweep and run["generation"] < manifest["generation"]:
                        replace_run_manifest(store, _rewrite_run(store, manifest, run, ledger, intent))
                for generation, name in sweep_generations(store, sweep).items():
                    if generation < manifest["generation"]:
                        store.remove(name)
            stage.advance(1)
        for told in round_manifests(store):
            _rewrite_round(store, told, ledger, intent)
        for sweep in opened:
            _rewrite_open(store, sweep, ledger)
            stage.advance(1)
    _rewrite_configs(store, ledger)
    _clear_caches(store)


def _clear_caches(store: Store) -> None:
    """Any of them may hold what goes: remembered documents, what unfinished runs scored, what unfinished rounds found,
    what killed processes left."""
    finished = {f"scores/run={run}" for run in run_ids(store)}
    open_work = ("incoming/run=*", "incoming/round=*", "identities/incoming/round=*", "scores/run=*")
    for name in ("identities/feeds", *(name for each in open_work for name in store.matching(each))):
        if name not in finished:
            store.remove(name)
    for top in ("tmp", "identities/tmp"):
        for name in store.matching(f"{top}/*"):
            if Path(name).name != _LEASE:
                store.remove(name)


def _rewrite_sweep(store: Store, manifest: Manifest, ledger: Ledger, intent: Intent, posts: int) -> Manifest:
    """Rewrites a sealed sweep's parts and gives it a manifest of the next generation, if anything of it is affected.

    Posts come last: as long as they stand they say which identities and accounts lead to what goes.
    """
    parts = manifest["parts"]
    for part in parts["identities"]:
        near = _near(store, f"posts/{part['path'].removeprefix('identities/')}", ledger)
        _rewrite(store, part["path"], partial(clear_identities, ledger=ledger, near=near), private=True)
    if parts["accounts"]:
        accounts, whose = ([part["path"] for part in parts[table]] for table in ("accounts", "posts"))
        gone = _gone(store, accounts, whose, ledger)
        for part in parts["accounts"]:
            _rewrite(store, part["path"], partial(clear_accounts, ledger=ledger, gone=gone), private=True)
    for part in parts["rejects"]:
        _rewrite(store, part["path"], partial(clear_rejects, ledger=ledger))
    for part in parts["posts"]:
        _rewrite(store, part["path"], partial(clear_posts, ledger=ledger))
    whole = Digest()
    now = {
        table: [_described(store, part, whole if table == "posts" else None) for part in parts[table]]
        for table in TABLES
    }
    cleared = clear_sources(manifest, ledger)
    if now == parts and cleared == manifest:
        return manifest
    rows = {table: sum(part["rows"] for part in now[table]) for table in TABLES}
    platforms: dict[str, int] = {}
    for part in now["posts"]:
        platforms[part["platform"]] = platforms.get(part["platform"], 0) + part["rows"]
    told = {
        "id": intent.id,
        "doing": intent.doing,
        "at": intent.at,
        "generation": manifest["generation"] + 1,
        "posts": posts,
        "rows": {table: sum(part["rows"] for part in parts[table]) - rows[table] for table in TABLES},
        "digest_before": manifest["digest"],
        "postsweep": metadata.version("postsweep"),
    }
    following = {
        **cleared,
        "format": FORMAT,
        "generation": manifest["generation"] + 1,
        "counts": {
            **manifest["counts"],
            "posts": rows["posts"],
            "rejects": rows["rejects"],
            "platforms": platforms,
        },
        "parts": now,
        "digest": whole.hex,
        "erasures": [*manifest.get("erasures", []), told],
    }
    write_manifest(store, sweep_manifest_name(manifest["sweep"], following["generation"]), following)
    return following


def _near(store: Store, posts: str, ledger: Ledger) -> set[str]:
    return {uid for table in pieces(store, posts) for uid in related(table, ledger)}


def _gone(store: Store, accounts: Iterable[str], posts: Iterable[str], ledger: Ledger) -> set[str]:
    """Authors in the accounts of whom no post stays where any goes, whatever pseudonym each server's view gave them."""
    lost, left = False, set[str]()
    for name in accounts:
        for table in pieces(store, name, ["author"]):
            left.update(table["author"].to_pylist())
    for name in posts if ledger.erased else ():
        for table in pieces(store, name, _DECIDES):
            goes = going(table, ledger.erased)
            lost = lost or any(goes)
            stays = pa.array([not each for each in goes], pa.bool_())
            left.difference_update(table["author"].filter(stays).to_pylist())
    return left if lost else set()


def _described(store: Store, part: Row, whole: Digest | None) -> Row:
    """A part's entry in a manifest as it is now; what did not change is not read again but for the whole's digest."""
    path = store.path(part["path"])
    sha256 = file_sha256(path)
    if sha256 == part["sha256"] and whole is None:
        return part
    digest = Digest(whole)
    for row in part_rows(path):
        digest.add(row)
    return {**part, "rows": digest.rows, "bytes": path.stat().st_size, "sha256": sha256, "digest": digest.hex}


def _rewrite_run(store: Store, sweep: Manifest, run: Manifest, ledger: Ledger, intent: Intent) -> Manifest:
    """Rewrites the scores of a run and brings its manifest to the generation of its sweep."""
    digests = {part["path"]: part["digest"] for part in sweep["parts"]["posts"]}
    whole = Digest()
    parts = []
    labels = [label["name"] for label in run["labels"]]
    total = no_counts(labels)
    for part in run["parts"]:
        posts_digest = digests[part["posts_path"]]
        counts = no_counts(labels)
        for table in pieces(store, part["path"]):
            left = clear_scores(table, ledger)
            for into in (counts, total):
                count_scores(into, left, labels)
        _rewrite(
            store,
            part["path"],
            partial(clear_scores, ledger=ledger),
            describe=partial(_scores_of, posts_digest, counts),
        )
        parts.append({**_described(store, part, whole), "posts_digest": posts_digest})
    near = near_threshold([store.path(part["path"]) for part in parts], run["labels"], run["tolerance"])
    told = {
        "id": intent.id,
        "at": intent.at,
        "rows": run["counts"]["posts"] - total["posts"],
        "digest_before": run["digest"],
    }
    return {
        **run,
        "format": FORMAT,
        "generation": sweep["generation"],
        "counts": total,
        "near_threshold": None if run["near_threshold"] is None else near,
        "parts": parts,
        "digest": whole.hex,
        "erasures": [*run.get("erasures", []), told],
    }


def _scores_of(posts_digest: str, counts: Row, noted: Row, rows: int) -> Row:
    """What a scores file says of itself: made for which version of its posts part, and its counts."""
    return {**noted, "posts_digest": posts_digest, "counts": counts}


def _rewrite_round(store: Store, told: Manifest, ledger: Ledger, intent: Intent) -> None:
    """Rewrites the sightings of a round, and its manifest where that changed anything."""
    platforms: dict[str, Counter[str]] = {}
    for part in told["parts"]:
        _rewrite(store, part["path"], partial(clear_sightings, ledger=ledger))
        for table in pieces(store, part["path"]):
            count_rows(platforms.setdefault(part["platform"], Counter()), table)
    whole = Digest()
    parts = [_described(store, part, whole) for part in told["parts"]]
    sources = [{**gap, "source": public_source(gap["source"], ledger.erased)} for gap in told["gaps"]]
    if parts == told["parts"] and sources == told["gaps"]:
        return
    counts = told_counts(platforms)
    erasure = {
        "id": intent.id,
        "at": intent.at,
        "rows": told["counts"]["posts"] - counts["posts"],
        "digest_before": told["digest"],
    }
    changed = {"counts": counts, "gaps": sources, "parts": parts, "digest": whole.hex, "format": FORMAT}
    replace_round_manifest(store, {**told, **changed, "erasures": [*told.get("erasures", []), erasure]})


def _rewrite_open(store: Store, sweep: str, ledger: Ledger) -> None:
    """Rewrites the page shards of an open sweep and what goes with them; where they stand in their source stays."""
    for folder in (incoming(sweep), private_incoming(sweep)):
        for left in store.matching(f"{folder}/_sealing.*"):
            store.remove(left)
    kept: set[str] = set()
    for shard in every_shard(store, sweep):
        if ledger.erased.holds("source", shard.meta["source"].rpartition(":")[2]):
            store.remove(shard.name)
        else:
            _rewrite_shard(store, sweep, shard, ledger)
            kept |= {shard.beside(sweep, table) for table in ("identities", "accounts", "rejects")}
    for folder in (f"{incoming(sweep)}/_rejects", private_incoming(sweep)):
        for name in store.names(folder, ".parquet"):
            if name not in kept:  # of a writer that no shard names, or of a source that goes
                store.remove(name)
    name = f"{incoming(sweep)}/_open.json"
    if (noted := store.read(name)) is not None:
        begun = orjson.loads(noted)
        sources = [s for s in begun["sources"] if not ledger.erased.holds("source", s.rpartition(":")[2])]
        if sources != begun["sources"]:
            store.put(name, orjson.dumps({**begun, "sources": sources}))


def _rewrite_shard(store: Store, sweep: str, shard: Shard, ledger: Ledger) -> None:
    """The shard itself comes last, for the same reason as in a sealed sweep."""
    near = _near(store, shard.name, ledger)
    clear = partial(clear_identities, ledger=ledger, near=near)
    _rewrite(store, shard.beside(sweep, "identities"), clear, private=True)
    accounts, rejects = (shard.beside(sweep, table) for table in ("accounts", "rejects"))
    if store.exists(accounts):
        gone = _gone(store, [accounts], [shard.name], ledger)
        _rewrite(store, accounts, partial(clear_accounts, ledger=ledger, gone=gone), private=True)
    if store.exists(rejects):
        _rewrite(store, rejects, partial(clear_rejects, ledger=ledger))
    _rewrite(
        store, shard.name, partial(clear_posts, ledger=ledger), describe=lambda old, rows: {**old, "posts": rows}
    )


def _rewrite_configs(store: Store, ledger: Ledger) -> None:
    """Sweep files that the archive keeps name an erased account's source no more."""
    gone: dict[str, list[int]] = {}
    for name, place, source in configured(store):
        if ledger.erased.holds("source", ledger.erased.names.source_hash(source)):
            gone.setdefault(name, []).append(place)
    for name, places in gone.items():
        config = orjson.loads(store.read(name) or b"{}")
        config["source"] = [part for place, part in enumerate(config["source"]) if place not in places]
        store.put(name, orjson.dumps(config), private=True)


def _rewrite(
    store: Store,
    name: str,
    clear: Callable[[pa.Table], pa.Table],
    *,
    private: bool = False,
    describe: Callable[[Row, int], Row] | None = None,
) -> None:
    """Puts a file in its own place with what `clear` leaves of its row groups, unless that changes nothing. `describe`
    makes what the file says of itself anew, out of that and the number of rows that stay."""
    with pq.ParquetFile(store.path(name)) as file:
        changed, rows = False, 0
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            left = clear(table)
            changed, rows = changed or left is not table, rows + left.num_rows
        schema = file.schema_arrow
        noted = {key: value for key, value in (file.metadata.metadata or {}).items() if key != b"ARROW:schema"}
        if describe is not None and _META in noted:
            told = orjson.dumps(describe(orjson.loads(noted[_META]), rows))
            changed, noted = changed or orjson.loads(told) != orjson.loads(noted[_META]), {**noted, _META: told}
        if not changed:
            return
        schema = schema.with_metadata(noted or None)
        with store.writing(name, private=private) as path:
            with pq.ParquetWriter(path, schema, compression="zstd") as writer:
                for group in range(file.num_row_groups):
                    left = clear(file.read_row_group(group))
                    if left.num_rows:
                        writer.write_table(left.replace_schema_metadata(schema.metadata))
            if private:
                path.chmod(PRIVATE_FILE)


def _receipt(store: Store, intent: Intent, meta: Manifest) -> Manifest:
    """What was done, to be kept and shown: numbers and digests, of nobody."""
    sweeps = []
    for sweep, before in meta["sealed"].items():
        manifest = sweep_manifest(store, sweep)
        if manifest is None or manifest["generation"] == before["generation"]:
            continue
        told = manifest["erasures"][-1]
        sweeps.append(
            {
                "sweep": sweep,
                "generation_before": before["generation"],
                "generation": manifest["generation"],
                "digest_before": told["digest_before"],
                "digest": manifest["digest"],
                "posts": told["posts"],
                "rows": told["rows"],
            }
        )
    runs = [
        {"run": run["run"], "sweep": run["sweep"], "digest": run["digest"], **told}
        for run in run_manifests(store)
        for told in run.get("erasures", [])
        if told["id"] == intent.id
    ]
    return {
        "format": FORMAT,
        "id": intent.id,
        "doing": intent.doing,
        "by": intent.by,
        "before": intent.before,
        "at": intent.at,
        "posts": sum(each["posts"] for each in (*meta["sealed"].values(), *meta["open"].values())),
        "sweeps": sweeps,
        "open_sweeps": meta["open"],
        "runs": runs,
        "ledger": {"path": ledger_name(intent.id), "sha256": file_sha256(store.path(ledger_name(intent.id)))},
        "postsweep": metadata.version("postsweep"),
    }
