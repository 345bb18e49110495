"""Against what the CMU-MultimodalSDK's ``align`` made of the same files.

``sdk_aligned.npz`` holds its output: aligned to the words with ``numpy.average``, then to the
labels.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from emotailor.data.readers import ConvertOptions
from emotailor.data.readers.csd import read_csd
from emotailor.data.sample import Modality, Sample
from tests.data.readers.sdk_inputs import VIDEOS, Entries, sequences
from tests.data.readers.sources import write_csd

RECORDED = np.load(Path(__file__).with_name("sdk_aligned.npz"))
ROOTS: dict[Modality, str] = {
    "visual": "OpenFace_2",
    "audio": "COVAREP",
    "text": "glove_vectors",
}


def _written(folder: Path, found: dict[str, Entries]) -> Path:
    folder.mkdir()
    for root, entries in found.items():
        write_csd(folder / f"{root}.csd", root, entries)
    videos = [f"video{v}" for v in range(VIDEOS)]
    (folder / "folds.json").write_text(json.dumps({"train": videos}))
    return folder


def _samples(folder: Path, align: bool = True) -> dict[str, Sample]:
    options = ConvertOptions(folds=folder / "folds.json", align=align)
    return {sample.id: sample for _, sample in read_csd(folder, options).samples}


def _words(root: str) -> dict[str, np.ndarray]:
    """The mean of each word, by the SDK's name for it."""
    names = RECORDED[f"{root}.words"].tolist()
    return dict(zip(names, RECORDED[f"{root}.means"], strict=True))


def _hulls(root: str) -> dict[str, np.ndarray]:
    """From the first to the last row of each word."""
    names = RECORDED[f"{root}.words"].tolist()
    return dict(zip(names, RECORDED[f"{root}.hulls"], strict=True))


def _segments(root: str) -> Iterator[tuple[str, np.ndarray]]:
    ends = np.cumsum(RECORDED[f"{root}.counts"])[:-1]
    rows = np.split(RECORDED[f"{root}.values"], ends)
    yield from zip(RECORDED[f"{root}.keys"].tolist(), rows, strict=True)


def _names_of_steps(sample: Sample) -> list[str]:
    """Which word each step is: no two have the same vector."""
    of_video = sample.id.split("[")[0] + "["
    names = []
    for step in sample.sequences["text"]:
        for name, vector in _words("glove_vectors").items():
            if name.startswith(of_video) and np.abs(vector - step).max() < 1e-6:
                names.append(name)
    return names


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sample]:
    folder = tmp_path_factory.mktemp("sdk") / "raw"
    return _samples(_written(folder, sequences()))


def test_segments_have_the_words_of_the_sdk(aligned: dict[str, Sample]) -> None:
    recorded = dict(_segments("glove_vectors"))
    assert set(aligned) == set(recorded) and len(recorded) == 47
    for key, rows in recorded.items():
        np.testing.assert_allclose(aligned[key].sequences["text"], rows, rtol=0, atol=1e-6)


@pytest.mark.parametrize("m", ["audio", "visual"])
def test_words_have_the_means_of_the_sdk(aligned: dict[str, Sample], m: Modality) -> None:
    means = _words(ROOTS[m])
    compared = 0
    lacking = 0
    for sample in aligned.values():
        names = _names_of_steps(sample)
        assert len(names) == len(sample.sequences["text"])
        missing = sample.missing.get(m, np.zeros(len(names), bool))
        for i, name in enumerate(names):
            # the SDK leaves out a word without rows
            assert missing[i] == (name not in means)
            if missing[i]:
                lacking += 1
                assert not sample.sequences[m][i].any()
                continue
            np.testing.assert_allclose(sample.sequences[m][i], means[name], rtol=0, atol=1e-6)
            compared += 1
    assert compared > 150 and lacking >= 4


