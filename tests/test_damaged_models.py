"""What is damaged or cannot be of a model, its cache or a measurement of it, is one line or is made good."""

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from classify import card, tolerance
from classify.cache import making
from classify.columns import choose
from classify.errors import ModelError
from classify.hub import hub_folder
from classify.labels import Label
from classify.model import load, prepare
from classify.prepared import find, known, note
from classify.spec import ModelSpec
from classify.tensors import read_header
from tests import small_classifiers, small_model


@pytest.mark.parametrize("header", [b"[]", b"17", b"null", b'"ab"', b'{"a": 1}'])
def test_a_safetensors_header_that_is_no_object_of_tensors_is_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ModelError, match="not that of a safetensors file"):
        read_header(path)


@pytest.mark.parametrize("column", ["uid", "UID", "Flags", "Lang"])
def test_no_label_takes_a_name_that_readers_of_sql_take_for_another_column(column: str) -> None:
    spec = ModelSpec("toxic", labels=(("toxic", column),))
    with pytest.raises(ModelError, match=f"'{column}' cannot be a column"):
        choose([Label("toxic", "what it means")], spec)


def test_a_folder_that_another_process_takes_away_meanwhile_does_not_make_the_cache_unwritable(tmp_path: Path) -> None:
    (tmp_path / ".making-gone").symlink_to(tmp_path / "nowhere")
    with making(tmp_path) as made:
        assert made.is_dir()


@pytest.mark.parametrize("noted", ["[]", '{"name": "x", "model": "x", "folder": 5, "digest": "x"}', "{", '"\\u0000"'])
def test_a_note_that_cannot_be_read_hides_no_other_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: str
) -> None:
    monkeypatch.setenv("POSTSWEEP_CACHE", str(tmp_path / "cache"))
    ref = prepare(str(small_model.make(tmp_path / "own")))
    note(ref)
    (tmp_path / "cache/models/known/odd.json").write_text(noted)
    assert [each.digest for each in known()] == [ref.digest]
    assert find(ref.digest) == ref.folder


@pytest.mark.parametrize("device", ["cuda:9", "cuda:300", "cuda:99999999999999999999", "cuda:\u0663"])
def test_a_device_that_cannot_be_is_one_line(tmp_path: Path, device: str) -> None:
    small_classifiers.make(tmp_path / "toxic", "bert")
    with pytest.raises(ModelError, match=f"device '?{device}"):
        load(prepare(ModelSpec(str(tmp_path / "toxic"), engine="torch", device=device)))


def test_a_config_that_claims_a_billion_labels_is_refused_at_once(tmp_path: Path) -> None:
    small_classifiers.make(tmp_path / "toxic", "bert")
    path = tmp_path / "toxic/config.json"
    config = json.loads(path.read_text())
    del config["id2label"]
    path.write_text(json.dumps({**config, "num_labels": 10**9}))
    with pytest.raises(ModelError, match="1000000000 labels, not 1 to 100"):
        prepare(ModelSpec(str(tmp_path / "toxic")))


def test_a_damaged_listing_of_a_hubs_model_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTSWEEP_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    folder = tmp_path / f"models/owner--name@{'ab' * 20}"
    folder.mkdir(parents=True)
    (folder / "listing.json").write_text('{"config.json": ')
    with pytest.raises(ModelError, match="cannot be fetched from the hub"):
        hub_folder(ModelSpec("x"), "owner/name", "ab" * 20)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (tolerance.main, ["nowhere.txt"]),
        (tolerance.main, [__file__, "--model", "nowhere"]),
        (card.main, ["--data", "nowhere", "--work", "work"]),
    ],
)
def test_a_mistake_in_a_command_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    command: Callable[[], None], arguments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    with pytest.raises(SystemExit) as ended:
        command()
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "nowhere" in line
