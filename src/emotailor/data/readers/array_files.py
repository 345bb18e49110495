"""Files of named arrays: ``.npz`` and ``.safetensors``, and what lies in them for one sample."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from emotailor.data.dataset import Texts
from emotailor.data.readers._common import as_float, as_text, require_file, unreadable
from emotailor.data.readers.account import Account, look
from emotailor.data.readers.safe.npy import load_npz
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.data.shard import wrong_offsets, wrong_texts
from emotailor.errors import DataError

SUFFIXES = (".npz", ".safetensors")
EXPECTED = "a complete .npz or .safetensors file of plain arrays, without pickled objects"
_OF_MANY = {"id", "ids", "split", "labels", "emotion_intensity"}
WORDS = ("words", "words.bytes", "words.offsets")
"""What texts are called, one for each step: an array of them, or UTF-8 end to end."""

ONE_SAMPLE = f"arrays (steps, dim) named {', '.join(MODALITIES)}"


def load_arrays(path: Path, wanted: Collection[str] | None = None) -> dict[str, np.ndarray | str]:
    """Return the arrays of a file by name; of those not wanted, how they look.

    Args:
        path: a ``.npz`` or ``.safetensors`` file.
        wanted: names of arrays; None for all.

    Raises:
        DataError: it is missing or damaged, or what is wanted are no plain numbers or text.
    """
    require_file(path, EXPECTED)
    if path.suffix.lower() == ".safetensors":
        return dict(_load_safetensors(path))

    arrays, shapes = load_npz(path, EXPECTED, wanted)
    return {name: arrays.get(name, str(shape)) for name, shape in shapes.items()}


def _load_safetensors(path: Path) -> Mapping[str, np.ndarray]:
    from safetensors.numpy import load

    with unreadable(path, EXPECTED):
        content = path.read_bytes()
        return load(content)


def load_some(path: Path, wanted: Collection[str]) -> dict[str, np.ndarray | str]:
    """Return arrays of a file by name, and how those look that are not wanted, unread.

    Raises:
        DataError: it is missing or damaged, or what is wanted are no plain numbers or text.
    """
    if path.suffix.lower() != ".safetensors":
        return load_arrays(path, wanted)

    from safetensors import safe_open

    require_file(path, EXPECTED)
    arrays: dict[str, np.ndarray | str] = {}
    with unreadable(path, EXPECTED), safe_open(path, "numpy") as file:
        for name in file.keys():  # noqa: SIM118 - it is no dictionary
            if name in wanted:
                arrays[name] = file.get_tensor(name)
            else:
                arrays[name] = str(tuple(file.get_slice(name).get_shape()))
    return arrays


def _shapes_in(path: Path) -> dict[str, tuple[int, ...] | None]:
    """Return the shapes of the arrays in a file, without reading them."""
    require_file(path, EXPECTED)
    if path.suffix.lower() != ".safetensors":
        _, of_npz = load_npz(path, EXPECTED, wanted=())
        return of_npz

    from safetensors import safe_open

    shapes: dict[str, tuple[int, ...] | None] = {}
    with unreadable(path, EXPECTED), safe_open(path, "numpy") as file:
        for name in file.keys():  # noqa: SIM118 - it is no dictionary
            shapes[name] = tuple(file.get_slice(name).get_shape())
    return shapes


def is_one_sample(path: Path) -> bool:
    """Say whether a file holds the sequences of one sample, and not a row for each of many.

    Raises:
        DataError: it is damaged.
    """
    if path.suffix.lower() not in SUFFIXES:
        return False
    return holds_one_sample(_shapes_in(path))


def holds_one_sample(shapes: Mapping[str, tuple[int, ...] | None]) -> bool:
    """Say whether arrays of these shapes are the sequences of one sample."""
    dimensions = {len(shapes[m] or ()) for m in MODALITIES if m in shapes}
    return dimensions == {2} and not _OF_MANY & set(shapes)


def read_one(path: Path, account: Account) -> Sample:
    """Return the sample that a file holds; its id is the name of the file.

    Args:
        path: a ``.npz`` or ``.safetensors`` file.
        account: takes in what the file holds.

    Raises:
        DataError: it is missing or damaged, or holds no sequence.
    """
    wanted = {*MODALITIES, *WORDS}
    arrays = load_arrays(path, wanted)

    # there may be a hundred thousand files: of what is used, the account keeps no array
    others = {name: look(array) for name, array in arrays.items() if name not in wanted}
    account.hold(f"arrays of the {path.suffix} files", others)
    sequences: dict[Modality, Float[np.ndarray, "steps dim"]] = {}
    for m in MODALITIES:
        if m in arrays:
            sequences[m] = one_sequence(f"{path}: {m}", np.asarray(arrays[m]))

    if not sequences:
        held = ", ".join(arrays)[:200] or "no arrays"
        raise DataError(f"{path} holds {held}", expected=ONE_SAMPLE)
    return Sample(path.stem, sequences, words=_words_in(path, arrays, sequences))


def _words_in(
    path: Path, arrays: Mapping[str, Any], sequences: Mapping[Modality, np.ndarray]
) -> Sequence[str] | None:
    """Return the words of the one sample in a file; None where it has none."""
    lengths = {m: len(sequence) for m, sequence in sequences.items()}
    longest = max(lengths.values())
    steps = lengths.get("text", longest)

    texts = texts_of(path, arrays, "words", steps)
    if texts is None:
        return None
    return [texts[step] for step in range(steps)]


def texts_of(
    path: Path, arrays: Mapping[str, Any], name: str, count: int
) -> Sequence[str] | Texts | None:
    """Return texts that a file holds as such, or end to end as UTF-8; None where it has none.

    Args:
        path: the file, for messages.
        arrays: what it holds: ``name``, or ``name.bytes`` and ``name.offsets``.
        name: such as ``words``.
        count: how many there have to be.

    Raises:
        DataError: there are others than ``count``, or they are no texts.
    """
    expected = f"{count} texts"
    if name in arrays:
        texts = np.asarray(arrays[name])
        if texts.dtype.kind not in "SU" or texts.shape != (count,):
            found = f"{texts.dtype} of shape {texts.shape}"
            raise DataError(f"{path}: {name} is {found}", expected=expected)
        return [as_text(text, f"{path}: {name}") for text in texts]

    letters = f"{name}.bytes"
    ends = f"{name}.offsets"
    if letters not in arrays:
        return None
    if ends not in arrays:
        raise DataError(f"{path} has {letters} without {ends}", expected=expected)

    data = np.asarray(arrays[letters])
    offsets = np.asarray(arrays[ends])
    if data.dtype != np.uint8 or data.ndim != 1 or offsets.dtype.kind not in "iu":
        found = f"{data.dtype} of shape {data.shape} with {ends} of {offsets.dtype}"
        raise DataError(
            f"{path}: {letters} is {found}", expected=f"{expected} in UTF-8, end to end"
        )
    if offsets.shape != (count + 1,):
        raise DataError(f"{path}: {ends} has the shape {offsets.shape}", expected=f"({count + 1},)")

    misfit = wrong_offsets(ends, offsets, len(data)) or wrong_texts(letters, data, offsets)
    if misfit is not None:
        raise DataError(f"{path}: {misfit}", expected=expected)
    return Texts(data, offsets.astype(np.int64))


def one_sequence(where: str, array: np.ndarray) -> Float[np.ndarray, "steps dim"]:
    """Return an array as a sequence; a vector is one of one step.

    Raises:
        DataError: it has another shape, or does not hold numbers.
    """
    if array.ndim == 1:
        array = array[None]  # (1, dim)

    numeric = array.dtype.kind in "fiub"
    if array.ndim != 2 or not numeric:
        raise DataError(
            f"{where}: {array.dtype} of shape {array.shape}",
            expected="numbers of shape (steps, dim)",
        )
    return as_float(array)
