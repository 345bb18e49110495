"""What is stored is what is read: round trips, statistics, atomic writes, damage."""

import errno
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotailor.data import store
from emotailor.data.card import DatasetCard
from emotailor.data.checker import DataWarning
from emotailor.data.dataset import EmotionDataset
from emotailor.data.sample import MODALITIES, Modality, Sample, canonical_label
from emotailor.data.store import (
    DatasetWriter,
    open_dataset,
    read_attachment,
    read_card,
    read_statistics,
    write_dataset,
)
from emotailor.data.tensors import map_file
from emotailor.data.validate import validate_dataset
from emotailor.errors import DataError
from emotailor.files import sha256_of, write_json
from emotailor.verified import read_json
from tests.helpers import descriptors, small_dataset, stored_name

DIMS: dict[Modality, int] = {"visual": 2, "audio": 3, "text": 5}
DECLARED: dict[str, Any] = {
    "name": "x", "label_names": ("happy", "sad"), "dims": DIMS, "aligned": False
}  # fmt: skip


def sample(name: str, seed: int = 0, steps: int = 7) -> Sample:
    rng = np.random.default_rng([seed, *name.encode()])
    sequences = {m: rng.standard_normal((steps, d)).astype(np.float32) for m, d in DIMS.items()}
    return Sample(name, sequences, rng.integers(0, 2, 2).astype(np.uint8))


def write(path: Path, *names: str, seed: int = 0, **changes: Any) -> EmotionDataset:
    samples = [sample(name, seed) for name in names]
    return write_dataset(path, {"train": samples}, **{**DECLARED, **changes})


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def assert_same(found: Sample, expected: Sample) -> None:
    assert found.id == expected.id
    np.testing.assert_array_equal(found.labels, expected.labels)
    present = {m: s for m, s in expected.sequences.items() if len(s)}
    assert set(found.sequences) == set(present)
    for m, array in present.items():
        assert found.sequences[m].dtype == np.float32
        np.testing.assert_array_equal(found.sequences[m], array)


NAMES = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])  # what a name may hold


@st.composite
def data_sets(draw: st.DrawFn) -> dict[str, Any]:
    dims = draw(st.dictionaries(st.sampled_from(MODALITIES), st.integers(1, 7), min_size=1))
    labels = draw(
        st.lists(
            st.text(NAMES, min_size=1, max_size=9),
            min_size=1,
            max_size=5,
            unique_by=canonical_label,
        )
    )
    aligned = draw(st.booleans())
    ids = draw(
        st.lists(st.text(NAMES, min_size=1, max_size=20), min_size=1, max_size=17, unique=True)
    )
    names = draw(st.lists(st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True), min_size=1))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # parts of samples: checking the types of a Sample draws random numbers, unfit for a strategy
    splits: dict[str, list[tuple[str, Any, Any]]] = {}
    for sample_id in ids:
        steps = dict.fromkeys(dims, int(rng.integers(1, 6)))
        if not aligned:
            steps = {m: int(rng.integers(0, 6)) for m in dims}
        keep = rng.choice(list(dims))  # one modality at least
        sequences = {
            m: rng.standard_normal((max(n, 1) if m == keep else n, dims[m])).astype(np.float32)
            for m, n in steps.items()
            if m == keep or rng.random() < 0.7
        }
        made = (sample_id, sequences, rng.integers(0, 2, len(labels)).astype(np.uint8))
        splits.setdefault(str(rng.choice(names)), []).append(made)
    return {"splits": splits, "label_names": labels, "dims": dims, "aligned": aligned}


@settings(max_examples=30, deadline=None)
@given(data_sets(), st.sampled_from([1, 100, 2**20]))
def test_what_is_stored_is_what_is_read(data: dict[str, Any], shard_bytes: int) -> None:
    parts = data.pop("splits")
    splits = {name: [Sample(*part) for part in listed] for name, listed in parts.items()}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "set"
        with DatasetWriter(path, name="näme", shard_bytes=shard_bytes, **data) as writer:
            for split, samples in splits.items():
                for one in samples:
                    writer.add(split, one)
        dataset = open_dataset(path)
        assert dataset.card.name == "näme"
        assert dataset.label_names == tuple(data["label_names"])
        assert dataset.dims == data["dims"]
        assert dataset.aligned == data["aligned"]
        assert list(dataset.splits) == list(splits)
        for name, samples in splits.items():
            assert len(dataset[name]) == len(samples) == dataset.card.splits[name].samples
            for found, expected in zip(dataset[name], samples, strict=True):
                assert_same(found, expected)
        memory = EmotionDataset.from_samples(splits, name="näme", **data)
        for name, split in memory.splits.items():
            np.testing.assert_array_equal(split.labels, dataset[name].labels)
            for m in dataset.modalities:
                np.testing.assert_array_equal(split.lengths(m), dataset[name].lengths(m))
        assert [p for p in validate_dataset(path) if p.severity == "error"] == []


