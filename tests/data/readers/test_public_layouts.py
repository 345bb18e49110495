"""Files in the layouts of other people's programs, and the values that they hold.

The loaders of MMSA, MulT and CARAT, run beside this package on such files, give the same values.
"""

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emotailor.data.dataset import EmotionDataset
from emotailor.data.readers import detect
from emotailor.data.readers.convert import convert
from emotailor.data.validate import validate_dataset
from emotailor.errors import ConfigError, DataError
from emotailor.training.progress import Reporter
from emotailor.training.run_config import RunConfig
from emotailor.training.setup import TrainingData
from tests.data.readers.sources import DIMS, SDK, features, label_csv, mmsa_content, mult_content

COUNTS = {"train": 3, "valid": 2, "test": 2}


def saved(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def held(data: EmotionDataset, split: str) -> list[set[str]]:
    rows = data[split].labels.astype(bool)
    names = np.array(data.label_names)
    return [set(names[row].tolist()) for row in rows]


def part(split: str, n: int, **more: Any) -> dict[str, Any]:
    """One split under MulT's keys."""
    values: dict[str, Any] = {"vision": features("visual", n), "audio": features("audio", n)}
    values |= {"text": features("text", n), "id": [f"{split}{i}[0]" for i in range(n)]}
    return values | more


def with_labels(make: Callable[[int], Any]) -> dict[str, Any]:
    return {split: part(split, n, labels=make(n)) for split, n in COUNTS.items()}


SIX = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]])
HELD = [{"happy", "sad"}, set(), {"fear"}]


# labels of the files that the authors of HHMPN and of Multimodal Routing hand out
@pytest.mark.parametrize(
    "make",
    [
        lambda n: SIX[:n],
        lambda n: SIX[:n, :, None].astype(np.float32),
        lambda n: SIX[:n, None].astype(bool),
        lambda n: SIX[:n] * 2 / 3,
        lambda n: SIX[:n].astype(str),
        lambda n: SIX[:n].tolist(),
        lambda n: np.asfortranarray(SIX[:n]),
        lambda n: np.concatenate([np.full((n, 1), -1.0), SIX[:n]], axis=1),
    ],
    ids=["ints", "column", "row", "intensity", "text", "lists", "fortran", "sentiment-first"],
)
def test_six_columns_of_labels_are_the_emotions(tmp_path: Path, make: Callable[[int], Any]) -> None:
    source = saved(tmp_path / "mosei_emotion_aligned_60.pkl", with_labels(make))
    data = convert(source, tmp_path / "out")
    assert held(data, "train") == HELD and data["train"].ids == [
        "train0[0]",
        "train1[0]",
        "train2[0]",
    ]
    assert any(line.startswith("labels does not name its") for line in data.card.repairs)
    np.testing.assert_array_equal(data["train"].sequence("audio", 1), features("audio", 3)[1])


def test_columns_of_labels_can_be_named(tmp_path: Path) -> None:
    content = with_labels(lambda n: SIX[:n])
    source = saved(tmp_path / "a.pkl", content)
    names = ["fear", "happy", "anger", "surprise", "disgust", "sad"]
    assert held(convert(source, tmp_path / "a", label_names=names), "train") == [
        {"fear", "happy"}, set(), {"sad"}
    ]  # fmt: skip
    data = convert(source, tmp_path / "b", label_names=["fear", "sad"])
    assert data.label_names == ("fear", "sad") and held(data, "train") == [{"sad"}, set(), {"fear"}]
    with pytest.raises(DataError, match="has no label 'calm'"):
        convert(source, tmp_path / "c", label_names=["calm"])
    third = saved(tmp_path / "b.pkl", with_labels(lambda n: SIX[:n, :3]))
    with pytest.raises(DataError, match="has 3 columns without names"):
        convert(third, tmp_path / "d")
    assert held(convert(third, tmp_path / "e", label_names=["x", "y", "z"]), "train")[0] == {
        "x",
        "y",
    }


def column(shape: tuple[int, ...], n: int) -> np.ndarray:
    return np.arange(n).reshape(shape)


