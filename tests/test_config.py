from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from classify.spec import ModelSpec
from cluster.open import ClusterSpec
from crawlers.pseudonyms import Pseudonyms
from crawlers.source import Source
from pipelines.classify import RunRequest, classify_sweep
from pipelines.config import SourcePart, example, load_sweep, named_place
from pipelines.crawl import crawl_sweep
from pipelines.erasure.erase import erase, foresee
from pipelines.erasure.targets import Request
from pipelines.errors import ArchiveError, ConfigError
from pipelines.keys import load_key
from pipelines.platforms import listed
from pipelines.progress import Progress
from pipelines.rerun import rerun
from tests.sweeps import NAMES, NOON, one_source, open_store


def test_a_source_with_a_window_of_its_own_is_read_again_as_the_archive_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    own = "since = 2026-01-01T06:00:00Z\nuntil = 2026-01-01T12:00:00Z\n"
    path.write_text(one_source("https://one.example") + own)
    config = load_sweep(path)
    kept = [SourcePart.kept(part).source for part in config.private()["source"]]
    assert kept == list(config.sources)
    assert kept[0].window is not None


def test_the_file_that_init_writes_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(example(NOON))
    config = load_sweep(path)
    assert config.id == "d2026-01-01"
    assert config.archive == tmp_path / "archive"
    assert config.sources[0].canonical == "mastodon:mastodon.example:public"


def test_all_mistakes_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    text = example(NOON).replace('id = "d2026', 'id = "2026').replace("workers = 2", "wokers = 2")
    path.write_text(text.replace('url = "https://mastodon.example"', 'url = "ftp://mastodon.example"'))
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    source = path.read_text().splitlines()
    numbers = sorted(int(line.split(":")[1]) for line in lines)
    assert [source[number - 1].split()[0] for number in numbers] == ["id", "wokers", "url"]


def test_the_public_form_names_no_account_and_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(example(NOON).replace('value = "bsky.app"', 'value = "oakfern.example"'))
    public = str(load_sweep(path).public(Pseudonyms(bytes(32))))
    assert "oakfern" not in public
    assert "news.example/feed" not in public
    assert str(tmp_path) not in public
    assert "you@example.org" not in public


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 1500), st.text(max_size=12))
def test_a_spoiled_file_is_a_config_error_or_still_valid(tmp_path: Path, place: int, put: str) -> None:
    path = tmp_path / "sweep.toml"
    text = example(NOON)
    path.write_text(text[:place] + put.encode("utf-8", "replace").decode() + text[place + len(put) :], encoding="utf-8")
    with suppress(ConfigError):
        load_sweep(path)


WRONG = """[sweep]
id = "x"
since = 1
until = 2026-01-02T00:00:00Z
archive = "s3://bucket/x"
contact = "me"
keep_raw = "yes"

[[source]]
platform = "mastodon"
url = "https://one.example/?a=b"
kind = "tags"

[[source]]
platform = "bluesky"
url = "http://127.0.0.1"
kind = "author"
"""


def test_mistakes_of_one_table_are_told_beside_each_other_and_nothing_is_told_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(WRONG)
    with pytest.raises(ConfigError) as caught:
        load_sweep(tmp_path / "sweep.toml")
    told = [line.split(":", 2)[1:] for line in str(caught.value).splitlines()]
    assert [(int(line), said.split(":")[0].strip()) for line, said in told] == [
        (3, "sweep.since"),
        (5, "sweep.archive"),
        (6, "sweep.contact"),
        (7, "sweep.keep_raw"),
        (11, "source[0].url"),
        (12, "source[0].kind"),
        (14, "source[1].value"),
        (14, "source[1].allow_private"),
    ]


@pytest.mark.parametrize(
    ("since", "said"), [("2026-01-02T00:00:00Z", "backwards"), ("0001-01-01T00:00:00+14:00", "the year is out of")]
)
def test_a_window_that_cannot_be_is_told(tmp_path: Path, since: str, said: str) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(example(NOON).replace("since = 2026-01-01T00:00:00Z", f"since = {since}"))
    with pytest.raises(ConfigError, match=said):
        load_sweep(path)


def test_the_window_that_init_writes_is_a_whole_day(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(example(NOON))
    window = load_sweep(path).window
    assert window.until - window.since == timedelta(days=1)


def test_paths_are_relative_to_the_sweep_file_or_to_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sweep.toml"
    text = example(NOON).replace('model = "default"', 'model = "models/mine"')
    path.write_text(text.replace('archive = "archive"', 'archive = "~/archive"'))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "models/mine").mkdir(parents=True)
    config = load_sweep(path)
    assert config.classify.model == str(tmp_path / "models/mine")
    assert config.archive == tmp_path / "home/archive"


