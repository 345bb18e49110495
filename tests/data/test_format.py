"""The stored format: what a sample may have, what is checked, and sets of version 1."""

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from emotailor.data.batching import Standardizer, collate
from emotailor.data.dataset import EmotionDataset
from emotailor.data.extraction import Extraction, check_extraction
from emotailor.data.inspect import inspect_dataset, render_sample
from emotailor.data.sample import Modality, Sample
from emotailor.data.store import (
    DatasetWriter,
    open_dataset,
    read_attachment,
    read_statistics,
    write_dataset,
)
from emotailor.data.tensors import MAX_HEADER
from emotailor.data.validate import validate_dataset
from emotailor.errors import DataError, ModelError
from tests.helpers import stored_name

DIMS: dict[Modality, int] = {"visual": 1, "text": 2}
DECLARED: dict[str, Any] = {
    "name": "x", "label_names": ("happy", "sad"), "dims": DIMS, "aligned": True
}  # fmt: skip
VERSION_1 = Path(__file__).parents[1] / "stored" / "before_rooms" / "data"


def words_of_ann() -> Sample:
    """Three words, of which the second has no visible face."""
    return Sample(
        "ann[0]",
        {
            "visual": np.array([[1], [9], [3]], np.float32),
            "text": np.arange(6, dtype=np.float32).reshape(3, 2),
        },
        np.array([1, 0], np.uint8),
        missing={"visual": np.array([False, True, False])},
        words=["so", "schön", "!"],
        times={"text": np.array([[0.0, 0.5], [0.5, 1.25], [1.25, 1.5]])},
        about={"source": "ann.mp4", "transcript": ""},
    )


def bob() -> Sample:
    """Two steps, of which nothing else is known."""
    return Sample("bob[0]", {"text": np.full((2, 2), 7, np.float32)})


@pytest.fixture
def both(tmp_path: Path) -> EmotionDataset:
    return write_dataset(tmp_path / "set", {"train": [words_of_ann(), bob()]}, **DECLARED)


@pytest.mark.parametrize("shard_bytes", [1, 2**20])
def test_everything_beside_the_values_comes_back(tmp_path: Path, shard_bytes: int) -> None:
    path = tmp_path / "set"
    with DatasetWriter(path, shard_bytes=shard_bytes, **DECLARED) as writer:
        writer.add("train", words_of_ann())
        writer.add("train", bob())

    memory = EmotionDataset.from_samples({"train": [words_of_ann(), bob()]}, **DECLARED)
    stored = open_dataset(path)
    assert stored == memory
    assert {problem.severity for problem in validate_dataset(path)} == {"warning"}

    for dataset in (stored, memory):
        ann, other = dataset["train"]
        assert ann.missing["visual"].tolist() == [False, True, False]
        assert list(ann.missing) == ["visual"]
        assert ann.sequences["visual"].tolist() == [[1], [0], [3]]
        assert ann.words == ["so", "schön", "!"]
        assert ann.times["text"].tolist() == [[0.0, 0.5], [0.5, 1.25], [1.25, 1.5]]
        assert list(ann.times) == ["text"]
        assert ann.about == {"source": "ann.mp4"}
        assert (other.labels, other.words, other.missing, other.times) == (None, None, {}, {})
        assert other.about == {}
        assert dataset["train"].missing_steps("visual").tolist() == [1, 0]