def test_what_is_no_emotion_is_not_taken_for_one(tmp_path: Path) -> None:
    below = saved(tmp_path / "a.pkl", with_labels(lambda n: SIX[:n] - 1.0))
    with pytest.raises(DataError, match="the value -1"):
        convert(below, tmp_path / "out")
    for shape in [(-1,), (-1, 1), (-1, 1, 1)]:
        one = saved(tmp_path / "b.pkl", with_labels(partial(column, shape)))
        with pytest.raises(DataError, match="one number per sample in its labels"):
            convert(one, tmp_path / "out")
    content = mmsa_content()
    with pytest.raises(DataError, match=r"has sentiment \(regression_labels\) and no emotion"):
        convert(saved(tmp_path / "c.pkl", content), tmp_path / "out")
    for split in content.values():
        del split["regression_labels"]
    with pytest.raises(DataError, match="no emotion labels among audio, id, raw_text"):
        convert(saved(tmp_path / "c.pkl", content), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_seven_columns_of_no_and_yes_have_no_sentiment(tmp_path: Path) -> None:
    seven = np.concatenate([SIX, [[0], [1], [0]]], axis=1)
    source = saved(tmp_path / "a.pkl", with_labels(lambda n: seven[:n]))
    with pytest.raises(DataError, match="7 columns of 0 and 1 without names"):
        convert(source, tmp_path / "out")
    names = [*SDK, "neutral"]
    data = convert(source, tmp_path / "out", label_names=names)
    assert held(data, "train") == [{"happy", "sad"}, {"neutral"}, {"fear"}]


def test_names_of_columns_in_the_file_come_first(tmp_path: Path) -> None:
    names = ["anger", "disgust", "fear", "happy", "sad", "surprise"]
    content = with_labels(lambda n: SIX[:n]) | {"label_names": names}
    data = convert(saved(tmp_path / "a.pkl", content), tmp_path / "out")
    assert held(data, "train") == [{"angry", "disgust"}, set(), {"surprise"}]
    assert not any("assumed" in line for line in data.card.repairs)

    content = with_labels(lambda n: np.concatenate([SIX[:n], np.ones((n, 1))], axis=1))
    content["emotions"] = np.array([*names, "sentiment"])
    data = convert(saved(tmp_path / "b.pkl", content), tmp_path / "b")
    assert held(data, "train") == [{"angry", "disgust"}, set(), {"surprise"}]


def test_iemocap_says_no_and_yes_for_each_of_four(tmp_path: Path) -> None:
    yes = np.array([[0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0]])
    content = with_labels(lambda n: np.stack([1 - yes[:n], yes[:n]], axis=2))
    for split in content.values():
        del split["id"]
    data = convert(saved(tmp_path / "iemocap_data.pkl", content), tmp_path / "out")
    assert data.label_names == ("neutral", "happy", "sad", "angry")
    assert held(data, "train") == [{"happy"}, {"neutral", "angry"}, set()]
    assert data["train"].ids == ["train-00000", "train-00001", "train-00002"]


def test_mmsa_with_the_classes_of_lddu(tmp_path: Path) -> None:
    content: dict[str, Any] = mmsa_content()
    targets = {
        "train": [[2, 4, 5, 3], [2, 3]],
        "valid": [[2, 9, 3]],
        "test": [[2, 6, 3], [2, 7, 8, 3]],
    }
    for split, tgt in targets.items():
        content[split]["tgt"] = tgt
    source = saved(tmp_path / "aligned_501.pkl", content)
    data = convert(source, tmp_path / "out")
    assert held(data, "train") == [{"happy", "sad"}, set()] and held(data, "valid") == [{"fear"}]
    assert held(data, "test") == [{"angry"}, {"surprise", "disgust"}]
    assert data["train"].ids == ["ann$_$0", "ann$_$1"]
    with pytest.raises(ConfigError, match="class ids say"):
        convert(source, tmp_path / "other", label_threshold=0.5)

    # a label file that is given comes first
    table = convert(source, tmp_path / "table", labels=label_csv(tmp_path / "segments.csv"))
    assert held(table, "train") == [{"happy", "surprise"}, {"sad"}]


M3ED = {"<s>": 2, "</s>": 3, "<unk>": 1, "<blank>": 0, "Happy": 4, "Neutral": 5, "Sad": 6,
        "Disgust": 7, "Anger": 8, "Fear": 9, "Surprise": 10}  # fmt: skip
# what HHMPN's preprocess.py may give: the order of a set of words
SHUFFLED = {"<s>": 2, "</s>": 3, "<blank>": 0, "<unk>": 1, "sad": 4, "fear": 5, "disgust": 6,
            "happy": 7, "surprise": 8, "anger": 9}  # fmt: skip


def torch_content(targets: list[list[int]]) -> dict[str, Any]:
    n = len(targets)
    values = {f"src-{m}": list(features(m, n)) for m in DIMS}
    return {split: values | {"tgt": targets} for split in COUNTS}


@pytest.mark.parametrize(
    ("names", "right"),
    [
        (M3ED, [{"Neutral"}, {"happy", "sad"}, {"fear"}]),
        (SHUFFLED, [{"fear"}, {"sad", "disgust"}, {"angry"}]),
        (
            {number: name for name, number in SHUFFLED.items()},
            [{"fear"}, {"sad", "disgust"}, {"angry"}],
        ),
    ],
    ids=["CARAT's M3ED", "HHMPN", "turned round"],
)
def test_the_dictionary_of_the_file_names_its_classes(
    tmp_path: Path, names: dict[Any, Any], right: list[set[str]]
) -> None:
    content = torch_content([[2, 5, 3], [2, 4, 6, 3], [2, 9, 3]]) | {
        "dict": {"src": {}, "tgt": names}
    }
    torch.save(content, tmp_path / "a.pt")
    data = convert(tmp_path / "a.pt", tmp_path / "out")
    assert held(data, "train") == right
    assert not any("does not name" in line for line in data.card.repairs)
    if names is M3ED:
        assert data.label_names == (
            "happy",
            "Neutral",
            "sad",
            "disgust",
            "angry",
            "fear",
            "surprise",
        )


def test_class_ids_and_names_that_do_not_fit(tmp_path: Path) -> None:
    content = torch_content([[2, 10, 3]]) | {"dict": {"tgt": SHUFFLED}}
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(DataError, match=r"'tgt' of sample 0 is \[2, 10, 3\]"):
        convert(tmp_path / "a.pt", tmp_path / "out")
    with pytest.raises(DataError, match="names its classes sad, fear"):
        convert(tmp_path / "a.pt", tmp_path / "out", label_names=["a", "b"])
    content["dict"]["tgt"] = {"<s>": 2, "happy": 4, "sad": 4}
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(DataError, match="'sad': 4"):
        convert(tmp_path / "a.pt", tmp_path / "out")

    # without names the order of the paper is assumed, and said
    torch.save(torch_content([[2, 9, 3]]), tmp_path / "a.pt")
    data = convert(tmp_path / "a.pt", tmp_path / "out")
    assert held(data, "train") == [{"fear"}]
    assert any("does not name its class ids" in line for line in data.card.repairs)


def test_padding_of_bert_is_cut_by_its_mask(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    real = np.arange(11) < np.array([[4], [11]])  # (2, 11)
    content: dict[str, Any] = {"train": mmsa_content()["train"]}
    split = content["train"]
    split["text"] = rng.normal(size=(2, 11, 7)).astype(np.float32)  # nowhere zero
    split["audio"] = features("audio", 2) * real[:, :, None]
    split["vision"] = features("visual", 2) * real[:, :, None]
    split["vision"][0, 6, 1] = 0.25  # what one program leaves beyond the text
    tokens = rng.integers(1000, 20000, (2, 11)) * real
    split["text_bert"] = np.stack([tokens, real, np.zeros((2, 11))], axis=1)
    labels = label_csv(tmp_path / "segments.csv")

    data = convert(saved(tmp_path / "a.pkl", content), tmp_path / "a", labels=labels)
    assert data.aligned
    assert [data["train"].lengths(m).tolist() for m in DIMS] == [[4, 11]] * 3
    np.testing.assert_array_equal(data["train"].sequence("text", 0), split["text"][0, :4])
    note = "visual of 1 samples is not zero beyond the real tokens: cut off"
    assert note in data.card.repairs

    # unaligned, it says nothing of the others
    split["audio"] = np.pad(split["audio"], ((0, 0), (0, 6), (0, 0)))
    data = convert(saved(tmp_path / "b.pkl", content), tmp_path / "b", labels=labels)
    lengths = {m: data["train"].lengths(m).tolist() for m in DIMS}
    assert lengths == {"visual": [7, 11], "audio": [4, 11], "text": [4, 11]}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (np.full((2, 3, 11), 5), "other numbers than 0 and 1"),
        (np.ones((2, 3, 9)), "2 rows of 9 tokens"),
        (np.ones((2, 11)), "shape"),
        (np.zeros((2, 3, 11)), None),
    ],
    ids=["no mask", "other steps", "no rows", "no token"],
)
def test_a_mask_that_is_none_is_not_used(
    tmp_path: Path, value: np.ndarray, why: str | None
) -> None:
    content = {"train": mmsa_content()["train"] | {"text_bert": value}}
    labels = label_csv(tmp_path / "segments.csv")
    data = convert(saved(tmp_path / "a.pkl", content), tmp_path / "out", labels=labels)
    assert data["train"].lengths("text").tolist() == [11, 11]
    told = [
        line for line in data.card.repairs if "text_bert of the split train is not used" in line
    ]
    assert len(told) == (why is not None)
    assert why is None or why in told[0]


