"""Running a reader that somebody else wrote: what it does wrong is reported as its own error."""

import inspect
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from emotailor.data.readers._common import ConvertOptions, Reading, as_float32
from emotailor.data.readers._format import Format
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.errors import EmotailorError

_TRACEBACK = "correct the reader; EMOTAILOR_TRACEBACK=1 shows the whole traceback"


def read_own(source: Any, format_: Format, options: ConvertOptions) -> Reading:
    """Open ``source`` with a reader of the user's own.

    Errors of this package that the reader raises itself, such as ``DataError``, pass as they are.

    Raises:
        EmotailorError: the reader fails, or returns or yields something else than it should; its
            own exception is the cause.
    """
    with _blaming(format_):
        reading = format_.read(source, options)
    _check(reading, format_.name)

    files = reading.files
    if not files and isinstance(source, Path) and source.is_file():
        files = [source]
    return replace(
        reading,
        label_names=tuple(reading.label_names),
        samples=_samples(reading.samples, format_),
        files=files,
    )


def source_file(format_: Format) -> Path | None:
    """Return the file in which a reader is written; None where there is none."""
    function = inspect.unwrap(format_.read)
    code = getattr(function, "__code__", None)
    if code is None:
        return None

    # code that was typed in has a name like <stdin>
    file = Path(code.co_filename)
    return file if file.is_file() else None


@contextmanager
def _blaming(format_: Format) -> Iterator[None]:
    """Report whatever happens inside as an error in the reader."""
    try:
        yield
    except (EmotailorError, MemoryError):
        raise
    except Exception as error:  # the code of others may raise anything
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise EmotailorError(
            f"the reader {format_.name!r} failed{_place(error, format_)}: {reason}", fix=_TRACEBACK
        ) from error


def _place(error: Exception, format_: Format) -> str:
    """Say at which line of the reader's own file an error came up."""
    file = source_file(format_)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == file]
    # the innermost of its lines
    return f" at line {lines[-1]} of {file}" if lines else ""


def _samples(given: Iterable[Any], format_: Format) -> Iterator[tuple[str, Sample]]:
    end = object()
    with _blaming(format_):
        iterator = iter(given)
    for number in count():
        with _blaming(format_):
            item = next(iterator, end)
        if item is end:
            return
        yield _checked(item, format_.name, number)


def _wrong(name: str, found: str, expected: str) -> EmotailorError:
    return EmotailorError(
        f"the reader {name!r} {found}", expected=expected, fix="correct the reader"
    )


def _check(reading: Any, name: str) -> None:
    """Refuse what is not a complete ``Reading``."""
    if not isinstance(reading, Reading):
        raise _wrong(
            name,
            f"returned a {type(reading).__name__}",
            "a Reading (label_names, dims, aligned, samples)",
        )

    # one string is a sequence of strings too, its letters
    names = reading.label_names
    if isinstance(names, str) or not _all_text(names):
        raise _wrong(name, f"has the label names {names!r}", "strings, one a label")
    if not isinstance(reading.dims, Mapping):
        raise _wrong(name, f"has the dims {reading.dims!r}", "a width for each modality")

    for file in reading.files:
        if isinstance(file, Path) and file.is_file():
            continue
        raise _wrong(name, f"says that it read {file!r}", "paths of files, as Path")

    if not hasattr(reading.samples, "__iter__"):
        raise _wrong(
            name,
            f"has a {type(reading.samples).__name__} as samples",
            "pairs of a split and a Sample, from a generator or a list",
        )


def _all_text(values: Any) -> bool:
    return isinstance(values, tuple | list) and all(isinstance(value, str) for value in values)


def _checked(item: Any, name: str, number: int) -> tuple[str, Sample]:
    """Return a sample with arrays in it, whatever kind of sequence the reader gave."""
    split = None
    sample = None
    if isinstance(item, tuple | list) and len(item) == 2:
        split, sample = item
    if not isinstance(split, str) or not isinstance(sample, Sample):
        raise _wrong(
            name, f"yielded {_short(item)} as number {number}", "a pair of a split and a Sample"
        )
    if not isinstance(sample.id, str):
        raise _wrong(name, f"gave sample number {number} the id {sample.id!r}", "a string")

    gave = f"gave sample {sample.id!r}"
    sequences = _arrays(sample.sequences, name, gave)
    for part in (sample.missing, sample.times, sample.about):
        if not isinstance(part, Mapping):
            found = f"{gave} a {type(part).__name__} as missing steps, times or about"
            raise _wrong(name, found, "a dictionary, empty where there is nothing")

    labels = sample.labels
    if labels is None:
        return split, replace(sample, sequences=sequences)

    # numbers of any type will do, as long as they are 0 and 1
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.isin(labels, (0, 1)).all():
        raise _wrong(name, f"{gave} the labels {labels.tolist()}", "0 or 1 for each label")
    labels = labels.astype(np.uint8)
    return split, replace(sample, sequences=sequences, labels=labels)


def _arrays(given: Any, name: str, gave: str) -> dict[Modality, Float[np.ndarray, "_ _"]]:
    """Return the sequences of a sample as arrays.

    Args:
        given: what the reader gave as sequences.
        name: name of the reader.
        gave: names the sample in messages.
    """
    known = ", ".join(MODALITIES)
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        raise _wrong(
            name, f"{gave} a {kind} as sequences", f"an array for each of {known} that it has"
        )

    sequences = {}
    for modality, values in given.items():
        if modality not in MODALITIES:
            raise _wrong(name, f"{gave} a sequence {modality!r}", f"some of {known}")

        array = _numbers(values, name, f"{gave} as {modality}")
        if not array.size:  # nothing at all is a missing modality
            continue
        sequences[modality] = array if array.dtype == np.float16 else as_float32(array)
    return sequences


def _numbers(values: Any, name: str, where: str) -> np.ndarray:
    expected = "numbers of shape (steps, features)"
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:  # rows of different lengths, for instance
        raise _wrong(name, f"{where} what is no array: {error}", expected) from error

    # nothing at all has no shape to speak of
    if not array.size:
        return array

    numeric = array.dtype.kind in "fiub"
    if array.ndim != 2 or not numeric:
        found = f"{array.dtype} of shape {array.shape}"
        raise _wrong(name, f"{where} {found}", expected)
    return array


def _short(item: Any) -> str:
    """Name the types in what was yielded; the values may be huge."""
    if isinstance(item, tuple | list):
        return f"({', '.join(type(part).__name__ for part in item[:4])})"
    return f"a {type(item).__name__}"
