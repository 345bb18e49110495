"""Files of the shape ``{split: {key: rows}}``, whatever their keys are called.

TAILOR, MulT and MMSA store one dictionary per split, with a padded array per modality. They differ
in the names of the keys, in how samples are named, and in what says which steps are real.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped

from emotailor.data.padding import nonzero_steps, real_span
from emotailor.data.readers._common import (
    Block,
    Padded,
    as_array,
    as_text,
    canonical_split,
    require_file,
    splits_of,
)
from emotailor.data.readers._pickle import load_pickle, load_torch
from emotailor.data.readers._sniff import holds_pickle
from emotailor.data.readers.account import Account, Parts
from emotailor.data.sample import Modality
from emotailor.errors import DataError

KEYS: dict[Modality, tuple[str, ...]] = {
    "visual": ("vision", "visual", "video", "src-visual"),
    "audio": ("audio", "acoustic", "src-audio"),
    "text": ("text", "language", "src-text"),
}
"""What the key of each modality is called by different authors."""

WIDTHS: dict[Modality, tuple[int, ...]] = {
    "visual": (35, 47, 709, 713),
    "audio": (74,),
    "text": (300, 768),
}
"""The widths that published files have: FACET, OpenFace; COVAREP; GloVe, BERT."""

_LABELS = ("tgt", "labels")
_IDS = ("id", "ids")
_TEXTS = ("raw_text",)


@dataclass
class SplitFile:
    """What a file of splits holds.

    Attributes:
        path: the file.
        content: all of it.
        splits: split -> key -> rows, for the splits that have any.
        keys: where each modality lies.
        notes: what was dropped or assumed.
        account: what it holds, and what of it is used.
    """

    path: Path
    content: Parts
    splits: dict[str, Parts]
    keys: dict[Modality, str]
    notes: list[str] = field(default_factory=list)
    account: Account = field(default_factory=Account)

    def rows_of(self, split: str) -> int:
        """Return how many samples a split has, by its first modality."""
        key = next(iter(self.keys.values()))
        return len(self.splits[split].peek(key))


def open_splits(path: Path) -> SplitFile:
    """Open a pickle or a file of torch that holds splits.

    Raises:
        DataError: the file is missing or damaged, has no split with rows, or no modality.
    """
    notes = []
    require_file(path, "a pickle or a file of torch, with splits")
    if holds_pickle(path):
        content, unknown = load_torch(path)
        if unknown:
            types = ", ".join(unknown)
            notes.append(f"ignored objects of types that are not plain data: {types}")
    else:
        content = load_pickle(path)

    found = splits_of(content, path)
    account = Account()
    whole = account.hold(f"entries of {path.name}", content)
    whole.use(name for name in content if canonical_split(str(name)) in found)
    splits = {}
    for split, of_split in found.items():
        if _has_rows(of_split):
            splits[split] = account.hold(f"entries of the splits of {path.name}", of_split)
        else:
            notes.append(f"the split {split} has no rows")
    if not splits:
        raise DataError(f"{path} has no rows in any split", expected="at least one sample")
    keys = _modality_keys(path, splits, notes)
    return SplitFile(path, whole, splits, keys, notes, account)


def _has_rows(of_split: Mapping[str, Any]) -> bool:
    """Say whether a split has any sample."""
    known = [*_IDS, *_LABELS]
    for names in KEYS.values():
        known += names

    for key in known:
        value = of_split.get(key, ())
        # whatever is no list will be refused where it is read
        listed = isinstance(value, list | tuple)
        if isinstance(value, np.ndarray):
            listed = value.ndim > 0
        if not listed or len(value) > 0:
            return True
    return False


def _modality_keys(
    path: Path, splits: Mapping[str, Mapping[str, Any]], notes: list[str]
) -> dict[Modality, str]:
    """Return where each modality lies; one that no split has is left out, and noted."""
    keys = {}
    for m, names in KEYS.items():
        key = key_in(splits, names)
        if key is not None:
            keys[m] = key
            continue

        _refuse_uneven(path, splits, names)
        if m == "text":
            notes.append("no text modality: the source has token ids at most, no features")
        else:
            notes.append(f"no {m} modality: the source has none of {', '.join(names)}")

    if not keys:
        some_split = next(iter(splits))
        present = ", ".join(map(str, splits[some_split]))
        known = ", ".join(names[0] for names in KEYS.values())
        raise DataError(
            f"{path}: split {some_split!r} has no {known}",
            expected=f"at least one of them; it has {present[:200]}",
        )
    return keys


def _refuse_uneven(
    path: Path, splits: Mapping[str, Mapping[str, Any]], names: Sequence[str]
) -> None:
    """Refuse a modality that some splits have and others have not.

    Raises:
        DataError: it is one.
    """
    for name in names:
        having = [split for split, content in splits.items() if name in content]
        lacking = [split for split in splits if split not in having]
        if having:
            raise DataError(
                f"{path}: split {lacking[0]!r} has no {name!r}, but {having[0]!r} has",
                expected="the same keys in every split",
            )


def key_in(splits: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> str | None:
    """Return the first of some names that is a key of every split."""
    for name in names:
        if all(name in of_split for of_split in splits.values()):
            return name
    return None


def blocks_of(file: SplitFile) -> dict[str, dict[Modality, Block]]:
    """Return the sequences of every split, as (steps, dim).

    Raises:
        DataError: a value has another shape or does not hold numbers.
    """
    blocks: dict[str, dict[Modality, Block]] = {}
    for split, content in file.splits.items():
        blocks[split] = {}
        for m, key in file.keys.items():
            where = f"{file.path}: split {split!r}: {key}"
            blocks[split][m] = Block(where, content[key])

    # decided before any is turned, since each is judged by the others
    turned = [m for m in file.keys if all(_is_turned(m, of) for of in blocks.values())]
    for m in turned:
        for of_split in blocks.values():
            of_split[m].turn()
        file.notes.append(f"{m} was stored as (dim, steps) and is turned")
    return blocks


def _is_turned(m: Modality, blocks: Mapping[Modality, Block]) -> bool:
    """Say whether a modality is evidently stored as (samples, dim, steps)."""
    own = blocks[m].shape
    shapes = [block.shape for other, block in blocks.items() if other != m]
    if own is None or None in shapes or not shapes:
        return False

    # as many features as every other modality has steps, and not the other way round
    first, last = own
    if first == last:
        return False
    others = [shape for shape in shapes if shape is not None]
    two_agree = len(others) > 1 and all(steps == last for steps, _ in others)

    # a width that is known for it, where steps should be
    known = first in WIDTHS[m] and last not in WIDTHS[m]
    return two_agree or (known and all(last in shape for shape in others))


def ids_of(file: SplitFile) -> dict[str, list[tuple[str, ...]]] | None:
    """Return the id of each sample per split: one text, or video, start and end; None without.

    Raises:
        DataError: the ids have another shape, or are not text.
    """
    key = key_in(file.splits, _IDS)
    if key is None:
        return None

    ids = {}
    for split, content in file.splits.items():
        where = f"{file.path}: split {split!r}: {key!r}"
        ids[split] = _ids(where, content[key])
    return ids


def _ids(where: str, value: Any) -> list[tuple[str, ...]]:
    expected = "(N, 3): video, start, end; or N names: video[k] or video$_$k"
    array = as_array(value, where, expected)
    if array.ndim == 1:
        array = array[:, None]  # (N, 1)
    if array.ndim != 2 or array.shape[1] not in (1, 3):
        raise DataError(f"{where} has shape {array.shape}", expected=expected)

    ids = []
    for row in array.tolist():
        cells = [as_text(cell, where) for cell in row]
        ids.append(tuple(cells))
    return ids


def texts_of(file: SplitFile, split: str, count: int) -> list[str | None]:
    """Return what is said in each sample of a split; None where the file does not tell it."""
    for key in _TEXTS:
        texts: Any = file.splits[split].peek(key)
        listed = isinstance(texts, list | tuple)
        if isinstance(texts, np.ndarray):
            listed = texts.ndim > 0
        if listed and len(texts) == count:
            file.splits[split].use([key])
            return [text if isinstance(text, str) else None for text in texts]
    return [None] * count


class RealSteps:
    """Cuts samples to the steps that the file says are real.

    Args:
        file: the file.
        padded: its sequences.

    Raises:
        DataError: a number of steps is impossible.
    """

    def __init__(self, file: SplitFile, padded: Padded) -> None:
        self._padded = padded
        self._lengths = {}
        self._masks = {}
        self._beyond: Counter[Modality] = Counter()
        for split, content in file.splits.items():
            blocks = padded.blocks[split]
            self._lengths[split] = _all_lengths(file, split, blocks)

            mask = _token_mask(content.get("text_bert"), blocks, padded.aligned)
            if isinstance(mask, str):
                file.notes.append(f"text_bert of the split {split} is not used: {mask}")
            elif mask is not None:
                self._masks[split] = mask

    def cut(self, split: str, index: int) -> dict[Modality, Float[np.ndarray, "_ _"]]:
        """Return the sequences of one sample without their padding."""
        lengths = {m: int(steps[index]) for m, steps in self._lengths[split].items()}
        tokens = slice(0, 0)
        if split in self._masks:
            tokens = real_span(self._masks[split][index])

        # no token at all says nothing: such a row is filling
        if tokens.stop == 0:
            return self._padded.cut(split, index, lengths)

        spans: dict[Modality, slice] = {"text": tokens}
        if self._padded.aligned:
            spans = dict.fromkeys(self._padded.blocks[split], tokens)
            self._count_beyond(split, index, tokens)
        return self._padded.cut(split, index, lengths, spans)

    def notes(self) -> list[str]:
        """Say what was cut besides padding; complete after the last sample."""
        lines = []
        if self._masks:
            lines.append("the second row of text_bert says which steps are real tokens")
        for m, count in self._beyond.items():
            lines.append(f"{m} of {count} samples is not zero beyond the real tokens: cut off")
        return lines

    def _count_beyond(self, split: str, index: int, tokens: slice) -> None:
        for m, block in self._padded.blocks[split].items():
            if m == "text":
                continue
            real = nonzero_steps(block[index])
            real[tokens] = False
            if real.any():
                self._beyond[m] += 1


def _token_mask(
    value: Any, blocks: Mapping[Modality, Block], aligned: bool
) -> Bool[np.ndarray, "n steps"] | str | None:
    """Return which steps are real tokens; why the file does not say it; None where it has none."""
    # the modality that it speaks of
    block = blocks.get("text")
    if block is None and aligned:
        block = next(iter(blocks.values()))
    if value is None or block is None:
        return None

    mask = _second_row(value)
    if isinstance(mask, str):
        return mask
    if len(mask) != len(block) or set(block.lengths.tolist()) != {mask.shape[1]}:
        return f"it has {len(mask)} rows of {mask.shape[1]} tokens"
    if not np.isin(mask, (0, 1)).all():
        return "its second row holds other numbers than 0 and 1"
    return mask.astype(bool)


def _second_row(value: Any) -> Shaped[np.ndarray, "n steps"] | str:
    """Return the second row of each sample in (n, 3, steps), or what there is instead."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError):
        return "no array"

    numeric = array.dtype.kind in "fiub"
    if array.ndim == 3 and array.shape[2] == 3 != array.shape[1]:
        array = array.transpose(0, 2, 1)
    if array.ndim != 3 or array.shape[1] != 3 or not numeric:
        return f"{array.dtype} of shape {array.shape}"
    return np.asarray(array[:, 1])


def _all_lengths(
    file: SplitFile, split: str, blocks: Mapping[Modality, Block]
) -> dict[Modality, Int64[np.ndarray, "n"]]:
    """Return the number of real steps, for the modalities of which the file says it."""
    content = file.splits[split]
    of_split = {}
    for m, key in file.keys.items():
        name = f"{key}_lengths"
        if name in content:
            where = f"{file.path}: split {split!r}: {name}"
            of_split[m] = _lengths(where, content[name], blocks[m])
    return of_split


def _lengths(where: str, value: Any, block: Block) -> Int64[np.ndarray, "n"]:
    count = len(block)
    expected = f"{count} whole numbers, none beyond the steps there are"
    array = as_array(value, where, expected)
    lengths = array.ravel()

    found = f"{len(lengths)} values of {lengths.dtype}"
    wrong = DataError(f"{where}: {found}", expected=expected)
    if lengths.dtype.kind not in "iu" or len(lengths) != count:
        raise wrong

    # none beyond the padded sequence
    possible = (lengths >= 0) & (lengths <= block.lengths)
    if not possible.all():
        raise wrong
    return lengths.astype(np.int64)
