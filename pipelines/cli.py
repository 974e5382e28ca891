"""The command line. Heavy packages are imported inside commands, so that help answers at once."""

import errno
import json
import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.errors import ArchiveError, ConfigError, Exit, Interrupted, PostsweepError
from pipelines.terminal import plain as _plain

if TYPE_CHECKING:
    from pipelines.config import SweepConfig
    from pipelines.erasure.erase import Outcome
    from pipelines.erasure.ledger import Doing

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Snapshots public posts into Parquet and classifies them, for people to review.\n\n"
    "Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 3 done with gaps, 4 done with warnings, "
    "5 another process holds the lease, 130 or 143 interrupted.",
)

Sweep = Annotated[Path, typer.Argument(metavar="SWEEP.toml", help="The sweep file; `postsweep init` writes one.")]
SweepOrArchive = Annotated[
    Path, typer.Argument(metavar="SWEEP.toml|ARCHIVE", help="A sweep file, or an archive's folder.")
]
OfSweep = Annotated[str | None, typer.Option("--sweep", help="The sweep's id, where an archive is given.")]
Archive = Annotated[Path, typer.Argument(metavar="ARCHIVE", help="An archive's folder.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="The report's file. Default: <sweep id>.html here.")]
Run = Annotated[str | None, typer.Option(help="A run's id. Default: the newest run.")]
InArchive = Annotated[Path, typer.Option("--archive", "-a", help="The archive's folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", help="`default`, a folder or owner/name@<commit>, not the sweep file's. Repeat."),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:<number>.")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")]
Engine = Annotated[str | None, typer.Option(help="auto, onnxruntime or torch.")]
Workers = Annotated[int | None, typer.Option(min=1, max=1024, help="Local worker processes.")]
TextField = Annotated[str, typer.Option(help="The column of texts.")]
LabelField = Annotated[
    str | None, typer.Option(help="The column of labels. Default: `labels`, `label`, else a column per label.")
]
Values = Annotated[
    list[str] | None, typer.Option(help="VALUE=LABEL, what a value says; `none` for no label. Repeat for all.")
]
Named = Annotated[
    str, typer.Argument(metavar="MODEL", help="`default`, `default-official`, a folder, or owner/name@<commit>.")
]
Links = Annotated[bool, typer.Option("--links", help="Link examples to their posts, which names their authors.")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"postsweep {metadata.version('postsweep')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    pass


@app.command()
def run(sweep: Sweep, out: Out = None, links: Links = False) -> int:
    """Crawl, seal, classify and report. The same command again goes on where it was stopped."""
    config = _load(sweep)
    from pipelines.progress import open_progress
    from pipelines.run import run_sweep

    target = out or Path(f"{config.id}.html")
    if not os.access(target.resolve().parent, os.W_OK) or target.is_dir():
        raise ConfigError(f"{target}: no report can be written there; name another file with --out")
    code = run_sweep(config, open_progress(), target, links)
    typer.echo(f"report: {target.resolve()}")
    return code


@app.command()
def crawl(
    sweep: Sweep,
    fill_gaps: Annotated[
        bool, typer.Option("--fill-gaps", help="Read what a sealed sweep is missing, as sweep <id>-fill1.")
    ] = False,
) -> int:
    """Read the sources and seal the sweep. The same command again goes on where it was stopped."""
    config = _load(sweep)
    from pipelines.crawl import crawl_sweep
    from pipelines.progress import open_progress

    if fill_gaps:
        from pipelines.gaps import filling

        missing = filling(config)
        if missing is None:
            typer.echo(f"nothing to fill: sweep {config.id} has no gap that was not read since")
            return Exit.DONE
        config = missing
    code = crawl_sweep(config, open_progress())
    typer.echo(f"sealed: sweep {config.id} in {config.archive}")
    if code == Exit.GAPS:
        typer.echo("with gaps: `postsweep status` tells which, `postsweep crawl --fill-gaps` reads them")
    return code


@app.command("import")
def import_(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="`postsweep platforms` lists them.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="The captures.")],
    *,
    sweep: Annotated[str, typer.Option("--sweep", help="The id of the sweep that they become.")],
    archive: InArchive = Path("archive"),
    since: Annotated[str | None, typer.Option(help="Posts from this moment on (ISO 8601, UTC without a zone).")] = None,
    until: Annotated[str | None, typer.Option(help="Posts before this moment.")] = None,
    columns: Annotated[Path | None, typer.Option("--map", help="A column map, for kind table.")] = None,
    platform: Annotated[str | None, typer.Option(help="Import this platform's records only.")] = None,
    fetched_at: Annotated[
        str | None, typer.Option(help="When they were captured, where they do not say. Default: the file's own time.")
    ] = None,
    keep_raw: Annotated[bool, typer.Option("--keep-raw", help="Keep the records themselves, restricted.")] = False,
    keep_accounts: Annotated[bool, typer.Option("--keep-accounts", help="Keep profiles, restricted.")] = False,
) -> int:
    """Import captures that other tools made, and seal them as a sweep.

    The same command again goes on where it was stopped. Then: classify ARCHIVE --sweep ID.
    """
    from pipelines.imports.asked import import_request
    from pipelines.imports.importing import import_files
    from pipelines.progress import open_progress

    request = import_request(
        kind, files, sweep, archive, since, until, columns, platform, fetched_at, keep_raw, keep_accounts
    )
    done = import_files(request, open_progress())
    counts = f"{done.counts['posts']:,} posts, {done.counts['rejects']:,} rejects"
    typer.echo(f"sealed: sweep {sweep} in {archive}: {counts}")
    return done.exit


@app.command()
def platforms(as_json: Json = False) -> int:
    """List the platforms that can be read, the keys that they need, and the kinds of captures that can be imported."""
    from pipelines.platforms import listed

    found = listed()
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return Exit.DONE
    for row in found["platforms"]:
        which = "" if row["keyed"] == row["kinds"] else f"for {', '.join(row['keyed'])} "
        missing = f"  ({which}set {', '.join(row['missing'])})" if row["missing"] else ""
        typer.echo(f"{row['name']:<12}  {', '.join(row['kinds']) or 'import only'}{missing}")
    typer.echo("\nimport KIND:")
    for row in found["imports"]:
        typer.echo(f"{row['name']:<16}  {row['about']}")
    return Exit.DONE


@app.command()
def classify(  # noqa: PLR0917 - options of a command
    sweep: SweepOrArchive,
    of: OfSweep = None,
    model: Models = None,
    threshold: Annotated[list[str] | None, typer.Option(help="LABEL=NUMBER, from where it is a flag. Repeat.")] = None,
    device: Device = None,
    dtype: Dtype = None,
    engine: Engine = None,
    workers: Workers = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Score all posts, also where an earlier run holds the scores.")
    ] = False,
) -> int:
    """Score the posts of a sealed sweep, be it an old one, with the sweep file's models or with others.

    Each choice of models, labels and thresholds is a run of its own; the same choice again changes nothing.
    """
    from dataclasses import replace

    from pipelines.asked import changed, check_workers, request_for
    from pipelines.classify import classify_sweep
    from pipelines.progress import open_progress

    check_workers(workers, device)
    request = request_for(sweep, of, workers)
    request = changed(request, model or [], threshold or [], device, dtype, engine)
    run_id, code = classify_sweep(replace(request, anew=anew), open_progress())
    typer.echo(f"run: {run_id}")
    return code


@app.command()
def rerun(  # noqa: PLR0917 - options of a command
    run: Annotated[str, typer.Argument(metavar="RUN", help="A finished run's id; `postsweep status` lists them.")],
    archive: InArchive = Path("archive"),
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Where a model is today: NAME=FOLDER, NAME as in the run.")
    ] = None,
    device: Device = None,
    workers: Workers = None,
    as_json: Json = False,
) -> int:
    """Repeat a run and compare the scores: exact, within tolerance, or why they are not comparable.

    Leaves nothing in the archive. Exit code 0 for exact and within tolerance, else 1.
    """
    from dataclasses import asdict

    from pipelines.asked import check_device, check_workers, local_cluster, pairs
    from pipelines.progress import open_progress
    from pipelines.rerun import rerun as repeat
    from pipelines.rerun import told

    if device is not None:
        check_device(device)
    check_workers(workers, device)
    places = dict(pairs("--model", model or []))
    outcome = repeat(archive, run, places, local_cluster(workers), open_progress(), device)
    typer.echo(json.dumps(asdict(outcome), indent=2) if as_json else "\n".join(map(_plain, told(outcome))))
    return Exit.DONE if outcome.verdict in ("exact", "within tolerance") else Exit.FAILED


