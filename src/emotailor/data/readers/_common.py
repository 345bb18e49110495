"""What every reader takes, returns and checks."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.errors import ConfigError, DataError, EmotailorError

_SPLIT_ALIASES = {"dev": "valid", "val": "valid", "validation": "valid"}
_SDK_FOLD = re.compile(r"(?:standard_)?(train|valid|test)_fold")


@dataclass(frozen=True)
class ConvertOptions:
    """What the user can say about a source.

    Attributes:
        labels: file with the emotion labels, for formats that lack them.
        label_names: names of the label columns, or which columns to take.
        label_threshold: a label holds where its value is beyond this.
        label_rule: ``>`` or ``>=``: whether the threshold itself counts.
        folds: file that says which video is in which split.
        split_by_hash: without ``folds``, split videos 70/10/20 by a hash of their id.
        align: True or False to insist on (un)aligned; None to find out.
        limit: most samples to take per split.

    Raises:
        ConfigError: an option is out of range.
    """

    labels: Path | None = None
    label_names: tuple[str, ...] | None = None
    label_threshold: float = 0.0
    label_rule: str = ">"
    folds: Path | None = None
    split_by_hash: bool = False
    align: bool | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.label_rule not in (">", ">="):
            raise ConfigError(f"label_rule {self.label_rule!r}", expected="'>' or '>='")
        if not np.isfinite(self.label_threshold):
            raise ConfigError(f"label_threshold {self.label_threshold}", expected="a finite number")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit {self.limit}", expected="1 or more samples per split")
        if self.folds is not None and self.split_by_hash:
            raise ConfigError("both folds and split_by_hash are given", expected="one of them")

    def binarise(self, where: str, values: Any) -> UInt8[np.ndarray, "..."]:
        """Return 1 where a label holds, else 0, in the shape of ``values``.

        Raises:
            DataError: a value is not a finite number.
        """
        numbers = np.asarray(values)
        if numbers.dtype.kind not in "fiub" or not np.isfinite(numbers).all():
            raise DataError(f"{where}: labels that are not finite numbers", expected="numbers")
        held = numbers > self.label_threshold
        if self.label_rule == ">=":
            held |= numbers == self.label_threshold
        return held.astype(np.uint8)

    @property
    def rule(self) -> str:
        """The label rule in words, for notes."""
        return f"a label holds where its value is {self.label_rule} {self.label_threshold:g}"


@dataclass
class Reading:
    """An opened source.

    Attributes:
        label_names: of the label columns of ``samples``, as the source names them.
        dims: feature width per modality.
        aligned: whether all modalities of a sample share their steps.
        samples: (split, sample) one by one; to be gone through once. A sample may turn out to have
            no modality.
        files: what was read, for provenance; by default the source, where it is one file.
        notes: what was dropped, assumed or unmatched; complete only after ``samples`` ended.
    """

    label_names: tuple[str, ...]
    dims: dict[Modality, int]
    aligned: bool
    samples: Iterable[tuple[str, Sample]]
    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@contextmanager
def unreadable(path: Path, expected: str) -> Iterator[None]:
    """Turn whatever a library raises over a damaged file into one ``DataError``."""
    try:
        yield
    except EmotailorError:
        raise
    except Exception as error:  # a damaged file can make its library raise anything
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path} cannot be read: {type(error).__name__}{': ' * bool(reason)}{reason}",
            expected=expected,
            fix="check that it is complete, or copy or download it again",
        ) from None


def require_file(path: Path, what: str) -> Path:
    """Return ``path`` if it is a file that holds anything.

    Raises:
        DataError: it does not exist, is a folder or is empty.
    """
    found = None
    if not path.exists():
        found = f"{path} does not exist"
    elif not path.is_file():
        found = f"{path} is not a file"
    elif path.stat().st_size == 0:
        found = f"{path} is empty"
    if found:
        raise DataError(found, expected=what, fix="check the path")
    return path


def canonical_split(name: str) -> str | None:
    """Return ``train``, ``valid``, ``test`` or another name as given; None for ``none`` or empty.

    ``dev``, ``val`` and the SDK's ``standard_valid_fold`` all mean ``valid``.
    """
    name = name.strip()
    if name.lower() in ("", "none", "nan"):
        return None
    if fold := _SDK_FOLD.fullmatch(name):
        return fold[1]
    return _SPLIT_ALIASES.get(name.lower(), name)


def as_text(value: Any) -> str:
    """Return a str from a str, bytes or NumPy scalar of either."""
    return value.decode() if isinstance(value, bytes) else str(value)


class Block:
    """The sequences of one modality in one split: (n, steps, dim), or n arrays (steps_i, dim).

    Args:
        where: file, split and key, for messages.
        value: an array, or a list of arrays.
        vectors: accept (n, dim) too: sequences of one step.

    Raises:
        DataError: the value has another shape or does not hold numbers.
    """

    def __init__(self, where: str, value: Any, *, vectors: bool = False) -> None:
        self._where = where
        expected = "numbers of shape (samples, steps, features)"
        if isinstance(value, list | tuple) or (
            isinstance(value, np.ndarray) and value.dtype.kind == "O"
        ):
            self._items: Any = [np.asarray(item) for item in value]
            self.dim = self._items[0].shape[-1] if self._items and self._items[0].ndim else 0
            bad = [a for a in self._items if a.ndim != 2 or a.dtype.kind not in "fiub"]
            if bad or not self._items:
                found = f"item of {bad[0].dtype} and shape {bad[0].shape}" if bad else "no items"
                raise DataError(f"{where}: {found}", expected=expected)
            self.lengths = np.array([len(a) for a in self._items])
        else:
            array = np.asarray(value)
            if array.ndim == 2 and vectors:
                array = array[:, None]
            if array.ndim != 3 or array.dtype.kind not in "fiub" or not array.shape[2]:
                raise DataError(
                    f"{where}: {_describe(value, array)}",
                    expected=expected + (" or (samples, features)" if vectors else ""),
                )
            self._items, self.dim = array, array.shape[2]
            self.lengths = np.full(len(array), array.shape[1])

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Float32[np.ndarray, "steps dim"]:
        return as_float32(self._items[index])


def _describe(value: Any, array: np.ndarray) -> str:
    kind = str(array.dtype) if array.dtype != object else type(value).__name__
    return f"{kind} of shape {array.shape}"


def as_float32(values: np.ndarray) -> Float32[np.ndarray, "..."]:
    """Return ``values`` as float32; what is beyond its range becomes infinite."""
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(np.float32, copy=False)


def check_blocks(
    splits: Mapping[str, Mapping[Modality, Block]], counts: Mapping[str, int], path: Path
) -> dict[Modality, int]:
    """Return the dims, after checking that all splits agree and have as many sequences as samples.

    Raises:
        DataError: they do not.
    """
    dims: dict[Modality, int] = {}
    for split, blocks in splits.items():
        for m, block in blocks.items():
            if len(block) != counts[split]:
                raise DataError(
                    f"{path}: split {split!r} has {len(block)} {m} sequences "
                    f"but {counts[split]} samples",
                    expected="one sequence per sample",
                )
            if dims.setdefault(m, block.dim) != block.dim:
                raise DataError(
                    f"{path}: {m} has {block.dim} features in split {split!r} and {dims[m]} before",
                    expected="the same number of features in every split",
                )
    if not dims:
        raise DataError(f"{path} has no modality", expected=f"at least one of {MODALITIES}")
    return {m: dims[m] for m in MODALITIES if m in dims}


def decide_aligned(
    splits: Mapping[str, Mapping[Modality, Block]], align: bool | None, path: Path
) -> bool:
    """Return whether the data are aligned: as ``align`` says, else where all step counts agree.

    Raises:
        DataError: ``align`` is True and the modalities have different numbers of steps.
    """
    for split, blocks in splits.items():
        lengths = [block.lengths for block in blocks.values()]
        if any(not np.array_equal(lengths[0], other) for other in lengths[1:]):
            if align:
                shown = {m: int(b.lengths.max(initial=0)) for m, b in blocks.items()}
                raise DataError(
                    f"{path}: split {split!r} has {shown} steps and cannot be aligned",
                    expected="the same number of steps in every modality",
                    fix="convert it as unaligned, or use the aligned file",
                )
            return False
    return align is not False


def splits_of(content: Any, path: Path, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the splits of a ``{split: {key: ...}}`` file; other top-level entries are ignored.

    Args:
        content: what was unpickled.
        path: of the file, for messages.
        keys: what each split must have.

    Raises:
        DataError: there is no split, or one lacks a key.
    """
    splits = {}
    if isinstance(content, dict):
        for name in content:
            split = canonical_split(name) if isinstance(name, str) else None
            if split in ("train", "valid", "test") and isinstance(content[name], dict):
                splits[split] = content[name]
    if not splits:
        top = f"entries {[str(k)[:30] for k in content][:8]}" if isinstance(content, dict) else ""
        raise DataError(
            f"{path} holds {top or 'a ' + type(content).__name__} and no split",
            expected="a dictionary with the splits train, valid and test",
        )
    for name, split in splits.items():
        if missing := [key for key in keys if key not in split]:
            raise DataError(
                f"{path}: split {name!r} has no {', '.join(map(repr, missing))}",
                expected=f"the keys {', '.join(keys)}; it has {', '.join(map(str, split))[:200]}",
            )
    return splits


def pick_columns(
    where: str, columns: Sequence[str], wanted: Sequence[str], same: Any = str
) -> list[str]:
    """Return the column for each wanted label, compared after ``same``.

    Raises:
        DataError: there is no such column.
    """
    by_name = {same(column): column for column in columns}
    if unknown := [name for name in wanted if same(name) not in by_name]:
        raise DataError(
            f"{where} has no label {', '.join(map(repr, unknown))}",
            expected=f"some of its columns {', '.join(columns)}",
        )
    return [by_name[same(name)] for name in wanted]
