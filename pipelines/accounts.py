"""The accounts of a sweep that claim to be an institution or a licensed professional, and whether the platform bears
them out.

Reads the restricted accounts table, which a sweep keeps only where its file says so. Of private persons nothing is
counted by itself, listed or kept. What comes of it are counts in a manifest (`manifests/accounts/`), which the report
shows, and a restricted list of the claims that nobody bears out (`identities/claims/`), for people to review.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from glob import escape
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from classify.claims import ClaimReader
from classify.institutions import gazetteer_digest, institution_types
from classify.model import load, prepare
from classify.spec import DEFAULT
from pipelines import lease
from pipelines.archive import (
    FORMAT,
    Manifest,
    accounts_manifest,
    claims_name,
    moment,
    refuse_changed,
    reopen_archive,
    replace_accounts_manifest,
    software,
    sweep_ids,
    sweep_manifest,
)
from pipelines.digests import file_sha256
from pipelines.erasure.targets import pieces
from pipelines.errors import ArchiveError, ConfigError
from pipelines.keys import key_for
from pipelines.progress import Progress, Stage
from pipelines.store import PRIVATE_FILE, Store
from pipelines.vouching import STATES, standing

NO_ACCOUNTS = ("feed", "fourchan")
"""Platforms whose authors are names under a text, and no accounts."""

_CLAIMS = pa.schema(
    [
        pa.field("author", pa.string(), nullable=False),
        pa.field("platform", pa.string(), nullable=False),
        pa.field("account_id", pa.string(), nullable=False),
        pa.field("handle", pa.string()),
        pa.field("display_name", pa.string()),
        pa.field("url", pa.string()),
        pa.field("type", pa.string(), nullable=False),
        pa.field("words", pa.list_(pa.string()), nullable=False),
        pa.field("sure", pa.string(), nullable=False),
        pa.field("state", pa.string(), nullable=False),
    ]
)
CLAIM_SCHEMA = _CLAIMS.append(pa.field("posts", pa.int64(), nullable=False))
"""The restricted list: a row is an account whose claim nobody bears out. `words` are what it was told by, `posts` how
many of the sweep's are its own."""

_BATCH = 2048
_MEMORY_LIMIT = "256MB"


def score_accounts(archive: Path, sweep: str, progress: Progress) -> Manifest:
    """Scores the kept accounts of a sealed sweep and returns their manifest; the same words, examples and encoder over
    the same sweep change nothing.

    Errors: ArchiveError (no such sweep, a damaged part), ConfigError (the sweep keeps no accounts), LeaseHeldError,
    ModelError.
    """
    names = key_for(archive)
    store = reopen_archive(archive, f"accounts-{sweep}", names.fingerprint)
    sealed = _kept(store, sweep)
    with lease.held(store, f"sweep-{sweep}") as held:
        refuse_changed(store, sealed)
        store.clear_scratch()
        with progress.stage("prepare model"):
            prepared = prepare(DEFAULT)
        made_with = _made_with(prepared.digest, sealed)
        before = accounts_manifest(store, sweep)
        if before is not None and before["made_with"] == made_with and store.exists(claims_name(sweep)):
            return before
        rows = sum(part["rows"] for part in sealed["parts"]["accounts"])
        with (
            progress.stage("score accounts", total=rows) as stage,
            TemporaryDirectory(dir=store.scratch(private=True)) as scratch,
        ):
            found = Path(scratch) / "claims.parquet"
            seen = _read_claims(store, sealed, ClaimReader(load(prepared)), found, stage)
            refuse_changed(store, sealed)
            held.check(store)
            return _commit(store, sealed, found, seen, made_with)


def _kept(store: Store, sweep: str) -> Manifest:
    """The manifest of a sealed sweep that keeps accounts."""
    sealed = sweep_manifest(store, sweep)
    if sealed is None:
        known = ", ".join(sweep_ids(store)) or "none"
        raise ArchiveError(f"{store.root}: sweep {sweep} is not sealed; sealed are: {known}")
    if not (sealed["parts"]["accounts"] or sealed["config"]["sweep"].get("keep_accounts")):
        raise ConfigError(
            f"{store.root}: sweep {sweep} kept no accounts; set keep_accounts = true under [sweep] for a sweep of "
            "another id, or import with --keep-accounts"
        )
    return sealed


def _made_with(model: str, sealed: Manifest) -> dict[str, Any]:
    examples = resources.files("classify").joinpath("institutions.jsonl").read_bytes()
    return {
        "generation": sealed["generation"],
        "words": gazetteer_digest(),
        "examples": hashlib.sha256(examples).hexdigest(),
        "model": model,
        "postsweep": software()["postsweep"],
    }


def _read_claims(
    store: Store, sealed: Manifest, reader: ClaimReader, out: Path, stage: Stage
) -> dict[str, int]:
    """Writes every claim to a file, in the order of the accounts; returns the accounts looked at by platform."""
    seen: Counter[str] = Counter()
    with pq.ParquetWriter(out, _CLAIMS, compression="zstd") as writer:
        out.chmod(PRIVATE_FILE)
        for part in sealed["parts"]["accounts"]:
            if part["platform"] in NO_ACCOUNTS:
                stage.advance(part["rows"])
                continue
            for table in pieces(store, part["path"]):
                for start in range(0, table.num_rows, _BATCH):
                    accounts = table.slice(start, _BATCH).to_pylist()
                    seen[part["platform"]] += len(accounts)
                    claims = _claims(reader, part["platform"], accounts)
                    writer.write_table(pa.Table.from_pylist(claims, schema=_CLAIMS))
                    stage.advance(len(accounts))
    return dict(sorted(seen.items()))