@app.command()
def report(sweep: SweepOrArchive, of: OfSweep = None, out: Out = None, run: Run = None, links: Links = False) -> int:
    """Write the report of a sealed sweep.

    One HTML file that opens offline.
    """
    from pipelines.config import place_of
    from pipelines.progress import open_progress
    from pipelines.reporting import report_sweep

    typer.echo(
        f"report: {report_sweep(*place_of(sweep, of), open_progress(), run=run, out=out, links=links).resolve()}"
    )
    return Exit.DONE


@app.command()
def status(sweep: SweepOrArchive, of: OfSweep = None, as_json: Json = False) -> int:
    """Say what stands of a sweep: its sources, gaps and runs. Works while it runs."""
    from pipelines.archive import read_archive, sweep_ids
    from pipelines.config import place_of
    from pipelines.status import sweep_status

    archive, id = place_of(sweep, of)
    found = sweep_status(archive, id)
    if of is not None and found["state"] == "absent":
        known = ", ".join(sweep_ids(read_archive(archive))) or "none"
        raise ArchiveError(f"{sweep}: no sweep {of}; sealed are: {known}")
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return Exit.DONE
    typer.echo(f"sweep {found['sweep']}: {found['state']}")
    for source in found["sources"]:
        told = f"{source['posts']:,} posts, {source['pages']:,} pages, {source['rejects']:,} rejects"
        typer.echo(f"  {_plain(source['source'])}: {source['state']}, {told}")
        for gap in source["gaps"]:
            typer.echo(f"    gap {gap['since']} to {gap['until']}: {_plain(gap['reason'])}")
    for name in found.get("filled_by", []):
        typer.echo(f"  gaps read as sweep {name}")
    for each in found["runs"]:
        counts = each["counts"]
        flags = ", ".join(f"{label} {count:,}" for label, count in counts["flags"].items())
        typer.echo(f"  run {each['run']}: {counts['scored']:,} of {counts['posts']:,} posts scored; flags: {flags}")
    for told in found.get("rounds", []):
        typer.echo("\n".join(f"  {_plain(line)}" for line in _round_lines(told)))
    for each in found.get("open_rounds", []):
        typer.echo(f"  round {each}: open; `postsweep recheck` goes on with it")
    return Exit.DONE


