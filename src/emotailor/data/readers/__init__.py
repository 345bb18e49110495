"""Readers: one file per foreign format, and the table of them."""

import pickletools
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotailor.data.readers._common import ConvertOptions, Reading, require_file, unreadable
from emotailor.data.readers._pickle import LEGACY_TORCH
from emotailor.data.readers.csd import read_csd
from emotailor.data.readers.mmsa import read_mmsa
from emotailor.data.readers.mult import read_mult
from emotailor.data.readers.npz import read_npz
from emotailor.data.readers.pom import read_pom
from emotailor.data.readers.table import read_table
from emotailor.data.readers.tailor import read_tailor
from emotailor.errors import ConfigError, DataError

__all__ = ["FORMATS", "ConvertOptions", "Format", "Reading", "detect", "open_source"]


@dataclass(frozen=True)
class Format:
    """A format that can be converted.

    Attributes:
        what: what it is, in a line.
        read: opens a source.
        options: names of the ``ConvertOptions`` it understands, besides ``limit``.
    """

    what: str
    read: Callable[[Any, ConvertOptions], Reading]
    options: frozenset[str]


_RULE = {"label_names", "label_threshold", "label_rule", "align"}
FORMATS: dict[str, Format] = {
    "tailor": Format(
        "train_valid_test.pt of TAILOR, HHMPN and CARAT (aligned or not)",
        read_tailor,
        frozenset({"label_names", "align"}),
    ),
    "mult": Format(
        "mosei_senti_data.pkl or _noalign.pkl of MulT, with a label file",
        read_mult,
        frozenset(_RULE | {"labels"}),
    ),
    "mmsa": Format(
        "aligned_50.pkl or unaligned_50.pkl of MMSA, with a label file",
        read_mmsa,
        frozenset(_RULE | {"labels"}),
    ),
    "csd": Format(
        "a folder of CMU-MultimodalSDK .csd files, with a fold file",
        read_csd,
        frozenset(_RULE | {"labels", "folds", "split_by_hash"}),
    ),
    "table": Format(
        "a CSV with id, split and labels, and .npy files beside it", read_table, frozenset(_RULE)
    ),
    "npz": Format("one .npz with a row per sample", read_npz, frozenset(_RULE)),
    "pom": Format(
        "the folder of POM .h5 files of MFN", read_pom, frozenset({"label_names", "align"})
    ),
}

_MMSA_KEYS = {"raw_text", "text_bert", "regression_labels", "audio_lengths", "vision_lengths"}


def detect(path: Path) -> str:
    """Return the name of the format of a file or folder, by its content.

    Raises:
        DataError: it does not exist or is none of the known ones.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist", expected="a file or folder", fix="check the path")
    name = _detect_folder(path) if path.is_dir() else _detect_file(path)
    if name is None:
        raise DataError(
            f"{path} is of no known format",
            expected="; ".join(f"{n}: {f.what}" for n, f in FORMATS.items()),
            fix="name the format with --format",
        )
    return name


def _detect_folder(path: Path) -> str | None:
    if any(path.glob("*.csd")):
        return "csd"
    if (path / "y_train.h5").exists():
        return "pom"
    return "table" if any(path.glob("*.csv")) else None


def _detect_file(path: Path) -> str | None:
    require_file(path, "a data file")
    with path.open("rb") as file:
        head = file.read(len(LEGACY_TORCH))
    if path.suffix.lower() in (".csv", ".npz"):
        return {".csv": "table", ".npz": "npz"}[path.suffix.lower()]
    if head == LEGACY_TORCH:
        return "tailor"
    if head.startswith(b"PK"):
        with unreadable(path, "a complete .npz or torch file"), zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(n.split("/", 1)[-1] == "data.pkl" for n in names):
            return "tailor"
        return "npz" if names and all(n.endswith(".npy") for n in names) else None
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        raise DataError(
            f"{path} is one HDF5 file",
            expected="the folder that holds it and the others (csd or pom)",
            fix=f"give {path.parent}",
        )
    return _detect_pickle(path) if head[:1] == b"\x80" else None


def _detect_pickle(path: Path) -> str | None:
    """Tell MulT's pickle from MMSA's by their keys, reading on only until one decides."""
    with unreadable(path, "a complete pickle"), path.open("rb") as file:
        for _, argument, _ in pickletools.genops(file):
            if isinstance(argument, str) and len(argument) < 30:
                if argument in _MMSA_KEYS:
                    return "mmsa"
                if argument == "labels":
                    return "mult"
    return None


def open_source(source: Path | Mapping[str, Path], name: str, options: ConvertOptions) -> Reading:
    """Open ``source`` as the format ``name``; damage found later, in its samples, is an error too.

    Raises:
        ConfigError: there is no such format, or it does not understand an option given.
        DataError: the source is missing, damaged or not of this format.
    """
    if name not in FORMATS:
        raise ConfigError(f"format {name!r}", expected=f"one of {', '.join(FORMATS)}")
    defaults = ConvertOptions()
    given = {k for k, v in vars(options).items() if v != getattr(defaults, k)}
    if unused := sorted(given - FORMATS[name].options - {"limit"}):
        raise ConfigError(
            f"the format {name} has no use for {', '.join(unused)}",
            expected=f"some of {', '.join(sorted(FORMATS[name].options))}",
        )
    if isinstance(source, Mapping) and name != "csd":
        raise ConfigError(f"one path per role given for the format {name}", expected="one path")
    where = source if isinstance(source, Path) else next(iter(source.values()), Path())
    expected = FORMATS[name].what
    with unreadable(where, expected):
        if isinstance(source, Path) and not source.exists():
            raise DataError(f"{source} does not exist", expected=expected, fix="check the path")
        reading = FORMATS[name].read(source, options)
    inner = reading.samples

    def samples() -> Any:
        with unreadable(where, expected):
            yield from inner

    reading.samples = samples()
    return reading
