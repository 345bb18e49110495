"""Samples that are too long: cut to their first steps, or split into parts."""

from pathlib import Path

import numpy as np
import pytest

from emotailor.data.card import CARD_FILE
from emotailor.data.cutting import limits_of, parse_max_steps, parts_of
from emotailor.data.dataset import EmotionDataset
from emotailor.data.ids import Videos, segment_key, video_of
from emotailor.data.readers.convert import convert
from emotailor.data.sample import Modality, Sample
from emotailor.data.store import write_dataset
from emotailor.data.validate import validate_dataset
from emotailor.errors import ConfigError, DataError


def sample(name: str, steps: int, audio: int | None = None) -> Sample:
    """Step t of the text is 10 t, its word ``w<t>``, and it lasts from t to t + 1 s."""
    text = 10 * np.arange(steps, dtype=np.float16)[:, None].repeat(2, 1)
    sequences: dict[Modality, np.ndarray] = {"text": text}
    times: dict[Modality, np.ndarray] = {
        "text": np.stack([np.arange(steps), np.arange(steps) + 1.0], 1)
    }
    if audio is not None:
        sequences["audio"] = np.arange(audio, dtype=np.float32)[:, None]
    words = [f"w{t}" for t in range(steps)]
    labels = np.array([steps % 2, 1], np.uint8)
    return Sample(name, sequences, labels, words=words, times=times, about={"transcript": "tell"})


def stored(path: Path, samples: list[Sample], *, aligned: bool = True) -> Path:
    dims: dict[Modality, int] = {"text": 2}
    if any("audio" in s.sequences for s in samples):
        dims["audio"] = 1
    write_dataset(
        path, {"train": samples}, name="long", label_names=("odd", "always"), dims=dims,
        aligned=aligned,
    )  # fmt: skip
    return path


def test_longer_samples_are_cut_and_counted(tmp_path: Path) -> None:
    source = stored(tmp_path / "in", [sample("v[0]", 5), sample("v[1]", 6), sample("w[0]", 13)])
    data = convert(source, tmp_path / "out", max_steps=5)
    assert data["train"].ids == ["v[0]", "v[1]", "w[0]"]
    assert data["train"].lengths("text").tolist() == [5, 5, 5]
    assert data["train"][2].words == ["w0", "w1", "w2", "w3", "w4"]
    assert data["train"][2].times["text"][-1].tolist() == [4, 5]
    assert any(line.startswith("2 samples of more than 5 steps: cut") for line in notes(data))
    assert any("text 9" in line for line in notes(data))  # 1 and 8
    assert data.card.provenance["options"]["max_steps"] == 5


def test_splitting_keeps_every_step_and_word_and_the_video(tmp_path: Path) -> None:
    source = stored(tmp_path / "in", [sample("v[0]", 5), sample("v[1]", 6), sample("w[0]", 13)])
    data = convert(source, tmp_path / "out", max_steps=5, longer="split")
    split = data["train"]
    assert split.ids == ["v[0]", "v[1]~1", "v[1]~2", "w[0]~1", "w[0]~2", "w[0]~3"]
    assert split.lengths("text").tolist() == [5, 3, 3, 4, 4, 5]
    assert data.videos("train") == ["v", "v", "v", "w", "w", "w"]
    assert split.labels.tolist() == [[1, 1], [0, 1], [0, 1], [1, 1], [1, 1], [1, 1]]

    parts = [split[i] for i in (3, 4, 5)]
    assert [word for part in parts for word in part.words or ()] == [f"w{t}" for t in range(13)]
    values = np.concatenate([part.sequences["text"] for part in parts])
    assert values.dtype == np.float16 and values[:, 1].tolist() == [10 * t for t in range(13)]
    assert parts[1].times["text"][0].tolist() == [4, 5]
    assert parts[2].about == {"transcript": "tell"}
    assert any("2 samples of more than 5 steps: split into 5 parts" in s for s in notes(data))
    assert [p for p in validate_dataset(tmp_path / "out") if p.severity == "error"] == []


def test_modalities_with_steps_of_their_own_are_split_into_as_many_parts() -> None:
    limits = limits_of({"text": 4, "audio": 10}, aligned=False)
    parts = parts_of(sample("a", 5, audio=31), limits, aligned=False)
    assert [len(part.sequences["audio"]) for part in parts] == [7, 8, 8, 8]
    assert [part.words for part in parts] == [["w0"], ["w1"], ["w2"], ["w3", "w4"]]
    assert [part.id for part in parts] == ["a~1", "a~2", "a~3", "a~4"]
    (whole,) = parts_of(sample("a", 4, audio=10), limits, aligned=False)
    assert whole.id == "a"

    # fewer steps than parts: the modality is missing in one
    parts = parts_of(sample("a", 2, audio=30), limits_of(10, aligned=False), aligned=False)
    assert [len(part.sequences["text"]) for part in parts] == [0, 1, 1]