def test_what_no_sample_has_is_not_stored(tmp_path: Path) -> None:
    plain = Sample("a", {"text": np.ones((2, 2), np.float32)}, np.array([1, 0], np.uint8))
    write_dataset(tmp_path / "set", {"train": [plain]}, **DECLARED)
    shard = load_file(tmp_path / "set" / stored_name(tmp_path / "set", "train-00000"))
    assert sorted(shard) == [
        "ids.bytes", "ids.offsets", "labels",
        "text.offsets", "text.values", "visual.offsets", "visual.values",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"missing": {"visual": np.array([True])}}, r"bool of shape \(1,\)"),
        ({"words": ["a"]}, "1 words for 3 steps"),
        ({"words": ["a", "\ud800", "b"]}, "half of a character"),
        ({"times": {"text": np.zeros((2, 2))}}, r"shape \(2, 2\)"),
        ({"times": {"text": np.full((3, 2), np.nan)}}, "not finite"),
        ({"about": {"a/b": "x"}}, "about 'a/b'"),
        ({"id": "a\ud800"}, "cannot be shown"),
    ],
)
def test_what_does_not_fit_a_sample(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    wrong = replace(words_of_ann(), **changes)
    with pytest.raises(DataError, match=named):
        write_dataset(tmp_path / "set", {"train": [wrong]}, **DECLARED)
    assert list(tmp_path.iterdir()) == []


def test_unaligned_samples_lack_no_step() -> None:
    with pytest.raises(DataError, match="visual lacks 1 of its own steps"):
        EmotionDataset.from_samples({"a": [words_of_ann()]}, **{**DECLARED, "aligned": False})


def test_a_modality_without_any_step_is_missing() -> None:
    blind = replace(words_of_ann(), missing={"visual": np.ones(3, np.bool_)})
    (found,) = EmotionDataset.from_samples({"a": [blind]}, **DECLARED)["a"]
    assert list(found.sequences) == ["text"]
    assert found.missing == {}


def test_missing_steps_are_padding_to_a_model(both: EmotionDataset) -> None:
    ones = {m: np.ones(dim, np.float32) for m, dim in DIMS.items()}
    batch = collate(list(both["train"]), DIMS, aligned=True, standardize=Standardizer(ones, ones))
    assert batch.masks["visual"].tolist() == [[True, False, True], [False, False, False]]
    assert batch.values["visual"].tolist() == [[[0], [0], [2]], [[0], [0], [0]]]
    assert batch.masks["text"].tolist() == [[True, True, True], [True, True, False]]
    assert batch.labels is None


def test_missing_steps_are_in_no_statistics(both: EmotionDataset, tmp_path: Path) -> None:
    statistics = read_statistics(tmp_path / "set")
    assert statistics["visual.mean"].tolist() == [2.0]
    assert statistics["visual.std"].tolist() == [1.0]
    assert inspect_dataset(both).modalities["visual"].missing_steps == pytest.approx(1 / 3)


def test_samples_without_labels(both: EmotionDataset) -> None:
    split = both["train"]
    assert split.labelled.tolist() == [True, False]
    known = split.with_labels()
    assert (list(known.ids), known.known) == (["ann[0]"], None)
    assert known.lengths("visual").tolist() == [3]
    assert known.sample(0).words == ["so", "schön", "!"]
    assert both.card.splits["train"].labelled == 1
    report = inspect_dataset(both).splits["train"]
    assert (report.samples, report.unknown, report.label_frequencies["happy"]) == (2, 1, 1.0)

    other = split.take(np.array([1, 0])).take(np.array([0]))
    assert list(other.ids) == ["bob[0]"]
    assert other.sequence("text", 0).tolist() == [[7, 7], [7, 7]]
    with pytest.raises(DataError, match="no sample of split 'train' has labels"):
        other.with_labels()


def test_a_set_without_label_names(tmp_path: Path) -> None:
    declared = {**DECLARED, "label_names": ()}
    dataset = write_dataset(tmp_path / "set", {"test": [bob()]}, **declared)
    assert dataset["test"].labels.shape == (1, 0)
    assert dataset["test"].sample(0).labels is None
    severities = [problem.severity for problem in validate_dataset(tmp_path / "set")]
    assert "error" not in severities


def half(name: str, dtype: type = np.float16) -> Sample:
    values: np.ndarray = np.array([[0.1, 2000.0]], dtype)
    return Sample(name, {"text": values}, np.array([0, 1], np.uint8))


def test_float16_stays_float16(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "set", {"train": [half("a"), half("b")]}, **DECLARED)
    assert dataset.card.dtypes == {"visual": "float32", "text": "float16"}
    found = dataset["train"].sample(0).sequences["text"]
    assert found.dtype == np.float16
    assert found.tolist() == np.array([[0.1, 2000]], np.float16).tolist()
    severities = [problem.severity for problem in validate_dataset(tmp_path / "set")]
    assert "error" not in severities

    batch = collate([dataset["train"].sample(0)], DIMS, aligned=True)
    assert batch.values["text"].dtype == torch.float32
    mean = read_statistics(tmp_path / "set")["text.mean"]
    assert mean.tolist() == [float(np.float16(0.1)), 2000.0]


def test_float16_and_float32_in_one_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"text is float32[\s\S]*dtypes="):
        write_dataset(tmp_path / "a", {"train": [half("a"), half("b", np.float32)]}, **DECLARED)
    mixed = {"train": [half("a", np.float32), half("b")]}
    dataset = write_dataset(tmp_path / "b", mixed, **DECLARED)
    assert dataset["train"].sample(1).sequences["text"].dtype == np.float32
    wide = write_dataset(
        tmp_path / "c", {"train": [half("a")]}, dtypes={"text": "float32"}, **DECLARED
    )
    assert wide.card.dtype_of("text") == "float32"
    narrow = write_dataset(tmp_path / "d", {"train": [half("a")]}, **DECLARED)
    assert narrow.card.fingerprint != wide.card.fingerprint


