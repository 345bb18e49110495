"""Folders of HDF5 files, one per split and modality: MFN's POM, and CMU-MOSEI in 20 steps.

::

    audio_train.h5, audio_valid.h5, audio_test.h5   dataset d1 (N, 20, 43)
    video_train.h5, ...                             dataset d1 (N, 20, 41)
    y_train.h5, ...                                 dataset d1 (N, 17), ratings from 1 to 7

A label holds where the rating is above the median of the training split. The files name neither
the videos nor the traits.

CMU-MOSEI's ``seq_length_20`` is laid out alike. There, ``y_*`` is the sentiment, and besides::

    ey_train.h5, ...          dataset d1 (N, 6), intensities of anger, disgust, fear, happy, sad,
                              surprise, in this order; a label holds above 0
    text_train_emb.h5, ...    dataset d1 (N, 20, 300), vectors of the words of text_train.h5
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from emotailor.data.readers._common import (
    Block,
    ConvertOptions,
    Padded,
    Reading,
)
from emotailor.data.readers.account import Account
from emotailor.data.readers.safe.hdf5 import Hdf5
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.errors import DataError

_EXPECTED = "a complete HDF5 file with a dataset d1 of numbers"
_SPLITS = ("train", "valid", "test")
_EMOTIONS = ("anger", "disgust", "fear", "happy", "sad", "surprise")
_NAMES: dict[Modality, str] = {"visual": "video", "audio": "audio", "text": "text"}


def read_pom(path: Path, options: ConvertOptions) -> Reading:
    """Open a folder of POM files.

    Raises:
        DataError: a file is missing or damaged, or they do not fit each other.
    """
    if not path.is_dir():
        raise DataError(
            f"{path} is not a folder", expected="the folder with video_train.h5, y_train.h5, ..."
        )
    account = Account()
    with_emotions = (path / "ey_train.h5").exists()
    ratings, rated_in = _ratings(path, "ey" if with_emotions else "y", account)
    counts = {split: len(rated) for split, rated in ratings.items()}

    # every file is named in the provenance
    used = list(rated_in.values())
    blocks: dict[str, dict[Modality, Block]] = {}
    for split, files in _sequence_files(path).items():
        blocks[split] = {m: Block(str(file), _dataset(file, account)) for m, file in files.items()}
        used += files.values()
    padded = Padded(path, blocks, counts, options.align)

    notes = ["the source has no sample ids: samples are numbered per split, train-00000 onwards"]
    train = ratings["train"]  # (n, traits)
    traits = train.shape[1]
    names = options.label_names or tuple(f"trait_{i}" for i in range(traits))
    emotions = with_emotions and traits == len(_EMOTIONS)
    if emotions and options.label_names is None:
        names = _EMOTIONS
        notes.append(f"ey_train.h5 does not name its columns: assumed {', '.join(names)}")
    elif options.label_names is None:
        notes.append("the source does not name its traits: they are numbered from trait_0")
    if len(names) != traits:
        raise DataError(f"{len(names)} label names", expected=f"one for each of {traits} traits")

    # in training alone, so that nothing of the other splits leaks into their labels
    least = np.median(train, axis=0)  # (traits,)
    rule = "a label holds where the rating is above the median of the training split"
    if with_emotions:
        least = np.zeros(traits)
        rule = "a label holds where its intensity is above 0"
    notes.append(rule)

    def samples() -> Iterator[tuple[str, Sample]]:
        for split, rated in ratings.items():
            held = rated > least  # (n, traits)
            labels = held.astype(np.uint8)
            for i, row in enumerate(labels):
                sequences = padded.cut(split, i)
                yield split, Sample(f"{split}-{i:05d}", sequences, row)

    return Reading(names, padded.dims, padded.aligned, samples(), used, notes, account=account)


def _ratings(
    folder: Path, name: str, account: Account
) -> tuple[dict[str, Float64[np.ndarray, "n traits"]], dict[str, Path]]:
    """Return the ratings of every split, and the files that hold them."""
    files = {}
    ratings = {}
    for split in _SPLITS:
        file = folder / f"{name}_{split}.h5"
        files[split] = file
        ratings[split] = _dataset(file, account)

    shapes = [rated.shape for rated in ratings.values()]
    traits = {shape[1:] for shape in shapes}
    train = ratings["train"]
    if len(traits) != 1 or train.ndim != 2 or not len(train):
        raise DataError(
            f"{folder}: ratings of shapes {shapes}",
            expected="(N, traits) with the same traits in every split",
        )

    # a comparison with NaN would make every label 0
    for split, rated in ratings.items():
        finite = np.isfinite(rated)
        if not finite.all():
            raise DataError(f"{files[split]}: ratings that are not finite", expected="numbers")
    return ratings, files


def _sequence_files(folder: Path) -> dict[str, dict[Modality, Path]]:
    """Return per split the file of each modality of which there is any file."""
    files: dict[str, dict[Modality, Path]] = {split: {} for split in _SPLITS}
    for m in MODALITIES:
        name = _NAMES[m]
        if not any(folder.glob(f"{name}_*.h5")):
            continue

        # one that lacks a split is found to be missing when it is read
        for split in _SPLITS:
            file = folder / f"{name}_{split}.h5"
            # the numbers of words are no features, their vectors are
            vectors = folder / f"{name}_{split}_emb.h5"
            files[split][m] = vectors if vectors.exists() else file
    return files


def _dataset(path: Path, account: Account) -> Float64[np.ndarray, "..."]:
    with Hdf5(path, _EXPECTED) as file:
        held = account.hold("datasets of the .h5 files", file.names(file.top))
        held.use(["d1"])
        data = file.dataset(file.top, "d1")
        if data is None or not file.is_numeric(data):
            raise DataError(f"{path}: d1 is not a dataset of numbers", expected=_EXPECTED)
        return file.numbers(data).astype(np.float64)
