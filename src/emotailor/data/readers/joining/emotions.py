"""Emotion labels inside a file of splits: lists of class ids, or an array of columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from emotailor.data.readers._common import ConvertOptions, as_array, as_text, pick_columns
from emotailor.data.readers.account import Parts
from emotailor.data.readers.joining.labels import SDK_LABELS
from emotailor.data.sample import canonical_label
from emotailor.errors import ConfigError, DataError

CLASSES = SDK_LABELS[1:]
"""The order of TAILOR's class ids, and of six label columns: the SDK's without the sentiment."""

IEMOCAP = ("neutral", "happy", "sad", "angry")
"""The order of the four emotions in MulT's ``iemocap_data.pkl``."""

ARRAYS = ("labels", "emotion_labels", "emotions", "label")
"""Where an array of labels may lie in a split."""

NAMES = ("label_names", "emotion_names", "class_names", "classes", "emotions")
"""Where the names of label columns may lie in a file."""

SENTIMENTS = ("regression_labels", "labels", "label")
"""Where the sentiment may lie in a split."""

_BEGIN, _END, _FIRST = 2, 3, 4
_EMPTY_LINE = [1, 1, 1, 1]
"""What HHMPN's preprocessing writes for a test sample without labels: four unknown words."""

_SPECIAL = {"<s>", "</s>", "<unk>", "<blank>", "<pad>"}
_Splits = Mapping[str, Mapping[str, Any]]


@dataclass
class Emotions:
    """Emotion labels of all splits.

    Attributes:
        names: one per column.
        rows: split -> 0/1 per sample and label.
        notes: what was assumed.
    """

    names: tuple[str, ...]
    rows: dict[str, UInt8[np.ndarray, "n labels"]]
    notes: list[str] = field(default_factory=list)


def emotions_in(
    path: Path, content: Parts, splits: _Splits, options: ConvertOptions
) -> Emotions | None:
    """Return the emotion labels that a file of splits holds; None where it has none.

    Args:
        path: the file, for messages.
        content: all that it holds, with a dictionary of class names perhaps.
        splits: the splits of it that have rows.
        options: names and rule of the labels.

    Raises:
        DataError: the labels cannot be understood.
        ConfigError: a rule is given for labels that are 0 or 1.
    """
    if all("tgt" in split for split in splits.values()):
        return emotions_by_class(path, content, splits, options)

    for key in ARRAYS:
        if all(key in split for split in splits.values()):
            found = _in_columns(path, key, content, splits, options)
            if found is not None:
                return found
    return None


def emotions_by_class(
    path: Path, content: Parts, splits: _Splits, options: ConvertOptions
) -> Emotions:
    """Return the labels of ``tgt``: ``[2, class ids..., 3]`` per sample.

    Raises:
        DataError: a target is not of this form, or has an id that the file does not name.
        ConfigError: a rule is given, which class ids have no use for.
    """
    defaults = ConvertOptions()
    given = (options.label_threshold, options.label_rule)
    if given != (defaults.label_threshold, defaults.label_rule):
        raise ConfigError(
            f"a threshold for the labels of {path}",
            expected="none: its class ids say which labels hold",
        )

    names, notes = _class_names(path, content, options)
    rows = {}
    for split, of_split in splits.items():
        where = f"{path}: split {split!r}"
        rows[split], empty = _from_targets(where, of_split["tgt"], names)
        if empty:
            notes.append(
                f"split {split!r}: {empty} samples with the target {_EMPTY_LINE}: no label"
            )

    # classes in the order of their ids
    by_id = sorted(names)
    return Emotions(tuple(names[i] for i in by_id), rows, notes)


def _class_names(
    path: Path, content: Parts, options: ConvertOptions
) -> tuple[dict[int, str], list[str]]:
    """Return the name of each class id, and what was assumed about them."""
    own = _dictionary(path, content)
    if own is None:
        given = options.label_names or CLASSES
        notes = []
        if options.label_names is None:
            listed = ", ".join(CLASSES)
            notes.append(
                f"the file does not name its class ids: {_FIRST} and on are taken as {listed}"
            )
        return dict(enumerate(given, _FIRST)), notes

    # names of the user must be those of the file, or as many, to call them otherwise
    if options.label_names is None:
        return own, []
    ours = {canonical_label(name) for name in own.values()}
    theirs = {canonical_label(name) for name in options.label_names}
    if ours != theirs:
        raise DataError(
            f"{path} names its classes {', '.join(own.values())}, not "
            f"{', '.join(options.label_names)}",
            expected="the names of the file",
            fix="leave out --label-names",
        )
    return own, []


