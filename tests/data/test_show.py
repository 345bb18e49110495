"""One sample as it is told on a terminal."""

from pathlib import Path

import numpy as np
import pytest

from emotailor.data.extraction import Extraction
from emotailor.data.sample import Sample
from emotailor.data.store import write_dataset
from tests.runs.runs import run_cli


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    sample = Sample(
        "vid[0]",
        {"visual": np.ones((3, 2), np.float16), "text": np.ones((3, 5), np.float32)},
        np.array([0, 1], np.uint8),
        missing={"visual": np.array([False, True, False])},
        words=["what", "a", "day\nerror: forged"],
        times={"text": np.array([[0, 0.25], [0.25, 0.5], [0.5, 1.75]])},
        about={"source": "vid.mp4", "transcript": "What a day\x1b[2J"},
    )
    other = Sample("vid[1]", {"text": np.ones((1, 5), np.float32)})
    write_dataset(
        tmp_path / "set",
        {"train": [sample], "test": [other]},
        name="told",
        label_names=["calm", "happy"],
        dims={"visual": 2, "text": 5},
        aligned=True,
        extraction={"text": Extraction(extractor="GloVe", version="840B", settings={"case": True})},
    )
    return tmp_path / "set"


def test_a_sample_tells_its_words_times_and_missing_steps(stored: Path) -> None:
    lines = run_cli("data", "show", stored, "vid[0]").out.splitlines()
    assert lines[:5] == [
        "sample: vid[0]",
        "split: train",
        "labels: happy",
        "source: vid.mp4",
        "transcript: What a day\\u001b[2J",
    ]
    assert lines[5] == "visual: 3 steps of 2 features, float16"
    assert lines[7] == "  2  a  (missing)"
    assert "  3  0.50-1.75 s  day" in lines
    assert not any(line.startswith("error") for line in lines)


def test_a_sample_without_labels_and_without_a_modality(stored: Path) -> None:
    out = run_cli("data", "show", stored, "vid[1]").out
    assert "labels: unknown" in out
    assert "visual: missing" in out
    run_cli("data", "show", stored, "vid[2]").failed(4, "vid[2]", "told")


def test_how_features_were_extracted_is_told(stored: Path) -> None:
    out = " ".join(run_cli("data", "inspect", stored).out.split())
    assert 'text was extracted with GloVe 840B {"case": true}' in out
    assert "how visual was extracted is not known" in out
    assert "visual is stored as float16" in out
