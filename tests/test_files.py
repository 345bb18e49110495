"""Writing that a kill, a full disk or an exception cannot leave half done."""

import errno
import hashlib
import linecache
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from emotailor import files, locks
from emotailor.errors import ConfigError, DataError
from emotailor.locks import Lock
from tests import kills


class MidwayError(Exception):
    """Something that goes wrong in the middle."""


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def new_folder(path: Path, *, overwrite: bool = False) -> AbstractContextManager[Path]:
    return files.replacing_folder(path, index="index", overwrite=overwrite)


def test_a_file_is_replaced_only_when_it_is_complete(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    files.write_text(file, "one")
    with pytest.raises(MidwayError), files.replacing_file(file) as temporary:
        temporary.write_text("half")
        assert file.read_text() == "one"
        assert temporary.parent.parent == tmp_path
        raise MidwayError
    assert file.read_text() == "one"
    assert names(tmp_path) == {"a.txt"}
    files.write_text(file, "two")
    assert file.read_text() == "two"
    assert names(tmp_path) == {"a.txt"}


def test_files_take_their_places_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [tmp_path / "b" / "table.csv", tmp_path / "a" / "index.json"]
    replace = Path.replace
    moved: list[Path] = []

    def noted(self: Path, to: Path) -> Path:
        # both are flushed before the first has its name
        assert synced >= {str(temporary) for temporary in temporaries}
        moved.append(to)
        return replace(self, to)

    sync = files.sync_file
    synced: set[str] = set()

    def noted_sync(path: Path) -> None:
        synced.add(str(path))
        sync(path)

    monkeypatch.setattr(Path, "replace", noted)
    monkeypatch.setattr(files, "sync_file", noted_sync)
    with files.replacing_files(*places) as temporaries:
        for number, temporary in enumerate(temporaries):
            temporary.write_text(str(number))
    assert moved == places
    assert [place.read_text() for place in places] == ["0", "1"]
    assert names(tmp_path / "a") == {"index.json"}
    assert names(tmp_path / "b") == {"table.csv"}


def test_folders_above_a_file_are_made(tmp_path: Path) -> None:
    files.write_json(tmp_path / "ä b" / "c" / "x.json", {"ü": 1.5})
    text = (tmp_path / "ä b" / "c" / "x.json").read_text(encoding="utf-8")
    digest = hashlib.sha256('{"ü":1.5}'.encode()).hexdigest()
    assert text == f'{{\n  "ü": 1.5,\n  "content_sha256": "{digest}"\n}}\n'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}])
def test_what_is_no_json_leaves_the_old_file(tmp_path: Path, value: object) -> None:
    files.write_json(tmp_path / "x.json", {"old": 1})
    before = (tmp_path / "x.json").read_bytes()
    with pytest.raises((ValueError, TypeError)):
        files.write_json(tmp_path / "x.json", {"new": value})
    assert (tmp_path / "x.json").read_bytes() == before
    assert names(tmp_path) == {"x.json"}


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "set"
    with new_folder(target) as temporary:
        (temporary / "part").write_text("1")
        assert not target.exists()
    assert (target / "part").read_text() == "1"
    assert names(target.parent) == {"set"}


def test_an_exception_midway_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(MidwayError), new_folder(tmp_path / "set") as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep" / "part").write_text("1")
        raise MidwayError
    assert names(tmp_path) == set()


def test_an_existing_path_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with (
        pytest.raises(DataError, match=r"already exists[\s\S]*--overwrite"),
        new_folder(tmp_path / "set"),
    ):
        raise AssertionError("no work is done")
    assert names(tmp_path) == {"set"}


def write_set(folder: Path, *contents: str) -> None:
    """Write files that an index names, as every folder of ours has them."""
    for content in contents:
        (folder / f"part-{content}").write_text(content)
    (folder / "index").write_text("\n".join(contents))


def read_set(folder: Path) -> list[str]:
    """Read what the index names; every part must be there, and be what its name says."""
    contents = (folder / "index").read_text().splitlines()
    for content in contents:
        assert (folder / f"part-{content}").read_text() == content
    return contents


def make_set(path: Path, *contents: str) -> None:
    with new_folder(path, overwrite=path.exists()) as temporary:
        write_set(temporary, *contents)


def test_overwriting_replaces_everything_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "set"
    make_set(target, "old", "both")
    with pytest.raises(MidwayError), new_folder(target, overwrite=True) as temporary:
        write_set(temporary, "new")
        raise MidwayError
    assert read_set(target) == ["old", "both"]
    assert names(target) == {"index", "part-old", "part-both"}
    make_set(target, "both", "new")
    assert read_set(target) == ["both", "new"]
    assert names(target) == {"index", "part-both", "part-new"}
    assert names(tmp_path) == {"set"}