# ---------------------------------------------------------------------- extraction

BERT = Extraction(extractor="bert-base", version="2", settings={"layer": 11})


def test_features_of_another_kind_are_refused() -> None:
    other = BERT.model_copy(update={"settings": {"layer": 12}})
    check_extraction({"text": BERT}, {"text": BERT}, ["text"], "mine")
    check_extraction({}, {"text": BERT}, ["text"], "mine")
    check_extraction({"text": other}, {}, ["text"], "mine")
    check_extraction({"text": other}, {"text": BERT}, ["visual"], "mine")
    with pytest.raises(ModelError) as caught:
        check_extraction({"text": other}, {"text": BERT}, ["visual", "text"], "mine")
    assert caught.value.found == 'text of mine was extracted with bert-base 2 {"layer": 12}'
    assert 'bert-base 2 {"layer": 11}' in str(caught.value.expected)


def test_extraction_is_part_of_a_data_set(tmp_path: Path) -> None:
    known = write_dataset(
        tmp_path / "a", {"train": [half("a")]}, extraction={"text": BERT}, **DECLARED
    )
    plain = write_dataset(tmp_path / "b", {"train": [half("a")]}, **DECLARED)
    assert open_dataset(tmp_path / "a").card.extraction == {"text": BERT}
    assert known.card.fingerprint != plain.card.fingerprint
    assert inspect_dataset(known).modalities["text"].extraction == BERT.describe()


# ---------------------------------------------------------------------- hashes


