"""Label frequencies, by hand."""

import numpy as np
import pytest

from emotailor.data.dataset import Ragged, Shard, Split
from emotailor.errors import DataError, ModelError
from emotailor.models.baseline import LabelFrequency

NAMES = ("angry", "happy", "sad")


def split_of(labels: list[list[int]], name: str = "train") -> Split:
    values = np.asarray(labels, np.uint8).reshape(-1, len(NAMES))
    n = len(values)
    ragged = Ragged.pack([np.zeros((1, 2), np.float32)] * n, 2)
    return Split(name, [f"s{i}" for i in range(n)], values, [Shard({"text": ragged}, n)])


def test_by_hand() -> None:
    model = LabelFrequency().fit(split_of([[1, 0, 1], [1, 0, 0], [0, 0, 0], [1, 0, 0]]), NAMES)
    test = split_of([[0, 0, 0]] * 2, "test")
    assert model.predict_proba(test).tolist() == [[0.75, 0, 0.25]] * 2
    assert model.label_names == NAMES
    assert model.predict_proba(split_of([], "test")).shape == (0, 3)


def test_wrong_input_is_one_clear_error() -> None:
    split = split_of([[1, 0, 1]])
    with pytest.raises(ModelError, match="has not been trained"):
        LabelFrequency().predict_proba(split)
    with pytest.raises(DataError, match="2 label names for 3"):
        LabelFrequency().fit(split, NAMES[:2])
    with pytest.raises(DataError, match="'train' has no samples"):
        LabelFrequency().fit(split_of([]), NAMES)
