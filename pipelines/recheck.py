"""Rechecking a sweep: its posts are visited again, and a round of sightings is sealed.

First all posts are visited, host by host, as a crawl reads them (`crawl.py`). Those that were found gone are visited a
second time, apart in time, unless the round before found the same. Then the round is sealed (`recheck_seal.py`), and
the texts of what its authors took away are redacted.
"""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import orjson
import pyarrow.parquet as pq
from pydantic import ValidationError

from cluster.open import ClusterSpec, open_cluster
from cluster.tasks import run_tasks, slots
from crawlers.pseudonyms import Pseudonyms
from crawlers.rechecks import RECHECKS
from crawlers.revisit import seen
from crawlers.sighting import unknown
from crawlers.source import Source
from pipelines.archive import (
    Manifest,
    moment,
    read_archive,
    refuse_changed,
    refuse_erasing,
    reopen_archive,
    round_manifest,
    round_numbers,
    sweep_manifest,
)
from pipelines.config import SourcePart, SweepConfig
from pipelines.crawl import deal_hosts, run_process
from pipelines.erasure.erase import Outcome, redact_posts
from pipelines.erasure.ledger import read_ledger
from pipelines.errors import ArchiveError, ConfigError, Exit
from pipelines.keys import key_for
from pipelines.lease import Lease, held
from pipelines.progress import Progress, Stage
from pipelines.recheck_holes import Holes
from pipelines.recheck_rounds import (
    PROBE,
    Plan,
    PlanWriter,
    Round,
    RoundSettings,
    RoundVisits,
    Row,
    finding,
    plans_of,
    second_plans,
    shards_of,
)
from pipelines.recheck_seal import RoundSeal, clear_round, seal_round, sightings_of
from pipelines.store import PRIVATE_FOLDER, Store, disk_errors

NO_HOST = "nothing says which host to ask"
NO_CHECKER = "posts of this platform cannot be visited again"
_NOWHERE = "nowhere"
_STAGES = {1: "visit", 2: "visit again", PROBE: "ask for missing ids"}


@dataclass(frozen=True)
class Rechecked:
    """A sealed round, and what was redacted after it."""

    manifest: Manifest
    redacted: Outcome | None

    @property
    def exit(self) -> Exit:
        """With gaps where a host could not be visited to its end."""
        return Exit.GAPS if self.manifest["gaps"] else Exit.DONE


def config_for(archive: Path, sweep: str, contact: str | None, confirm_after: float | None) -> SweepConfig:
    """What a sweep file would say of a sealed sweep that has none, as an import. Errors: ConfigError, ArchiveError."""
    if contact is None:
        raise ConfigError("name --contact, how a server's operator reaches you: mailto:... or https://...")
    sealed = sweep_manifest(read_archive(archive), sweep)
    if sealed is None:
        raise ArchiveError(f"{archive}: no sealed sweep {sweep}")
    minutes = {} if confirm_after is None else {"confirm_after_minutes": confirm_after}
    window = {key: datetime.fromisoformat(sealed["window"][key]) for key in ("since", "until")}
    part = {"id": sweep, **window, "archive": str(archive), "contact": contact}
    try:
        return SweepConfig.model_validate({"sweep": part, "recheck": minutes})
    except ValidationError as error:
        (first, *_) = error.errors()
        option = "--confirm-after" if first["loc"][0] == "recheck" else "--contact"
        raise ConfigError(f"{option}: {first['msg'].removeprefix('Value error, ')}") from None


def recheck_sweep(config: SweepConfig, number: int | None, progress: Progress) -> Rechecked:
    """Visits the posts of a sealed sweep again, or goes on where an earlier call was cut off. Of a round that is sealed
    already nothing is visited.

    `number` is the round's, by default the one that is open, or the next. Errors: ArchiveError (no archive, a sweep
    that is not sealed, an erasure under way), ConfigError (a round before the one ahead of it), LeaseHeldError,
    KeyMismatchError, ClusterError.
    """
    names = key_for(config.archive)
    lease_name = f"recheck-{config.id}"
    store = reopen_archive(config.archive, lease_name, names.fingerprint)
    with held(store, lease_name) as lease:
        refuse_erasing(store)
        sweep = sweep_manifest(store, config.id)
        if sweep is None:
            raise ArchiveError(f"{config.archive}: sweep {config.id} is not sealed; `postsweep crawl` comes first")
        of = Round(config.id, _number(store, config, number))
        sealed = round_manifest(store, of.sweep, of.number)
        store.clear_scratch()
        if sealed is None:
            sealed = _visit_and_seal(store, lease, config, names, of, sweep, progress)
        clear_round(store, of)
    return Rechecked(sealed, _redact(store, names, config, sealed, progress))