@app.command()
def recheck(
    sweep: SweepOrArchive,
    of: OfSweep = None,
    number: Annotated[
        int | None, typer.Option("--round", min=1, help="Which round. Default: the open one, or the next.")
    ] = None,
    contact: Annotated[
        str | None, typer.Option(help="With an archive: your address or URL for the user agent, mailto:... or https://...")
    ] = None,
    confirm_after: Annotated[
        float | None,
        typer.Option(min=0, help="With an archive: minutes from the first visit to the second. Default: 60."),
    ] = None,
) -> int:
    """Visit the posts of a sealed sweep again: still there, edited, or gone and by whose hand.

    A removal counts after a second visit. The same command again goes on where it was stopped.
    """
    from pipelines.config import named_place
    from pipelines.progress import open_progress
    from pipelines.recheck import config_for, recheck_sweep

    if (place := named_place(sweep, of)) is not None:
        config = config_for(*place, contact, confirm_after)
    elif contact is not None or confirm_after is not None:
        raise ConfigError("--contact and --confirm-after go with an archive's folder; the sweep file says both")
    else:
        config = _load(sweep)
    found = recheck_sweep(config, number, open_progress())
    typer.echo("\n".join(map(_plain, _round_lines(found.manifest))))
    if found.redacted is not None and found.redacted.receipt is not None:
        typer.echo(f"redacted: {_posts_in(found.redacted.posts, found.redacted.sweeps)}")
        typer.echo(f"receipt: {config.archive / found.redacted.receipt}")
    return found.exit


