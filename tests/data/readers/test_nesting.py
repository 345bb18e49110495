"""Lists that double at every level must not be expanded."""

import pickle
from pathlib import Path

import pytest

from emotailor.data.readers._pickle import load_pickle
from emotailor.errors import DataError


def test_shared_nested_lists_are_refused(tmp_path: Path) -> None:
    bomb: list[object] = [2, 3]
    for _ in range(60):
        bomb = [bomb, bomb]
    (tmp_path / "bomb.pkl").write_bytes(pickle.dumps({"train": {"labels": bomb}}))
    with pytest.raises(DataError, match="nested more than 8 deep"):
        load_pickle(tmp_path / "bomb.pkl")


def test_a_list_that_holds_itself_is_refused(tmp_path: Path) -> None:
    loop: list[object] = []
    loop.append(loop)
    (tmp_path / "loop.pkl").write_bytes(pickle.dumps(loop))
    with pytest.raises(DataError, match="nested more than 8 deep"):
        load_pickle(tmp_path / "loop.pkl")


def test_ordinary_nesting_is_read(tmp_path: Path) -> None:
    content = {"train": {"labels": [[[[1.0, 2.0]]], [[[3.0]]]]}}
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(content))
    assert load_pickle(tmp_path / "plain.pkl") == content