def _number(store: Store, config: SweepConfig, number: int | None) -> int:
    done = round_numbers(store, config.id)
    following = max(done, default=0) + 1
    if number is not None and number > following:
        raise ConfigError(f"--round {number}: round {following} of sweep {config.id} comes first")
    return following if number is None else number


def _visit_and_seal(  # noqa: PLR0917 - the round among what it belongs to
    store: Store, lease: Lease, config: SweepConfig, names: Pseudonyms, of: Round, sweep: Manifest, progress: Progress
) -> Manifest:
    settings = RoundSeal(
        sweep_digest=sweep["digest"],
        generation=sweep["generation"],
        config={
            "confirm_after_minutes": config.recheck.confirm_after_minutes,
            "redacts": list(config.recheck.redacts),
        },
        fingerprint=names.fingerprint,
        part_rows=config.sweep.part_rows,
        public_names={},
    )
    if not store.exists(of.draft):
        with progress.stage("plan"):
            _plan(store, lease, config, names, of, sweep)
        _pass(store, lease, config, of, 1, progress)
        _pass(store, lease, config, of, PROBE, progress)
        with progress.stage("plan again"):
            confirmed = {"confirm_after_minutes": _plan_again(store, lease, of, config.recheck.confirm_after_minutes)}
        _wait(store, of, progress)
        _pass(store, lease, config, of, 2, progress)
        refuse_changed(store, sweep)
        public = {plan.group: _public(plan, names) for number in (1, 2, PROBE) for plan in plans_of(store, of, number)}
        settings = replace(settings, config={**settings.config, **confirmed}, public_names=public)
    with progress.stage("seal"):
        return seal_round(store, lease, of, settings)


def _public(plan: Plan, names: Pseudonyms) -> str:
    return f"{plan.platform}:{_NOWHERE}" if not plan.source.url else names.source(plan.source)


def _plan(  # noqa: PLR0917 - the round among what it belongs to
    store: Store, lease: Lease, config: SweepConfig, names: Pseudonyms, of: Round, sweep: Manifest
) -> None:
    """Lists the posts by the host that is asked for them, once; another sweep than the one listed is refused."""
    opened = f"{of.incoming}/_open.json"
    noted = {"digest": sweep["digest"], "generation": sweep["generation"]}
    begun = store.read(opened)
    if begun is not None and orjson.loads(begun) == noted and store.exists(of.private):
        return
    clear_round(store, of)
    hosts = _Hosts(store, config)
    before = round_manifest(store, of.sweep, of.number - 1)
    with disk_errors(store.root), TemporaryDirectory(dir=store.scratch(private=True)) as scratch:
        folder = store.path(scratch) / "plan"
        folder.mkdir(mode=PRIVATE_FOLDER)
        writer, holes = PlanWriter(folder, 1), _holes(store, config, names, of)
        for row in _posts(store, sweep, before):
            source = hosts.of(row)
            group = names.source_hash(source)
            writer.add(group, source, row)
            holes.add(group, source, row)
        writer.close()
        holes.write(folder)
        lease.check(store)
        store.move_folder(folder.relative_to(store.root).as_posix(), of.private, private=True)
    store.create(opened, orjson.dumps(noted))


def _holes(store: Store, config: SweepConfig, names: Pseudonyms, of: Round) -> Holes:
    most = config.recheck.probe_holes if of.number == 1 else 0
    return Holes(names, read_ledger(store, names), most)