def test_what_is_not_ours_stays_when_a_folder_is_replaced(tmp_path: Path) -> None:
    make_set(tmp_path, "old")
    (tmp_path / "notes.txt").write_text("mine")
    with files.replacing_folder(
        tmp_path, index="index", writes=("index", "part-*"), overwrite=True
    ) as temporary:
        write_set(temporary, "new")
    assert names(tmp_path) == {"index", "part-new", "notes.txt"}


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_folder_whose_files_cannot_be_moved_stays_the_old_one(
    call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "set"
    make_set(target, "old")
    replace, calls = Path.replace, []

    def fails(self: Path, to: Path) -> Path:
        calls.append(to)
        if len(calls) == call:
            raise OSError(errno.EIO, "disk on fire", str(self))
        return replace(self, to)

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(OSError, match="on fire") as caught:
        make_set(target, "a", "b")
    assert caught.value.filename == str(target)
    assert len(calls) == call
    assert read_set(target) == ["old"]
    if call < 3:
        assert names(target) == {"index", "part-old"}
    assert names(tmp_path) == {"set"}
    monkeypatch.undo()
    make_set(target, "c")
    assert names(target) == {"index", "part-c"}


def test_a_folder_that_somebody_else_made_meanwhile_is_kept(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match="already exists"),
        new_folder(tmp_path / "set") as temporary,
    ):
        (temporary / "mine").write_text("1")
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "theirs").write_text("2")
    assert names(tmp_path / "set") == {"theirs"}
    assert names(tmp_path) == {"set"}


@pytest.mark.parametrize("is_there", [False, True])
def test_two_processes_do_not_write_one_folder(tmp_path: Path, is_there: bool) -> None:
    target = tmp_path / "set"
    if is_there:
        make_set(target, "old")
    with new_folder(target, overwrite=True) as temporary:
        with (
            pytest.raises(ConfigError, match="another process is writing"),
            new_folder(target, overwrite=True),
        ):
            raise AssertionError("no work is done")
        write_set(temporary, "new")
    assert read_set(target) == ["new"]
    assert names(tmp_path) == {"set"}
    make_set(target, "newer")
    assert read_set(target) == ["newer"]


def test_a_link_keeps_pointing_to_the_replaced_folder(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "set").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "set")
    make_set(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "disk" / "set") == {"index", "part-new"}
    assert names(tmp_path / "disk") == {"set"}


def test_the_present_folder_can_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    make_set(Path(), "new")
    assert names(here) == {"index", "part-new"}
    assert names(tmp_path) == {"here"}


def _save(value: float) -> Callable[[Path], None]:
    return lambda path: save_file({"x": np.full(3, value, np.float32)}, path)