def _claims(reader: ClaimReader, platform: str, accounts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = reader.claims([(each["display_name"] or each["handle"], each.get("bio")) for each in accounts])
    return [
        {
            **{key: each[key] for key in ("author", "account_id", "handle", "display_name", "url")},
            "platform": platform,
            "type": told.type,
            "words": list(told.words),
            "sure": told.sure,
            "state": standing(
                told.type,
                each["verified"],
                each.get("verified_as"),
                each.get("verified_words"),
                each.get("verified_sites"),
            ),
        }
        for each, told in zip(accounts, found, strict=True)
        if told is not None
    ]


def _commit(
    store: Store, sealed: Manifest, found: Path, seen: dict[str, int], made_with: dict[str, Any]
) -> Manifest:
    """Puts the list in its place, then the manifest that names it; between the two there is none."""
    sweep = sealed["sweep"]
    accounts: Counter[tuple[str, str, str]] = Counter()
    posts: Counter[tuple[str, str, str]] = Counter()
    rows = 0
    replace_accounts_manifest(store, sweep, None)
    with store.writing(claims_name(sweep), private=True) as path:
        with pq.ParquetWriter(path, CLAIM_SCHEMA, compression="zstd") as writer:
            for batch in _with_posts(store, sealed, found):
                for row in batch.select(["platform", "type", "state", "posts"]).to_pylist():
                    key = (row["platform"], row["type"], row["state"])
                    accounts[key] += 1
                    posts[key] += row["posts"]
                unborne = batch.filter(pc.not_equal(batch.column("state"), "verified"))
                rows += unborne.num_rows
                writer.write_table(unborne)
        path.chmod(PRIVATE_FILE)
    written = store.path(claims_name(sweep))
    manifest = {
        "format": FORMAT,
        "sweep": sweep,
        "generation": sealed["generation"],
        "scored_at": moment(datetime.now(UTC)),
        "types": [{"name": name, "definition": definition} for name, definition in institution_types().items()],
        "accounts": seen,
        "posts": {name: count for name, count in sealed["counts"]["platforms"].items() if name not in NO_ACCOUNTS},
        "claims": [
            {**dict(zip(("platform", "type", "state"), key, strict=True)), "accounts": count, "posts": posts[key]}
            for key, count in sorted(accounts.items())
        ],
        "list": {
            "path": claims_name(sweep),
            "rows": rows,
            "bytes": written.stat().st_size,
            "sha256": file_sha256(written),
        },
        "made_with": made_with,
        "pseudonym_key": sealed["pseudonym_key"],
        "software": software(),
    }
    replace_accounts_manifest(store, sweep, manifest)
    return manifest


def _with_posts(store: Store, sealed: Manifest, found: Path) -> Iterator[pa.Table]:
    """The claims, by platform and pseudonym, each with the number of posts that the sweep has of it."""
    posts = [escape(str(store.path(part["path"]))) for part in sealed["parts"]["posts"]]
    query = """
        select claims.*, coalesce(counted.posts, 0) as posts from read_parquet($claims) as claims left join (
            select author, count(*) as posts from read_parquet($posts, hive_partitioning = false)
            where author in (select author from read_parquet($claims)) group by author
        ) as counted using (author) order by platform, author
    """
    with _database(store) as connection:
        try:
            asked = connection.sql(query, params={"claims": escape(str(found)), "posts": posts})
            for batch in asked.to_arrow_reader(_BATCH):
                yield pa.Table.from_batches([batch]).select(CLAIM_SCHEMA.names).cast(CLAIM_SCHEMA)
        except duckdb.Error as error:
            raise ArchiveError(
                f"{store.root}: a file of sweep {sealed['sweep']} cannot be read ({type(error).__name__}); "
                "`postsweep verify` says which"
            ) from None


@contextmanager
def _database(store: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    with TemporaryDirectory(dir=store.scratch(private=True)) as spill, duckdb.connect() as connection:
        for setting in (f"memory_limit = '{_MEMORY_LIMIT}'", "threads = 2"):
            connection.execute(f"set {setting}")
        connection.execute("set temp_directory = '" + spill.replace("'", "''") + "'")
        yield connection


def told(archive: Path, manifest: Manifest) -> list[str]:
    """What the manifest says, in lines: numbers, and nobody's name."""
    claims = manifest["claims"]
    lines = [
        f"sweep {manifest['sweep']}: {sum(each['accounts'] for each in claims):,} of "
        f"{sum(manifest['accounts'].values()):,} accounts claim to be an institution or a licensed professional"
    ]
    for kind in (each["name"] for each in manifest["types"]):
        of_kind = [each for each in claims if each["type"] == kind]
        if of_kind:
            counts = [(state, sum(each["accounts"] for each in of_kind if each["state"] == state)) for state in STATES]
            states = ", ".join(f"{state} {count:,}" for state, count in counts)
            posts = sum(each["posts"] for each in of_kind if each["state"] != "verified")
            lines.append(f"  {kind.replace('_', ' '):<13}  {states}; posts of those not verified {posts:,}")
    rows = manifest["list"]["rows"]
    return [*lines, f"to review: {archive / manifest['list']['path']} ({rows:,} accounts; --list prints them)"]


def listed(archive: Path, manifest: Manifest) -> Iterator[dict[str, Any]]:
    """The rows of the restricted list. Errors: ArchiveError when it cannot be read."""
    for table in pieces(Store(archive), manifest["list"]["path"]):
        yield from table.to_pylist()