def _dictionary(path: Path, content: Parts) -> dict[int, str] | None:
    """Return the names that a file gives to its class ids, without marks such as ``<s>``."""
    dictionaries = content.peek("dict")
    if not isinstance(dictionaries, Mapping) or not dictionaries.get("tgt"):
        return None

    content.use(["dict"])
    stored = dictionaries["tgt"]
    expected = "class names and their ids, each once"
    if not isinstance(stored, Mapping):
        raise DataError(f"{path}: its dict.tgt is a {type(stored).__name__}", expected=expected)

    names: dict[int, str] = {}
    for key, value in stored.items():
        # in either direction
        name, number = (value, key) if isinstance(key, int) else (key, value)
        where = f"{path}: dict.tgt"
        text = as_text(name, where)
        index = _as_int(number)
        if index is None or index in names:
            raise DataError(f"{where} has {key!r}: {value!r}", expected=expected)
        names[index] = text

    marks = {index for index, name in names.items() if name.strip().lower() in _SPECIAL}
    classes = {index: name for index, name in names.items() if index not in marks}
    return classes or None


def _as_int(value: Any) -> int | None:
    """Return a whole number, also from an array or a scalar of NumPy."""
    if not isinstance(value, int | np.integer | np.ndarray):
        return None
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "iu":
        return None
    return int(array.ravel()[0])


def _from_targets(
    where: str, targets: Any, names: Mapping[int, str]
) -> tuple[UInt8[np.ndarray, "n labels"], int]:
    """Turn ``[2, ids..., 3]`` per sample into 0/1 columns, in the order of the ids.

    Returns:
        The columns, and the number of samples that stand for an empty line.
    """
    # an array without dimensions has no length
    listed = isinstance(targets, list | tuple)
    if isinstance(targets, np.ndarray):
        listed = targets.ndim > 0
    if not listed:
        kind = type(targets).__name__
        raise DataError(
            f"{where}: 'tgt' is a {kind}",
            expected="a list of [2, class ids..., 3], one per sample",
        )

    known = ", ".join(f"{i} {names[i]}" for i in sorted(names))
    expected = f"[{_BEGIN}, class ids..., {_END}] with the ids {known}"
    column_of = {class_id: column for column, class_id in enumerate(sorted(names))}
    labels = np.zeros((len(targets), len(names)), np.uint8)
    empty = 0
    for i, target in enumerate(targets):
        sample = f"{where}: 'tgt' of sample {i}"
        array = as_array(target, sample, expected)
        ids = array.ravel().tolist()
        if ids == _EMPTY_LINE:
            empty += 1
            continue

        columns = _columns(ids, column_of)
        if columns is None:
            raise DataError(
                f"{sample} is {str(ids)[:80]}",
                expected=expected[:400],
                fix="name the labels with --label-names if there are other than six",
            )
        labels[i, columns] = 1
    return labels, empty


def _columns(ids: list[Any], column_of: Mapping[int, int]) -> list[int] | None:
    """Return the label columns of one target, or None where it is not one."""
    numbers = all(isinstance(i, int | float) for i in ids)
    if not numbers:
        return None

    if _END in ids:
        end = ids.index(_END)
        # zeros behind it fill a rectangular array
        if any(ids[end + 1 :]):
            return None
        ids = ids[: end + 1]
    if len(ids) < 2 or ids[0] != _BEGIN or ids[-1] != _END:
        return None

    # between the marks stand the classes
    columns = []
    for i in ids[1:-1]:
        if not isinstance(i, int) or i not in column_of:
            return None
        columns.append(column_of[i])
    return columns


def _in_columns(
    path: Path, key: str, content: Parts, splits: _Splits, options: ConvertOptions
) -> Emotions | None:
    """Return the labels of an array with a column per label; None where it is the sentiment."""
    columns = {}
    paired = False
    for split, of_split in splits.items():
        where = f"{path}: split {split!r}: {key}"
        columns[split], paired = _as_columns(where, of_split[key])

    counts = {array.shape[1] for array in columns.values()}
    if counts == {1}:
        return None
    if len(counts) > 1:
        raise DataError(
            f"{path}: {key} has {sorted(counts)} columns in its splits",
            expected="the same number in each",
        )

    count = counts.pop()
    own = _names_in(content, count)
    if own is None and options.label_names is None and count == len(SDK_LABELS):
        _refuse_seven_emotions(f"{path}: {key}", columns)
    names, notes = _column_names(f"{path}: {key}", count, options, own, paired=paired)
    chosen = names
    if options.label_names is not None:
        chosen = pick_columns(f"{path}: {key}", names, options.label_names, canonical_label)
    else:
        chosen = [name for name in names if name.lower() != SDK_LABELS[0]]

    positions = [names.index(name) for name in chosen]
    rows = {}
    for split, array in columns.items():
        where = f"{path}: split {split!r}: {key}"
        picked = array[:, positions]
        _refuse_negative(where, picked)
        rows[split] = options.binarise(where, picked)
    return Emotions(tuple(options.label_names or chosen), rows, [*notes, options.rule])