def _posts(store: Store, sweep: Manifest, before: Manifest | None) -> Iterator[Row]:
    """Each post with what leads back to it, and what the round before found."""
    earlier = iter(()) if before is None else _findings(store, before)
    uid, found = next(earlier, ("", None))
    platform = ""
    for posts, identities in zip(sweep["parts"]["posts"], sweep["parts"]["identities"], strict=True):
        kinds = _rows(store, posts["path"], ["uid", "kind", "truncated", "input_digest"])
        known = ["uid", "global_id", "authority", "native_id", "url", "author_id", "author_handle", "source"]
        platform = posts["platform"]
        for kind, row in zip(kinds, _rows(store, identities["path"], known), strict=True):
            if kind["uid"] != row["uid"]:
                raise ArchiveError(f"{store.path(identities['path'])}: not the identities of its posts; restore it")
            while uid and uid < f"{platform} {row['uid']}":
                uid, found = next(earlier, ("", None))
            told = found if uid == f"{platform} {row['uid']}" else None
            if kind.pop("truncated"):  # a part of a text tells of no change in the whole
                kind["input_digest"] = None
            yield {**row, **kind, "platform": platform, "before": told}


def _findings(store: Store, manifest: Manifest) -> Iterator[tuple[str, str | None]]:
    """What a round found, in the order of platforms and uids, as the posts' parts are."""
    for part in manifest["parts"]:
        for row in _rows(store, part["path"], ["uid", "state", "phrase", "counted"]):
            told = finding(row["state"], row["phrase"]) if row["counted"] else None
            yield f"{part['platform']} {row['uid']}", told


def _rows(store: Store, name: str, columns: list[str]) -> Iterator[Row]:
    with pq.ParquetFile(store.path(name)) as file:
        for batch in file.iter_batches(2000, columns=columns):
            yield from batch.to_pylist()


class _Hosts:
    """Says which host is asked for a post: one that `[[recheck.source]]` names for its platform, the platform's home
    where posts are asked for there, the source that showed it, or the host whose id of it is known."""

    def __init__(self, store: Store, config: SweepConfig) -> None:
        self._named = {part.platform: part.source for part in reversed(config.recheck.source)}
        self._by_host = {(part.platform, part.source.authority): part.source for part in config.recheck.source}
        kept = orjson.loads(store.read(f"identities/sweeps/{config.id}.json") or b"{}")
        told = [SourcePart.kept(part).source for part in kept.get("source", [])]
        self._sources = {source.canonical: source for source in (*told, *config.sources)}

    def of(self, row: Row) -> Source:
        """The source for a post; one without an address where there is nothing to ask."""
        platform, authority = row["platform"], row["authority"] or ""
        recheck = RECHECKS.get(platform)
        if recheck is None:
            return Source(platform, "", _NOWHERE)
        named = self._by_host.get((platform, authority)) or self._named.get(platform)
        shown = self._sources.get(row["source"])
        if named is not None:
            found = named
        elif recheck.home is not None:
            found = Source(platform, recheck.home, _NOWHERE)
        elif shown is not None:
            found = shown
        elif "." in (urlsplit(f"https://{authority}").hostname or ""):  # a table of posts need not say a host
            found = Source(platform, f"https://{authority}", _NOWHERE)
        else:
            return Source(platform, "", _NOWHERE)
        return replace(found, value=None, urls=(), window=None)


def _plan_again(store: Store, lease: Lease, of: Round, minutes: float) -> float:
    """Lists what was found gone, once, when all posts have been visited; returns the minutes between the visits that
    the list was made with, be it by an earlier call under another sweep file."""
    done = f"{of.incoming}/_again.json"
    if (listed := store.read(done)) is not None:
        return float(orjson.loads(listed)["confirm_after_minutes"])
    for left in plans_of(store, of, 2):
        store.remove(of.plan(left.group, 2))
    with disk_errors(store.root), TemporaryDirectory(dir=store.scratch(private=True)) as scratch:
        folder = store.path(scratch)
        second_plans(store, of, folder, timedelta(minutes=minutes))
        lease.check(store)
        for path in sorted(folder.iterdir()):
            path.replace(store.path(of.private) / path.name)
    store.create(done, orjson.dumps({"confirm_after_minutes": minutes}))
    return minutes


