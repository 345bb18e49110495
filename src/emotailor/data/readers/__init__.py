"""Readers: one file per foreign format, the table of them, and the way in for others.

A reader is a function that takes a path and a :class:`ConvertOptions` and returns a
:class:`Reading`. One that is not in the table is named by ``package.module:name`` or
``path/to/file.py:name``, is offered by an installed package in the group ``emotailor.readers``,
or is given as the function itself. :func:`reader` declares the options it understands.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from emotailor.data.readers._common import (
    ConvertOptions,
    Reading,
    Unreadable,
    canonical_split,
    require_file,
    unreadable,
)
from emotailor.data.readers._detect import detect_file, detect_folder
from emotailor.data.readers._format import Format, as_format, reader
from emotailor.data.readers._own import read_own
from emotailor.data.readers.account import Account
from emotailor.data.readers.array_files import is_one_sample, read_one
from emotailor.data.readers.csd import read_csd
from emotailor.data.readers.fet import read_fet
from emotailor.data.readers.folder import with_folder
from emotailor.data.readers.frames import read_extractor_folder
from emotailor.data.readers.mmsa import read_mmsa
from emotailor.data.readers.mult import read_mult
from emotailor.data.readers.npz import read_npz
from emotailor.data.readers.pom import read_pom
from emotailor.data.readers.samples import read_folder
from emotailor.data.readers.stored import read_stored
from emotailor.data.readers.table import read_table
from emotailor.data.readers.tailor import read_tailor
from emotailor.data.sample import UNSPLIT, Sample
from emotailor.errors import ConfigError, DataError
from emotailor.loading import REFERENCE, installed, is_reference, load_object

__all__ = [
    "FORMATS",
    "UNSPLIT",
    "Account",
    "ConvertOptions",
    "Format",
    "Reading",
    "Sample",
    "Unreadable",
    "canonical_split",
    "detect",
    "find_format",
    "open_source",
    "read_samples",
    "reader",
    "require_file",
    "unreadable",
]

GROUP = "emotailor.readers"
"""The group of entry points in which an installed package offers readers, by format name."""

_RULE = {"label_names", "label_threshold", "label_rule", "align"}
_OF_TABLES = {"features", "join", "flags", "flag_names"}
_OF_TEXT = {"text_column", "pooling"}
_BUILT_IN = (
    Format(
        "tailor",
        "train_valid_test.pt of TAILOR, HHMPN and CARAT (aligned or not)",
        read_tailor,
        frozenset({"label_names", "align", "unlabelled"}),
    ),
    Format(
        "mult",
        "mosei_senti_data.pkl or _noalign.pkl of MulT, with a label file",
        read_mult,
        frozenset(_RULE | {"labels", "unlabelled"}),
    ),
    Format(
        "mmsa",
        "aligned_50.pkl or unaligned_50.pkl of MMSA, with a label file",
        read_mmsa,
        frozenset(_RULE | {"labels", "unlabelled"}),
    ),
    Format(
        "csd",
        "a folder of CMU-MultimodalSDK .csd files, with a fold file",
        read_csd,
        frozenset(_RULE | {"labels", "folds", "split_by_hash", "unlabelled"}),
        by_role=True,
    ),
    Format(
        "frames",
        "a folder of OpenFace, openSMILE or COVAREP files per video, with a table of segments",
        read_extractor_folder,
        frozenset(_RULE | {"labels", "folds", "split_by_hash", "unlabelled"}),
    ),
    Format(
        "fet",
        "a folder of pickles of MMSA-FET's run_single, one per clip, with a label file",
        read_fet,
        frozenset(_RULE | {"labels", "folds", "split_by_hash", "unlabelled"}),
    ),
    Format(
        "table",
        "a CSV with id, split and labels, and features beside it or in files named in it",
        read_table,
        frozenset(_RULE | _OF_TABLES | _OF_TEXT | {"unlabelled", "keep_going"}),
    ),
    Format(
        "npz",
        "one .npz or .safetensors with a row per sample, or all steps end to end",
        read_npz,
        frozenset(_RULE | {"unlabelled"}),
    ),
    Format(
        "samples",
        "a folder of one .npz per sample, or of .npy in folders visual, audio, text",
        read_folder,
        frozenset({"align", "unlabelled", "keep_going"}),
    ),
    Format(
        "stored",
        "a stored data set, to divide it or to take a part of it",
        read_stored,
        frozenset({"unlabelled"}),
    ),
    Format(
        "pom",
        "a folder of .h5 files per split: POM of MFN, or CMU-MOSEI in 20 steps",
        read_pom,
        frozenset({"label_names", "align"}),
    ),
)
FORMATS: dict[str, Format] = {known.name: known for known in _BUILT_IN}
"""The formats of this package, by name."""

_ANYWHERE = {"limit", "split", "split_seed", "max_steps", "longer", "train_share"}
"""Options that whoever takes the samples applies, whatever the format."""


def detect(path: Path) -> str:
    """Return the name of the format of a file or folder, by its content.

    Raises:
        DataError: it does not exist or is none of the known ones.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist", expected="a file or folder", fix="check the path")

    name = detect_folder(path) if path.is_dir() else detect_file(path)
    if name is None:
        known = [f"{known_name}: {format_.what}" for known_name, format_ in FORMATS.items()]
        raise DataError(
            f"{path} is of no known format",
            expected="; ".join(known),
            fix="name the format with --format",
        )
    return name


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
    reading = read_own(source, chosen, options) if own else chosen.read(source, options)
    return with_folder(reading, source)