def test_small_shards_give_many_files_and_the_same_samples(tmp_path: Path) -> None:
    names = [f"s{i}" for i in range(13)]
    with DatasetWriter(tmp_path / "set", shard_bytes=3 * 280, **DECLARED) as writer:
        for name in names:  # 7 steps of 10 float32: 280 bytes a sample, so three to a shard
            writer.add("train", sample(name))
    card = read_card(tmp_path / "set")
    assert [s.samples for s in card.splits["train"].shards] == [3, 3, 3, 3, 1]
    dataset = open_dataset(tmp_path / "set")
    for found, name in zip(dataset["train"], names, strict=True):
        assert_same(found, sample(name))
    assert card.splits["train"].label_counts == dict(
        zip(("happy", "sad"), dataset["train"].labels.sum(0, dtype=int).tolist(), strict=True)
    )


def test_splits_keep_the_order_they_came_in(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "set", shard_bytes=2 * 280, **DECLARED) as writer:
        for split, name in (("train", "a"), ("valid", "b"), ("test", "c"), ("test", "d")):
            writer.add(split, sample(name))
    assert list(open_dataset(tmp_path / "set").splits) == ["train", "valid", "test"]


def test_opening_maps_the_values_and_does_not_read_them(tmp_path: Path) -> None:
    shard = write(tmp_path / "set", "a", "b")["train"].shards[0]
    for ragged in shard.sequences.values():
        assert not ragged.values.flags.writeable
        assert not ragged.values.flags.owndata
        base: Any = ragged.values
        while not isinstance(base, np.memmap):
            base = base.base
            assert base is not None
        assert base.filename is not None
        assert Path(base.filename) == tmp_path / "set" / stored_name(tmp_path / "set", TRAIN)
    with pytest.raises(ValueError, match="read-only"):
        shard.sequences["text"][0][0, 0] = 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (sample("a"), "already occurs in split 'train'"),
        (Sample("b", {"text": np.zeros((7, 3), np.float32)}, np.zeros(2, np.uint8)), "text is"),
        (Sample("b", sample("b").sequences, np.full(2, 2, np.uint8)), "labels"),
        (Sample("b", {}, np.zeros(2, np.uint8)), "no modality"),
    ],
)
def test_a_wrong_sample_leaves_nothing_behind(wrong: Sample, message: str, tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=message),
        DatasetWriter(tmp_path / "set", **DECLARED) as writer,
    ):
        writer.add("train", sample("a"))
        writer.add("test", wrong)
    assert list(tmp_path.iterdir()) == []


def test_aligned_lengths_must_agree(tmp_path: Path) -> None:
    uneven = Sample(
        "a",
        {"visual": np.zeros((3, 2), np.float32), "text": np.zeros((2, 5), np.float32)},
        np.zeros(2, np.uint8),
    )
    with pytest.raises(DataError, match=r"lengths \{'visual': 3, 'text': 2\} in an aligned"):
        write_dataset(tmp_path / "set", {"train": [uneven]}, **{**DECLARED, "aligned": True})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("split", ["", "../x", "a b", "a/b", "é", ".x", "x" * 65])
def test_split_names_are_file_names(split: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="split name"):
        write_dataset(tmp_path / "set", {split: [sample("a")]}, **DECLARED)


def test_no_samples_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no samples to write"):
        write_dataset(tmp_path / "set", {"train": []}, **DECLARED)
    assert list(tmp_path.iterdir()) == []