def _wait(store: Store, of: Round, progress: Progress) -> None:
    """Waits until the first of the second visits may be. A command that is stopped meanwhile goes on from here."""
    undone = [plan for plan in plans_of(store, of, 2) if _left(store, of, plan, 2)]
    rows = (row for plan in undone for row in _rows(store, of.plan(plan.group, 2), ["not_before"]))
    begin: datetime | None = min((row["not_before"] for row in rows), default=None)
    if begin is None or begin <= datetime.now(UTC):
        return
    with progress.stage("wait") as stage:
        stage.note(f"second visits begin at {moment(begin.replace(microsecond=0))}")
        while (left := (begin - datetime.now(UTC)).total_seconds()) > 0:
            time.sleep(min(left, 5.0))


def _left(store: Store, of: Round, plan: Plan, number: int) -> int:
    done = shards_of(store, of, plan.group, number)
    return plan.rows - (done[-1].last + 1 if done else 0)


def _pass(  # noqa: PLR0917 - the round among what it belongs to
    store: Store, lease: Lease, config: SweepConfig, of: Round, number: int, progress: Progress
) -> None:
    plans = plans_of(store, of, number)
    undone = [plan for plan in plans if _left(store, of, plan, number)]
    for plan in undone:
        if not plan.source.url:
            _leave_unasked(RoundVisits(RoundSettings(store, of, number, lease), plan), plan)
    asked = {plan.source: plan for plan in undone if plan.source.url}
    if not asked:
        return
    job = {
        "archive": str(store.root),
        "sweep": of.sweep,
        "round": of.number,
        "number": number,
        "lease_name": lease.name,
        "lease_token": lease.token,
        "contact": config.sweep.contact,
        "delay_seconds": config.sweep.delay_seconds,
        "retries": config.sweep.retries,
    }
    spec = ClusterSpec(kind=config.cluster.kind, workers=config.cluster.workers, address=config.cluster.address)
    total = sum(plan.rows for plan in plans)
    with progress.stage(_STAGES[number], total=total) as stage, open_cluster(spec) as client:
        stage.advance(total - sum(_left(store, of, plan, number) for plan in asked.values()))
        jobs = [
            {**job, "groups": [asked[source].group for source in group]}
            for group in deal_hosts(tuple(asked), slots(client))
        ]
        for _ in run_tasks(client, visit_hosts, jobs, on_event=_Teller(stage).tell):
            pass
    left = sum(_left(store, of, plan, number) for plan in plans)
    if left:
        raise ArchiveError(f"sweep {of.sweep}: {left} posts were not visited; run the same command again")


def visit_hosts(job: dict[str, Any]) -> None:
    """The Dask task: visits the posts of its groups in a process of its own. Errors: PostsweepError."""
    run_process("pipelines.recheck_hosts", job, f"visiting the posts of {len(job['groups'])} sources")


def _leave_unasked(visits: RoundVisits, plan: Plan) -> None:
    """Posts that nobody can be asked for are unknown, and a gap tells it."""
    reason = NO_HOST if plan.platform in RECHECKS else NO_CHECKER
    for batch in visits.batches(2000):
        visits.keep([seen(known, unknown(known, reason)) for known in batch.posts])
    visits.finish(reason, 0)


class _Teller:
    """Shows what the processes found so far."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._states: Counter[str] = Counter()

    def tell(self, event: dict[str, Any]) -> None:
        """Takes an event of a process."""
        if "waits" in event:
            self._stage.note("waits for another sweep of this archive that reads the same host")
            return
        self._states.update(event["states"])
        self._stage.advance(event["rows"])
        self._stage.note(", ".join(f"{state} {count:,}" for state, count in sorted(self._states.items())))


def _redact(
    store: Store, names: Pseudonyms, config: SweepConfig, sealed: Manifest, progress: Progress
) -> Outcome | None:
    """Takes out the texts of the posts whose removal the sweep file wants followed, as `redact` does."""
    states = set(sealed["config"]["redacts"])
    found = (row for row in sightings_of(store, sealed, ["uid", "state", "counted"]))
    uids = [row["uid"] for row in found if row["counted"] and row["state"] in states]
    return redact_posts(config.archive, uids, progress)
