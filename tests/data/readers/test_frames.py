"""Folders of files that extractors write, one per video."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from emotailor.data.readers import ConvertOptions, detect
from emotailor.data.readers.convert import convert
from emotailor.data.readers.fet import read_fet
from emotailor.data.readers.frames import read_extractor_folder
from emotailor.data.readers.timed.frame_files import read_frames
from emotailor.errors import DataError
from tests.data.readers.sources import SDK

OPENFACE = """frame, face_id, timestamp, confidence, success, AU01_r, AU12_r
1, 0, 0.000, 0.98, 1, 1.00, 0.50
2, 0, 0.500, 0.00, 0, 0.00, 0.00
3, 0, 1.000, 0.98, 1, 3.00, 1.50
4, 0, 1.500, 0.02, 1, 9.00, 9.00
5, 0, 2.000, 0.98, 1, 5.00, 2.50
6, 0, 2.500, 0.98, 1, 7.00, 3.50
"""
COVAREP = "\n".join(f"{i},{i * 2},{-i}" for i in range(300)) + "\n"
WORDS = "word,start,end\nno,0.0,0.5\nface,0.5,1.0\nhere,1.0,2.0\nyes,2.0,3.0\n"


def extracted(path: Path, audio: str = COVAREP) -> Path:
    files = {
        "visual/ann.csv": OPENFACE,
        "audio/ann.csv": audio,
        "text/ann.csv": WORDS,
        "segments.csv": "id,segment_id,start,end,happy,sad,split\n"
        "ann,0,-0.4,1.0,1,0,train\nann,1,1.0,3.0,0,1,train\nann,2,7,9,1,1,train\n",
    }
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    return path


def test_frames_of_their_own_rate(tmp_path: Path) -> None:
    folder = extracted(tmp_path / "clips")
    assert detect(folder) == "frames"
    data = convert(folder, tmp_path / "out")
    assert not data.aligned and data.dims == {"visual": 2, "audio": 3}
    train = data["train"]
    assert train.ids == ["ann[0]", "ann[1]"] and train.labels.tolist() == [[1, 0], [0, 1]]
    # the frames without a face are missing
    assert train.sequence("visual", 0).tolist() == [[1.0, 0.5]]
    assert train.sequence("visual", 1).tolist() == [[3.0, 1.5], [5.0, 2.5], [7.0, 3.5]]
    assert train.sequence("audio", 0)[:, 0].tolist() == list(range(100))
    assert train.sequence("audio", 1)[:, 1].tolist() == list(range(200, 600, 2))
    notes = data.card.repairs
    assert "visual: 2 frames failed and are missing" in notes
    assert "audio: 1 segments start after its last row" in notes


def test_aligned_to_words(tmp_path: Path) -> None:
    folder = extracted(tmp_path / "clips")
    reading = read_extractor_folder(folder, ConvertOptions(align=True))
    first, second = (sample for _, sample in reading.samples)
    assert first.words == ["no", "face"] and second.words == ["here", "yes"]
    assert first.times["visual"].tolist() == [[0, 0.5], [0.5, 1]]
    assert first.sequences["visual"].tolist() == [[1, 0.5], [0, 0]]
    assert first.missing["visual"].tolist() == [False, True]
    # of two frames one failed; the mean of two
    assert second.sequences["visual"].tolist() == [[3, 1.5], [6, 3]]
    assert "visual" not in second.missing
    assert second.sequences["audio"][:, 0].tolist() == [149.5, 249.5]


def test_of_several_faces_the_one_seen_most(tmp_path: Path) -> None:
    folder = extracted(tmp_path / "clips")
    rows = OPENFACE.replace("\n2, 0,", "\n1, 1, 0.000, 0.98, 1, 8.00, 8.00\n2, 0,")
    (folder / "visual/ann.csv").write_text(rows)
    data = convert(folder, tmp_path / "out")
    assert data["train"].sequence("visual", 0).tolist() == [[1.0, 0.5]]
    assert "visual: 2 frames failed and are missing" in data.card.repairs
    note = "visual: 1 rows left out, of faces beside the one that is seen most"
    assert note in data.card.repairs


def test_how_features_were_extracted(tmp_path: Path) -> None:
    reading = read_extractor_folder(extracted(tmp_path / "clips"), ConvertOptions())
    visual = reading.extraction["visual"]
    assert visual.extractor == "OpenFace"
    assert visual.settings == {"columns": ["AU01_r", "AU12_r"], "steps": "rows"}
    assert reading.extraction["audio"].extractor == "COVAREP"


@pytest.mark.parametrize(
    ("name", "text", "extractor"),
    [
        ("a.csv", "name;frameTime;F0;energy\n'x';0.00;1;2\n'x';0.01;3;4\n", "openSMILE"),
        ("a.csv", "name,frameTime,F0,energy\n'x',0.00,1,2\n'x',0.01,3,4\n", "openSMILE"),
        (
            "a.csv",
            "file,start,end,F0,energy\nx.wav,0 days 00:00:00,0 days 00:00:00.01,1,2\n"
            "x.wav,0 days 00:00:00.01,0 days 00:00:00.02,3,4\n",
            "openSMILE",
        ),
        (
            "a.arff",
            "@relation SMILE\n\n@attribute name string\n@attribute frameTime numeric\n"
            "@attribute F0 numeric\n@attribute energy numeric\n@attribute class numeric\n\n"
            "@data\n\n'x',0.00,1,2,?\n'x',0.01,3,4,?\n",
            "openSMILE",
        ),
        ("a.tsv", "start\tend\tF0\tenergy\n0\t0.01\t1\t2\n0.01\t0.02\t3\t4\n", "table"),
    ],
)
def test_the_ways_in_which_frames_are_written(
    tmp_path: Path, name: str, text: str, extractor: str
) -> None:
    (tmp_path / name).write_text(text)
    frames = read_frames(tmp_path / name)
    assert frames.extractor == extractor and frames.columns == ("F0", "energy")
    assert frames.track.features.tolist() == [[1, 2], [3, 4]]
    np.testing.assert_allclose(frames.track.intervals, [[0, 0.01], [0.01, 0.02]])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name;F0\n'x';1\n", "no column that tells the time"),
        ("name;frameTime;F0\n'x';0;1\n'x';0.01\n", "row 2 has 2 cells"),
        ("name;frameTime;F0\n'x';0;1\n'x';0.01;z\n", "could not convert"),
        ("name;frameTime;F0\n", "has no rows"),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        read_frames(tmp_path / "a.csv")


def test_folders_that_are_wrong(tmp_path: Path) -> None:
    folder = extracted(tmp_path / "clips")
    (folder / "audio/bob.csv").write_text("1,2\n")
    (folder / "segments.csv").write_text("id,segment_id,start,end,sad,split\nbob,0,0,1,1,train\n")
    with pytest.raises(DataError, match=r"bob\.csv has 2 features"):
        convert(folder, tmp_path / "out")
    (folder / "text/ann.csv").unlink()
    with pytest.raises(DataError, match="no words to align to"):
        convert(folder, tmp_path / "out", align=True)
    (folder / "COVAREP").mkdir()
    (folder / "COVAREP/ann.csv").write_text("1\n")
    with pytest.raises(DataError, match="two folders for audio: COVAREP and audio"):
        convert(folder, tmp_path / "out")


def test_a_real_file_of_openface(tmp_path: Path, shared_data: Path) -> None:
    real = shared_data / "mosei_clips" / "-Eqdz5y4pEY.openface.csv"
    frames = read_frames(real)
    assert frames.extractor == "OpenFace" and len(frames.columns) == 35
    assert frames.columns[0] == "AU01_r" and frames.failed == 45
    assert len(frames.track.features) == 1713
    folder = tmp_path / "clips"
    (folder / "openface").mkdir(parents=True)
    (folder / "openface" / real.name).write_bytes(real.read_bytes())
    (folder / "segments.csv").write_text(
        f"id,segment_id,start,end,{','.join(SDK)},split\n"
        "-Eqdz5y4pEY,0,21.5734693878,28.3480725624,0.33333334,0,0,0,0,0,test\n"
    )
    data = convert(folder, tmp_path / "out")
    assert data["test"].ids == ["-Eqdz5y4pEY[0]"]
    assert 200 <= data["test"].lengths("visual")[0] <= 206


def test_what_mmsa_fet_writes_for_a_data_set(tmp_path: Path) -> None:
    """The layout of ``MSA_FET.run_dataset``: as MMSA's, with the settings and the alignment."""
    rng = np.random.default_rng(3)
    content: dict[str, object] = {"config": {"audio": {"tool": "opensmile"}, "video": None}}
    for split, count in {"train": 2, "valid": 1, "test": 1}.items():
        words = [[{"text": "a", "start": 0.0, "end": 0.5}] * (i + 1) for i in range(count)]
        align = np.empty(count, object)
        align[:] = words
        content[split] = {
            "id": np.array([f"{split}$_${i}" for i in range(count)]),
            "audio": rng.normal(size=(count, 7, 25)),
            "vision": rng.normal(size=(count, 7, 35)),
            "text": rng.normal(size=(count, 7, 768)),
            "text_bert": np.ones((count, 3, 7)),
            "raw_text": np.array(["hello you"] * count),
            "annotations": np.array(["Positive"] * count),
            "regression_labels": np.zeros(count),
            "align": align,
        }
    path = tmp_path / "feature.pkl"
    path.write_bytes(pickle.dumps(content, protocol=5))
    labels = tmp_path / "labels.csv"
    lines = [f"{split},0,1,0,0,0,0,0" for split in ("train", "valid", "test")]
    labels.write_text("\n".join([f"id,clip,{','.join(SDK)}", *lines]) + "\n")
    assert detect(path) == "mmsa"
    data = convert(path, tmp_path / "out", labels=labels)
    assert data.aligned and data.dims == {"visual": 35, "audio": 25, "text": 768}
    assert {name: len(part) for name, part in data.splits.items()} == {
        "train": 1,
        "valid": 1,
        "test": 1,
    }
    stored = content["test"]
    assert isinstance(stored, dict)
    np.testing.assert_array_equal(
        data["test"].sequence("audio", 0), stored["audio"][0].astype(np.float32)
    )
    assert json.dumps(data.card.provenance)


