"""What people give a predictor: samples in the forms in which they come to hand."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from emotailor.data.dataset import EmotionDataset
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.errors import DataError
from emotailor.serving.prediction import Failure

EXPECTED = (
    'a Sample, a dict such as {"text": array of (steps, dim)}, a list of these, a Split, or an '
    "EmotionDataset"
)
NAMELESS = "sample"
"""The id of a dict of arrays without an id."""


def source_of(sample: Sample) -> str:
    """Return where a sample is from, as far as anybody said."""
    return sample.about.get("source", "")


def is_one(given: object) -> bool:
    """Whether one sample was given, and not several."""
    # a data set is a mapping as well: of splits
    return isinstance(given, Sample | Mapping) and not isinstance(given, EmotionDataset)


def samples_in(given: Any) -> Iterator[Sample | Failure]:
    """Yield the samples of whatever was given, in order; of a data set split after split.

    Args:
        given: as ``EXPECTED`` says; a failure that a reader has met passes through.

    Raises:
        DataError: it is nothing of the kind.
    """
    if isinstance(given, EmotionDataset):
        for split in given.splits.values():
            yield from split
        return
    if is_one(given):
        yield as_sample(given)
        return

    # text is iterable, but its letters are no samples
    of_letters = isinstance(given, str | bytes)
    if of_letters or not isinstance(given, Iterable) or _is_array(given):
        raise _no_sample(given, "")
    for place, item in enumerate(given):
        yield item if isinstance(item, Failure) else as_sample(item, f" at place {place}")


def as_sample(given: Any, where: str = "") -> Sample:
    """Return a sample, or a dict of arrays as one.

    Args:
        given: a sample, or modality -> (steps, dim), with an ``id`` and the ``words`` of its steps
            where it is to have them.
        where: where it stands, for messages.

    Raises:
        DataError: it is neither.
    """
    if isinstance(given, Sample):
        return given
    if not isinstance(given, Mapping):
        raise _no_sample(given, where)

    known = {"id", "words", *MODALITIES}
    others = [str(key) for key in given if key not in known]
    if others:
        raise DataError(
            f"a dict with {', '.join(others)[:200]}{where}",
            expected=f"modalities as keys, some of {', '.join(MODALITIES)}; perhaps id, words",
        )

    sequences: dict[Modality, np.ndarray] = {}
    for m in MODALITIES:
        if m in given:
            sequences[m] = _as_array(given[m], f"{m}{where}")
    words = given.get("words")
    if words is not None:
        words = [str(word) for word in words]
    return Sample(str(given.get("id", NAMELESS)), sequences, words=words)


def _as_array(given: Any, where: str) -> np.ndarray:
    """Return a sequence of any kind as an array, (steps, dim).

    Raises:
        DataError: it has another shape, or holds no numbers.
    """
    expected = "numbers of shape (steps, dim)"
    try:
        array = np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:  # uneven lists, tensors with gradients
        raise DataError(f"{where} is no array: {error}", expected=expected) from error

    numeric = array.dtype.kind in "fiub"
    if array.ndim != 2 or not numeric:
        fix = "give a vector as one step: x[None]" if array.ndim == 1 and numeric else None
        raise DataError(
            f"{where} is {array.dtype} of shape {array.shape}", expected=expected, fix=fix
        )
    with np.errstate(over="ignore"):  # beyond float32 becomes inf, which is refused later
        return array.astype(np.float32)


def _is_array(given: object) -> bool:
    """Whether it is an array or a tensor: a block of numbers without the name of a modality."""
    return hasattr(given, "shape") and hasattr(given, "dtype")


def _no_sample(given: object, where: str) -> DataError:
    found = f"a {type(given).__name__}"
    fix = None
    if isinstance(given, str) or hasattr(given, "__fspath__"):
        found = f"the path {given!s}"
        fix = (
            "emotailor.predict(model, path) reads files, and emotailor.load_dataset(path) opens a "
            "data set"
        )
    elif _is_array(given):
        found = f"an array of shape {tuple(getattr(given, 'shape', ()))}"
        fix = 'say of which modality it is: {"text": array}'
    return DataError(f"{found}{where} in the place of a sample", expected=EXPECTED, fix=fix)
