"""Readers: one file per foreign format, the table of them, and the way in for others.

A reader is a function that takes a path and a :class:`ConvertOptions` and returns a
:class:`Reading`. One that is not in the table is named by ``package.module:name`` or
``path/to/file.py:name``, is offered by an installed package in the group ``emotailor.readers``,
or is given as the function itself. :func:`reader` declares the options it understands.
"""

import pickletools
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from emotailor.data.readers._common import (
    ConvertOptions,
    Reading,
    canonical_split,
    require_file,
    unreadable,
)
from emotailor.data.readers._format import Format, as_format, reader
from emotailor.data.readers._own import read_own
from emotailor.data.readers._sniff import kind_of
from emotailor.data.readers.csd import read_csd
from emotailor.data.readers.fet import read_fet
from emotailor.data.readers.frames import folders_in, read_extractor_folder
from emotailor.data.readers.mmsa import read_mmsa
from emotailor.data.readers.mult import read_mult
from emotailor.data.readers.npz import read_npz
from emotailor.data.readers.pom import read_pom
from emotailor.data.readers.table import read_table
from emotailor.data.readers.tailor import read_tailor
from emotailor.data.sample import MODALITIES, Sample
from emotailor.errors import ConfigError, DataError
from emotailor.loading import REFERENCE, installed, is_reference, load_object

__all__ = [
    "FORMATS",
    "ConvertOptions",
    "Format",
    "Reading",
    "Sample",
    "canonical_split",
    "detect",
    "find_format",
    "open_source",
    "reader",
    "require_file",
    "unreadable",
]

GROUP = "emotailor.readers"
"""The group of entry points in which an installed package offers readers, by format name."""

_RULE = {"label_names", "label_threshold", "label_rule", "align"}
_BUILT_IN = (
    Format(
        "tailor",
        "train_valid_test.pt of TAILOR, HHMPN and CARAT (aligned or not)",
        read_tailor,
        frozenset({"label_names", "align"}),
    ),
    Format(
        "mult",
        "mosei_senti_data.pkl or _noalign.pkl of MulT, with a label file",
        read_mult,
        frozenset(_RULE | {"labels"}),
    ),
    Format(
        "mmsa",
        "aligned_50.pkl or unaligned_50.pkl of MMSA, with a label file",
        read_mmsa,
        frozenset(_RULE | {"labels"}),
    ),
    Format(
        "csd",
        "a folder of CMU-MultimodalSDK .csd files, with a fold file",
        read_csd,
        frozenset(_RULE | {"labels", "folds", "split_by_hash"}),
        by_role=True,
    ),
    Format(
        "frames",
        "a folder of OpenFace, openSMILE or COVAREP files per video, with a table of segments",
        read_extractor_folder,
        frozenset(_RULE | {"labels", "folds", "split_by_hash"}),
    ),
    Format(
        "fet",
        "a folder of pickles of MMSA-FET's run_single, one per clip, with a label file",
        read_fet,
        frozenset(_RULE | {"labels", "folds", "split_by_hash"}),
    ),
    Format(
        "table",
        "a CSV with id, split and labels, and .npy files beside it",
        read_table,
        frozenset(_RULE),
    ),
    Format("npz", "one .npz with a row per sample", read_npz, frozenset(_RULE)),
    Format(
        "pom",
        "a folder of .h5 files per split: POM of MFN, or CMU-MOSEI in 20 steps",
        read_pom,
        frozenset({"label_names", "align"}),
    ),
)
FORMATS: dict[str, Format] = {known.name: known for known in _BUILT_IN}
"""The formats of this package, by name."""

_SOURCES = {".pkl", ".pickle", ".p", ".pt", ".pth", ".npz"}
_BY_SUFFIX = {".csv": "table", ".npz": "npz"}
_MMSA_KEYS = {"raw_text", "text_bert", "regression_labels", "audio_lengths", "vision_lengths"}
_TAILOR_KEYS = {"src-text", "src-visual", "src-audio"}
_MULT_KEYS = {"labels", "vision", "audio"}