def read_samples(
    source: str | Path,
    *,
    format: str | Format | Callable[..., Any] | None = None,  # noqa: A002 - as in convert
    limit: int | None = None,
    align: bool | None = None,
    keep_going: bool = False,
) -> Reading:
    """Open anything that can be converted, for prediction: nothing is stored.

    Besides that, a stored data set and one ``.npz`` (or ``.safetensors``) with arrays ``visual``,
    ``audio``, ``text`` of shape (steps, dim) are read, the latter as one sample with the name of
    the file. Labels and splits may be absent: labels are then None, and the split is ``UNSPLIT``.

    Args:
        source: a file or folder.
        format: as in :func:`emotailor.convert`; found out by default.
        limit: most samples per split.
        align: as in :func:`emotailor.convert`.
        keep_going: where the file of a single sample is damaged, yield an ``Unreadable`` for it
            and go on, as far as there is a file for each sample.

    Returns:
        The samples, to be gone through once, with the names of their labels and their dims.

    Raises:
        ConfigError: the format has no use for an option, or there is no such format.
        DataError: the source is missing, damaged or of no known format; damage in samples is found
            when they are read.
        EmotailorError: a reader that is not of this package fails.
    """
    path = Path(source)
    if format is None and not path.is_dir() and path.exists() and is_one_sample(path):
        return _one_sample(path)

    chosen = find_format(format or detect(path))
    tolerant = "unlabelled" in chosen.options
    goes_on = keep_going and "keep_going" in chosen.options
    options = ConvertOptions(align=align, limit=limit, unlabelled=tolerant, keep_going=goes_on)
    reading = open_source(path, chosen, options)
    if limit is None:
        return reading
    return replace(reading, samples=_first_of_each(reading.samples, limit))


def _one_sample(path: Path) -> Reading:
    account = Account()
    sample = read_one(path, account)
    dims = {m: sequence.shape[1] for m, sequence in sample.sequences.items()}
    steps = {len(sequence) for sequence in sample.sequences.values()}
    samples = [(UNSPLIT, sample)]
    return Reading((), dims, len(steps) == 1, samples, [path], account=account)


def _first_of_each(
    samples: Iterable[tuple[str, Sample]], limit: int
) -> Iterator[tuple[str, Sample]]:
    """Yield the first samples of each split."""
    taken: Counter[str] = Counter()
    for split, sample in samples:
        taken[split] += 1
        if taken[split] <= limit:
            yield split, sample


def _refuse_unused(chosen: Format, options: ConvertOptions, own: bool) -> None:
    """Refuse options that the reader would ignore."""
    defaults = vars(ConvertOptions())
    given = set()
    for key, value in vars(options).items():
        if value != defaults[key]:
            given.add(key)

    unused = sorted(given - chosen.options - _ANYWHERE)
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
