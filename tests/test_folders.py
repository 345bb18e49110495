"""Whose a folder is, and whether we may write there."""

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from emotailor import files, folders
from emotailor.comparison.plan import Kind
from emotailor.data import card as data_set
from emotailor.errors import ConfigError, DataError
from emotailor.figures import store as figures
from emotailor.files import write_json
from emotailor.folders import FolderKind, held
from emotailor.locks import LOCK_FILE, Lock
from emotailor.paper import plan as paper
from emotailor.training import model_folder, run_folder
from tests import kills
from tests.runs.runs import tiny_config

BENCHMARK, ABLATION = Kind().folder, Kind(name="ablation").folder
KINDS = {
    kind.name: kind
    for kind in (
        data_set.FOLDER,
        run_folder.FOLDER,
        model_folder.FOLDER,
        figures.KIND,
        paper.FOLDER,
        BENCHMARK,
        ABLATION,
    )
}
CONTENT: dict[str, Any] = {
    "data set": {"format": "emotailor-dataset"},
    "run folder": {"config": {}, "fingerprint": ""},
    "model folder": {"format": "emotailor-model"},
    "folder of figures": {"format": "emotailor-figures"},
    "reproduction": {"format": "emotailor-reproduction"},
    "benchmark": {"format": "emotailor-benchmark"},
    "ablation": {"format": "emotailor-ablation"},
}
"""What a marker says at least."""

every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def start(kind: FolderKind, folder: Path) -> Path:
    write_json(folder / kind.marker, CONTENT[kind.name])
    return folder


@every_kind
def test_what_is_free_may_be_written_to(kind: FolderKind, tmp_path: Path) -> None:
    kind.check(tmp_path / "new" / "deep")
    kind.check(tmp_path)
    (tmp_path / LOCK_FILE).touch()
    (tmp_path / f".{kind.marker}.123-abcdef.tmp").write_text("{")  # of a process that was killed
    kind.check(tmp_path)
    assert not (tmp_path / "new").exists()


@every_kind
def test_a_folder_of_the_same_kind_is_ours(kind: FolderKind, tmp_path: Path) -> None:
    kind.check(start(kind, tmp_path))
    (tmp_path / "notes.txt").write_text("")
    kind.check(tmp_path)
    kind.mark(tmp_path, "something else")
    assert "something else" not in (tmp_path / kind.marker).read_text()


@every_kind
def test_every_other_folder_is_refused(kind: FolderKind, tmp_path: Path) -> None:
    for other in KINDS.values():
        if other is not kind:
            there = start(other, tmp_path / other.name)
            with pytest.raises(kind.error) as caught:
                kind.check(there)
            assert str(caught.value) == (
                f"{there} is no {kind.name}, and not empty: it holds {other.marker!r}\n"
                f"  expected: an earlier {kind.name}, or a path that is free\n"
                "  to fix it: choose another --out"
            )
    for content in ("[1]", "{}", '"text"', "null", '{"format": "emotailor-other"}'):
        file = tmp_path / "somebody" / kind.marker
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
        with pytest.raises(kind.error, match=f"no {kind.name}"):
            kind.check(file.parent)
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(kind.error, match="file is a file"):
            kind.check(path)


@every_kind
def test_beside_other_files_a_damaged_marker_tells_nothing(
    kind: FolderKind, tmp_path: Path
) -> None:
    (tmp_path / kind.marker).write_text('{"format": "emotai')
    (tmp_path / "thesis.txt").write_text("")
    with pytest.raises(kind.error, match=kind.marker):
        kind.check(tmp_path)


