"""From a folder of videos to a data set: labels, resuming, and a broken video that is named."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from emotailor.data.validate import validate_dataset
from emotailor.errors import DataError
from emotailor.extraction import dataset as module
from emotailor.extraction.config import ExtractionConfig
from emotailor.extraction.dataset import extract
from emotailor.extraction.stored import store_beside

pytest.importorskip("av")
pytest.importorskip("faster_whisper")
pytest.importorskip("tokenizers")

from tests.extraction.tasks import InThisProcess
from tests.extraction.videos import talking

# faces have tests of their own, and their model is not everywhere
CONFIG = ExtractionConfig(visual="none")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of two seconds with what is said in them, and labels."""
    place = tmp_path_factory.mktemp("videos")
    for name in ("first", "second"):
        talking(place / f"{name}.mp4", 2.0)
        cues = (
            "1\n00:00:00,000 --> 00:00:01,000\nso great\n\n"
            f"2\n00:00:01,000 --> 00:00:02,000\n{name} of all\n"
        )
        (place / f"{name}.srt").write_text(cues)
    (place / "labels.csv").write_text(
        "id,segment_id,start,end,happy,sad,split\n"
        "first,0,0,1,1,0,train\n"
        "first,1,1,2,0,1,train\n"
        "second,0,0,2,1,1,test\n"
    )
    return place


def test_labelled_videos_become_a_data_set(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    result = extract(
        folder,
        out,
        labels=folder / "labels.csv",
        transcripts=folder,
        config=CONFIG,
        processes=2,
    )
    assert not result.failures
    dataset = result.dataset
    assert {name: len(split) for name, split in dataset.items()} == {"train": 2, "test": 1}
    assert dataset.label_names == ("happy", "sad")
    assert dict(dataset.card.dims) == {"audio": 74, "text": 384}
    assert dataset.card.aligned

    first = dataset["train"].sample(0)
    assert first.id == "first[0]"
    assert list(first.words or ()) == ["so", "great"]
    np.testing.assert_array_equal(first.labels, [1, 0])
    assert first.sequences["audio"].shape == (2, 74)
    assert first.sequences["text"].shape == (2, 384)
    np.testing.assert_allclose(first.times["text"], first.times["audio"])
    assert list(dataset["test"].sample(0).words or ()) == ["so", "great", "second", "of", "all"]

    # what made the features is known, and nothing is left beside
    assert dataset.card.extraction["audio"].settings["step"] == 0.02
    assert "all-MiniLM" in dataset.card.extraction["text"].extractor
    assert not store_beside(out).exists()
    assert not [one for one in validate_dataset(out) if one.severity == "error"]


def test_a_broken_video_is_named_and_the_rest_resumed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Workers", InThisProcess)
    place = tmp_path / "videos"
    shutil.copytree(folder, place)
    (place / "third.mp4").write_bytes((place / "first.mp4").read_bytes()[:300])
    (place / "third.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nnever heard\n")

    out = tmp_path / "data"
    result = extract(place, out, transcripts=place, config=CONFIG, processes=1)
    assert set(result.failures) == {"third"}
    assert isinstance(result.failures["third"], DataError)
    assert next(iter(result.dataset["all"])).id == "first[0]"
    assert result.reused == 0

    # mended, only the third is extracted; the others were kept for it
    talking(place / "third.mp4", 2.0)
    again = extract(place, out, transcripts=place, config=CONFIG, processes=1, overwrite=True)
    assert not again.failures
    assert again.reused == 2
    assert "never" in {word for sample in again.dataset["all"] for word in sample.words or ()}
    assert not store_beside(out).exists()


def test_nothing_is_written_where_no_video_can_be_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Workers", InThisProcess)
    place = tmp_path / "videos"
    place.mkdir()
    (place / "broken.mp4").write_bytes(b"\0" * 100)
    (place / "broken.txt").write_text("so")
    with pytest.raises(DataError, match="broken"):
        extract(place, tmp_path / "data", transcripts=place, config=CONFIG, processes=1)
    assert not (tmp_path / "data").exists()

    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match="already exists"):
        extract(folder, tmp_path / "data", transcripts=folder, config=CONFIG)