def test_a_source_has_one_name_however_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(example(NOON).replace('value = "bsky.app"', 'value = "@bsky.app"'))
    assert load_sweep(path).sources[1].value == "bsky.app"
    path.write_text(path.read_text() + '\n[[source]]\nplatform = "bluesky"\nurl = "https://public.api.bsky.app."\n'
                    'kind = "author"\nvalue = "bsky.app"\n')  # fmt: skip
    with pytest.raises(ConfigError, match=r"source\[\d+\] is the same as source\[1\]"):
        load_sweep(path)


def test_a_search_that_asks_for_an_account_is_named_by_a_keyed_hash_and_another_plainly() -> None:
    names = Pseudonyms(bytes(32))
    for value in ("from:rivermint.example flood", "flood @rivermint.example", "did:plc:rivermint", "to:rivermint"):
        assert "rivermint" not in names.source(Source("bluesky", "https://view.example", "search", value)), value
    plain = Source("bluesky", "https://view.example", "search", "flood tomorrow")
    assert names.source(plain) == "bluesky:view.example:search:flood tomorrow"


def test_a_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTSWEEP_KEY", raising=False)
    monkeypatch.delenv("POSTSWEEP_KEY_FILE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = tmp_path / "postsweep" / "pseudonym.key"
    first = load_key()
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key() == first
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_key()


def test_for_an_archive_that_is_there_no_key_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTSWEEP_KEY", raising=False)
    monkeypatch.delenv("POSTSWEEP_KEY_FILE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    archive = tmp_path / "archive"
    request = Request("erase", "before", "2026-01-01")
    cluster = ClusterSpec()
    run = RunRequest(archive, "d2026-01-01", (ModelSpec("default"),), cluster, token_budget=1)
    commands: list[Callable[[], object]] = [
        lambda: erase(archive, request, Progress(), lambda _: True),
        lambda: foresee(archive, request, Progress()),
        lambda: rerun(archive, "nightly", {}, cluster, Progress()),
        lambda: classify_sweep(run, Progress()),
    ]
    for command in commands:
        with pytest.raises(ArchiveError, match="no archive here"):
            command()
    open_store(archive)
    (tmp_path / "sweep.toml").write_text(example(NOON))
    config = load_sweep(tmp_path / "sweep.toml")
    for command in (*commands, lambda: crawl_sweep(config, Progress())):
        with pytest.raises(ConfigError, match=f"no pseudonym key there, and .* written with key {NAMES.fingerprint}"):
            command()
    assert not (tmp_path / "settings").exists()


def test_a_key_file_that_is_named_and_not_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTSWEEP_KEY", raising=False)
    monkeypatch.setenv("POSTSWEEP_KEY_FILE", str(tmp_path / "mistyped.key"))
    with pytest.raises(ConfigError, match="does not exist"):
        load_key()
    assert list(tmp_path.iterdir()) == []


def test_a_key_file_that_is_a_folder_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTSWEEP_KEY", raising=False)
    monkeypatch.setenv("POSTSWEEP_KEY_FILE", str(tmp_path))
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\); correct POSTSWEEP_KEY_FILE"):
        load_key()


def test_a_list_of_addresses_that_is_not_there_says_so(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    wechat = '\n[[source]]\nplatform = "wechat"\nkind = "articles"\nurls = "articles.txt"\n'
    path.write_text(one_source("https://one.example") + wechat)
    with pytest.raises(ConfigError, match=r"articles.txt: .* read \(No such file or directory\); correct urls"):
        load_sweep(path)


def test_a_sweep_s_id_beside_a_place_that_is_no_archive_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").touch()
    for name, said in (("sweep.toml", "is a file"), ("archvie", "is not there")):
        with pytest.raises(ConfigError, match=f"--sweep goes with an archive's folder; .*{name} {said}"):
            named_place(tmp_path / name, "d1")


def test_a_key_of_another_length_is_refused_without_being_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTSWEEP_KEY", "abcd1234")
    with pytest.raises(ConfigError) as caught:
        load_key()
    assert "abcd1234" not in str(caught.value)


SEVERAL = """
[[classify.models]]
model = "default"
thresholds = { rumor = 0.6 }

[[classify.models]]
name = "toxicity"
model = "example/toxic@0123456789abcdef0123456789abcdef01234567"
labels = { toxic = "abuse_too" }
engine = "torch"
device = "cuda:1"
dtype = "bfloat16"
"""


def swept_by(tmp_path: Path, models: str) -> Path:
    path = tmp_path / "sweep.toml"
    path.write_text(one_source("https://one.example") + models)
    return path


def test_a_sweep_file_names_one_model_or_several(tmp_path: Path) -> None:
    one = load_sweep(swept_by(tmp_path, '[classify]\nmodel = "mine"\nthresholds = { rumor = 0.7 }\n'))
    assert [part.spec for part in one.classify.each] == [
        ModelSpec(str(tmp_path / "mine"), thresholds=(("rumor", 0.7),))
    ]
    first, second = (part.spec for part in load_sweep(swept_by(tmp_path, SEVERAL)).classify.each)
    assert first == ModelSpec("default", thresholds=(("rumor", 0.6),))
    assert second.model == "example/toxic@0123456789abcdef0123456789abcdef01234567"
    assert (second.name, second.engine, second.device, second.dtype) == ("toxicity", "torch", "cuda:1", "bfloat16")
    assert second.labels == (("toxic", "abuse_too"),)


@pytest.mark.parametrize(
    ("models", "told"),
    [
        (SEVERAL + '[classify]\nmodel = "mine"\n', r"classify.models: models stand in \[\[classify.models\]\] or one"),
        (SEVERAL.replace('engine = "torch"', 'engin = "torch"'), r":22: classify.models\[1\].engin: unknown key"),
        (SEVERAL.replace("0.6", "1.6"), r":16: classify.models\[0\].thresholds.rumor: .*less than or equal to 1"),
        (SEVERAL.replace("abuse_too", "abuse too"), r":21: classify.models\[1\].labels.toxic: must begin with"),
        (SEVERAL.replace("cuda:1", "gpu"), r":23: classify.models\[1\].device: use cpu, cuda or cuda:<number>"),
        (SEVERAL.replace('"toxicity"', '"../x"'), r":19: classify.models\[1\].name: must begin with a letter"),
    ],
)
def test_mistakes_in_models_are_told_with_their_lines(tmp_path: Path, models: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_sweep(swept_by(tmp_path, models))


def test_the_public_form_shows_models_without_their_folders(tmp_path: Path) -> None:
    public = load_sweep(swept_by(tmp_path, SEVERAL.replace('"default"', '"secret/place/mine"'))).public(
        Pseudonyms(bytes(32))
    )
    assert [part["model"] for part in public["classify"]["models"]] == [
        "mine",
        "example/toxic@0123456789abcdef0123456789abcdef01234567",
    ]


def test_a_worker_of_a_cuda_cluster_has_one_device(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'device cuda:1: a worker of cluster.kind "cuda" has one device'):
        load_sweep(swept_by(tmp_path, SEVERAL + '[cluster]\nkind = "cuda"\n'))
    load_sweep(swept_by(tmp_path, SEVERAL.replace("cuda:1", "cuda") + '[cluster]\nkind = "cuda"\n'))


def test_the_list_of_platforms_tells_which_kinds_need_keys_and_which_keys_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POSTSWEEP_BLUESKY_IDENTIFIER", "operator.example")
    monkeypatch.delenv("POSTSWEEP_BLUESKY_APP_PASSWORD", raising=False)
    rows = {row["name"]: row for row in listed()["platforms"]}
    assert (rows["bluesky"]["keyed"], rows["bluesky"]["missing"]) == (["search"], ["POSTSWEEP_BLUESKY_APP_PASSWORD"])
    assert rows["x"]["keyed"] == rows["x"]["kinds"]
    assert rows["mastodon"]["keyed"] == rows["mastodon"]["missing"] == []


@pytest.mark.parametrize(
    ("platform", "kind", "value", "said"),
    [
        ("mastodon", "tag", "   ", "is blank"),
        ("mastodon", "tag", "ferry delay", "white space"),
        ("telegram", "channel", "https://t.me/harbour_notes", "the channel alone, not its address"),
        ("bluesky", "author", "https://bsky.app/profile/oak.example", "handle or DID alone, not its address"),
    ],
)
def test_a_value_that_can_name_nothing_is_a_mistake_of_its_line(
    tmp_path: Path, platform: str, kind: str, value: str, said: str
) -> None:
    told = one_source("https://one.example").replace('"mastodon"', f'"{platform}"').replace('"public"', f'"{kind}"')
    (tmp_path / "sweep.toml").write_text(told + f'value = "{value}"\n')
    with pytest.raises(ConfigError, match=rf"sweep\.toml:\d+: source\[0\]\.value: .*{said}"):
        load_sweep(tmp_path / "sweep.toml")


def test_a_subreddit_of_an_account_is_named_by_a_keyed_hash() -> None:
    for kind, value in (("subreddit", "r/u_oakfern"), ("comments", "ferries+U_oakfern"), ("search", "subreddit:u_oak")):
        assert "oak" not in NAMES.source(Source("reddit", "https://oauth.reddit.com", kind, value))
    plain = Source("reddit", "https://oauth.reddit.com", "subreddit", "menu_ferries")
    assert NAMES.source(plain) == "reddit:oauth.reddit.com:subreddit:menu_ferries"


def test_of_a_platform_that_is_not_known_nothing_else_is_told(tmp_path: Path) -> None:
    told = one_source("-").replace('"mastodon"', '"friendster"').replace('url = "-"\n', "").replace('"public"', '"tag"')
    (tmp_path / "sweep.toml").write_text(told)
    with pytest.raises(ConfigError, match="unknown platform") as caught:
        load_sweep(tmp_path / "sweep.toml")
    assert len(str(caught.value).splitlines()) == 1
