"""The POM data of MFN: a folder of HDF5 files with sequences and rated traits.

    audio_train.h5, audio_valid.h5, audio_test.h5   dataset d1 (N, 20, 43)
    video_train.h5, ...                             dataset d1 (N, 20, 41)
    y_train.h5, ...                                 dataset d1 (N, 17), ratings from 1 to 7

A label holds where the rating is above the median of the training split. The files name neither
the videos nor the traits.
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
    require_file,
    unreadable,
)
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.errors import DataError

_EXPECTED = "a complete HDF5 file with a dataset d1 of numbers"
_SPLITS = ("train", "valid", "test")
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
    ratings, rated_in = _ratings(path)
    sequences_in = _sequence_files(path)

    blocks: dict[str, dict[Modality, Block]] = {}
    for split, files in sequences_in.items():
        blocks[split] = {m: Block(str(file), _dataset(file)) for m, file in files.items()}
    counts = {split: len(rated) for split, rated in ratings.items()}
    padded = Padded(path, blocks, counts, options.align)

    count = ratings["train"].shape[1]
    names = options.label_names or tuple(f"trait_{i}" for i in range(count))
    if len(names) != count:
        raise DataError(f"{len(names)} label names", expected=f"one for each of {count} traits")
    notes = [
        "a label holds where the rating is above the median of the training split",
        "the source has no sample ids: samples are numbered per split, train-00000 onwards",
    ]
    if options.label_names is None:
        notes.append("the source does not name its traits: they are numbered from trait_0")
    median = np.median(ratings["train"], axis=0)  # (traits,)

    def samples() -> Iterator[tuple[str, Sample]]:
        for split, rated in ratings.items():
            labels = (rated > median).astype(np.uint8)  # (n, traits)
            for i, row in enumerate(labels):
                yield split, Sample(f"{split}-{i:05d}", padded.cut(split, i), row)

    # every file is named in the provenance
    used = list(rated_in.values())
    for files in sequences_in.values():
        used += files.values()
    return Reading(names, padded.dims, padded.aligned, samples(), used, notes)


def _ratings(folder: Path) -> tuple[dict[str, Float64[np.ndarray, "n traits"]], dict[str, Path]]:
    """Return the ratings of every split, and the files that hold them."""
    files = {split: folder / f"y_{split}.h5" for split in _SPLITS}
    ratings = {split: _dataset(file) for split, file in files.items()}

    traits = {rated.shape[1:] for rated in ratings.values()}
    train = ratings["train"]
    if len(traits) != 1 or train.ndim != 2 or not len(train):
        raise DataError(
            f"{folder}: ratings of shapes {[rated.shape for rated in ratings.values()]}",
            expected="(N, traits) with the same traits in every split",
        )
    for split, rated in ratings.items():
        if not np.isfinite(rated).all():
            raise DataError(f"{files[split]}: ratings that are not finite", expected="numbers")
    return ratings, files


def _sequence_files(folder: Path) -> dict[str, dict[Modality, Path]]:
    """Return per split the file of each modality of which there is any file."""
    present = [m for m in MODALITIES if any(folder.glob(f"{_NAMES[m]}_*.h5"))]
    return {split: {m: folder / f"{_NAMES[m]}_{split}.h5" for m in present} for split in _SPLITS}


def _dataset(path: Path) -> Float64[np.ndarray, "..."]:
    import h5py

    require_file(path, _EXPECTED)
    with unreadable(path, _EXPECTED), h5py.File(path, "r") as file:
        data = file["d1"]
        if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "fiu":
            raise DataError(f"{path}: d1 is not a dataset of numbers", expected=_EXPECTED)
        return np.asarray(data[()], np.float64)