def test_values_that_are_not_finite_become_zero_with_a_warning(tmp_path: Path) -> None:
    one, other = sample("a"), sample("b")
    one.sequences["audio"][[1, 2, 3], [0, 2, 2]] = np.nan, np.inf, -np.inf
    other.sequences["audio"][4, 2] = np.inf
    huge = {**other.sequences, "text": other.sequences["text"].astype(np.float64)}
    huge["text"][5, 4] = 1e300  # beyond float32
    given = [one, Sample("b", huge, other.labels)]
    with pytest.warns(DataWarning) as caught:
        dataset = write_dataset(tmp_path / "set", {"train": given}, **DECLARED)
    repairs = [
        "audio: 4 non-finite values in 2 samples replaced by 0: feature 2 (3), feature 0 (1)",
        "text: 1 non-finite values in 1 samples replaced by 0: feature 4 (1)",
    ]
    assert [str(w.message) for w in caught] == [f"{tmp_path / 'set'}: {line}" for line in repairs]
    assert dataset.card.repairs == repairs
    found = dataset["train"]
    assert found.sequence("audio", 0)[[1, 2, 3], [0, 2, 2]].tolist() == [0, 0, 0]
    assert found.sequence("audio", 1)[4, 2] == 0
    assert found.sequence("text", 1)[5, 4] == 0
    np.testing.assert_array_equal(found.sequence("visual", 0), one.sequences["visual"])
    assert np.isnan(one.sequences["audio"][1, 0])  # what the caller holds stays as it was
    assert np.isfinite(read_statistics(tmp_path / "set")["audio.mean"]).all()


def test_many_bad_features_are_summed_up(tmp_path: Path) -> None:
    bad = Sample("a", {"text": np.full((2, 7), np.nan, np.float32)}, np.zeros(2, np.uint8))
    with pytest.warns(DataWarning, match=r"14 non-finite .* feature 4 \(2\) and 2 more features"):
        write_dataset(tmp_path / "set", {"train": [bad]}, **{**DECLARED, "dims": {"text": 7}})