def _round_lines(told: dict[str, Any]) -> list[str]:
    states = ", ".join(f"{state} {count:,}" for state, count in told["counts"]["states"].items() if count)
    gone = told["counts"]["gone"]
    lines = [f"round {told['round']}: {told['counts']['posts']:,} posts; {states or 'none'}"]
    lines += [f"  of the unknown, gone and nobody says why: {gone:,}"] if gone else []
    for holes in told.get("holes", []):
        found = ", ".join(f"{what} {count:,}" for what, count in holes["found"].items())
        left = f"; {holes['left']:,} more were not asked for" if holes["left"] else ""
        lines.append(f"  missing ids at {holes['source']}: {holes['asked']:,} asked for; {found}{left}")
    return lines + [f"  gap at {gap['source']}: {gap['reason']}" for gap in told["gaps"]]


@app.command()
def verify(
    target: Annotated[Path, typer.Argument(metavar="SWEEP.toml|ARCHIVE", help="A sweep file, or an archive's folder.")],
) -> int:
    """Check committed files against their manifests.

    Those of a sweep, or of a whole archive. Exit code 1 when there is a problem.
    """
    from pipelines.progress import open_progress
    from pipelines.verify import verify_archive

    if target.is_dir():
        problems = verify_archive(target, None, open_progress())
    else:
        config = _load(target)
        problems = verify_archive(config.archive, config.id, open_progress())
    for problem in problems:
        typer.echo(_plain(problem), err=True)
    typer.echo("verified: no problem" if not problems else f"verified: {len(problems)} problems")
    return Exit.FAILED if problems else Exit.DONE


@app.command()
def accounts(
    sweep: SweepOrArchive,
    of: OfSweep = None,
    show: Annotated[
        bool, typer.Option("--list", help="Print the claims that nobody bears out, with the accounts' names.")
    ] = False,
) -> int:
    """Score the kept accounts of a sealed sweep: which claim to be an institution, and does the platform verify them?

    By name and bio alone, never by posts. Needs a sweep with keep_accounts = true.
    """
    from pipelines.accounts import listed, score_accounts, told
    from pipelines.config import place_of
    from pipelines.progress import open_progress

    archive, id = place_of(sweep, of)
    manifest = score_accounts(archive, id, open_progress())
    if show:
        for row in listed(archive, manifest):
            shown = ("platform", "type", "state", "sure", "display_name", "url")
            said = "  ".join(row[key] or "-" for key in shown)
            typer.echo(_plain(f"{said}  {row['posts']:,} posts  by: {', '.join(row['words'])}"))
        return Exit.DONE
    typer.echo("\n".join(told(archive, manifest)))
    return Exit.DONE


