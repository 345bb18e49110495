"""Writing that a kill, a full disk or an exception cannot leave half done."""

import hashlib
import re
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from emotailor import files
from emotailor.errors import DataError


class MidwayError(Exception):
    """Something that goes wrong in the middle."""


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_a_file_is_replaced_only_when_it_is_complete(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    files.write_text(file, "one")
    with pytest.raises(MidwayError), files.replacing_file(file) as temporary:
        temporary.write_text("half")
        assert file.read_text() == "one"
        assert temporary.parent == tmp_path
        raise MidwayError
    assert file.read_text() == "one"
    assert names(tmp_path) == {"a.txt"}
    files.write_text(file, "two")
    assert file.read_text() == "two"
    assert names(tmp_path) == {"a.txt"}


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
    with files.replacing_folder(target) as temporary:
        (temporary / "part").write_text("1")
        assert not target.exists()
    assert (target / "part").read_text() == "1"
    assert names(target.parent) == {"set"}


def test_an_exception_midway_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(MidwayError), files.replacing_folder(tmp_path / "set") as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep" / "part").write_text("1")
        raise MidwayError
    assert names(tmp_path) == set()


def test_an_existing_path_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with (
        pytest.raises(DataError, match=r"already exists[\s\S]*--overwrite"),
        files.replacing_folder(tmp_path / "set"),
    ):
        raise AssertionError("no work is done")
    assert names(tmp_path) == {"set"}


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_overwriting_replaces_everything_or_nothing(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "set"
    if kind == "folder":
        target.mkdir()
        (target / "old").write_text("old")
    else:
        target.write_text("old")
    with pytest.raises(MidwayError), files.replacing_folder(target, overwrite=True) as temporary:
        (temporary / "new").write_text("new")
        raise MidwayError
    assert (target / "old" if kind == "folder" else target).read_text() == "old"
    with files.replacing_folder(target, overwrite=True) as temporary:
        (temporary / "new").write_text("new")
    assert names(target) == {"new"}
    assert names(tmp_path) == {"set"}


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "set"
    target.mkdir()
    (target / "old").write_text("old")
    rename, calls = Path.rename, []

    def second_fails(self: Path, to: Path) -> Path:
        calls.append(to)
        if len(calls) == 2:
            raise OSError("disk on fire")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", second_fails)
    with (
        pytest.raises(OSError, match="on fire"),
        files.replacing_folder(target, overwrite=True) as temporary,
    ):
        (temporary / "new").write_text("new")
    assert len(calls) == 3
    assert names(target) == {"old"}
    assert names(tmp_path) == {"set"}


def test_a_folder_that_somebody_else_made_meanwhile_is_kept(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="not empty"),
        files.replacing_folder(tmp_path / "set") as temporary,
    ):
        (temporary / "mine").write_text("1")
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "theirs").write_text("2")
    assert names(tmp_path / "set") == {"theirs"}
    assert names(tmp_path) == {"set"}


def test_a_link_keeps_pointing_to_the_replaced_folder(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "set").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "set")
    with files.replacing_folder(tmp_path / "link", overwrite=True) as temporary:
        (temporary / "new").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "disk" / "set") == {"new"}
    assert names(tmp_path / "disk") == {"set"}


def test_the_present_folder_can_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with files.replacing_folder(Path(), overwrite=True) as temporary:
        (temporary / "new").write_text("new")
    assert names(here) == {"new"}


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
    files.remove_others(folder, "weights", ".safetensors", keep=second)
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


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / ".a.json.123-abcdef.tmp").write_text("half")
    (tmp_path / ".set.123-012345.tmp").mkdir()
    (tmp_path / ".set.123-012345.tmp" / "part").write_text("half")
    kept = {"kept.tmp", ".of another program.tmp", ".lock"}
    for name in kept:
        (tmp_path / name).write_text("kept")
    assert re.fullmatch(files._TEMPORARY, files._temporary_name(tmp_path / "x.json").name)
    assert files.written_at(tmp_path / ".a.json.123-abcdef.tmp") == tmp_path / "a.json"
    assert files.written_at(tmp_path / "kept.tmp") == tmp_path / "kept.tmp"
    files.remove_temporaries(tmp_path)
    assert names(tmp_path) == {"deep", *kept}
    assert names(tmp_path / "deep") == set()
