"""A folder of one file per sample, for prediction.

    <id>.npz             arrays visual, audio, text, each (steps, dim) or (dim,)
    visual/<id>.npy      or, in folders of these names, one array per file; a file that is not there
    audio/<id>.npy       is a missing modality
    <id>.text.npy        or one array per file, with the modality in its name

There are neither labels nor splits: with a CSV of them beside the folders it is a table.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from emotailor.data.readers._common import ConvertOptions, Reading
from emotailor.data.readers.account import Account
from emotailor.data.readers.array_files import SUFFIXES, is_one_sample
from emotailor.data.readers.beside import FILES, Features, PerSample, Together, sample_of
from emotailor.data.sample import MODALITIES, UNSPLIT, Modality, Sample
from emotailor.errors import DataError

_EXPECTED = (
    "one .npz per sample with arrays visual, audio or text; or one .npy per sample in folders of "
    "these names, or named <id>.text.npy and so on"
)
_NAMED = re.compile(rf"(?P<id>.+)[._](?P<modality>{'|'.join(MODALITIES)})")


def is_folder_of_samples(path: Path) -> bool:
    """Say whether a folder holds one file per sample.

    Raises:
        DataError: its first file is damaged.
    """
    if _by_modality(path):
        return True
    files = _whole_files(path)
    return bool(files) and is_one_sample(files[0])


def read_folder(path: Path, options: ConvertOptions) -> Reading:
    """Open a folder of one file per sample.

    Raises:
        DataError: it holds no such files, or one is damaged.
    """
    account = Account()
    features: list[Features] = []
    ids: list[str] = []
    whole = _whole_files(path)
    if whole:
        ids = [file.stem for file in whole]
        features.append(Together(whole, account, keep_going=options.keep_going))

    of_modalities = _by_modality(path)
    if of_modalities:
        ids = sorted({name for files in of_modalities.values() for name in files})
        features = [
            PerSample(m, [files.get(name) for name in ids], account, keep_going=options.keep_going)
            for m, files in of_modalities.items()
        ]
    if not ids:
        raise DataError(f"{path} holds no samples", expected=_EXPECTED)

    def samples() -> Iterator[tuple[str, Sample]]:
        for i, name in enumerate(ids):
            yield UNSPLIT, sample_of(features, i, name, keep_going=options.keep_going)

    dims: dict[Modality, int] = {}
    for source in features:
        dims |= source.dims
    in_order = {m: dims[m] for m in MODALITIES if m in dims}
    notes = [
        "the source has no labels: the samples are for prediction alone",
    ]
    alone = len(in_order) == 1  # aligned with itself
    if options.align is None and not alone:
        notes.append("taken as unaligned; pass --align if step i is one moment in all modalities")
    aligned = alone if options.align is None else options.align
    return Reading((), in_order, aligned, samples(), [], notes, account=account)


def _whole_files(path: Path) -> list[Path]:
    """Return the files with all modalities of a sample."""
    if not path.is_dir():
        return []
    return sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)


def _by_modality(path: Path) -> dict[Modality, dict[str, Path]]:
    """Return the files of one array each: modality -> id -> file."""
    found: dict[Modality, dict[str, Path]] = {}
    if not path.is_dir():
        return found
    for m in MODALITIES:
        folder = path / m
        files = {}
        if folder.is_dir():
            for file in sorted(folder.iterdir()):
                if file.suffix.lower() in FILES:
                    files[file.stem] = file
        for file in sorted(path.glob("*.npy")):
            match = _NAMED.fullmatch(file.stem)
            if match is not None and match["modality"] == m:
                files[match["id"]] = file
        if files:
            found[m] = files
    return found
