"""Samples to predict: what is read, what is refused, and what a reader sees."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from emotailor.data.checker import DataWarning
from emotailor.data.sample import Modality, Sample
from emotailor.data.store import write_dataset
from emotailor.errors import DataError
from emotailor.runs.predict import (
    predict_samples,
    read_sample,
    read_samples,
    render_predictions,
)
from emotailor.serving.prediction import Explanation, Prediction
from tests.helpers import DIMS, LABELS, random_samples
from tests.serving.test_predictor import summing


def ids(samples: list[Sample]) -> list[str]:
    return [s.id for s in samples]


def test_samples_of_a_data_set(data: Path) -> None:
    assert ids(read_samples(data)) == [f"test{i}[0]" for i in range(7)]
    assert len(read_samples(data, split="train")) == 23
    assert ids(read_samples(data, limit=2)) == ["test0[0]", "test1[0]"]
    assert ids(read_samples(data, ids=["test5[0]", "test2[0]"])) == ["test5[0]", "test2[0]"]
    assert ids(read_samples(data, ids=["test5[0]", "test2[0]"], limit=1)) == ["test5[0]"]
    assert len(read_samples(data, limit=99)) == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "tset"}, r"no split 'tset'[\s\S]*test, train, valid"),
        ({"ids": ["test1[0]", "nobody"]}, r"no sample 'nobody' in split 'test'[\s\S]*7 ids"),
        ({"ids": ["train1[0]"]}, "no sample 'train1"),
    ],
)
def test_what_a_data_set_does_not_have(data: Path, options: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_samples(data, **options)


def test_an_npz_file_is_one_sample(tmp_path: Path) -> None:
    file = tmp_path / "my clip é.NPZ"
    text = np.arange(22, dtype=np.float64).reshape(2, 11)
    with file.open("wb") as stream:
        np.savez(stream, text=text, visual=np.ones((2, 5), np.int16), note=np.array("hello"))
    (one,) = read_samples(file)
    assert one.id == "my clip é"
    assert set(one.sequences) == {"visual", "text"}
    assert {x.dtype for x in one.sequences.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(one.sequences["text"], text)
    assert ids(read_samples(file, ids=["my clip é"], split="anything")) == [one.id]
    with pytest.raises(DataError, match="no sample 'other'"):
        read_samples(file, ids=["other"])


def test_a_whole_data_set_is_not_taken_for_one_sample(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", visual=np.ones((3, 5)), id=np.array(["a", "b", "c"]))
    with pytest.raises(DataError, match="also holds id: it is a whole data set"):
        read_samples(tmp_path / "v.npz")


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self.marker,))


def _objects(path: Path) -> None:
    array = np.empty(2, object)
    array[:] = Bomb(path.with_name("executed"))
    np.savez(path, text=array)


def _truncated(path: Path) -> None:
    np.savez(path, text=np.ones((300, 11)))
    path.write_bytes(path.read_bytes()[:-400])


def _broken_inside(path: Path) -> None:
    np.savez_compressed(path, text=np.arange(3300.0).reshape(300, 11))
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    path.write_bytes(content)


def _lone_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones((2, 11)))


def _raw_member(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("text", "no array")


def _immense(path: Path) -> None:
    """A header that claims a petabyte."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": (10**14, 11)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("text.npy", buffer.getvalue())


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda path: None, "no file at"),
    "folder": (lambda path: path.mkdir(), "no file at"),
    "empty": (lambda path: path.write_bytes(b""), "cannot be read"),
    "text": (lambda path: path.write_text("hello"), "cannot be read"),
    "truncated": (_truncated, "cannot be read"),
    "broken inside": (_broken_inside, "cannot be read"),
    "pickle": (
        lambda path: path.write_bytes(pickle.dumps(Bomb(path.with_name("executed")))),
        "nothing in it was executed",
    ),
    "objects": (_objects, "nothing in it was executed"),
    "a lone array": (_lone_array, "cannot be read"),
    "no array inside": (_raw_member, r"text is \|S8 of shape \(\)"),
    "immense": (_immense, "cannot be read"),
    "other names": (lambda path: np.savez(path, x=np.ones(2), y=np.ones(2)), "holds x, y"),
    "no arrays": (np.savez, "holds no arrays"),
    "a vector": (
        lambda path: np.savez(path, text=np.ones(11)),
        r"text is float64 of shape \(11,\)",
    ),
    "a batch": (lambda path: np.savez(path, text=np.ones((1, 2, 11))), r"shape \(1, 2, 11\)"),
    "strings": (lambda path: np.savez(path, text=np.array([["a"]])), r"text is <U1"),
    "complex": (lambda path: np.savez(path, text=np.ones((2, 11), complex)), "text is complex128"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_are_no_sample(tmp_path: Path, name: str) -> None:
    spoil, message = BROKEN[name]
    path = tmp_path / "clip.npz"
    spoil(path)
    with pytest.raises(DataError, match=message) as caught:
        read_sample(path)
    assert "clip.npz" in caught.value.found
    assert "allow_pickle" not in str(caught.value.fix)
    assert caught.value.expected is not None
    assert "(steps, dim)" in caught.value.expected
    assert {p.name for p in tmp_path.iterdir()} <= {"clip.npz"}


def test_numbers_beyond_float32_are_refused_by_the_model(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", text=np.full((2, 11), 1e300))
    with pytest.raises(DataError, match="22 non-finite values"):
        summing().predict([read_sample(tmp_path / "x.npz")])


def test_samples_the_model_cannot_see_are_left_out_with_a_warning() -> None:
    predictor = summing({"visual": 5})
    samples = random_samples(6)
    samples[1] = Sample("blind", {"text": samples[1].sequences["text"]})
    with pytest.warns(DataWarning, match="1 of 6 samples have none of visual and are left out"):
        found = predict_samples(predictor, samples, explain=False)
    assert [p.id for p in found] == [s.id for s in samples if s.id != "blind"]
    with pytest.raises(DataError, match="'blind' has text"):
        predict_samples(predictor, [samples[1]], explain=False)


def test_an_empty_split_is_said_to_be_empty(tmp_path: Path) -> None:
    write_dataset(
        tmp_path / "d", {"train": random_samples(3)}, name="d", label_names=LABELS, dims=DIMS,
        aligned=True,
    )  # fmt: skip
    with pytest.raises(DataError, match="no split 'test'"):
        read_samples(tmp_path / "d")


# ---------------------------------------------------------------------- what is shown


def rendered(*predictions: Prediction, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(render_predictions(predictions))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def explained(drops: dict[Modality, float], steps: list[float]) -> Prediction:
    names = ("surprise", "disgust")
    why = Explanation(
        {"surprise": drops, "disgust": dict.fromkeys(drops, -0.004)},
        {name: {m: np.array(steps, np.float64) for m in drops} for name in names},
        {},
        dict.fromkeys(drops, 1),
    )
    return Prediction(
        "[red]video[/red][3]",
        {"disgust": 0.25, "surprise": 0.5004},
        {"disgust": False, "surprise": True},
        why,
    )


def test_a_table_says_what_the_evidence_for_each_label_is() -> None:
    steps = [0.0] * 98 + [0.4, 0.5]
    lines = rendered(explained({"visual": 1.234, "audio": -0.056, "text": 0.001}, steps))
    assert lines[0] == "[red]video[/red][3]: surprise"
    rows = [" ".join(line.split()) for line in lines]
    assert rows[2] == "label p holds no visual no audio no text evidence"
    assert rows[4] == "surprise 0.500 yes -1.23 +0.06 0.00 visual, steps 99-100"
    assert rows[5] == "disgust 0.250 0.00 0.00 0.00 -"


def test_a_table_fits_80_columns_without_cutting() -> None:
    lines = rendered(explained({"visual": -11.25, "audio": 10.5, "text": 0.0}, [1.0] * 500))
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    assert any("audio, steps 1-500" in line for line in lines)


def test_one_step_is_one_step() -> None:
    assert any(
        line.endswith("text, step 2") for line in rendered(explained({"text": 1.0}, [0.0, 1.0]))
    )


def test_without_explanation_there_is_none() -> None:
    lines = rendered(Prediction("a", {"x": 0.5}, {"x": False}))
    assert lines[0] == "a: none of the labels"
    assert not any("evidence" in line for line in lines)
    assert rendered() == []