@app.command()
def sql(
    archive: Archive,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="SQL; `-` reads it from standard input.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A .parquet, .csv or .jsonl file to write.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Rows at most. Default: 100; with --out, all.", show_default=False)
    ] = None,
    restricted: Annotated[
        bool, typer.Option("--restricted", help="Open identities and accounts, which lead back to people.")
    ] = False,
) -> int:
    """Ask an archive in SQL.

    Tables: posts, scores, rejects, sightings, runs, sweeps. Nothing else can be read, and nothing written but --out.
    """
    from pipelines.progress import open_progress
    from pipelines.sql import answer_query

    asked = sys.stdin.read() if query == "-" else query
    typer.echo(answer_query(archive, asked, open_progress(), out, limit, restricted))
    return Exit.DONE


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A run's id, or a sweep's.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another run's of that sweep, or another sweep's.")],
    archive: InArchive = Path("archive"),
    as_json: Json = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="An HTML page to write instead.")] = None,
) -> int:
    """Say what differs between two runs of a sweep, or two sweeps, and why.

    Flags, shares and scores with their uncertainty, and each difference between the manifests by name.
    """
    from pipelines.compare import as_json as comparison_json
    from pipelines.compare import compare as compare_ids
    from pipelines.compare_text import lines
    from pipelines.progress import open_progress

    if as_json and out is not None:
        raise ConfigError("--json prints, --out writes a page; give one of them")
    with open_progress().stage("compare"):
        found = compare_ids(archive, first, second)
    if out is not None:
        from pipelines.report.comparison import build_comparison

        typer.echo(f"comparison: {build_comparison(found, out).resolve()}")
        return Exit.DONE
    typer.echo(json.dumps(comparison_json(found), indent=2) if as_json else "\n".join(lines(found)))
    return Exit.DONE


@app.command()
def score(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSONL, CSV or Parquet with a column of texts.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the scored rows go: .parquet, .csv or .jsonl.")],
    text_field: Annotated[str, typer.Option(help="The column of texts.")] = "text",
    model: Annotated[str, typer.Option(help="`default`, or a model folder.")] = "default",
) -> int:
    """Score the texts of a file.

    The same rows come out in the same order, with a column per label and one of flags.
    """
    from pipelines.progress import open_progress
    from pipelines.score_file import score_file

    counts = score_file(file, out, text_field, model, open_progress())
    typer.echo(f"{out}: {counts['rows']:,} rows, {counts['scored']:,} scored, {counts['flagged']:,} flagged")
    return Exit.DONE


