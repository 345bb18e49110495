"""One ``.npz`` or ``.safetensors`` with all samples: a row for each, or all steps end to end.

::

    id (N,), split (N,)                  strings, both optional
    visual, audio, text                  (N, dim), one vector each; or (N, steps, dim)
    labels or emotion_intensity (N, L)   numbers, optional; label_names (L,) strings, optional

Without names, six columns called ``emotion_intensity`` are in the SDK's order. Instead of rows::

    text.values, text.offsets            (total steps, dim) and (N + 1,): sequence i is
                                         values[offsets[i]:offsets[i + 1]]; an empty one is missing
    text.missing                         (total steps,), 1 at steps that are missing; optional
    words                                the word of each step of the text; optional

as in the shards of a stored data set, for any of the modalities.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from emotailor.data.dataset import Texts, Words
from emotailor.data.readers._common import (
    Block,
    ConvertOptions,
    Padded,
    Reading,
    as_float,
    as_text,
    canonical_split,
)
from emotailor.data.readers.account import Account, Parts
from emotailor.data.readers.array_files import (
    WORDS,
    holds_one_sample,
    load_arrays,
    texts_of,
)
from emotailor.data.readers.joining.labels import SDK_LABELS
from emotailor.data.sample import MODALITIES, UNSPLIT, Modality, Sample
from emotailor.data.shard import wrong_offsets
from emotailor.errors import DataError

_INTENSITY = "emotion_intensity"
_RAGGED = ("values", "offsets", "missing")
_LABELS = ("labels", _INTENSITY)
_SAMPLES = "words.samples"
_IDS = ("id", "ids")


def _wanted() -> set[str]:
    """Return the names of all arrays that may be of use."""
    names = {*_IDS, *_LABELS, "split", "label_names", "labels.known", "ids.bytes", "ids.offsets"}
    for m in MODALITIES:
        names |= {m, *(f"{m}.{part}" for part in _RAGGED)}
    return names | {*WORDS, _SAMPLES}


def read_npz(path: Path, options: ConvertOptions) -> Reading:
    """Open a file of arrays.

    Raises:
        DataError: the file is missing, damaged, holds pickled objects, or has no features; or its
            arrays do not fit each other.
    """
    arrays = load_arrays(path, _wanted())
    shapes = {name: np.shape(array) for name, array in arrays.items()}
    if holds_one_sample(shapes):
        raise _one_sample(path, shapes)
    account = Account()
    parts = account.hold(f"arrays of {path.name}", arrays)

    notes: list[str] = []
    rows = _ragged(path, parts) or _rectangular(path, parts, options)
    ids = _ids(path, parts, rows.count, notes)
    splits = _splits(path, parts, rows.count)
    labels = _labels(path, parts, rows.count, options, notes)
    account.columns = labels.stored

    aligned = rows.aligned if options.align is None else options.align

    def samples() -> Iterator[tuple[str, Sample]]:
        for i, split in enumerate(splits):
            if split is None:
                account.drop("sample", "in no split", ids[i])
                continue
            yield split, rows.sample(i, ids[i], labels.of(i))

    return Reading(labels.names, rows.dims, aligned, samples(), [path], notes, account=account)


def _one_sample(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> DataError:
    name = next(m for m in MODALITIES if m in shapes)
    shape = shapes[name]
    return DataError(
        f"{path} has no ids, and {name} {shape} may be {shape[0]} samples of one vector or one "
        f"sample of {shape[0]} steps",
        expected="an array id (N,) beside one row per sample",
        fix="for many samples add id, or store (N, 1, dim); one sample needs no conversion: give "
        "the file to `emotailor predict`, or convert a folder of such files",
    )


# ---------------------------------------------------------------------- features


class _Rectangular:
    """A row per sample, padded to the longest."""

    def __init__(
        self, path: Path, blocks: Mapping[Modality, Block], count: int, align: bool | None
    ) -> None:
        self.count = count
        self._padded = Padded(path, {UNSPLIT: blocks}, {UNSPLIT: count}, align)
        self.dims = self._padded.dims
        self.aligned = self._padded.aligned

    def sample(self, index: int, name: str, labels: UInt8[np.ndarray, "_"] | None) -> Sample:
        """Return a sample without its padding."""
        return Sample(name, self._padded.cut(UNSPLIT, index), labels)


def _rectangular(path: Path, parts: Parts, options: ConvertOptions) -> _Rectangular:
    blocks: dict[Modality, Block] = {}
    for m in MODALITIES:
        # what is said, in words, has often the name of the modality
        if m in parts and parts.peek(m).dtype.kind not in "US":
            blocks[m] = Block(f"{path}: {m}", parts[m], vectors=True)
    lengths = [len(block) for block in blocks.values()]
    if not blocks:
        found = ", ".join(parts)[:200]
        raise DataError(
            f"{path} holds {found} and has no modality",
            expected=f"at least one of {', '.join(MODALITIES)}: (N, dim) or (N, steps, dim); or "
            "<modality>.values and <modality>.offsets",
        )

    # ids tell how many samples there are; without them the first modality does
    ids = np.shape(parts.peek("id"))
    count = ids[0] if ids else lengths[0]
    return _Rectangular(path, blocks, count, options.align)


@dataclass(frozen=True)
class _Laid:
    """The sequences of one modality, end to end."""

    values: np.ndarray
    offsets: Int64[np.ndarray, "rows"]
    missing: Bool[np.ndarray, "steps"] | None


class _Ragged:
    """Sequences without padding."""

    def __init__(self, laid: Mapping[Modality, _Laid], words: Words | None) -> None:
        self._laid = laid
        self._words = words
        self.dims: dict[Modality, int] = {m: of.values.shape[1] for m, of in laid.items()}
        lengths = {m: np.diff(of.offsets) for m, of in laid.items()}
        steps = np.stack(list(lengths.values()))  # (modalities, n)
        self.count = steps.shape[1]

        # as long as each other wherever they are there
        longest = steps.max(axis=0, initial=0)
        self.aligned = bool(((steps == longest) | (steps == 0)).all())

    def sample(self, index: int, name: str, labels: UInt8[np.ndarray, "_"] | None) -> Sample:
        """Return a sample as it is stored."""
        sequences = {}
        missing = {}
        for m, of in self._laid.items():
            steps = slice(of.offsets[index], of.offsets[index + 1])
            sequences[m] = as_float(of.values[steps])
            if of.missing is not None and of.missing[steps].any():
                missing[m] = of.missing[steps]
        words = None if self._words is None else self._words[index]
        return Sample(name, sequences, labels, missing, words)


def _ragged(path: Path, parts: Parts) -> _Ragged | None:
    """Return the sequences of a file that stores them end to end; None where it does not."""
    laid: dict[Modality, _Laid] = {}
    for m in MODALITIES:
        if f"{m}.values" in parts:
            laid[m] = _laid_out(path, parts, m)
    if not laid:
        return None

    counts = {m: len(of.offsets) - 1 for m, of in laid.items()}
    if len(set(counts.values())) > 1:
        raise DataError(f"{path} has {counts} sequences", expected="one per sample in each")
    return _Ragged(laid, _words(path, parts, laid))


def _words(path: Path, parts: Parts, laid: Mapping[Modality, _Laid]) -> Words | None:
    """Return the words of all samples: of each that has any, one for each step of its text."""
    of_words = laid.get("text") or next(iter(laid.values()))
    offsets = of_words.offsets
    total = len(of_words.values)

    # a shard says which samples have words
    if _SAMPLES in parts and "words.offsets" in parts:
        total = len(parts["words.offsets"]) - 1
        offsets = parts[_SAMPLES]
        misfit = wrong_offsets(_SAMPLES, offsets, total)
        if misfit is not None or len(offsets) != len(of_words.offsets):
            raise DataError(
                f"{path}: {misfit or f'{_SAMPLES} has {len(offsets)} numbers'}",
                expected=f"{len(of_words.offsets)} numbers that rise from 0 to {total}",
            )

    texts = texts_of(path, parts, "words", total)
    if texts is None:
        return None
    if not isinstance(texts, Texts):
        texts = Texts.pack(texts)
    return Words(texts, offsets)


def _laid_out(path: Path, parts: Parts, m: Modality) -> _Laid:
    values = parts[f"{m}.values"]
    if values.ndim != 2 or not values.shape[1] or values.dtype.kind not in "fiub":
        raise DataError(
            f"{path}: {m}.values is {values.dtype} of shape {values.shape}",
            expected="numbers of shape (total steps, dim)",
        )
    offsets = _offsets(path, parts, m, len(values))

    missing = None
    if f"{m}.missing" in parts:
        missing = parts[f"{m}.missing"]
        if missing.shape != (len(values),):
            raise DataError(f"{path}: {m}.missing {missing.shape}", expected=f"({len(values)},)")
    return _Laid(values, offsets, None if missing is None else missing.astype(np.bool_))


def _offsets(path: Path, parts: Parts, name: str, total: int) -> Int64[np.ndarray, "rows"]:
    """Return where each part of an array that holds all end to end begins, and the last ends."""
    key = f"{name}.offsets"
    expected = f"whole numbers that rise from 0 to {total}"
    if key not in parts:
        raise DataError(f"{path} has no {key} beside {name}.values", expected=expected)

    offsets = parts[key]
    whole = offsets.dtype.kind in "iu" and offsets.ndim == 1 and len(offsets) > 1
    fits = whole and offsets[0] == 0 and offsets[-1] == total

    # a sequence cannot end before it begins
    if not fits or (np.diff(offsets) < 0).any():
        found = f"{offsets.dtype} of shape {offsets.shape}"
        raise DataError(f"{path}: {key} is {found}, or does not fit", expected=expected)
    return offsets.astype(np.int64)


# ---------------------------------------------------------------------- ids, splits, labels


def _ids(path: Path, parts: Parts, count: int, notes: list[str]) -> list[str]:
    """Return the id of each sample, or its number where the file has none."""
    named = [key for key in _IDS if key in parts]
    if named:
        ids = _strings(path, named[0], parts[named[0]])
    elif "ids.bytes" in parts:
        ids = _joined_strings(path, parts)
    else:
        notes.append(
            f"the source has no array id: samples are numbered in its order, {path.stem}-00000 "
            "onwards"
        )
        return [f"{path.stem}-{i:05d}" for i in range(count)]
    _refuse_other_count(path, "ids", len(ids), count)
    return ids


def _joined_strings(path: Path, parts: Parts) -> list[str]:
    """Return the ids that a shard stores end to end."""
    letters = parts["ids.bytes"].tobytes()
    offsets = _offsets(path, parts, "ids", len(letters))
    ends = offsets.tolist()
    where = f"{path}: ids.bytes"
    return [as_text(letters[begin:end], where) for begin, end in pairwise(ends)]


def _splits(path: Path, parts: Parts, count: int) -> list[str | None]:
    """Return the split of each sample."""
    if "split" not in parts:
        return [UNSPLIT] * count

    named = _strings(path, "split", parts["split"])
    _refuse_other_count(path, "splits", len(named), count)
    return [canonical_split(name) for name in named]


def _refuse_other_count(path: Path, what: str, found: int, count: int) -> None:
    if found != count:
        raise DataError(
            f"{path}: {found} {what} and {count} sequences",
            expected="one row per sample in each array",
        )


@dataclass(frozen=True)
class _Labels:
    """The labels of all samples; ``rows`` is None where nobody knows any.

    ``stored`` are the names in the file, which the user may have replaced.
    """

    names: tuple[str, ...]
    stored: list[str] | None = None
    rows: UInt8[np.ndarray, "n labels"] | None = None
    known: Bool[np.ndarray, "n"] | None = None

    def of(self, index: int) -> UInt8[np.ndarray, "labels"] | None:
        """Return the labels of a sample; None where they are unknown."""
        if self.rows is None or (self.known is not None and not self.known[index]):
            return None
        return self.rows[index]


def _labels(
    path: Path, parts: Parts, count: int, options: ConvertOptions, notes: list[str]
) -> _Labels:
    named = [key for key in _LABELS if key in parts]
    if not named:
        notes.append("the source has no labels: the samples are for prediction alone")
        return _Labels(())

    key = named[0]
    if options.unlabelled and not _are_named(key, parts, options):
        notes.append(f"{key} does not name its columns: not used")
        return _Labels(())

    raw = parts[key]
    if raw.ndim != 2 or len(raw) != count:
        raise DataError(
            f"{path}: {count} samples and {key} of shape {raw.shape}",
            expected="labels of shape (N, L), one row per sample",
        )

    columns = raw.shape[1]
    names = options.label_names
    if names is None:
        names = _names(path, key, columns, parts, notes)
    if len(names) != columns:
        found = ", ".join(names)[:200]
        raise DataError(
            f"{path}: {len(names)} label names {found}",
            expected=f"one for each of the {columns} columns of {key}",
        )
    held = options.binarise(f"{path}: {key}", raw)  # (n, labels)
    notes.append(options.rule)
    known = None
    if "labels.known" in parts:
        known = parts["labels.known"].astype(np.bool_)
        _refuse_other_count(path, "values of labels.known", len(known), count)
    return _Labels(names, _stored_names(path, columns, parts), held, known)


def _are_named(key: str, parts: Parts, options: ConvertOptions) -> bool:
    """Say whether the labels have names, given or known."""
    return options.label_names is not None or "label_names" in parts or key == _INTENSITY


def _stored_names(path: Path, columns: int, parts: Parts) -> list[str] | None:
    """Return what the file calls its labels, whatever the user calls them."""
    if "label_names" not in parts:
        return None
    stored = _strings(path, "label_names", parts["label_names"])
    return stored if len(stored) == columns else None


def _strings(path: Path, key: str, array: np.ndarray) -> list[str]:
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise DataError(f"{path}: {key} is {array.dtype} {array.shape}", expected="strings (N,)")
    return [as_text(value, f"{path}: {key}") for value in array]


def _names(path: Path, key: str, count: int, parts: Parts, notes: list[str]) -> tuple[str, ...]:
    if "label_names" in parts:
        names = _strings(path, "label_names", parts["label_names"])
        return tuple(names)

    # the six emotions of the SDK's label file, without the sentiment before them
    emotions = SDK_LABELS[1:]
    if key == _INTENSITY and count == len(emotions):
        assumed = ", ".join(emotions)
        notes.append(f"{key} does not name its columns: assumed {assumed}")
        return emotions

    raise DataError(
        f"{path} does not name the {count} columns of {key}",
        expected="an array label_names",
        fix="pass --label-names with one name per column",
    )
