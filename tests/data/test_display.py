"""How data sets show themselves: short, readable, and safe in a notebook."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotailor.data.dataset import EmotionDataset
from emotailor.data.sample import Sample
from emotailor.data.store import open_dataset, write_dataset
from emotailor.errors import DataError
from tests.evaluation.fake_pandas import with_fake_pandas
from tests.helpers import DIMS, LABELS, random_samples, small_dataset


class Table(HTMLParser):
    """Collects the cells of an HTML table, row by row, and the tags it met."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, _: Any) -> None:
        self.tags.add(tag)
        self._inside = tag
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, _: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("td", "th"):
            self.rows[-1].append(data)


def test_a_stored_data_set_is_one_short_line(tmp_path: Path) -> None:
    data = small_dataset(tmp_path / "data", train=1234)
    line = repr(data)
    assert len(line) < 200
    assert "\n" not in line
    for part in ("EmotionDataset", "train 1,234", "valid 11", "test 7", "aligned", *LABELS):
        assert part in line
    for m, dim in DIMS.items():
        assert f"{m} {dim}" in line
    assert str(data) == line


def test_splits_and_samples_are_one_short_line(tmp_path: Path) -> None:
    data = small_dataset(tmp_path / "data", train=1234)
    for part in ("Split 'train'", "1,234 samples", "3 labels", "visual, audio, text"):
        assert part in repr(data["train"])
    assert len(repr(data["train"])) < 100

    sample = Sample("a[0]", {"visual": np.zeros((2, 5), np.float32)}, np.array([0, 1], np.uint8))
    line = repr(sample)
    for part in ("Sample 'a[0]'", "visual (2, 5)", "audio missing", "text missing", "[0, 1]"):
        assert part in line
    assert "labels unknown" in repr(Sample("b", {}))


def many(labels: int, splits: int, name: str) -> EmotionDataset:
    names = [f"label {'x' * 300} {k}" for k in range(labels)]
    samples = {
        f"split{k}": random_samples(1, prefix=f"p{k}-{'y' * 300}", labels=labels)
        for k in range(splits)
    }
    return EmotionDataset.from_samples(
        samples, name=name, label_names=names, dims=DIMS, aligned=True
    )


def test_long_names_and_many_of_them_are_cut(tmp_path: Path) -> None:
    data = many(labels=103, splits=30, name="z" * 5000)
    assert len(repr(data)) < 1000
    assert "and 95 more" in repr(data)
    assert "and 22 more" in repr(data)
    assert len(repr(data["split0"][0])) < 200
    assert "of 103 labels hold" in repr(data["split0"][0])

    table = Table(data._repr_html_())
    assert [len(row) for row in table.rows] == [11] * 31  # split, samples, 8 labels, the others
    assert table.rows[0][-1] == "95 more"
    held = int(data["split0"].labels[0, 8:].sum())
    assert table.rows[1][-1] == str(held)


def test_the_table_of_a_notebook_holds_the_counts(tmp_path: Path) -> None:
    data = small_dataset(tmp_path / "data")
    table = Table(data._repr_html_())
    assert table.rows[0] == ["split", "samples", *LABELS]
    for row, name in zip(table.rows[1:], data.splits, strict=True):
        counts = data.card.splits[name].label_counts
        assert row == [name, str(len(data[name])), *(str(counts[label]) for label in LABELS)]


def test_names_are_text_and_no_markup() -> None:
    evil = "<script>x</script>&"
    data = EmotionDataset.from_samples(
        {evil: random_samples(2, labels=1)}, name=evil, label_names=[evil], dims=DIMS, aligned=True
    )
    text = data._repr_html_()
    assert "<script" not in text
    assert text.count("&lt;script&gt;x&lt;/script&gt;&amp;") == 3
    assert Table(text).tags == {"table", "caption", "thead", "tbody", "tr", "th", "td"}


def test_samples_by_position_and_in_turn(tmp_path: Path) -> None:
    data = small_dataset(tmp_path / "data")
    split = data["test"]
    assert split[0].id == split.ids[0]
    assert split[-1].id == split.ids[6]
    assert [sample.id for sample in split] == list(split.ids)
    for wrong in (7, -8):
        with pytest.raises(IndexError):
            split[wrong]