def test_hashed_files_leave_what_the_index_names(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    first, digest = files.write_hashed(folder, "weights", ".safetensors", _save(1))
    assert digest == hashlib.sha256((folder / first).read_bytes()).hexdigest()
    assert first == f"weights-{digest[:12]}.safetensors"
    assert files.sha256_of(folder / first) == digest
    second, _ = files.write_hashed(folder, "weights", ".safetensors", _save(2))
    assert names(folder) == {first, second}
    assert load_file(folder / first)["x"].tolist() == [1, 1, 1]
    (folder / "other-1.safetensors").write_text("")
    (folder / "weights-1.json").write_text("")
    files.remove_others(folder, "weights", ".safetensors", second)
    assert names(folder) == {second, "other-1.safetensors", "weights-1.json"}


def test_the_same_content_has_the_same_name(tmp_path: Path) -> None:
    first, _ = files.write_hashed(tmp_path, "w", ".safetensors", _save(1))
    second, _ = files.write_hashed(tmp_path, "w", ".safetensors", _save(1))
    assert first == second
    assert names(tmp_path) == {first}


def test_a_failed_hashed_write_leaves_nothing(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise MidwayError

    with pytest.raises(MidwayError):
        files.write_hashed(tmp_path, "w", ".safetensors", fail)
    assert names(tmp_path) == set()


def test_a_full_disk_is_an_ordinary_error(tmp_path: Path) -> None:
    """The safetensors library reports it as an error of its own."""

    def full(path: Path) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device")

    with pytest.raises(OSError, match="No space left"):
        files.write_hashed(tmp_path, "w", ".safetensors", full)
    assert names(tmp_path) == set()


def test_files_can_be_read_by_whoever_may_read_ordinary_files(tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    name, _ = files.write_hashed(tmp_path, "w", ".safetensors", _save(1))
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


# ---------------------------------------------------------------------- what a kill leaves


ENDED = 2**22 + 1
"""No process has such a number: it is above Linux' highest."""


def test_the_next_writer_removes_what_a_kill_has_left(tmp_path: Path) -> None:
    left = kills.killed_while_writing(tmp_path / "a.json")
    assert files.is_temporary(left.name)
    assert files.written_at(left / "a.json") == tmp_path / "a.json"
    assert files.names_in(tmp_path) == set()
    files.write_text(tmp_path / "b.json", "")
    assert names(tmp_path) == {"b.json", left.name}
    files.write_text(tmp_path / "a.json", "whole")
    assert names(tmp_path) == {"a.json", "b.json"}
    assert (tmp_path / "a.json").read_text() == "whole"


def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    with files.replacing_file(file) as temporary:
        temporary.write_text("first")
        files.remove_temporaries(tmp_path)
        files.write_text(file, "second")
        assert temporary.read_text() == "first"
        assert file.read_text() == "second"
    assert file.read_text() == "first"
    assert names(tmp_path) == {"a.json"}


def test_only_what_is_provably_dead_is_removed(tmp_path: Path) -> None:
    dead = kills.killed_while_writing(tmp_path / "dead")
    (tmp_path / f".old.json.{ENDED}-abcdef.tmp").write_text("half")
    (tmp_path / f".oldset.{ENDED}-abcdef.tmp").mkdir()
    (tmp_path / "below").mkdir()
    below = kills.killed_while_writing(tmp_path / "below" / "dead")
    kept = {
        "kept.tmp", ".of another program.tmp", ".lock",
        f".old.json.{os.getpid()}-abcdef.tmp",  # of an earlier version that still runs
        ".no-folder.0123456789abcdef.tmp",
    }  # fmt: skip
    for name in kept:
        (tmp_path / name).write_text("kept")

    # all that an earlier version left of a folder, killed while it was replaced
    aside = tmp_path / f".data.{ENDED}-abcdef.tmp"
    aside.mkdir()
    (aside / "dataset.json").write_text("{}")
    files.remove_temporaries(tmp_path)
    assert not dead.exists()
    assert below.exists()
    assert names(tmp_path) == {"below", aside.name, *kept}
    (tmp_path / "data").mkdir()
    files.remove_temporaries(tmp_path, tmp_path / "below", tmp_path / "absent")
    assert names(tmp_path) == {"below", "data", *kept}
    assert names(tmp_path / "below") == set()


def test_a_process_that_has_not_locked_yet_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire = Lock.acquire
    cleaned: list[Path] = []

    def cleaned_before(self: Lock) -> bool:
        if not cleaned:
            cleaned.append(self.folder)
            files.remove_temporaries(tmp_path)
            assert not self.folder.exists()
        return acquire(self)

    monkeypatch.setattr(Lock, "acquire", cleaned_before)
    files.write_text(tmp_path / "a.json", "whole")
    assert len(cleaned) == 1
    assert names(tmp_path) == {"a.json"}
    assert (tmp_path / "a.json").read_text() == "whole"


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(self: Lock) -> bool:
        raise OSError(errno.ENOLCK, "no locks available")

    left = kills.killed_while_writing(tmp_path / "a.json")
    monkeypatch.setattr(Lock, "acquire", no_locks)
    files.write_text(tmp_path / "a.json", "whole")
    make_set(tmp_path / "set", "new")
    assert names(tmp_path) == {"a.json", "set", left.name}  # nobody can tell whether it is dead


@pytest.mark.parametrize("is_there", [False, True])
def test_a_kill_at_any_call_leaves_the_old_folder_or_the_new_one(
    tmp_path: Path, is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    found = []
    for call in range(1, 200):
        place = tmp_path / str(call)
        target = place / "set"
        if is_there:
            make_set(target, "old", "both")
        code = kills.run_and_die(partial(make_set, target, "both", "new"), call)
        found.append(read_set(target) if target.exists() else None)
        if code == 0:
            break

        # the same again, and nothing is left
        make_set(target, "both", "new")
        assert read_set(target) == ["both", "new"]
        assert names(target) == {"index", "part-both", "part-new"}
        assert names(place) == {"set"}
    assert code == 0
    assert len(found) > 20
    before = ["old", "both"] if is_there else None
    assert found == sorted(found, key=lambda content: content == ["both", "new"])
    assert all(content in (before, ["both", "new"]) for content in found)
    assert found[0] == before


class StoppedError(Exception):
    """A signal, as the command line lets it unwind the stack."""


@contextmanager
def stopped_at(line: int) -> Iterator[None]:
    """Raise at the n-th line of ours that runs, as a signal may."""
    ran = 0

    def stop(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal ran
        # Python does nothing in such a line, and looks for no signal there
        text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        if event == "line" and text != "try:":
            ran += 1
            if ran == line:
                sys.settrace(None)
                raise StoppedError
        return stop

    def enter(frame: FrameType, event: str, value: Any) -> Any:
        is_ours = frame.f_code.co_filename in (files.__file__, locks.__file__)
        return stop(frame, event, value) if is_ours else None

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        yield
    finally:
        sys.settrace(before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # files left open
@pytest.mark.parametrize("is_there", [False, True])
def test_a_signal_at_any_line_leaves_nothing_behind(tmp_path: Path, is_there: bool) -> None:
    stopped = 0
    for line in range(1, 1000):
        place = tmp_path / str(line)
        place.mkdir()
        if is_there:
            make_set(place / "set", "old", "both")
        try:
            with stopped_at(line):
                files.write_text(place / "a.txt", "one")
                make_set(place / "set", "both", "new")
        except StoppedError:
            stopped += 1
        else:
            break

        assert names(place) <= {"set", "a.txt"}
        if (place / "set").exists():
            assert not [name for name in names(place / "set") if files.is_temporary(name)]
    assert stopped == line - 1
    assert stopped > 150
    assert names(place) == {"set", "a.txt"}