@pytest.mark.parametrize(
    "shape",
    [
        np.asfortranarray,
        lambda x: x.transpose(1, 0, 2).copy().transpose(1, 0, 2),
        lambda x: np.ascontiguousarray(x[::-1])[::-1],
        lambda x: x.astype(">f8"),
        list,
        lambda x: [row[: 5 + i] for i, row in enumerate(x)],
        lambda x: np.array([*[row[: 5 + i] for i, row in enumerate(x)], None], dtype=object)[:-1],
        lambda x: x.tolist(),
    ],
    ids=["fortran", "permuted", "reversed", "big endian", "list", "ragged", "objects", "lists"],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_arrays_in_any_order_of_memory(
    tmp_path: Path, shape: Callable[[np.ndarray], Any], protocol: int
) -> None:
    content = with_labels(lambda n: np.asfortranarray(SIX[:n]))
    for split, n in COUNTS.items():
        content[split]["audio"] = shape(features("audio", n))
    source = saved(tmp_path / "a.pkl", content, protocol)
    data = convert(source, tmp_path / "out", align=False)
    assert held(data, "train") == HELD
    for split, n in COUNTS.items():
        given = shape(features("audio", n))
        for i in range(n):
            expected = np.asarray(given[i], np.float32)
            np.testing.assert_array_equal(data[split].sequence("audio", i), expected)


def test_arrays_that_lie_as_dim_by_steps_are_turned(tmp_path: Path) -> None:
    content = with_labels(lambda n: SIX[:n])
    for split in content.values():
        split["audio"] = split["audio"].transpose(0, 2, 1)
    data = convert(saved(tmp_path / "a.pkl", content), tmp_path / "a")
    assert data.aligned and data.dims == DIMS
    assert "audio was stored as (dim, steps) and is turned" in data.card.repairs
    np.testing.assert_array_equal(data["test"].sequence("audio", 1), features("audio", 2)[1])

    # all of them, told by widths that published files have
    rng = np.random.default_rng(0)
    for split, n in COUNTS.items():
        for key, dim in {"vision": 35, "audio": 74, "text": 300}.items():
            content[split][key] = rng.normal(size=(n, dim, 20))
    data = convert(saved(tmp_path / "b.pkl", content), tmp_path / "b")
    assert data.aligned and data.dims == {"visual": 35, "audio": 74, "text": 300}
    assert data["train"].lengths("text").tolist() == [20] * 3

    # lists: one number of rows, and many of columns
    content = with_labels(lambda n: SIX[:n])
    for split, n in COUNTS.items():
        content[split]["text"] = [row[: 4 + i].T for i, row in enumerate(features("text", n))]
    data = convert(saved(tmp_path / "c.pkl", content), tmp_path / "c")
    assert data.dims["text"] == 7 and data["train"].lengths("text").tolist() == [4, 5, 6]


def test_splits_of_other_names_and_without_rows(tmp_path: Path) -> None:
    content = with_labels(lambda n: SIX[:n])
    content = {"Train": content["train"], "dev": part("valid", 0, labels=SIX[:0]), "test": {}}
    data = convert(saved(tmp_path / "a.pkl", content), tmp_path / "out")
    assert list(data.splits) == ["train"] and len(data["train"]) == 3
    assert {"the split valid has no rows", "the split test has no rows"} <= set(data.card.repairs)
    with pytest.raises(DataError, match="has no rows in any split"):
        convert(saved(tmp_path / "b.pkl", {"train": {}, "test": {}}), tmp_path / "b", format="mult")
    twice = {"dev": content["Train"], "val": content["Train"]}
    with pytest.raises(DataError, match="the split valid twice"):
        convert(saved(tmp_path / "c.pkl", twice), tmp_path / "c")


def test_a_modality_that_no_training_sample_has(tmp_path: Path) -> None:
    content = with_labels(lambda n: SIX[:n])
    content["train"]["audio"] = np.zeros_like(content["train"]["audio"])
    data = convert(saved(tmp_path / "a.pkl", content), tmp_path / "out")
    assert data["train"].lengths("audio").tolist() == [0, 0, 0]
    assert data["test"].lengths("audio").tolist() == [11, 11]
    assert "no sample of the split train has audio: no model can learn from it" in data.card.repairs


@pytest.mark.parametrize("steps", [20, 50, 60])
def test_other_names_of_the_same_keys(tmp_path: Path, steps: int) -> None:
    content = {}
    for split, n in COUNTS.items():
        content[split] = {
            "visual": features("visual", n, steps), "acoustic": features("audio", n, steps),
            "language": features("text", n, steps), "emotions": SIX[:n],
            "ids": np.array([f"{split}{i}".encode() for i in range(n)]),
        }  # fmt: skip
    data = convert(saved(tmp_path / "a.pkl", content), tmp_path / "out", format="mult")
    assert data.dims == DIMS and data["train"].lengths("text").tolist() == [steps] * 3
    assert held(data, "train") == HELD and data["train"].ids == ["train0", "train1", "train2"]


def test_layouts_are_told_by_their_keys_whatever_program_saved_them(tmp_path: Path) -> None:
    contents = {
        "mult": mult_content(),
        "mmsa": mmsa_content(),
        "tailor": torch_content([[2, 4, 3]]),
    }
    for name, content in contents.items():
        torch.save(content, tmp_path / "a.pt")
        saved(tmp_path / "a.pkl", content)
        saved(tmp_path / "old.pkl", content, protocol=0)
        files = ("a.pt", "a.pkl", "old.pkl")
        assert [detect(tmp_path / file) for file in files] == [name] * 3
    saved(tmp_path / "a.pkl", contents["tailor"])
    assert held(convert(tmp_path / "a.pkl", tmp_path / "out"), "train") == [{"happy"}]


def test_video_and_times_as_ids_of_a_file_with_emotions(tmp_path: Path) -> None:
    content = with_labels(lambda n: SIX[:n])
    content["train"]["id"] = np.array([["a", "7.5", "9"], ["b", "0", "1"], ["a", "10.25", "12"]])
    content["test"]["id"] = np.array([["a", "0.5", "7.5"], ["c", "0", "1"]])
    data = convert(saved(tmp_path / "a.pkl", content), tmp_path / "out")
    assert data["train"].ids == ["a[1]", "b[0]", "a[2]"] and data["test"].ids == ["a[0]", "c[0]"]
    content["test"]["id"] = content["test"]["id"][:1]
    with pytest.raises(DataError, match="'test' has 1 ids and 2 samples"):
        convert(saved(tmp_path / "a.pkl", content), tmp_path / "other")


def test_the_splits_must_have_the_same_keys(tmp_path: Path) -> None:
    content = with_labels(lambda n: SIX[:n])
    del content["valid"]["audio"]
    with pytest.raises(DataError, match="split 'valid' has no 'audio', but 'train' has"):
        convert(saved(tmp_path / "a.pkl", content), tmp_path / "out")
    del content["train"]["audio"], content["test"]["audio"]
    data = convert(saved(tmp_path / "a.pkl", content), tmp_path / "out")
    assert data.modalities == ("visual", "text")
    assert any(line.startswith("no audio modality") for line in data.card.repairs)
    assert len(SDK) == 6


class Told(Reporter):
    """Keeps what training says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


def test_training_and_validation_say_what_is_absent_in_training(tmp_path: Path) -> None:
    content = with_labels(lambda n: SIX[:n])
    content["train"]["audio"] = np.zeros_like(content["train"]["audio"])
    convert(saved(tmp_path / "a.pkl", content), tmp_path / "out")
    reporter = Told()
    TrainingData(RunConfig.build({"data": {"path": str(tmp_path / "out")}}), reporter)
    assert reporter.lines == ["no sample of split 'train' has audio: nothing is learned about it"]
    found = {problem.what: problem.where for problem in validate_dataset(tmp_path / "out")}
    assert found["no sample of the split train has it"] == "audio"


def test_half_precision_stays_and_the_transcript_is_kept(tmp_path: Path) -> None:
    content = with_labels(lambda n: SIX[:n])
    for split, n in COUNTS.items():
        content[split]["text"] = features("text", n).astype(">f2")
        content[split]["raw_text"] = np.array([f"{split} says {i}" for i in range(n)])
    data = convert(saved(tmp_path / "a.pkl", content), tmp_path / "out", format="mult")
    stored = data["train"].sequence("text", 2)
    assert stored.dtype == np.float16
    assert data["train"].sequence("audio", 2).dtype == np.float32
    np.testing.assert_array_equal(stored, features("text", 3)[2].astype(np.float16))
    assert data["test"].sample(1).about == {"transcript": "test says 1"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("labels", [[1, 0], [1]], "no array"),
        ("labels", [["x"] * 6] * 3, "of shape"),
        ("labels", np.full((3, 6), np.nan), "not finite numbers"),
        ("labels", np.float64(3), "shape"),
        ("labels", [[10**400] * 6] * 3, "of shape|not finite|no array"),
        ("id", np.array([["a", "nan", "2"]] * 3), "not video, start and end"),
        ("id", [["a", "b"]] * 3, r"shape \(3, 2\)"),
        ("text", [[1, 2], [3]], "no array|shape"),
        ("text", None, "shape"),
        ("tgt", [[2, 4, 3], {}, None], "'tgt' of sample 1"),
    ],
)
def test_what_is_wrong_in_a_split_is_one_message(
    tmp_path: Path, key: str, value: Any, message: str
) -> None:
    content = with_labels(lambda n: SIX[:n])
    for split in content.values():
        if key == "tgt":
            split["tgt"] = [[2, 3]] * len(split["labels"])
    content["train"][key] = value
    with pytest.raises(DataError, match=message):
        convert(saved(tmp_path / "a.pkl", content), tmp_path / "out", format="mult")


@pytest.mark.parametrize("key", ["text_bert", "raw_text", "regression_labels"])
@pytest.mark.parametrize("value", [None, 3, "x", np.float64(1), [[1], [2, 3]], [10**400] * 3])
def test_what_is_not_needed_does_no_harm(tmp_path: Path, key: str, value: Any) -> None:
    content = with_labels(lambda n: SIX[:n])
    content["train"][key] = value
    data = convert(saved(tmp_path / "a.pkl", content), tmp_path / "out", format="mult")
    assert held(data, "train") == HELD
    names = tmp_path / "labels.csv"
    names.write_text("id,sad,sentiment\n" + "".join(f"train{i}[0],{i},1\n" for i in range(3)))
    other = convert(saved(tmp_path / "a.pkl", content), tmp_path / "o", labels=names, format="mult")
    assert held(other, "train") == [set(), {"sad"}, {"sad"}]


@pytest.mark.parametrize("names", [5, {"happy": [[1], [2, 3]]}, {"happy": None}, {("a",): {}}])
def test_dictionaries_that_name_no_class(tmp_path: Path, names: Any) -> None:
    content = torch_content([[2, 4, 3]]) | {"dict": {"tgt": names}}
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(DataError, match=r"dict\.tgt"):
        convert(tmp_path / "a.pt", tmp_path / "out")