@pytest.mark.parametrize("shard_bytes", [1, 1000, 2**20])
def test_statistics_are_those_of_the_training_split_alone(
    shard_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emotailor.data.moments.ROWS", 11)
    rng = np.random.default_rng(0)
    train = [sample(f"a{i}", steps=int(rng.integers(1, 20))) for i in range(23)]
    for one in train:
        one.sequences["audio"][:] = one.sequences["audio"] * 0.01 + (1000, -3, 0)
    with DatasetWriter(tmp_path / "set", shard_bytes=shard_bytes, **DECLARED) as writer:
        for i, one in enumerate(train):
            writer.add("train", one)
            far = {m: s + 100 for m, s in one.sequences.items()}
            writer.add("test", Sample(f"b{i}", far, one.labels))
    found = read_statistics(tmp_path / "set")
    assert set(found) == {f"{m}.{part}" for m in DIMS for part in ("mean", "std")}
    for m in DIMS:
        values = np.concatenate([one.sequences[m] for one in train]).astype(np.float64)
        np.testing.assert_allclose(found[f"{m}.mean"], values.mean(0), rtol=1e-6)
        np.testing.assert_allclose(found[f"{m}.std"], values.std(0), rtol=1e-5)


def test_no_training_split_no_statistics(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", {"test": [sample("a")]}, **DECLARED)
    assert read_card(tmp_path / "set").statistics is None
    with pytest.raises(DataError, match="no feature statistics"):
        read_statistics(tmp_path / "set")


def test_an_existing_data_set_is_replaced_only_when_asked(tmp_path: Path) -> None:
    write(tmp_path / "set", "a")
    before = content(tmp_path / "set")
    with pytest.raises(DataError, match="already exists"):
        write(tmp_path / "set", "b")
    assert content(tmp_path / "set") == before
    dataset = write(tmp_path / "set", "b", "c", overwrite=True)
    assert list(dataset["train"].ids) == ["b", "c"]
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_only_data_sets_are_overwritten(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"meow")
    (tmp_path / "file").write_bytes(b"text")
    for name, found in (("photos", "photos is no data set.*'cat.jpg'"), ("file", "file is a file")):
        with pytest.raises(DataError, match=found):
            write(tmp_path / name, "a", overwrite=True)
    assert content(tmp_path / "photos") == {"cat.jpg": b"meow"}
    assert (tmp_path / "file").read_bytes() == b"text"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_midway_leaves_the_old_data_set(
    error: type[BaseException], tmp_path: Path
) -> None:
    write(tmp_path / "set", "a")
    before = content(tmp_path / "set")

    def broken() -> Iterator[Sample]:
        yield sample("b")
        raise error("the disk is on fire")

    with pytest.raises(error, match="fire"):
        write_dataset(tmp_path / "set", {"train": broken()}, overwrite=True, **DECLARED)
    assert content(tmp_path / "set") == before
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_an_error_at_the_very_end_leaves_the_old_data_set(tmp_path: Path) -> None:
    write(tmp_path / "set", "a")
    before = content(tmp_path / "set")
    bad = sample("b")
    bad.sequences["text"][0, 0] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the warning comes when all is written but not renamed
        with pytest.raises(DataWarning):
            write_dataset(tmp_path / "set", {"train": [bad]}, overwrite=True, **DECLARED)
    assert content(tmp_path / "set") == before
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_provenance_and_notes(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "set", provenance={"source": "mine"}, **DECLARED) as writer:
        writer.add("train", sample("a"))
        writer.note("3 samples were left out")
    card = read_card(tmp_path / "set")
    assert card.provenance["source"] == "mine"
    assert card.repairs == ["3 samples were left out"]


def test_arrays_beside_the_data(tmp_path: Path) -> None:
    arrays: dict[str, np.ndarray] = {
        "a": np.arange(6).reshape(2, 3).T,
        "b": np.zeros((0, 5), np.float32),
    }
    with DatasetWriter(tmp_path / "set", **DECLARED) as writer:
        writer.add("train", sample("a"))
        writer.attach("extra", arrays)
    found = read_attachment(tmp_path / "set", "extra")
    assert set(found) == {"a", "b"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert list(open_dataset(tmp_path / "set").splits) == ["train"]
    with pytest.raises(DataError, match=r"has no 'other' beside it: \['extra-\w+.safetensors'\]"):
        read_attachment(tmp_path / "set", "other")


def test_the_fingerprint_is_that_of_the_data(tmp_path: Path) -> None:
    first = write(tmp_path / "a", "s", "t").card.fingerprint
    assert write(tmp_path / "b", "s", "t", name="other").card.fingerprint == first
    others = [
        write(tmp_path / "c", "s", "t", seed=1),
        write(tmp_path / "d", "t", "s"),
        write(tmp_path / "e", "s"),
        write(tmp_path / "f", "s", "t", label_names=("happy", "angry")),
    ]
    prints = {dataset.card.fingerprint for dataset in others}
    assert len(prints) == 4
    assert first not in prints


TRAIN = "train-00000"


def shard_of(folder: Path) -> Path:
    return folder / stored_name(folder, TRAIN)


def cut(file: Path, keep: float) -> None:
    file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: shard_of(folder).unlink(),
        lambda folder: cut(shard_of(folder), 0),
        lambda folder: cut(shard_of(folder), 0.1),
        lambda folder: cut(shard_of(folder), 0.99),
        lambda folder: shard_of(folder).write_bytes(b"\xff" * 100),
        lambda folder: shard_of(folder).write_bytes(b"\x02" + b"\0" * 7 + b"{}"),
    ],
)
def test_damaged_shards(damage: Callable[[Path], object], tmp_path: Path) -> None:
    write(tmp_path / "set", "a", "b")
    damage(tmp_path / "set")
    with pytest.raises(DataError, match=TRAIN):
        open_dataset(tmp_path / "set")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(schema_version=3), "another version: schema_version"),
        (lambda c: c.update(format="zip"), "format"),
        (lambda c: c.update(colour="blue"), "colour"),
        (lambda c: c.update(dims={"smell": 3}), "dims"),
        (lambda c: c["splits"]["train"]["shards"][0].update(file="../../etc/passwd"), "file"),
        (lambda c: c["splits"]["train"]["shards"][0].update(file="/etc/passwd"), "file"),
        (lambda c: c["splits"]["train"]["shards"][0].update(file=".."), "file"),
        (lambda c: c["splits"]["train"].update(samples=3), "holds 2 samples"),
        (
            lambda c: c["dims"].update(text=7),
            r"train-00000-\w+.safeten.*text.values has shape \(\d+, \d+\), expected \(steps, 7\)",
        ),
        (
            lambda c: c.update(label_names=["happy"]),
            r"labels has shape \(2, 2\), expected \(2, 1\)",
        ),
    ],
)
def test_edited_cards(
    change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    write(tmp_path / "set", "a", "b")
    file = tmp_path / "set" / "dataset.json"
    card = read_json(file, fix="")
    change(card)
    write_json(file, card)
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path / "set")