def detect(path: Path) -> str:
    """Return the name of the format of a file or folder, by its content.

    Raises:
        DataError: it does not exist or is none of the known ones.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist", expected="a file or folder", fix="check the path")

    name = _detect_folder(path) if path.is_dir() else _detect_file(path)
    if name is None:
        known = [f"{known_name}: {format_.what}" for known_name, format_ in FORMATS.items()]
        raise DataError(
            f"{path} is of no known format",
            expected="; ".join(known),
            fix="name the format with --format",
        )
    return name


def _detect_folder(path: Path) -> str | None:
    if any(path.glob("*.csd")):
        return "csd"
    if (path / "y_train.h5").exists():
        return "pom"
    if folders_in(path):
        return "frames"
    if any(path.glob("*$_$*.pkl")):
        return "fet"

    # a table has arrays beside it, and no other source
    has_arrays = any((path / m).is_dir() or (path / f"{m}.npy").exists() for m in MODALITIES)
    if not has_arrays:
        _refuse_folder_of_files(path)
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


def _detect_file(path: Path) -> str | None:
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


def find_format(wanted: str | Format | Callable[..., Any]) -> Format:
    """Return a format.

    Args:
        wanted: name in ``FORMATS`` or in the group ``emotailor.readers``, reference
            ``module:name`` or ``file.py:name``, ``Format``, or the function that reads.

    Raises:
        ConfigError: there is no such format, or it cannot be loaded.
    """
    if isinstance(wanted, Format):
        return wanted
    if not isinstance(wanted, str):
        return as_format(wanted, _name_of(wanted))
    if wanted in FORMATS:
        return FORMATS[wanted]

    if is_reference(wanted):
        name = wanted
        place, _, attribute = wanted.rpartition(":")
        # the folders of one machine mean nothing in a stored data set
        if place.endswith(".py"):
            name = f"{Path(place).name}:{attribute}"
        return as_format(load_object(wanted, "reader"), name)

    others = installed(GROUP)
    if wanted in others:
        loaded = load_object(others[wanted], "reader")
        return as_format(loaded, wanted)

    names = ", ".join([*FORMATS, *others])
    raise ConfigError(f"format {wanted!r}", expected=f"one of {names}, or a reader as {REFERENCE}")


def _name_of(function: Callable[..., Any]) -> str:
    """Name a function as a reference to it would."""
    called = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{function.__module__}:{called}"


def open_source(
    source: Path | Mapping[str, Path], chosen: Format, options: ConvertOptions
) -> Reading:
    """Open ``source`` as the format ``chosen``.

    Raises:
        ConfigError: the format does not understand an option given.
        DataError: the source is missing, damaged or not of this format; damage in samples is
            found when they are read.
        EmotailorError: a reader that is not of this package fails.
    """
    own = FORMATS.get(chosen.name) is not chosen
    _refuse_unused(chosen, options, own)

    if isinstance(source, Mapping) and not chosen.by_role:
        raise ConfigError(
            f"one path per role given for the format {chosen.name}", expected="one path"
        )
    if isinstance(source, Path) and not source.exists():
        raise DataError(f"{source} does not exist", expected=chosen.what, fix="check the path")

    # what a reader of somebody else does wrong is not a damaged file
    if own:
        return read_own(source, chosen, options)
    return chosen.read(source, options)


def _refuse_unused(chosen: Format, options: ConvertOptions, own: bool) -> None:
    """Refuse options that the reader would ignore."""
    defaults = vars(ConvertOptions())
    given = set()
    for key, value in vars(options).items():
        if value != defaults[key]:
            given.add(key)

    # the limit is applied by whoever writes the samples
    unused = sorted(given - chosen.options - {"limit"})
    if not unused:
        return

    expected = "no such option"
    if chosen.options:
        expected = f"some of {', '.join(sorted(chosen.options))}"

    fix = None
    if own:
        wanted = sorted({*unused, *chosen.options})
        declaration = ", ".join(f'"{key}"' for key in wanted)
        fix = f"if the reader uses them, declare it: @reader({declaration})"

    names = ", ".join(unused)
    raise ConfigError(
        f"the format {chosen.name} has no use for {names}", expected=expected, fix=fix
    )