def flipped(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def read_all(path: Path) -> None:
    dataset = open_dataset(path)
    read_statistics(path, dataset.card)
    for split in dataset.splits.values():
        for sample in split:
            assert sample.id


def test_no_changed_byte_is_read_in_silence(both: EmotionDataset, tmp_path: Path) -> None:
    read_all(tmp_path / "set")
    for name in [path.name for path in (tmp_path / "set").glob("*.*")]:
        size = (tmp_path / "set" / name).stat().st_size
        for place in range(0, size, 47):
            flipped(tmp_path / "set" / name, place)
            with pytest.raises(DataError) as caught:
                read_all(tmp_path / "set")
            assert name in caught.value.found
            flipped(tmp_path / "set" / name, place)


def test_features_are_compared_once_when_they_are_first_used(
    both: EmotionDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emotailor.data import tensors

    copy = Path(shutil.copytree(tmp_path / "set", tmp_path / "copy"))
    hashed: list[int] = []
    original = tensors._hash_of

    def counting(raw: np.ndarray) -> str:
        hashed.append(raw.nbytes)
        return original(raw)

    monkeypatch.setattr(tensors, "_hash_of", counting)
    split = open_dataset(copy)["train"]
    at_opening = len(hashed)
    assert 40 not in hashed  # 5 steps of 2 float32

    threads = [threading.Thread(target=split.sample, args=(0,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(hashed[at_opening:]) == [12, 40]

    open_dataset(copy)["train"].sample(1)
    assert len(hashed) == at_opening + 2


def test_an_attachment_is_compared_with_its_hash(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "set", **DECLARED) as writer:
        writer.add("train", half("a"))
        writer.attach("extra", {"x": np.arange(3)})
    file = tmp_path / "set" / stored_name(tmp_path / "set", "extra")
    flipped(file, file.stat().st_size - 1)
    with pytest.raises(DataError, match=r"extra-.* is damaged"):
        read_attachment(tmp_path / "set", "extra")


def test_what_is_no_file_is_refused_at_once(both: EmotionDataset, tmp_path: Path) -> None:
    path = tmp_path / "set"
    shard = path / stored_name(path, "train-00000")
    kinds = {"a pipe": os.mkfifo, "a folder": os.mkdir}
    for kind, make in kinds.items():
        shard.unlink()
        make(shard)
        with pytest.raises(DataError, match=f"train-00000.* is {kind}"):
            open_dataset(path)
        (problem, *_) = validate_dataset(path)
        assert kind in problem.what
        shard.rename(tmp_path / kind)
        shard.touch()

    shard.unlink()
    with pytest.raises(DataError, match=r"train-00000.* is missing"):
        open_dataset(path)
    shard.write_bytes((MAX_HEADER + 1).to_bytes(8, "little") + b"{}")
    with pytest.raises(DataError, match=f"header has {MAX_HEADER + 1} bytes"):
        open_dataset(path)


def test_a_shard_that_may_not_be_read(
    both: EmotionDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Path.open

    def denied(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name.startswith("train"):
            raise PermissionError(13, "Permission denied")
        return original(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", denied)  # root may read everything
    with pytest.raises(DataError, match=r"train-00000.* cannot be read: permission denied"):
        open_dataset(tmp_path / "set")


def test_another_set_in_its_place_gives_no_mixture(both: EmotionDataset, tmp_path: Path) -> None:
    path = tmp_path / "set"
    other = replace(bob(), id="ann[0]", labels=np.array([0, 1], np.uint8))
    write_dataset(path, {"train": [other]}, overwrite=True, **DECLARED)
    assert both["train"].sample(0).sequences["text"].tolist() == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(DataError, match="statistics"):
        read_statistics(path, both.card)
    assert len(open_dataset(path)["train"].sequence("text", 0)) == 2


# ---------------------------------------------------------------------- version 1


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Path]:
    yield Path(shutil.copytree(VERSION_1, tmp_path / "old"))


def test_a_set_of_version_1_is_read(old: Path, tmp_path: Path) -> None:
    dataset = open_dataset(old)
    assert dataset.card.schema_version == 1
    assert dataset.card.fingerprint == "ba0c36dc8064f807"
    assert [p for p in validate_dataset(old) if p.severity == "error"] == []

    # equal data have equal fingerprints in both versions
    again = write_dataset(
        tmp_path / "new",
        dataset.splits,
        name=dataset.card.name,
        label_names=dataset.label_names,
        dims=dataset.dims,
        aligned=dataset.aligned,
    )
    assert again.card.schema_version == 2
    assert again.card.fingerprint == dataset.card.fingerprint
    assert again == dataset


def test_version_1_is_compared_before_its_ids_are_trusted(old: Path) -> None:
    shard = old / "train-00000.safetensors"
    for place in (9, shard.stat().st_size // 2, shard.stat().st_size - 1):
        flipped(shard, place)
        with pytest.raises(DataError, match="train-00000"):
            open_dataset(old)
        flipped(shard, place)
    open_dataset(old)


def test_a_sample_is_shown(both: EmotionDataset) -> None:
    assert render_sample(both, "ann[0]").splitlines() == [
        "sample: ann[0]",
        "split: train",
        "labels: happy",
        "source: ann.mp4",
        "visual: 3 steps of 1 features, float32",
        "  1  so",
        "  2  schön  (missing)",
        "  3  !",
        "text: 3 steps of 2 features, float32",
        "  1  0.00-0.50 s  so",
        "  2  0.50-1.25 s  schön",
        "  3  1.25-1.50 s  !",
    ]
    assert "labels: unknown" in render_sample(both, "bob[0]")
    with pytest.raises(DataError, match="no sample 'z'"):
        render_sample(both, "z")