def _rewritten(folder: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    """Change the arrays of the first shard as somebody would who writes files of their own."""
    from safetensors.numpy import load_file, save_file

    shard = shard_of(folder)
    arrays = dict(load_file(shard))
    change(arrays)
    save_file(arrays, shard)

    card = read_json(folder / "dataset.json", fix="")
    samples = card["splits"]["train"]["samples"]
    own = {"file": shard.name, "sha256": sha256_of(shard), "samples": samples}
    card["splits"]["train"]["shards"] = [own]
    write_json(folder / "dataset.json", card)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a.pop("text.values"), "no text.values"),
        (lambda a: a.pop("ids.bytes"), "no ids.bytes"),
        (lambda a: a.update(labels=a["labels"].astype(np.int64)), "labels is int64 of shape"),
        (lambda a: a.update(labels=a["labels"].ravel()), "labels is uint8 of shape (4,)"),
        (lambda a: a.update(labels=a["labels"] + np.uint8(7)), "labels holds "),
        (lambda a: a.update({"ids.offsets": a["ids.offsets"][:0]}), "ids.offsets does not begin"),
        (lambda a: a.update({"ids.offsets": a["ids.offsets"] + 1}), "ids.offsets does not begin"),
        (lambda a: a.update({"ids.offsets": a["ids.offsets"][:-1]}), "ids.offsets ends with"),
        (lambda a: a["ids.offsets"].__setitem__(1, 99), "ids.offsets falls"),
        (lambda a: a["ids.bytes"].__setitem__(0, 255), "ids.bytes is not UTF-8"),
        (lambda a: a.update({"text.offsets": a["text.offsets"][1:]}), "text.offsets has 2 numbers"),
        (lambda a: a["text.offsets"].__setitem__(0, 1), "text.offsets does not begin with 0"),
        (lambda a: a["text.offsets"].__setitem__(2, 99), "text.offsets ends with 99"),
        (lambda a: a["text.offsets"].__setitem__(1, -5), "text.offsets falls"),
    ],
)
def test_a_shard_that_does_not_fit_says_which_array(
    change: Callable[[dict[str, np.ndarray]], object], reason: str, tmp_path: Path
) -> None:
    write(tmp_path / "set", "a", "b")
    _rewritten(tmp_path / "set", change)
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path / "set")
    assert reason in caught.value.found
    assert TRAIN in caught.value.found


def test_no_data_set(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent", str(tmp_path)):
        with pytest.raises(DataError, match=r"no data set at[\s\S]*emotailor data"):
            open_dataset(path)


def test_tensors_of_other_types(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(3, np.int16)}, tmp_path / "short.safetensors")
    with pytest.raises(DataError, match="'x' has type I16"):
        map_file(tmp_path / "short.safetensors")


def test_altered_statistics_are_one_message(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    small_dataset(tmp_path / "data")
    file = tmp_path / "data" / stored_name(tmp_path / "data", "statistics")
    arrays = load_file(file)
    for changed in ({"x": arrays["text.mean"]}, {**arrays, "text.mean": arrays["text.mean"][:-1]}):
        save_file(changed, file)
        with pytest.raises(DataError, match=r"statistics-\w+.safetensors is damaged.* SHA-256"):
            read_statistics(tmp_path / "data")


# ---------------------------------------------------------------------- replaced meanwhile


@pytest.fixture
def replaced_after_its_card(monkeypatch: pytest.MonkeyPatch) -> list[DatasetCard]:
    """Another process replaces the data set when its card has been read for the first time."""
    read = store.read_card
    found: list[DatasetCard] = []

    def replaced_after(folder: Path) -> DatasetCard:
        card = read(folder)
        found.append(card)
        if len(found) == 1:
            with replacing(folder) as writer:
                writer.attach("truth", {"x": np.ones(3)})
                writer.add("train", sample("new"))
        return card

    monkeypatch.setattr(store, "read_card", replaced_after)
    return found


def replacing(folder: Path) -> DatasetWriter:
    return DatasetWriter(folder, overwrite=folder.exists(), **DECLARED)


def test_a_data_set_that_is_replaced_while_it_is_opened(
    tmp_path: Path, replaced_after_its_card: list[DatasetCard]
) -> None:
    write(tmp_path / "set", "old")
    assert list(open_dataset(tmp_path / "set")["train"].ids) == ["new"]
    old, *_, new = replaced_after_its_card
    assert old.fingerprint != new.fingerprint


def test_an_attachment_that_is_replaced_while_it_is_read(
    tmp_path: Path, replaced_after_its_card: list[DatasetCard]
) -> None:
    with replacing(tmp_path / "set") as writer:
        writer.attach("truth", {"x": np.zeros(3)})
        writer.add("train", sample("old"))
    assert read_attachment(tmp_path / "set", "truth")["x"].tolist() == [1, 1, 1]
    assert len(replaced_after_its_card) == 2


@pytest.mark.parametrize("free", [0, 1])
def test_too_many_open_files_are_not_a_missing_shard(tmp_path: Path, free: int) -> None:
    write(tmp_path / "set", "one")
    file = tmp_path / "set" / stored_name(tmp_path / "set", "train-00000")
    with descriptors(free), pytest.raises(DataError, match="Too many open files") as caught:
        map_file(file)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EMFILE