@app.command()
def train(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILES...", help="Labelled texts: JSONL, CSV or Parquet.")
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The model's folder, which must not exist or be empty.")],
    heads_only: Annotated[
        bool, typer.Option("--heads-only", help="Leave the encoder as it is: minutes, without the extra `train`.")
    ] = False,
    text_field: TextField = "text",
    label_field: LabelField = None,
    value: Values = None,
    definition: Annotated[list[str] | None, typer.Option(help="LABEL=TEXT, what it means. Repeat.")] = None,
    calibrate: Annotated[float | None, typer.Option(help="The share of texts to calibrate on. Default: 0.2.")] = None,
    test: Annotated[float | None, typer.Option(help="The share of texts to measure on. Default: 0.2.")] = None,
    drop_duplicates: Annotated[
        bool, typer.Option("--drop-duplicates", help="Where a column `part` puts one text into two, keep the test's.")
    ] = False,
    recipe: Annotated[Path | None, typer.Option(help="A recipe, whose sets are trained on (too).")] = None,
    data: Annotated[Path | None, typer.Option(help="The folder of the recipe's sets.")] = None,
    work: Annotated[
        Path | None, typer.Option(help="The folder of checkpoints, kept. Default: OUT.work, removed in the end.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Default: 0, or the recipe's.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="The most passes over the texts.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda; where the encoder is adapted.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    threads: Annotated[int | None, typer.Option(min=1, help="Default: one for each processor.")] = None,
) -> int:
    """Train a model on texts with labels of your own, for sweeps to use by its folder.

    The same command again goes on where it was stopped.
    """
    from classify.labelled import Columns
    from pipelines.asked import asked_values, pairs
    from pipelines.progress import open_progress
    from pipelines.train import TrainRequest, told, train_model

    request = TrainRequest(
        tuple(files or ()),
        out,
        recipe,
        data,
        work,
        heads_only,
        Columns(text_field, label_field, asked_values(value or [])),
        dict(pairs("--definition", definition or [])),
        seed,
        epochs,
        calibrate,
        test,
        device,
        dtype,
        threads or os.cpu_count() or 1,
        drop_duplicates,
    )
    typer.echo("\n".join(map(_plain, told(train_model(request, open_progress())))))
    return Exit.DONE


@app.command()
def evaluate(
    model: Named,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="DATA...", help="Labelled texts: JSONL, CSV or Parquet.")
    ] = None,
    *,
    suite: Annotated[list[str] | None, typer.Option(help="A suite of the project's own: fairness. Repeat.")] = None,
    against: Annotated[str | None, typer.Option(help="Another model, to compare with on the same rows.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A folder for evaluation.json, evaluation.html, scores.parquet.")
    ] = None,
    text_field: TextField = "text",
    label_field: LabelField = None,
    value: Values = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="A row's labels are those it was written for, and deny no other.")
    ] = False,
    cluster_field: Annotated[
        str | None, typer.Option(help="A column whose rows of one value belong together, such as an event.")
    ] = None,
    dev: Annotated[list[Path] | None, typer.Option(help="A development split to choose thresholds on. Repeat.")] = None,
    target: Annotated[
        str | None, typer.Option(help="What for: macro_f1, precision=SHARE or review=SHARE of all posts.")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    engine: Engine = None,
    as_json: Json = False,
) -> int:
    """Judge a model on labelled texts.

    Figures per label, language and file with their uncertainty, groups of a suite, and what another model does better.
    """
    from classify.labelled import Columns
    from pipelines.asked import asked_values, spec_of
    from pipelines.evaluate import EvaluateRequest, asked_target, evaluate_model
    from pipelines.evaluate import as_json as evaluation_json
    from pipelines.evaluate_text import show
    from pipelines.progress import open_progress

    values = asked_values(value or [])
    request = EvaluateRequest(
        spec_of(model, device, dtype, engine),
        tuple(files or ()),
        tuple(suite or ()),
        Columns(text_field, label_field, values, cluster=cluster_field, partial=partial),
        None if against is None else spec_of(against, device, dtype, engine),
        tuple(dev or ()),
        None if target is None else asked_target(target),
        out,
    )
    found = evaluate_model(request, open_progress())
    if as_json:
        typer.echo(json.dumps(evaluation_json(found), indent=2))
    else:
        show(found)
    if out is not None:
        typer.echo(f"evaluation: {out / 'evaluation.html'}", err=as_json)
    return Exit.DONE


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="SWEEP.toml", help="Where to write it.")] = Path("sweep.toml"),
) -> int:
    """Write a commented sweep file to start from."""
    from pipelines.config import example

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(example(datetime.now(UTC) - timedelta(days=1)))
    except FileExistsError:
        raise ConfigError(f"{path}: exists already; name another file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from None
    typer.echo(f"{path}: written; fill in contact and sources, then `postsweep run {path}`")
    return Exit.DONE


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder for the demonstration.")] = Path("demo"),
    accounts: Annotated[
        bool, typer.Option("--accounts", help="Add accounts that pose as institutions, and keep accounts.")
    ] = False,
) -> int:
    """Sweep an embedded sample network.

    It listens on loopback; all steps are those of any sweep, from the sources to the report.
    """
    from pipelines.demo_job import run_demo
    from pipelines.progress import open_progress

    path, code = run_demo(out, open_progress(), claimants=accounts)
    typer.echo(f"report: {path}")
    return code