@pytest.mark.parametrize(
    ("kind", "names", "ours"),
    [
        (BENCHMARK, ["tailor/seed1/config.json", "br/seed1.log", "table.md", "report.html"], True),
        (BENCHMARK, ["benchmark.json", "table.md"], True),
        (BENCHMARK, ["table.md"], False),
        (BENCHMARK, ["tailor/seed1/config.json", "photos/1.jpg"], False),
        (data_set.FOLDER, ["dataset.json", "train-00000.safetensors"], True),
        (data_set.FOLDER, ["train-00000.safetensors"], False),
        (model_folder.FOLDER, ["model.json", "weights-0123.safetensors"], True),
        (model_folder.FOLDER, ["weights-0123.safetensors"], False),
        (run_folder.FOLDER, ["metrics.jsonl"], True),
        (run_folder.FOLDER, ["metrics.jsonl", "config.json"], False),
        (figures.KIND, ["figure6-tsne.svg", "claims.json"], True),
        (figures.KIND, ["figure8.svg"], False),
        (paper.FOLDER, ["reproduction.json", "table2-aligned/benchmark.json"], True),
        (paper.FOLDER, ["table2-aligned/benchmark.json"], False),
    ],
)
def test_where_the_marker_is_lost_or_damaged_the_names_tell(
    kind: FolderKind, names: list[str], ours: bool, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{")
    assert kind.owns(tmp_path) == ours


def test_a_whole_folder_is_replaced_only_when_asked_and_when_nothing_else_is_lost(
    tmp_path: Path,
) -> None:
    kind, there = data_set.FOLDER, tmp_path / "data"
    kind.check_new(there, overwrite=False)
    start(kind, there)
    with pytest.raises(DataError, match=r"data already exists[\s\S]*--overwrite"):
        kind.check_new(there, overwrite=False)
    kind.check_new(there, overwrite=True)
    (there / "run").mkdir()
    with pytest.raises(DataError, match="data is a data set, but holds 'run' too"):
        kind.check_new(there, overwrite=True)
    shutil.rmtree(there)
    (there / "sub").mkdir(parents=True)
    with pytest.raises(DataError, match="is no data set"):
        kind.check_new(there, overwrite=True)


def test_a_place_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may = os.access
    # root may write anywhere
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and may(path, mode))
    asks: list[Callable[[], object]] = [
        lambda: BENCHMARK.check(tmp_path / "deep" / "out"),
        lambda: BENCHMARK.check(tmp_path),
        lambda: folders.check_file(tmp_path / "page.html", "page", b"<"),
        lambda: folders.held(tmp_path / "deep" / "out").__enter__(),
    ]
    for ask in asks:
        with pytest.raises(ConfigError, match=f"{tmp_path} cannot be written to"):
            ask()
    with pytest.raises(DataError, match=f"{tmp_path} cannot be written to"):
        data_set.FOLDER.check_new(tmp_path / "data", overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_written_over_only_by_its_like(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    folders.check_file(file, "HTML page", b"<!doctype html>")
    file.write_text("<!DOCTYPE HTML>\n<p>")
    folders.check_file(file, "HTML page", b"<!doctype html>")
    for content in ("", "<!doctype", "<p>", "{}"):
        file.write_text(content)
        with pytest.raises(ConfigError, match=r"page.html exists and is no HTML page"):
            folders.check_file(file, "HTML page", b"<!doctype html>")
        assert file.read_text() == content
    with pytest.raises(ConfigError, match="is a folder"):
        folders.check_file(tmp_path, "HTML page", b"<!doctype html>")


def test_one_process_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    assert not folders.is_held(folder)
    folders.check_free(folder)
    with folders.held(folder):
        assert folders.is_held(folder)
        with pytest.raises(ConfigError, match="another process works in"):
            folders.check_free(folder)
        with pytest.raises(ConfigError, match="another process works in"), folders.held(folder):
            pass
    assert not folders.is_held(folder)


@pytest.mark.parametrize("made_again", [False, True])
def test_a_folder_that_is_removed_meanwhile_gets_nothing_more(
    tmp_path: Path, made_again: bool
) -> None:
    folder = tmp_path / "run"
    beside = tmp_path / "run2"
    with held(folder), ExitStack() as other:
        write_json(folder / "checkpoint" / "state.json", {"of": "first"})
        shutil.rmtree(folder)
        if made_again:
            other.enter_context(held(folder))
            (folder / "config.json").write_text("of the second")

        there = set(folder.rglob("*"))
        for write in (
            lambda: write_json(folder / "checkpoint" / "state.json", {"of": "first"}),
            lambda: files.write_hashed(folder / "checkpoint", "state", ".x", Path.touch),
            lambda: files.remove_others(folder, "config", ".json"),
        ):
            with pytest.raises(ConfigError, match=f"{folder} was removed or replaced"):
                write()
        assert set(folder.rglob("*")) == there
        write_json(beside / "config.json", {})


def test_a_folder_that_is_removed_while_a_file_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with (
        held(folder),
        pytest.raises(ConfigError, match="was removed or replaced"),
        files.replacing_file(folder / "state.json") as temporary,
    ):
        shutil.rmtree(folder)
        temporary.write_text("")


def test_a_lock_is_of_the_file_that_was_there_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who gets a lock just before its folder is made again does not take the new one for it."""
    (tmp_path / LOCK_FILE).touch()
    acquire = FileLock.acquire
    calls = []

    def replaced_meanwhile(self: FileLock, *args: Any, **kwargs: Any) -> Any:
        got = acquire(self, *args, **kwargs)
        calls.append(got)
        (tmp_path / "other").touch()
        (tmp_path / "other").replace(tmp_path / LOCK_FILE)
        return got

    monkeypatch.setattr(FileLock, "acquire", replaced_meanwhile)
    lock = Lock(tmp_path)
    assert not lock.acquire()
    assert len(calls) == 2
    monkeypatch.undo()
    assert lock.acquire()
    assert not lock.is_lost
    assert not Lock(tmp_path).acquire()
    lock.release()
    assert lock.is_lost


def test_a_marker_that_says_something_else_is_named(tmp_path: Path) -> None:
    marker = run_folder.FOLDER.marker
    (tmp_path / marker).write_text('{"format": "letter"}')
    with pytest.raises(ConfigError, match=f"{marker} is damaged or of another kind"):
        run_folder.FOLDER.check(tmp_path)


def test_a_folder_of_somebody_else_gets_not_even_a_lock(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("")
    with (
        pytest.raises(ConfigError, match="is no run folder"),
        run_folder.RunFolder(tmp_path).held(),
    ):
        raise AssertionError("no work is done")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@every_kind
def test_a_folder_is_swept_with_those_below_that_its_kind_writes(
    kind: FolderKind, tmp_path: Path
) -> None:
    ours = [tmp_path, *(tmp_path / name for name in kind.below)]
    others = [tmp_path / "other", tmp_path / "other" / "figures"]
    dead, kept = kills.plant_dead(*ours), kills.plant_dead(*others)
    (alive,) = kills.plant_dead(ours[-1] / "alive")
    alive = alive.rename(ours[-1] / ".y.json.0123456789abcdef.tmp")
    lock = Lock(alive)
    assert lock.acquire()
    kind.sweep(tmp_path)
    lock.release()
    assert [left.exists() for left in dead] == [False] * len(dead)
    assert [left.exists() for left in (*kept, alive)] == [True] * 3


@pytest.mark.parametrize("name", ["", "checkpoint", "model", "figures"])
def test_a_run_that_is_claimed_is_swept(name: str, tmp_path: Path) -> None:
    run = run_folder.RunFolder(tmp_path / "run")
    config = tiny_config(tmp_path / "data")
    run.claim(config, "fingerprint")
    (run.model / "any").mkdir(parents=True)  # it is trained
    (left,) = kills.plant_dead(run.path / name)
    run.claim(config, "fingerprint")
    assert not left.exists()


def test_a_refused_folder_is_cleared_of_what_killed_calls_left(tmp_path: Path) -> None:
    place = tmp_path / "data"
    place.mkdir()
    dead = tmp_path / ".data.0123456789abcdef.tmp"
    alive = tmp_path / ".data.fedcba9876543210.tmp"
    other = tmp_path / ".other.0123456789abcdef.tmp"
    for folder in (dead, alive, other):
        folder.mkdir()

    lock = Lock(alive)
    assert lock.acquire()
    with pytest.raises(DataError):
        data_set.FOLDER.check_new(place, overwrite=False)
    lock.release()
    assert not dead.exists()
    assert alive.exists()
    assert other.exists()