def test_words_are_split_with_the_modality_that_is_there(tmp_path: Path) -> None:
    whole = sample("v[0]", 4)
    no_sound = Sample("v[0]", {"audio": np.zeros((0, 1)), **whole.sequences}, words=whole.words)
    parts = parts_of(no_sound, limits_of(2, aligned=True), aligned=True)
    assert [part.words for part in parts] == [["w0", "w1"], ["w2", "w3"]]


def test_missing_steps_stay_at_their_words(tmp_path: Path) -> None:
    whole = sample("v[0]", 4, audio=4)
    lacking: dict[Modality, np.ndarray] = {"audio": np.array([True, True, True, False])}
    source = stored(
        tmp_path / "in", [Sample(whole.id, whole.sequences, whole.labels, lacking, whole.words)]
    )
    data = convert(source, tmp_path / "out", max_steps=2, longer="split")
    first, second = data["train"]
    assert set(first.sequences) == {"text"}  # both steps of the sound are missing
    assert second.missing["audio"].tolist() == [True, False]


def test_a_part_that_takes_the_id_of_another_sample_is_refused(tmp_path: Path) -> None:
    source = stored(tmp_path / "in", [sample("v[1]~2", 3), sample("v[1]", 6)])
    with pytest.raises(DataError, match=r"v\[1\]~2.*already occurs"):
        convert(source, tmp_path / "out", max_steps=5, longer="split")
    assert not (tmp_path / "out").exists()


def test_cutting_does_not_hide_that_modalities_differ(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    np.savez(folder / "a.npz", text=np.ones((7, 2)), audio=np.ones((9, 3)))
    with pytest.raises(DataError, match="lengths"):
        convert(folder, tmp_path / "out", align=True, max_steps=5)


@pytest.mark.parametrize(
    "options",
    [
        {"max_steps": 0}, {"max_steps": {"text": 3}}, {"longer": "split"},
        {"max_steps": 3, "longer": "stretch"}, {"train_share": 0.0}, {"train_share": 1.5},
        {"train_share": float("nan")},
    ],
    ids=str,
)  # fmt: skip
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, object]) -> None:
    source = stored(tmp_path / "in", [sample("v[0]", 5)])
    with pytest.raises(ConfigError):
        convert(source, tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out" / CARD_FILE).exists()


def test_a_number_for_each_modality_is_read() -> None:
    assert parse_max_steps("text=50,audio=400") == {"text": 50, "audio": 400}
    assert parse_max_steps("60") == 60


def test_the_video_and_key_of_a_part() -> None:
    assert video_of("ab[3]~2") == video_of("ab$_$3~2") == "ab" and video_of("ab~1") == "ab"
    assert segment_key("ab$_$3~2") == "ab[3]~2"
    assert segment_key("ab~2") == "ab~2" and segment_key("ab~x") == "ab~x"

    clips = Videos(["a_5~1", "a_5~2", "a_6", "b_0", "c_1"])
    assert [clips.of(name) for name in ("a_5~2", "a_6", "b_0")] == ["a", "a", "b"]
    # two parts of one clip are not two clips
    single = Videos(["a_5~1", "a_5~2", "b_0"])
    assert single.of("a_5~2") == "a_5" and single.note is None


def test_a_share_of_the_training_split_does_not_depend_on_the_order(tmp_path: Path) -> None:
    names = [f"v{i}[{i % 3}]" for i in range(200)]
    forward = stored(tmp_path / "in", [sample(name, 1) for name in names])
    backward = stored(tmp_path / "back", [sample(name, 1) for name in reversed(names[:150])])
    tenth = convert(forward, tmp_path / "tenth", train_share=0.1)
    third = convert(forward, tmp_path / "third", train_share=1 / 3)
    other = convert(backward, tmp_path / "other", train_share=0.1)

    chosen = tenth["train"].ids
    assert 10 < len(chosen) < 30 and set(chosen) < set(third["train"].ids)
    assert set(other["train"].ids) == set(chosen) & set(names[:150])
    assert any(
        f"{len(chosen)} stored, {200 - len(chosen)} dropped" in line for line in notes(tenth)
    )


def test_other_splits_are_taken_whole(tmp_path: Path) -> None:
    splits = {name: [sample(f"{name}{i}[0]", 1) for i in range(20)] for name in ("train", "test")}
    write_dataset(
        tmp_path / "in", splits, name="x", label_names=("odd", "always"), dims={"text": 2},
        aligned=True,
    )  # fmt: skip
    data = convert(tmp_path / "in", tmp_path / "out", train_share=0.3)
    assert len(data["test"]) == 20 and 1 <= len(data["train"]) <= 12


def notes(data: EmotionDataset) -> list[str]:
    return data.card.repairs
