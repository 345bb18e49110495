"""Which data are CMU-MOSEI in the paper's split: by ids, counts and labels."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emotailor.comparison.mosei import recognise
from emotailor.comparison.published import (
    TABLE_2,
    notes_without,
    published_beside,
    published_setting,
    why_not_published,
)
from emotailor.data.card import DatasetCard
from emotailor.data.dataset import EmotionDataset, Split
from emotailor.data.sample import EMOTIONS
from tests.evaluation.test_baselines import held
from tests.helpers import random_samples

COLUMNS = {"angry": "anger"}
PAPER = {"train": 16_322, "valid": 1_871, "test": 4_659}


@pytest.fixture(scope="module")
def rows(shared_data: Path) -> list[dict[str, str]]:
    """The released table of segments that have words."""
    with (shared_data / "mosei_text" / "mosei_text.csv").open(encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if row["text"] and row["split"]]


def dataset_of(
    rows: list[dict[str, str]], spelling: str, number: str, *, aligned: bool = True
) -> EmotionDataset:
    """Ids and labels alone: nothing else counts."""
    splits = {}
    for name in PAPER:
        own = [row for row in rows if row["split"] == name]
        ids = [spelling.format(row["id"], row[number]) for row in own]
        columns = [COLUMNS.get(label, label) for label in EMOTIONS]
        labels = [[float(row[column]) > 0 for column in columns] for row in own]
        splits[name] = Split(name, ids, np.array(labels, np.uint8), [])
    card = DatasetCard(name="mine", label_names=EMOTIONS, dims={}, aligned=aligned, splits={})
    return EmotionDataset(card, splits)


@pytest.mark.parametrize(
    ("spelling", "number"), [("{}[{}]", "segment"), ("{}$_${}", "clip"), ("{}_{}", "clip")]
)
def test_every_spelling_of_the_real_ids(
    rows: list[dict[str, str]], spelling: str, number: str
) -> None:
    dataset = dataset_of(rows, spelling, number, aligned=number == "segment")
    assert {name: len(split) for name, split in dataset.splits.items()} == PAPER
    setting = published_setting(dataset)
    assert setting == ("aligned" if number == "segment" else "unaligned")


def test_the_numbers_that_stand_beside(rows: list[dict[str, str]]) -> None:
    dataset = dataset_of(rows, "{}[{}]", "segment")
    beside, why = published_beside(dataset, "test")
    assert beside is not None
    assert (beside.values, why) == (TABLE_2["aligned"]["tailor"], "")
    assert published_beside(dataset, "valid")[0] is None


def test_what_the_same_sizes_do_not_make_cmu_mosei(rows: list[dict[str, str]]) -> None:
    real = dataset_of(rows, "{}[{}]", "segment")
    train, valid, test = real.splits.values()

    # other ids
    strange = replace(test, ids=[f"x{i}[0]" for i in range(len(test))])
    found = recognise(EmotionDataset(real.card, {**real.splits, "test": strange}))
    assert "of which 0 are among the 4,662 segments" in found.why_not
    assert found.resembles

    # other labels
    shuffled = replace(test, labels=1 - test.labels)
    found = recognise(EmotionDataset(real.card, {**real.splits, "test": shuffled}))
    assert "angry" in found.why_not

    # videos moved between splits
    moved = replace(train, ids=[*valid.ids, *train.ids[len(valid) :]])
    found = recognise(EmotionDataset(real.card, {**real.splits, "train": moved}))
    assert "split 'train'" in found.why_not

    # a part, and synthetic data
    part = real.splits["test"].take(np.arange(4_500))
    assert not recognise(EmotionDataset(real.card, {**real.splits, "test": part})).is_mosei
    drawn = real.card.model_copy(update={"provenance": {"source": "synthetic data"}})
    assert recognise(EmotionDataset(drawn, real.splits)).why_not == "the data are synthetic"


def test_small_deviations_are_accepted(rows: list[dict[str, str]]) -> None:
    """A release without a few of the segments is still the paper's split."""
    real = dataset_of(rows, "{}[{}]", "segment")
    part = real.splits["test"].take(np.arange(4_630))
    assert recognise(EmotionDataset(real.card, {**real.splits, "test": part})).is_mosei


def test_data_of_ones_own_are_told_why() -> None:
    own = held({"train": random_samples(5), "test": random_samples(3, prefix="t")})
    assert "not its six emotions" in why_not_published(own, "test")
    assert "'valid'" in why_not_published(own, "valid")
    assert notes_without(own) == ()
    beside, why = published_beside(own, "test")
    assert beside is None
    assert why