Author = Annotated[
    str | None, typer.Option(help="An account: handle, id, address or pseudonym; `-` reads it from standard input.")
]
Post = Annotated[str | None, typer.Option(help="A post: uid, id or address; `-` as above.")]
Url = Annotated[str | None, typer.Option(help="The address of a post or of a profile; `-` as above.")]
Before = Annotated[str | None, typer.Option(metavar="DATE", help="All posts before a day or a moment (UTC).")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say how much would go, and change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where there is no terminal to ask on.")]
Resume = Annotated[bool, typer.Option("--resume", help="Finish one that was cut off.")]


@app.command()
def erase(
    archive: Archive, *, author: Author = None, post: Post = None, url: Url = None, before: Before = None,
    dry_run: DryRun = False, yes: Yes = False, resume: Resume = False,
) -> int:  # fmt: skip
    """Take posts out of every table of an archive, for good.

    A ledger keeps reruns from bringing them back; a receipt tells numbers, and nobody's name.
    """
    return _erase(archive, "erase", (author, post, url, before), dry_run, yes, resume)


@app.command()
def redact(
    archive: Archive, *, author: Author = None, post: Post = None, url: Url = None, before: Before = None,
    dry_run: DryRun = False, yes: Yes = False, resume: Resume = False,
) -> int:  # fmt: skip
    """Take the texts of posts out of an archive, for good; their rows and scores stay."""
    return _erase(archive, "redact", (author, post, url, before), dry_run, yes, resume)


def _erase(  # noqa: PLR0917 - the options of both commands
    archive: Path, doing: "Doing", asked: tuple[str | None, ...], dry_run: bool, yes: bool, resume: bool
) -> int:
    from pipelines.erasure import erase as erasing
    from pipelines.erasure.targets import Request, Targets
    from pipelines.progress import open_progress

    def confirm(found: Targets) -> bool:
        if yes:
            return True
        places = _posts_in(found.posts, len(found.sealed) + len(found.open))
        question = f"{doing} {places} of {archive} for good?"
        try:
            return typer.confirm(question, err=True)
        except typer.Abort:  # the end of the input: no answer is no
            return False

    given = [(by, value) for by, value in zip(("author", "post", "url", "before"), asked, strict=True) if value]
    if len(given) + resume != 1:
        raise ConfigError("say one of --author, --post, --url, --before or --resume")
    if resume and dry_run:
        raise ConfigError("--dry-run goes with a request; --resume finishes one that was decided")
    if not (yes or dry_run or sys.stdin.isatty()):
        raise ConfigError(f"{doing} asks before it changes anything, and there is no terminal to ask on; add --yes")
    if resume:
        finished = erasing.resume(archive, open_progress(), confirm)
        if finished is None:
            typer.echo("nothing to finish: no erasure is under way")
            return Exit.DONE
        outcome = finished
    else:
        ((by, value),) = given
        if value == "-":
            value = sys.stdin.readline().strip()
            if not value:
                raise ConfigError(f"--{by} -: nothing came on standard input")
        request = Request(doing, by, value)  # type: ignore[arg-type]
        if dry_run:
            outcome = erasing.foresee(archive, request, open_progress())
            places = _posts_in(outcome.posts, outcome.sweeps)
            typer.echo(f"would {doing}: {places}; posts of others that lead to them: {outcome.met:,}")
            return Exit.DONE if outcome.posts or outcome.met else Exit.FAILED
        outcome = erasing.erase(archive, request, open_progress(), confirm)
    return _erased(archive, outcome)


def _posts_in(posts: int, sweeps: int) -> str:
    return f"{posts:,} post{'' if posts == 1 else 's'} in {sweeps:,} sweep{'' if sweeps == 1 else 's'}"


def _erased(archive: Path, outcome: "Outcome") -> int:
    done = "erased" if outcome.doing == "erase" else "redacted"
    if outcome.receipt is not None:
        typer.echo(f"{done}: {_posts_in(outcome.posts, outcome.sweeps)}")
        typer.echo(f"receipt: {archive / outcome.receipt}")
        typer.echo("outside its reach: reports and exports made before, backups, snapshots, older versions of a bucket")
        return Exit.DONE
    if outcome.done_before is not None:
        typer.echo(f"{done} already on {outcome.done_before[:10]}")
        return Exit.DONE
    typer.echo("nothing was changed" if outcome.declined else f"{archive}: nothing found; nothing was changed")
    return Exit.FAILED


models = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Know, prepare and check models.")
app.add_typer(models, name="models")


@models.command("list")
def models_list(as_json: Json = False) -> int:
    """List the embedded models and those that were prepared on this machine."""
    from pipelines.models import list_models

    found = list_models()
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return Exit.DONE
    for row in found:
        told = f"{row['digest'][:12]}  {row['model']}" if row["digest"] else row["state"]
        typer.echo(_plain(f"{row['name']:<24}  {told}"))
    return Exit.DONE


@models.command("show")
def models_show(
    model: Named, device: Device = None, dtype: Dtype = None, engine: Engine = None, as_json: Json = False
) -> int:
    """Say what a model is: labels, licence, engine, exactness, and the size and digest of each file."""
    from pipelines.asked import spec_of
    from pipelines.models import prepare_model, told
    from pipelines.progress import open_progress

    described = prepare_model(spec_of(model, device, dtype, engine), open_progress())
    typer.echo(json.dumps(described, indent=2) if as_json else "\n".join(map(_plain, told(described))))
    return Exit.DONE


@models.command("prepare")
def models_prepare(model: Named) -> int:
    """Make a model ready on this machine's disk. Only this, and a first run, may use the network."""
    from pipelines.asked import spec_of
    from pipelines.models import prepare_model
    from pipelines.progress import open_progress

    described = prepare_model(spec_of(model, None, None, None), open_progress())
    typer.echo(_plain(f"prepared: {described['name']}, digest {described['digest']}, in {described['folder']}"))
    return Exit.DONE


@models.command("verify")
def models_verify(model: Named, device: Device = None, dtype: Dtype = None, engine: Engine = None) -> int:
    """Check every file of a model by digest, load it, and score two sentences."""
    from pipelines.asked import spec_of
    from pipelines.models import verify_model
    from pipelines.progress import open_progress

    described = verify_model(spec_of(model, device, dtype, engine), open_progress())
    files = f"{len(described['files'])} files as their digests say, {sum(described['sizes'].values()):,} bytes"
    typer.echo(_plain(f"{described['name']}: {files}; loaded, scores {described['scored']} of 2 sentences"))
    return Exit.DONE


def main() -> None:
    """The console script: one line for what a person can mend, and the exit codes of `Exit`."""
    from classify.errors import ModelError
    from cluster.errors import ClusterError

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        from pipelines.startup import check_roots

        check_roots()
        code = app(standalone_mode=False)
    except (PostsweepError, ModelError, ClusterError) as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"error: {_plain(line)}\n")
        code = getattr(error, "exit_code", Exit.FAILED)
    except Interrupted as order:
        sys.stderr.write("interrupted; the same command goes on from here\n")
        code = 128 + order.signal
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.FAILED
    except Exception as error:
        code = _unexpected(error)
    sys.exit(int(code or 0))


def _interrupt(number: int, _: object) -> None:
    """Ends the command in order: workers stop, and the lease is let go."""
    raise Interrupted(number)


def _unexpected(error: Exception) -> int:
    """Usage errors of the command line tell themselves; anything else is a bug, told in one line unless asked for."""
    show: Any = getattr(error, "show", None)
    if show is not None:
        show()
        return int(getattr(error, "exit_code", Exit.USAGE))
    if os.environ.get("POSTSWEEP_DEBUG"):
        raise error
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:  # a name that was given
        sys.stderr.write(f"error: {_plain(str(error.filename))[:80]}...: the name is too long for a file; shorten it\n")
        return Exit.USAGE
    told = _plain(str(error).partition("\n")[0])[:300]
    sys.stderr.write(f"internal error: {type(error).__name__}: {told}; set POSTSWEEP_DEBUG=1 to see where\n")
    return Exit.FAILED


def _load(path: Path) -> "SweepConfig":
    from pipelines.config import load_sweep

    return load_sweep(path)