@pytest.mark.parametrize("m", ["audio", "visual"])
def test_only_words_whose_rows_lie_outside_are_more(
    aligned: dict[str, Sample], m: Modality
) -> None:
    spans = sequences()["All Labels"]
    hulls = _hulls(ROOTS[m])
    for key, rows in _segments(ROOTS[m]):
        video, _, number = key.rstrip("]").partition("[")
        start, end = spans[video][1][int(number)].tolist()
        reaching = 0
        for name in _names_of_steps(aligned[key]):
            if name in hulls:
                first, last = hulls[name].tolist()
                reaching += min(last, end) - max(first, start) > 1e-5
        assert reaching == len(rows)


@pytest.mark.parametrize("imputed", [False, True])
def test_word_level_folders_give_the_same(
    tmp_path: Path, aligned: dict[str, Sample], imputed: bool
) -> None:
    found: dict[str, Entries] = {"All Labels": sequences()["All Labels"]}
    words = _hulls("glove_vectors")
    for root in ROOTS.values():
        means = _words(root)
        hulls = _hulls(root)
        found[root] = {name: (means[name][None], hulls[name][None]) for name in means}
        if not imputed:
            continue
        for name, interval in words.items():
            zeros = np.zeros((1, RECORDED[f"{root}.means"].shape[1]))
            found[root].setdefault(name, (zeros, interval[None]))

    samples = _samples(_written(tmp_path / "word_aligned_highlevel", found))
    assert set(samples) == set(aligned)
    for key, sample in samples.items():
        for m, values in aligned[key].sequences.items():
            np.testing.assert_allclose(sample.sequences[m], values, rtol=0, atol=1e-6)
            expected = aligned[key].missing.get(m)
            if expected is None:
                assert m not in sample.missing
            else:
                assert sample.missing[m].tolist() == expected.tolist()


def test_folders_by_segment_are_taken_by_number(tmp_path: Path) -> None:
    labels = sequences()["All Labels"]
    found: dict[str, Entries] = {root: {} for root in ("All Labels", "glove_vectors")}
    recorded = dict(_segments("glove_vectors"))
    for key, rows in recorded.items():
        video, _, number = key.rstrip("]").partition("[")
        values, spans = labels[video]
        span = spans[int(number)]
        found["All Labels"][key] = (values[int(number)][None], span[None])

        # as many words as rows, one after the other
        start, end = span.tolist()
        edges = np.linspace(start, end, len(rows) + 1)
        found["glove_vectors"][key] = (rows, np.stack([edges[:-1], edges[1:]], axis=1))
    samples = _samples(_written(tmp_path / "final_aligned", found))
    assert set(samples) == set(recorded)
    for key, rows in recorded.items():
        np.testing.assert_array_equal(samples[key].sequences["text"], rows)


def test_words_and_times_come_with_the_samples(tmp_path: Path) -> None:
    spans = [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]
    found: dict[str, Entries] = {
        "glove_vectors": {"video0": (np.ones((3, 2)), np.array(spans))},
        "words": {
            "video0": (
                np.array([[b"sp"], [b"one"], [b"two"], [b"three"]]),
                np.array([[0.0, 0.001], *spans]),
            )
        },
        "All Labels": {"video0": (np.eye(7)[1:2], np.array([[0.5, 2.0]]))},
    }
    folder = _written(tmp_path / "csd", found)
    (sample,) = _samples(folder).values()
    assert sample.words == ["one", "two"]
    assert sample.times["text"].tolist() == spans[:2]

    # without vectors, the words are the steps all the same
    (folder / "glove_vectors.csd").unlink()
    audio: Entries = {
        "video0": (np.arange(4.0)[:, None], np.array([[0, 1], [1, 2], [2, 3], [3, 4]]))
    }
    write_csd(folder / "COVAREP.csd", "COVAREP", audio)
    (sample,) = _samples(folder).values()
    assert sample.words == ["one", "two"]
    assert sample.sequences["audio"].ravel().tolist() == [0, 1]