def test_what_mmsa_fet_writes_for_single_clips(tmp_path: Path) -> None:
    """The layout of ``run_single``: one pickle per clip, with the settings."""
    rng = np.random.default_rng(5)
    settings = {"tool": "openface", "fps": 25, "args": {"action_units": True}}
    folder = tmp_path / "fet"
    folder.mkdir()
    clips = {}
    for i, steps in enumerate((3, 5, 4)):
        clips[i] = {
            "audio": rng.normal(size=(steps, 7)).astype(np.float32),
            "vision": rng.normal(size=(steps, 5)),
            "text": rng.normal(size=(steps, 2)).astype(str),
            "text_bert": np.ones((3, steps), np.int64),
            "config": {"video": settings},
            "align": [{"text": "hi", "start": 0.0, "end": 0.2}],
        }
        (folder / f"ann$_${i}.pkl").write_bytes(pickle.dumps(clips[i], protocol=5))
    labels = tmp_path / "labels.csv"
    labels.write_text("id,clip,happy,sad,split\nann,0,1,0,train\nann,1,0,1,train\n")
    assert detect(folder) == "fet"
    data = convert(folder, tmp_path / "out", labels=labels)
    train = data["train"]
    assert data.aligned and train.ids == ["ann$_$0", "ann$_$1"]
    assert train.labels.tolist() == [[1, 0], [0, 1]]
    np.testing.assert_array_equal(train.sequence("audio", 1), clips[1]["audio"])
    text = np.asarray(clips[0]["text"]).astype(np.float32)
    np.testing.assert_array_equal(train.sequence("text", 0), text)
    assert "dropped 1 sample without labels in labels.csv: ann$_$2" in data.card.repairs
    unused = "entries of the pickles not used: text_bert (3, 3) + (3, 5), align 1 item"
    assert unused in data.card.repairs

    reading = read_fet(folder, ConvertOptions(labels=labels))
    assert reading.extraction["visual"].extractor == "openface"
    assert reading.extraction["visual"].settings == settings
    with pytest.raises(DataError, match="has no labels"):
        convert(folder, tmp_path / "other")
    clips[1]["audio"] = np.ones((4, 7))
    (folder / "ann$_$1.pkl").write_bytes(pickle.dumps(clips[1]))
    with pytest.raises(DataError, match=r"ann\$_\$1\.pkl has .* steps"):
        convert(folder, tmp_path / "other", labels=labels)
