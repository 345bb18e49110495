"""Every kind of damage becomes a problem that names its place; sound data have none."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from emotailor.data.sample import EMOTIONS, Modality, Sample
from emotailor.data.store import DatasetWriter, open_dataset
from emotailor.data.synthetic import SyntheticConfig, synthesize
from emotailor.data.validate import Problem, validate_dataset
from emotailor.errors import DataError
from emotailor.files import sha256_of, write_json
from emotailor.verified import read_json
from tests.helpers import stored_name

TRAIN = "train-00000"
STATISTICS = "statistics"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "set"
    synthesize(SyntheticConfig(train=97, valid=11, test=13, **SMALL), path)
    return path


SMALL = {"visual_dim": 3, "audio_dim": 5, "text_dim": 7}


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "set"))


def edit_card(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = folder / "dataset.json"
    card = read_json(file, fix="")
    change(card)
    write_json(file, card)


def edit_arrays(
    folder: Path, stem: str, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
) -> None:
    """Change the arrays of a file and its hash in the card, so that only the arrays are wrong."""
    name = stored_name(folder, stem)
    arrays = {k: np.array(v) for k, v in load_file(folder / name).items()}
    save_file({**arrays, **change(arrays)}, folder / name)

    def rehash(card: dict[str, Any]) -> None:
        cards = [c for split in card["splits"].values() for c in split["shards"]]
        for file_card in [*cards, card["statistics"], *card["attachments"]]:
            if file_card["file"] == name:
                file_card["sha256"] = sha256_of(folder / name)
                file_card.pop("header", None)
                file_card.pop("tensors", None)

    edit_card(folder, rehash)


def only(folder: Path, *, deep: bool = True) -> Problem:
    problems = validate_dataset(folder, deep=deep)
    assert len(problems) == 1, problems
    assert problems[0].fix
    return problems[0]


def test_sound_data_have_no_problem(sound: Path) -> None:
    assert validate_dataset(sound) == []
    assert validate_dataset(str(sound), deep=False) == []


def test_no_data_set_at_all(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match="no data set at"):
            validate_dataset(path)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda card: card.update(schema_version=3), "schema_version"),
        (lambda card: card.pop("dims"), "dims"),
        (lambda card: card["splits"]["train"]["shards"][0].update(file="../x"), "file"),
    ],
)
def test_a_damaged_card(folder: Path, change: Callable[[Any], object], what: str) -> None:
    edit_card(folder, change)
    problem = only(folder)
    assert (problem.severity, problem.where) == ("error", "dataset.json")
    assert what in problem.what


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]"])
def test_a_card_that_is_not_json(folder: Path, content: bytes) -> None:
    (folder / "dataset.json").write_bytes(content)
    assert only(folder).where == "dataset.json"


@pytest.mark.parametrize("stem", [TRAIN, STATISTICS, "truth"])
def test_a_changed_byte_is_found_in_every_file(folder: Path, stem: str) -> None:
    name = stored_name(folder, stem)
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    found = [p for p in validate_dataset(folder) if "SHA-256" in p.what]
    assert [(p.severity, p.where) for p in found] == [("error", name)]


@pytest.mark.parametrize("stem", [TRAIN, STATISTICS, "truth"])
def test_missing_and_truncated_files(folder: Path, stem: str) -> None:
    name = stored_name(folder, stem)
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    assert only(folder) == Problem(
        "error",
        "the file is missing",
        name,
        "copy the file again from where it was made, or convert the data again",
    )
    (folder / name).write_bytes(content[: len(content) // 2])
    found = validate_dataset(folder)
    assert {p.where for p in found} == {name}
    assert any("cannot be read" in p.what for p in found)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda a: {"audio.values": a["audio.values"][:, :4].copy()}, "float32 of (steps, 5)"),
        (lambda a: {"audio.values": a["audio.values"].astype(np.int64)}, "audio is int64"),
        (lambda a: {"audio.values": a["audio.values"][:-1].copy()}, "offsets of audio do not run"),
        (lambda a: {"audio.offsets": a["audio.offsets"][::-1].copy()}, "offsets of audio"),
        (lambda a: {"audio.offsets": a["audio.offsets"][:-1].copy()}, "offsets of audio"),
        (lambda a: {"audio.offsets": np.array(3)}, "offsets of audio"),
        (lambda a: {"audio.offsets": np.zeros(0, np.int64)}, "offsets of audio"),
        (lambda a: {"labels": a["labels"].astype(np.float32)}, "labels are float32"),
        (lambda a: {"labels": a["labels"][:-1].copy()}, "labels are uint8 of shape (96, 6)"),
        (lambda a: {"ids.offsets": a["ids.offsets"] * 2}, "sample ids are missing or"),
        (lambda a: {"ids.bytes": a["ids.bytes"] * 0 + 255}, "not UTF-8"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit(folder: Path, change: Callable[[Any], Any], what: str) -> None:
    edit_arrays(folder, TRAIN, change)
    problem = only(folder, deep=False)
    assert (problem.severity, problem.where) == ("error", stored_name(folder, TRAIN))
    assert what in problem.what
    with pytest.raises(DataError, match=TRAIN):
        open_dataset(folder)


def test_label_values(folder: Path) -> None:
    def change(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        labels = arrays["labels"].copy()
        labels[[2, 3, 5], [0, 1, 4]] = 2
        return {"labels": labels}

    edit_arrays(folder, TRAIN, change)
    assert only(folder).what == "3 label values are neither 0 nor 1"


def test_counts_of_the_card(folder: Path) -> None:
    edit_card(folder, lambda card: card["splits"]["test"].update(samples=17))
    assert only(folder).what == "it holds 13 samples, dataset.json says 17"
    edit_card(folder, lambda card: card["splits"]["test"].update(samples=13))
    edit_card(folder, lambda card: card["splits"]["test"]["label_counts"].update(sad=101))
    problem = only(folder)
    assert problem.where == "split test"
    assert "'sad': 101" in problem.what


def test_values_that_are_not_finite(folder: Path) -> None:
    def change(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = arrays["text.values"].copy()
        values[2, 1], values[3, 1], values[5, 6] = np.nan, np.inf, -np.inf
        return {"text.values": values}

    edit_arrays(folder, TRAIN, change)
    problem = only(folder)
    assert problem.what == "3 values of text are not finite, in features 1, 6"
    assert problem.where == stored_name(folder, TRAIN)
    assert validate_dataset(folder, deep=False) == []


def test_statistics_that_are_not_those_of_the_training_split(folder: Path) -> None:
    def change(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        mean = arrays["audio.mean"].copy()
        mean[[1, 4]] += (0.01, np.nan)
        return {"audio.mean": mean}

    edit_arrays(folder, STATISTICS, change)
    problem = only(folder)
    assert problem.where == stored_name(folder, STATISTICS)
    assert problem.what.endswith("in 2 features: 1, 4")
    edit_arrays(folder, STATISTICS, lambda a: {"audio.std": a["audio.std"][:-1].copy()})
    assert "of audio are missing" in only(folder).what
    edit_card(folder, lambda card: card.update(statistics=None))
    (folder / stored_name(folder, STATISTICS)).unlink()
    assert only(folder).what == "there are no feature statistics"


def test_empty_and_absent_splits(folder: Path) -> None:
    empty = {"samples": 0, "label_counts": dict.fromkeys(EMOTIONS, 0), "shards": []}
    edit_card(folder, lambda card: card["splits"].update(extra=empty))
    problem = only(folder)
    assert (problem.what, problem.where) == ("the split is empty", "split extra")
    edit_card(folder, lambda card: card.update(splits={}, statistics=None, attachments=[]))
    found = [p.what for p in validate_dataset(folder) if p.severity == "error"]
    assert found == ["there are no splits"]


def write(path: Path, splits: dict[str, list[Sample]], **changes: Any) -> Path:
    declared: dict[str, Any] = {
        "name": "x", "label_names": ("happy", "sad"), "dims": {"audio": 2, "text": 3},
        "aligned": False,
    }  # fmt: skip
    with DatasetWriter(path, **{**declared, **changes}) as writer:
        for split, samples in splits.items():
            for sample in samples:
                writer.add(split, sample)
    return path


def make(name: str, labels: tuple[int, int] = (0, 0), *modalities: Modality) -> Sample:
    rng = np.random.default_rng([ord(c) for c in name])
    widths: dict[Modality, int] = {"audio": 2, "text": 3}
    sequences = {
        m: rng.standard_normal((5, widths[m])).astype(np.float32) for m in modalities or widths
    }
    return Sample(name, sequences, np.array(labels, np.uint8))


BALANCED = [make("v[0]", (1, 0)), make("v[1]", (0, 1))]


def test_no_training_split(tmp_path: Path) -> None:
    problem = only(write(tmp_path / "set", {"test": BALANCED}))
    assert (problem.severity, problem.what) == ("warning", "there is no split 'train'")


def test_videos_in_two_splits(tmp_path: Path) -> None:
    splits = {"train": BALANCED, "test": [make("v[2]"), make("w[0]")], "valid": [make("u$_$3")]}
    problem = only(write(tmp_path / "set", splits))
    assert problem.severity == "warning"
    assert problem.what == "segments of 1 videos are in both: v"
    assert problem.where == "splits train and test"


def test_ids_that_occur_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "set", {"train": BALANCED, "test": [make("w[0]")]})
    raw = np.frombuffer(b"v[1]", np.uint8)
    edit_arrays(path, "test-00000", lambda a: {"ids.bytes": raw})
    found = validate_dataset(path)
    assert [p.severity for p in found] == ["error", "warning"]  # and the video is in both
    assert found[0].what == "1 sample ids occur more than once: v[1]"
    assert found[0].where == "splits test, train"


def test_labels_that_never_or_always_hold(tmp_path: Path) -> None:
    train = [make("a", (1, 0)), make("b", (1, 0))]
    found = validate_dataset(write(tmp_path / "set", {"train": train, "test": [make("c", (0, 1))]}))
    assert [(p.severity, p.what) for p in found] == [
        ("warning", "label 'happy' always holds"),
        ("warning", "label 'sad' never holds"),
    ]


def test_label_names(tmp_path: Path) -> None:
    named = write(tmp_path / "a", {"train": BALANCED}, label_names=("proud", "Happiness"))
    problem = only(named)
    assert problem.severity == "warning"
    assert problem.what == "label 'Happiness' is called 'happy' in the paper"
    found = validate_dataset(
        write(tmp_path / "b", {"train": BALANCED}, label_names=("anger", "angry"))
    )
    assert [(p.severity, p.what) for p in found] == [
        ("warning", "label 'anger' is called 'angry' in the paper"),
        ("error", "labels 'anger' and 'angry' are the same emotion"),
    ]


def test_a_modality_missing_everywhere_and_constant_features(tmp_path: Path) -> None:
    train = [make("a", (1, 0), "text"), make("b", (0, 1), "text")]
    for sample in train:
        sample.sequences["text"][:, 1] = 0.5
    found = validate_dataset(write(tmp_path / "set", {"train": train}))
    assert [(p.severity, p.where, p.what) for p in found] == [
        ("warning", "audio", "no sample has it"),
        ("warning", "text", "1 of 3 features are constant: 1"),
    ]


def test_aligned_lengths_and_samples_without_modality(tmp_path: Path) -> None:
    path = write(tmp_path / "set", {"train": BALANCED}, aligned=True)
    edit_arrays(path, TRAIN, lambda a: {"text.offsets": np.array([0, 4, 10])})
    problem = only(path)
    assert problem.what == "aligned samples whose modalities differ in steps: v[0], v[1]"
    both = {f"{m}.offsets": np.array([0, 0, 10]) for m in ("audio", "text")}
    edit_arrays(path, TRAIN, lambda a: both)
    assert only(path).what == "samples without any modality: v[0]"


def test_files_and_arrays_of_no_known_use(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    problem = only(folder)
    assert (problem.severity, problem.where) == ("warning", str(folder))
    assert problem.what == "1 files do not belong to the data set: notes.txt"
    (folder / "notes.txt").unlink()
    edit_arrays(folder, TRAIN, lambda a: {"smell.values": np.zeros((2, 3), np.float32)})
    assert "smell.values" in only(folder).what


def test_every_problem_is_reported_not_the_first_alone(folder: Path) -> None:
    names = {stored_name(folder, stem) for stem in ("valid-00000", TRAIN, STATISTICS)}
    (folder / stored_name(folder, "valid-00000")).unlink()
    edit_arrays(folder, TRAIN, lambda a: {"labels": a["labels"] + 2})
    edit_arrays(folder, STATISTICS, lambda a: {"text.mean": np.zeros(2, np.float32)})
    (folder / "x").touch()
    places = {p.where for p in validate_dataset(folder)}
    assert places == {*names, str(folder)}


def test_random_damage_never_raises_and_never_passes(folder: Path, sound: Path) -> None:
    chance = random.Random(0)
    names = sorted(p.name for p in sound.iterdir() if p.suffix == ".safetensors")
    for _ in range(80):
        name = chance.choice(names)
        content = bytearray((sound / name).read_bytes())
        if chance.random() < 0.3:
            del content[chance.randrange(len(content)) :]
        else:
            limit = chance.choice((400, len(content)))  # the header, or anywhere
            for _ in range(chance.randint(1, 3)):
                content[chance.randrange(min(limit, len(content)))] ^= chance.randint(1, 255)
        if content == (sound / name).read_bytes():
            continue
        (folder / name).write_bytes(content)
        assert any(p.severity == "error" for p in validate_dataset(folder))
        try:
            for split in open_dataset(folder).splits.values():
                list(split)
        except DataError:
            pass
        shutil.copy(sound / name, folder / name)
