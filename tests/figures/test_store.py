"""The folder of figures: what is written is read back, older and damaged ones are told apart."""

import json
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
    assert list(make.FIGURES) == list(captions.FIGURES) == list(FIGURES)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    folder = FigureFolder(tmp_path / "figures")
    folder.start()
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

    assert folder.read_index() == index
    assert index.version == VERSION
    assert index.drawn == ["thresholds"]
    assert folder.is_whole(index)
    assert folder.read_numbers("thresholds") == {"threshold": 0.333333, "curve": [0.5, None]}
    assert folder.image("thresholds", "svg").read_bytes() == b"<svg/>"
    claims = folder.read_claims()
    assert claims is not None
    assert (claims.split, claims.planted) == ("valid", True)
    assert claims.claims[0].numbers == {"chance": 0.333333}
    assert claims.claims[0].holds is True

    folder.remove_figure("thresholds")
    assert not folder.is_whole(index)
    assert folder.write_claims([], split="valid", planted=True) is None
    assert folder.read_claims() is None


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


def test_a_drawing_that_was_stopped_is_ours_and_has_no_index(tmp_path: Path) -> None:
    folder = FigureFolder(tmp_path / "figures")
    folder.start()
    folder.check()
    with pytest.raises(DataError, match="system"):
        folder.read_index()


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