def _as_columns(where: str, value: Any) -> tuple[np.ndarray, bool]:
    """Return (n, columns) numbers, and whether they were pairs of no and yes.

    Axes of length one go.
    """
    expected = "numbers of shape (samples, labels)"
    array = as_array(value, where, expected)
    array = _as_numbers(where, array, expected)

    # MulT's IEMOCAP has (n, 4, 2), with a 1 at [0] for no and at [1] for yes
    if array.ndim == 3 and array.shape[2] == 2 and array.shape[1] > 1:
        pairs = np.isin(array, (0, 1)).all() and (array.sum(axis=2) == 1).all()
        if pairs:
            return np.asarray(array[:, :, 1]), True

    shape = [size for size in array.shape[1:] if size != 1]
    if array.ndim < 1 or len(shape) > 1:
        raise DataError(f"{where}: shape {array.shape}", expected=expected)
    columns = shape[0] if shape else 1
    return array.reshape(len(array), columns), False


def _as_numbers(where: str, array: np.ndarray, expected: str) -> np.ndarray:
    """Return numbers, also of texts such as ``"1"``."""
    if array.dtype.kind in "fiub":
        return array
    try:
        return array.astype(np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(
            f"{where}: {array.dtype} of shape {array.shape}", expected=expected
        ) from error


def _names_in(content: Parts, count: int) -> list[str] | None:
    """Return the names that a file gives to its label columns, where it does."""
    for key in NAMES:
        names = content.peek(key)
        if not isinstance(names, list | tuple | np.ndarray) or len(names) != count:
            continue
        if all(isinstance(name, str) for name in names):
            content.use([key])
            return [str(name) for name in names]
    return None


def _refuse_seven_emotions(where: str, columns: Mapping[str, np.ndarray]) -> None:
    """Refuse seven columns of 0 and 1: the first is an emotion, then, and no sentiment."""
    if all(np.isin(array, (0, 1)).all() for array in columns.values()):
        raise DataError(
            f"{where} has 7 columns of 0 and 1 without names",
            expected=f"the sentiment, from -3 to 3, and {', '.join(CLASSES)}",
            fix="pass --label-names with one name per column",
        )


def _column_names(
    where: str, count: int, options: ConvertOptions, own: list[str] | None, *, paired: bool
) -> tuple[list[str], list[str]]:
    """Return a name for each column, and what was assumed."""
    if own is not None:
        return own, []
    given = options.label_names
    if given is not None and len(given) == count:
        return list(given), []

    assumed: Sequence[str] = ()
    if count == len(CLASSES):
        assumed = CLASSES
    elif count == len(SDK_LABELS):
        assumed = SDK_LABELS
    elif paired and count == len(IEMOCAP):
        assumed = IEMOCAP
    if not assumed:
        raise DataError(
            f"{where} has {count} columns without names",
            expected=f"6 columns ({', '.join(CLASSES)}), or 7 with the sentiment before them",
            fix="pass --label-names with one name per column",
        )

    listed = ", ".join(assumed)
    key = where.rpartition(" ")[2]
    return list(assumed), [f"{key} does not name its {count} columns: assumed {listed}"]


def _refuse_negative(where: str, values: np.ndarray) -> None:
    """Refuse values below zero: an emotion is absent or has an intensity."""
    below = values[values < 0]
    if len(below):
        raise DataError(
            f"{where}: the value {below.min():g}",
            expected="0 or 1, or an intensity from 0 to 3, for each emotion",
            fix="name the columns in their order with --label-names if they are others",
        )


def no_emotions(path: Path, splits: _Splits) -> DataError:
    """Return the error for a file without emotions, with what is in it."""
    keys = sorted({str(key) for split in splits.values() for key in split})
    found = f"{path} has no emotion labels among {', '.join(keys)[:200]}"
    if SENTIMENTS[0] in keys:
        found = f"{path} has sentiment ({SENTIMENTS[0]}) and no emotion labels"
    elif set(SENTIMENTS) & set(keys):
        found = (
            f"{path} has one number per sample in its labels, which in MulT's files is the "
            "sentiment, and no emotion labels"
        )
    return DataError(
        found,
        expected="a file with the emotion labels, joined by segment id",
        fix="pass --labels with a CSV (columns id, segment_id or clip, start, end, happy, sad, "
        "anger, surprise, disgust, fear) or the SDK's CMU_MOSEI_Labels.csd",
    )


def sentiments_in(split: Mapping[str, Any], count: int) -> list[float | None]:
    """Return the sentiment of each sample of a split; None where the file does not tell it."""
    unknown: list[float | None] = [None] * count
    for key in SENTIMENTS:
        if key not in split:
            continue
        try:
            values = np.asarray(split[key], np.float64).reshape(-1)
        except (ValueError, TypeError, OverflowError):
            continue
        if len(values) == count and np.isfinite(values).all():
            return [float(value) for value in values]
    return unknown
