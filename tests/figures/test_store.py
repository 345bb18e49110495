"""The folder of figures: what is written is read back, older and damaged ones are told apart."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotailor.errors import ConfigError, DataError
from emotailor.figures import make
from emotailor.figures.store import (
    FIGURES,
    VERSION,
    Claim,
    FigureFolder,
    FigureIndex,
    IndexedData,
    plain,
)
from emotailor.report import figures as captions
from emotailor.verified import with_hash
from tests.kills import run_and_die

FIRST = {
    "run": "seed42",
    "system": "tailor",
    "against": None,
    "split": "test",
    "data": {"name": "small", "fingerprint": "f" * 16},
    "written": ["thresholds.svg", "thresholds.png", "thresholds.json"],
    "skipped": {"attention": "it has none"},
}
"""An index as the first versions wrote it: no format, no version, no notes."""


def folder_with(path: Path, index: Any) -> FigureFolder:
    (path / "index.json").write_text(json.dumps(with_hash(index)))
    return FigureFolder(path)


def test_every_figure_has_numbers_a_drawing_and_a_caption() -> None:
    assert list(make.FIGURES) == list(captions.READING) == list(FIGURES)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    folder = FigureFolder(tmp_path / "figures")
    folder.path.mkdir()
    numbers = plain({"threshold": np.float64(1 / 3), "curve": [0.5, float("nan")]})
    files = folder.write_figure("thresholds", numbers, {"svg": b"<svg/>", "png": b"PNG"})
    claim = Claim("probe", "cannot tell", "at most 0.4", "0.300", True, {"chance": 1 / 3})
    claims_file = folder.write_claims([claim], split="valid", planted=True)
    assert claims_file is not None
    index = FigureIndex(
        system="tailor",
        split="valid",
        data=IndexedData(name="small", fingerprint="0" * 16),
        written=[file.name for file in (*files, claims_file)],
        skipped={"attention": "it has none"},
        notes=["a note"],
    )
    folder.write_index(index)

    found = folder.read_index()
    assert found.model_copy(update={"version": 1, "sha256": {}}) == index
    index = found
    assert index.version == VERSION
    assert set(index.sha256) == set(index.written)
    assert index.drawn == ["thresholds"]
    assert folder.is_whole(index)
    assert folder.read_numbers("thresholds") == {"threshold": 0.333333, "curve": [0.5, None]}
    assert folder.image("thresholds", "svg").read_bytes() == b"<svg/>"
    claims = folder.read_claims()
    assert claims is not None
    assert (claims.split, claims.planted) == ("valid", True)
    assert claims.claims[0].numbers == {"chance": 0.333333}
    assert claims.claims[0].holds is True

    # a changed byte in any of the files
    for name in index.written:
        file = folder.path / name
        content = file.read_bytes()
        file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        os.utime(file, ns=(0, 1))
        assert not folder.is_whole(index)
        with pytest.raises(DataError, match=f"{name} is damaged") as caught:
            folder.check_whole(index)
        assert caught.value.fix
        file.write_bytes(content)
    assert folder.is_whole(index)

    (folder.path / "thresholds.svg").unlink()
    assert not folder.is_whole(index)


def test_an_index_without_a_hash_of_every_file(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, {**FIRST, "version": 2, "written": ["thresholds.svg"]})
    with pytest.raises(DataError, match="one hash for each"):
        folder.read_index()


def test_an_index_of_the_first_versions(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, FIRST)
    index = folder.read_index()
    assert (index.version, index.notes) == (1, [])
    assert index.skipped == {"attention": "it has none"}
    folder.check()  # ours, though nothing says so


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"version": VERSION + 1}, "version"),
        ({"format": "other"}, "format"),
        ({"written": "all"}, "written"),
        ({"data": {"name": "small"}}, "data.fingerprint"),
        ({"skipped": ["attention"]}, "skipped"),
    ],
)
def test_an_index_that_cannot_be_used(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    folder = folder_with(tmp_path, {**FIRST, **change})
    with pytest.raises(DataError, match=f"{tmp_path}/index.json .*{named}: "):
        folder.read_index()


@pytest.mark.parametrize("content", ["", "{", "[1]", "[" * 100_000, '{"format": "x"}'])
def test_files_that_are_damaged(tmp_path: Path, content: str) -> None:
    for name in ("index.json", "claims.json", "thresholds.json"):
        (tmp_path / name).write_text(content)
    folder = FigureFolder(tmp_path)
    with pytest.raises(DataError, match=r"index\.json"):
        folder.read_index()
    with pytest.raises(DataError, match=r"claims\.json"):
        folder.read_claims()
    if not content.endswith("}"):
        with pytest.raises(DataError, match=r"thresholds\.json"):
            folder.read_numbers("thresholds")


def draw(folder: FigureFolder, split: str, *names: str) -> None:
    """Replace all figures; what each file holds says of which split it is."""
    with folder.replacing() as new:
        written = []
        for name in names:
            images = {"svg": split.encode()}
            written += new.write_figure(name, {"split": split}, images)
        data = IndexedData(fingerprint="0" * 16)
        names_written = [file.name for file in written]
        new.write_index(
            FigureIndex(system="tailor", split=split, data=data, written=names_written, skipped={})
        )


def splits_of(folder: FigureFolder) -> set[str]:
    """Return of which splits the index and the figures are that it lists; nothing of no index."""
    try:
        index = folder.read_index()
    except DataError:
        return set()
    assert folder.is_whole(index)
    found = {index.split}
    for name in index.drawn:
        found.add(folder.image(name, "svg").read_text())
        found.add(folder.read_numbers(name)["split"])
    return found


def test_new_figures_replace_all_earlier_ones(tmp_path: Path) -> None:
    folder = FigureFolder(tmp_path / "figures")
    draw(folder, "valid", "thresholds", "attention")
    (folder.path / "notes.txt").write_text("mine")
    draw(folder, "test", "attention")
    assert splits_of(folder) == {"test"}
    found = {file.name for file in folder.path.iterdir()}
    assert found == {"attention.svg", "attention.json", "index.json", "notes.txt"}


def test_a_drawing_that_was_stopped_changes_nothing(tmp_path: Path) -> None:
    folder = FigureFolder(tmp_path / "figures")
    draw(folder, "valid", "thresholds")
    with pytest.raises(ZeroDivisionError), folder.replacing() as new:
        new.write_figure("thresholds", {"split": "test"}, {})
        raise ZeroDivisionError
    assert splits_of(folder) == {"valid"}
    with pytest.raises(ZeroDivisionError), folder.replacing():
        with pytest.raises(ConfigError, match="another process"):
            draw(folder, "test", "thresholds")
        raise ZeroDivisionError


def test_a_kill_at_any_call_leaves_no_index_beside_figures_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    found = []
    for call in range(1, 500):
        folder = FigureFolder(tmp_path / str(call) / "figures")
        draw(folder, "valid", "thresholds")
        code = run_and_die(partial(draw, folder, "test", "thresholds"), call)
        found.append(splits_of(folder))
        if code == 0:
            break
        if call % 7 == 0:
            folder.check()
            draw(folder, "test", "thresholds")
            assert splits_of(folder) == {"test"}
            assert [path.name for path in folder.path.parent.iterdir()] == ["figures"]
            assert len(list(folder.path.iterdir())) == 3
    assert code == 0
    assert len(found) > 60
    assert found[0] == {"valid"}
    assert all(splits in ({"valid"}, set(), {"test"}) for splits in found)


def test_names_stay_inside_the_folder(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, {**FIRST, "written": ["/etc/passwd", "../a.svg"]})
    assert folder.read_index().written == ["passwd", "a.svg"]


def test_a_folder_that_lost_its_index_is_told_by_its_files(tmp_path: Path) -> None:
    folder = FigureFolder(tmp_path)
    (tmp_path / "thresholds.svg").write_text("")
    folder.check()
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(ConfigError, match=r"mine\.txt"):
        folder.check()
