"""Telling the format of a file or folder by what is in it."""

import pickletools
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from emotailor.data.readers._common import require_file, unreadable
from emotailor.data.readers._sniff import kind_of
from emotailor.data.readers.beside import FILES
from emotailor.data.readers.frames import folders_in
from emotailor.data.readers.samples import is_folder_of_samples
from emotailor.data.readers.stored import is_stored
from emotailor.data.sample import MODALITIES
from emotailor.errors import DataError

_SOURCES = {".pkl", ".pickle", ".p", ".pt", ".pth", ".npz", ".safetensors"}
_BY_SUFFIX = {".csv": "table", ".npz": "npz", ".safetensors": "npz"}
_MMSA_KEYS = {"raw_text", "text_bert", "regression_labels", "audio_lengths", "vision_lengths"}
_TAILOR_KEYS = {"src-text", "src-visual", "src-audio"}
_MULT_KEYS = {"labels", "vision", "audio"}


def _is_table(path: Path) -> bool:
    """Say whether a folder has a CSV and arrays beside it."""
    names = [f"{m}{suffix}" for m in MODALITIES for suffix in FILES]
    has_arrays = any((path / m).is_dir() for m in MODALITIES)
    has_arrays = has_arrays or any((path / name).exists() for name in names)
    return has_arrays and any(path.glob("*.csv"))


_FOLDERS: dict[str, Callable[[Path], object]] = {
    "stored": is_stored,
    "csd": lambda path: any(path.glob("*.csd")),
    "pom": lambda path: (path / "y_train.h5").exists(),
    "frames": folders_in,
    "fet": lambda path: any(path.glob("*$_$*.pkl")),
    "table": _is_table,
    "samples": is_folder_of_samples,
}
"""What tells each format of folders; the first that does counts."""


def detect_folder(path: Path) -> str | None:
    """Return the name of the format of a folder; None where it is of none.

    Raises:
        DataError: it holds several sources.
    """
    for name, is_it in _FOLDERS.items():
        if is_it(path):
            return name

    _refuse_folder_of_files(path)
    # features may be named in the table itself
    return "table" if any(path.glob("*.csv")) else None


def _refuse_folder_of_files(path: Path) -> None:
    """Refuse a folder that holds files, or folders of files, each of which is a source."""
    entries = sorted(path.iterdir())
    names = [entry.name for entry in entries if entry.suffix.lower() in _SOURCES]
    names += [entry.name for entry in entries if entry.is_dir() and any(entry.glob("*.csd"))]
    if names:
        raise DataError(
            f"{path} is a folder with {', '.join(names[:8])}",
            expected="one source",
            fix=f"give one, such as {path / names[0]}",
        )


def detect_file(path: Path) -> str | None:
    """Return the name of the format of a file; None where it is of none.

    Raises:
        DataError: it is damaged, or one of several that belong together.
    """
    require_file(path, "a data file")
    suffix = path.suffix.lower()
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]

    kind = kind_of(path)
    if kind == "torch":
        return "tailor"
    if kind == "zip":
        return _detect_zip(path)
    if kind == "HDF5":
        raise DataError(
            f"{path} is one HDF5 file",
            expected="the folder that holds it and the others (csd or pom)",
            fix=f"give {path.parent}",
        )

    # the oldest pickles are text
    named_so = suffix in (".pkl", ".pickle", ".p")
    if kind == "pickle" or named_so:
        return _detect_pickle(path)
    return None


def _detect_zip(path: Path) -> str | None:
    with unreadable(path, "a complete .npz or torch file"), zipfile.ZipFile(path) as archive:
        infos = archive.infolist()

    # torch.save puts everything into one folder, with a name of its choice
    for info in infos:
        inside = info.filename.split("/", 1)[-1]
        if inside == "data.pkl":
            return _detect_torch(path, info)

    # NumPy puts one file per array there
    all_arrays = all(info.filename.endswith(".npy") for info in infos)
    if infos and all_arrays:
        return "npz"
    return None


def _detect_torch(path: Path, inside: zipfile.ZipInfo) -> str:
    """Tell which layout was saved with torch; TAILOR's where its keys do not tell."""
    # torch does not compress, and what is compressed could unfold without end
    if inside.compress_type != zipfile.ZIP_STORED:
        return "tailor"
    with unreadable(path, "a complete torch file"):
        archive = zipfile.ZipFile(path)
    with archive:
        with unreadable(path, "a complete torch file"):
            file = archive.open(inside)
        return _layout_of(_texts_in_pickle(path, file)) or "tailor"


def _detect_pickle(path: Path) -> str | None:
    with path.open("rb") as file:
        return _layout_of(_texts_in_pickle(path, file))


def _layout_of(texts: Iterator[str]) -> str | None:
    """Tell MulT's layout from MMSA's and TAILOR's by their keys, reading until one decides."""
    found = None
    for text in texts:
        if text in _MMSA_KEYS:
            return "mmsa"
        if text in _TAILOR_KEYS:
            return "tailor"
        if text == "labels":
            return "mult"
        # told by its features alone, if nothing else decides
        if text in _MULT_KEYS:
            found = "mult"
    return found


def _texts_in_pickle(path: Path, file: Any) -> Iterator[str]:
    with unreadable(path, "a complete pickle"):
        for _, argument, _ in pickletools.genops(file):
            if isinstance(argument, str):
                yield argument
