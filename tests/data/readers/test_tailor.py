import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emotailor.data.readers.convert import convert
from emotailor.errors import DataError
from tests.data.readers.sources import DIMS, STEPS, Evil, features, tailor, tailor_content

SPLITS = {"train": 2, "valid": 1, "test": 2}


def as_lists(array: np.ndarray) -> Any:
    return list(array)


@pytest.mark.parametrize("kind", [np.asarray, as_lists, torch.from_numpy])
@pytest.mark.parametrize("zipped", [True, False])
def test_values_labels_and_ids(tmp_path: Path, kind: Any, zipped: bool) -> None:
    content: dict[str, Any] = tailor_content()
    for split in content.values():
        for m in DIMS:
            split[f"src-{m}"] = kind(split[f"src-{m}"])
    content["settings"] = argparse.Namespace(lr=0.1)
    path = tmp_path / "train_valid_test.pt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    data = convert(path, tmp_path / "out")
    assert data.label_names == ("angry", "disgust", "fear", "happy", "sad", "surprise")
    assert {s: len(v) for s, v in data.splits.items()} == SPLITS
    assert data.dims == DIMS and data.aligned
    assert data["train"].ids == ["train-00000", "train-00001"]
    # 4 happy + 7 surprise; 5 sad; none; 9 fear + 6 anger
    assert data["train"].labels.tolist() == [[0, 0, 0, 1, 0, 1], [0, 0, 0, 0, 1, 0]]
    assert data["valid"].labels.tolist() == [[0] * 6]
    assert data["test"].labels.tolist() == [[1, 0, 1, 0, 0, 0]] * 2
    for split, count in SPLITS.items():
        for m in DIMS:
            for i in range(count):
                expected = features(m, count)[i]
                np.testing.assert_array_equal(data[split].sequence(m, i), expected)
    assert any("numbered per split" in line for line in data.card.repairs)
    assert any("argparse.Namespace" in line for line in data.card.repairs)


def test_aligned_padding_goes_and_infinities_are_counted(tmp_path: Path) -> None:
    content = tailor_content()
    for m in DIMS:
        content["train"][f"src-{m}"][0, :4] = 0
    content["train"]["src-audio"][1, 2, 3] = -np.inf
    content["train"]["src-visual"][1] = 0
    torch.save(content, tmp_path / "a.pt")
    with pytest.warns(UserWarning, match=r"1 non-finite values in 1 samples.*feature 3"):
        data = convert(tmp_path / "a.pt", tmp_path / "out")
    assert {m: data["train"].lengths(m).tolist() for m in DIMS} == {
        "visual": [STEPS - 4, 0],
        "audio": [STEPS - 4, STEPS],
        "text": [STEPS - 4, STEPS],
    }
    assert data["train"].sequence("audio", 1)[2, 3] == 0


def test_the_unaligned_file(tmp_path: Path) -> None:
    content = tailor_content(steps={"visual": 17, "audio": 13})
    content["valid"]["src-audio"][0, 5:] = 0
    torch.save(content, tmp_path / "a.pt")
    data = convert(tmp_path / "a.pt", tmp_path / "out")
    assert not data.aligned
    assert [int(data["valid"].lengths(m)[0]) for m in DIMS] == [17, 5, 11]
    with pytest.raises(DataError, match=r"'visual': 17.*cannot be aligned"):
        convert(tmp_path / "a.pt", tmp_path / "other", align=True)


def test_align_false_cuts_each_modality_by_itself(tmp_path: Path) -> None:
    content = tailor_content()
    content["valid"]["src-audio"][0, 5:] = 0
    torch.save(content, tmp_path / "a.pt")
    assert convert(tmp_path / "a.pt", tmp_path / "x")["valid"].lengths("audio")[0] == STEPS
    unaligned = convert(tmp_path / "a.pt", tmp_path / "y", align=False)
    assert not unaligned.aligned and unaligned["valid"].lengths("audio")[0] == 5


def test_other_labels_by_name(tmp_path: Path) -> None:
    content = tailor_content()
    for split in content.values():
        split["tgt"] = np.array([[2, 5, 3, 0]] * len(split["tgt"]))
    torch.save(content, tmp_path / "a.pt")
    data = convert(tmp_path / "a.pt", tmp_path / "out", label_names=["calm", "Happiness", "bored"])
    assert data.label_names == ("calm", "happy", "bored")
    assert data["valid"].labels.tolist() == [[0, 1, 0]]


def test_an_empty_line_of_the_preprocessing_holds_no_label(tmp_path: Path) -> None:
    # HHMPN's program takes the end mark for a sentence: four characters, each an unknown word
    content = tailor_content()
    content["test"]["tgt"] = [[2, 5, 3], [1, 1, 1, 1]]
    torch.save(content, tmp_path / "a.pt")
    data = convert(tmp_path / "a.pt", tmp_path / "out")
    assert data["test"].labels.tolist() == [[0, 0, 0, 0, 1, 0], [0] * 6]
    assert any("'test': 1 samples" in line for line in data.card.repairs)


@pytest.mark.parametrize(
    "target", [[2, 10, 3], [2, 3, 3], [4, 3], [2, 4], [], [2, 4.5, 3], [2, 3, 4], ["a"], "x", [[2]]]
)
def test_an_unknown_class_is_an_error_that_names_it(tmp_path: Path, target: Any) -> None:
    content = tailor_content()
    content["train"]["tgt"][1] = target
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(DataError, match=r"'train'.*'tgt' of sample 1 is .*|cannot be read"):
        convert(tmp_path / "a.pt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_counts_that_do_not_fit_and_missing_keys(tmp_path: Path) -> None:
    content = tailor_content()
    content["test"]["tgt"].append([2, 3])
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(DataError, match="'test' has 2 visual sequences but 3 samples"):
        convert(tmp_path / "a.pt", tmp_path / "out")
    del content["test"]["src-text"]
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(DataError, match="'test' has no 'src-text'"):
        convert(tmp_path / "a.pt", tmp_path / "out")


@pytest.mark.parametrize("key", ["src-audio", "tgt"])
def test_unknown_objects_under_a_needed_key_are_refused(tmp_path: Path, key: str) -> None:
    content: dict[str, Any] = tailor_content()
    content["train"][key] = Evil(tmp_path / "marker")
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(DataError, match="Inert"):
        convert(tmp_path / "a.pt", tmp_path / "out")
    assert not (tmp_path / "marker").exists()


def test_a_hostile_object_elsewhere_is_ignored_and_named(tmp_path: Path) -> None:
    source = tailor(tmp_path)
    content: dict[str, Any] = tailor_content()
    content["train"]["extra"] = [Evil(tmp_path / "marker")]
    torch.save(content, source.path)
    data = convert(source.path, tmp_path / "out")
    assert any(".system" in line for line in data.card.repairs)
    assert not (tmp_path / "marker").exists()
