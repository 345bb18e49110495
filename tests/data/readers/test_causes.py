"""A damaged file and a mistake of ours are told apart, and neither loses its cause."""

from pathlib import Path
from typing import Any, NoReturn

import pytest

from emotailor.data.readers import (
    _common,
    _pickle,
    array_files,
    beside,
    csd,
    detect,
    mmsa,
    mult,
    npz,
    pom,
    table,
    tailor,
)
from emotailor.data.readers.convert import convert
from emotailor.data.readers.joining import emotions, join, joined, labels, splits
from emotailor.data.readers.safe import hdf5, torch_files
from emotailor.data.readers.timed import csd_files, cut
from emotailor.errors import DataError
from tests.data.readers.sources import MAKERS

# per format, functions of ours on the way of its files
HELPERS: dict[str, list[tuple[Any, str]]] = {
    "tailor": [(emotions, "_from_targets"), (emotions, "_columns"), (torch_files, "_main_member"),
               (_pickle, "refuse_deep_nesting"), (splits, "splits_of"), (_common, "strip_padding"),
               (splits, "_has_rows"), (emotions, "_class_names"), (tailor, "names_of")],
    "mult": [(splits, "_ids"), (joined, "_times"), (_common, "check_blocks"), (labels, "name_in"),
             (labels, "_numbers"), (_common, "_rectangular"), (joined, "refuse_unmatched"),
             (mult, "read_joined")],
    "mmsa": [(splits, "_ids"), (splits, "_all_lengths"), (_common, "decide_aligned"),
             (join, "_by_rank"), (join, "_rows_of_video"), (splits, "_token_mask"),
             (joined, "blocks_of"), (_common, "strip_padding"),
             (joined, "sentiments_in"), (joined, "join"), (mmsa, "read_joined")],
    "csd": [(csd, "_roles_in"), (cut, "overlapping"), (cut, "mean_per_word"),
            (csd, "read_folds"), (csd, "_pairs_in_json"), (csd_files.Csd, "entry"),
            (csd_files.Csd, "_layout"), (csd_files.Csd, "track"), (hdf5.Hdf5, "_read"),
            (labels, "_segments"), (labels, "_columns")],
    "table": [(table, "read_rows"), (table, "_label_columns"), (beside, "read_sequence"),
              (array_files, "as_float"), (table, "canonical_split")],
    "npz": [(npz, "_names"), (npz, "_strings"), (npz, "canonical_split"),
            (_common, "check_blocks")],
    "pom": [(pom, "_ratings"), (hdf5.Hdf5, "_spend"), (pom, "_sequence_files"),
            (_common, "decide_aligned")],
}  # fmt: skip
CASES = [(name, *where) for name, places in HELPERS.items() for where in places]


@pytest.mark.parametrize("mistake", [TypeError, KeyError])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[2]}")
def test_a_mistake_of_ours_is_not_called_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Any, mistake: type[Exception]
) -> None:
    name, owner, helper = case
    source = MAKERS[name](tmp_path)

    def broken(*_: Any, **__: Any) -> NoReturn:
        raise mistake("a mistake of ours")

    monkeypatch.setattr(owner, helper, broken)
    with pytest.raises(mistake, match="a mistake of ours"):
        convert(source.path, tmp_path / "out", format=name, **source.options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", list(MAKERS))
def test_damage_keeps_what_the_library_said(tmp_path: Path, name: str) -> None:
    source = MAKERS[name](tmp_path)
    data = source.damage.read_bytes()
    source.damage.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError) as caught:
        convert(source.path, tmp_path / "out", format=name, **source.options)
    cause = caught.value.__cause__
    assert cause is not None
    assert not isinstance(cause, DataError)
    assert source.damage.name in caught.value.found
    assert type(cause).__name__ in caught.value.found


@pytest.mark.parametrize("name", list(MAKERS))
def test_detection_does_not_hide_a_mistake_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    source = MAKERS[name](tmp_path)

    def broken(*_: Any) -> NoReturn:
        raise KeyError("a mistake of ours")

    for helper in ("_detect._detect_zip", "_detect._detect_pickle", "detect_folder"):
        monkeypatch.setattr(f"emotailor.data.readers.{helper}", broken)
    if name in ("table", "npz"):
        assert detect(source.path) == name  # by the ending alone
    else:
        with pytest.raises(KeyError, match="a mistake of ours"):
            detect(source.path)


def test_values_of_the_user_keep_the_cause(tmp_path: Path) -> None:
    source = MAKERS["mult"](tmp_path)
    source.options["labels"].write_text("id,happy\nann,much\n")
    with pytest.raises(DataError, match="line 2") as caught:
        convert(source.path, tmp_path / "out", format="mult", **source.options)
    assert isinstance(caught.value.__cause__, ValueError)