def test_equal_are_data_sets_with_the_same_samples(tmp_path: Path) -> None:
    data = small_dataset(tmp_path / "data")
    again = open_dataset(tmp_path / "data")
    assert data == again
    assert hash(data) == hash(again)
    assert len({data, again}) == 1

    in_memory = EmotionDataset.from_samples(
        data.splits, name="other", label_names=LABELS, dims=DIMS, aligned=data.aligned
    )
    assert in_memory == data
    assert data == in_memory
    assert hash(in_memory) == hash(data)
    assert data != "data"


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("change", ["value", "label", "id", "order", "split", "label name"])
def test_any_difference_makes_data_sets_differ(tmp_path: Path, stored: bool, change: str) -> None:
    samples = random_samples(3)
    other = list(samples)
    split = "train"
    names = LABELS
    if change == "value":
        changed = {m: s.copy() for m, s in samples[2].sequences.items()}
        changed["text"][-1, -1] += 1
        other[2] = Sample(samples[2].id, changed, samples[2].labels)
    elif change == "label":
        labels = samples[2].labels
        assert labels is not None
        other[2] = Sample(samples[2].id, samples[2].sequences, 1 - labels)
    elif change == "id":
        other[2] = Sample("else", samples[2].sequences, samples[2].labels)
    elif change == "order":
        other = other[::-1]
    elif change == "split":
        split = "test"
    else:
        names = ("happy", "sad", "fear")

    def build(splits: dict[str, list[Sample]], label_names: tuple[str, ...]) -> EmotionDataset:
        declared: Any = {"name": "x", "label_names": label_names, "dims": DIMS, "aligned": True}
        if not stored:
            return EmotionDataset.from_samples(splits, **declared)
        return write_dataset(tmp_path / str(len(list(tmp_path.iterdir()))), splits, **declared)

    first = build({"train": samples}, LABELS)
    assert first == build({"train": samples}, LABELS)
    assert first != build({split: other}, names)


def test_a_data_set_is_a_mapping_of_its_splits(tmp_path: Path) -> None:
    data = small_dataset(tmp_path / "data")
    assert list(data) == list(data.keys()) == ["train", "valid", "test"]
    assert len(data) == 3
    assert [len(split) for split in data.values()] == [23, 11, 7]
    assert dict(data.items()) == data.splits
    assert "train" in data
    assert "traim" not in data
    assert data.get("traim") is None
    assert data.get("test") is data["test"]
    with pytest.raises(DataError, match="no split 'traim'"):
        data["traim"]
    assert repr(data.card) == (
        "DatasetCard('small', samples {'train': 23, 'valid': 11, 'test': 7}, 3 labels)"
    )
    assert len(repr(data["test"].shards)) < 200


def test_splits_are_in_one_order_and_found_by_the_names_people_use(tmp_path: Path) -> None:
    names = ("test", "extra", "dev", "train")
    splits = {name: random_samples(2, prefix=name) for name in names}
    declared: Any = {"name": "x", "label_names": LABELS, "dims": DIMS, "aligned": True}
    stored = write_dataset(tmp_path / "data", splits, **declared)
    for data in (stored, EmotionDataset.from_samples(splits, **declared)):
        assert list(data) == ["train", "test", "extra", "dev"]
        for name in ("valid", "val", "Validation", "dev", "DEV"):
            assert data.split_name(name) == "dev"
        assert data["training"] is data["train"]
    assert list(stored.card.splits) == ["train", "test", "extra", "dev"]


def test_a_split_is_a_list_of_samples(tmp_path: Path) -> None:
    split = small_dataset(tmp_path / "data")["test"]
    part = split[1:6:2]
    assert [sample.id for sample in part] == [split.ids[1], split.ids[3], split.ids[5]]
    assert list(part) == [split[1], split[3], split[5]]
    assert part.labels.tolist() == split.labels[[1, 3, 5]].tolist()
    assert part[-1:][0] == split[5]
    assert split[::-1][0] == split[6]
    assert len(split[7:]) == 0
    assert split[np.int64(2)] == split[2]

    assert split.ids[4] not in part
    assert split.ids[3] in part
    assert split[3] in part
    assert split[2] not in part
    assert 3 not in part


def test_samples_are_equal_by_id_and_content() -> None:
    one = Sample("a", {"text": np.ones((2, 11), np.float32)}, np.array([0, 1], np.uint8))
    same = Sample("a", {"text": np.ones((2, 11)), "audio": np.ones((0, 7))}, one.labels)
    assert one == same
    assert len({one, same}) == 1
    for other in (
        Sample("b", one.sequences, one.labels),
        Sample("a", {"text": np.zeros((2, 11))}, one.labels),
        Sample("a", {"audio": np.ones((2, 11))}, one.labels),
        Sample("a", one.sequences, None),
        Sample("a", one.sequences, one.labels, words=["so", "what"]),
        Sample("a", one.sequences, one.labels, about={"source": "x"}),
        "a",
    ):
        assert one != other


def test_counts_as_a_data_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_fake_pandas(monkeypatch)
    data = small_dataset(tmp_path / "data")
    frame = data.to_dataframe()
    assert frame.index == "split"
    for row in frame.rows:
        card = data.card.splits[row["split"]]
        assert row == {"split": row["split"], "samples": card.samples, **card.label_counts}
