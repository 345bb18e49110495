"""What every reader takes, returns and checks."""

import codecs
import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from jaxtyping import Float, Float32, UInt8

from emotailor.data.cutting import MaxSteps
from emotailor.data.extraction import Extraction
from emotailor.data.padding import strip_padding
from emotailor.data.readers._sniff import kind_of, refuse_stand_in
from emotailor.data.readers.account import Account
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.data.split_names import ALIASES, ORDER
from emotailor.errors import ConfigError, DataError, EmotailorError
from emotailor.inputs import not_a_file

_PIECE = 2**20
_LONGEST_LINE = 2**24
_MOST_COLUMNS = 20_000
_MOST_CELLS = 20_000_000
_LARGEST_NUMBER = 16  # bytes
_MOST_TEXT = 2**30  # bytes of an array of text
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
        split: shares of train, valid and test, by which the videos of a source without splits are
            divided; None to leave all of its samples in one split.
        split_seed: another number divides in another way.
        unlabelled: keep samples whose labels nobody knows, for prediction.
        keep_going: where the file of a single sample is damaged, yield :class:`Unreadable` for it.
        max_steps: the most steps of a sample, of every modality or of each; None for any number.
        longer: what becomes of a sample with more: ``cut`` to its first steps, or ``split``.
        train_share: the share of the split train to take, from 0 to 1.
        features: modality -> file with the features of all rows of a table.
        join: further tables, whose columns are joined by id.
        flags: modality -> column of names that become its features, 0 or 1 at each step.
        flag_names: the names that features stand for; None for all that there are.
        text_column: column of a table that holds what is said.
        pooling: with an encoder, whether there is a vector for each of its words or one for all.

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
    split: tuple[float, float, float] | None = None
    split_seed: int = 0
    unlabelled: bool = False
    keep_going: bool = False
    max_steps: MaxSteps | None = None
    longer: str = "cut"
    train_share: float = 1.0
    features: Mapping[Modality, Path] = field(default_factory=dict)
    join: tuple[Path, ...] = ()
    flags: Mapping[Modality, str] = field(default_factory=dict)
    flag_names: tuple[str, ...] | None = None
    text_column: str | None = None
    pooling: str = "words"

    def __post_init__(self) -> None:
        if self.label_rule not in (">", ">="):
            raise ConfigError(f"label_rule {self.label_rule!r}", expected="'>' or '>='")

        threshold = self.label_threshold
        if not np.isfinite(threshold):
            raise ConfigError(f"label_threshold {threshold}", expected="a finite number")

        limit = self.limit
        if limit is not None and limit < 1:
            raise ConfigError(f"limit {limit}", expected="1 or more samples per split")

        if self.longer not in ("cut", "split"):
            raise ConfigError(f"longer {self.longer!r}", expected="'cut' or 'split'")
        if self.longer != "cut" and self.max_steps is None:
            raise ConfigError(
                f"longer {self.longer!r} without max_steps", expected="how many steps are too many"
            )

        share = self.train_share
        if not 0 < share <= 1:
            raise ConfigError(f"train_share {share}", expected="a number above 0 and up to 1")

        both = sorted(set(self.features) & set(self.flags))
        if both:
            raise ConfigError(
                f"{both[0]} has features and flags", expected="one of them for each modality"
            )
        if self.flag_names is not None and len(self.flags) != 1:
            raise ConfigError(
                f"flag_names for {len(self.flags)} columns of flags", expected="one column"
            )

        # several answers to one question
        answers = {
            "folds": self.folds is not None,
            "split_by_hash": self.split_by_hash,
            "split": self.split is not None,
        }
        given = [name for name, is_given in answers.items() if is_given]
        if len(given) > 1:
            raise ConfigError(f"both {' and '.join(given)} are given", expected="one of them")

    def binarise(self, where: str, values: Any) -> UInt8[np.ndarray, "..."]:
        """Return 1 where a label holds, else 0, in the shape of ``values``.

        Raises:
            DataError: a value is not a finite number.
        """
        numbers = np.asarray(values)
        numeric = numbers.dtype.kind in "fiub"
        if not numeric or not np.isfinite(numbers).all():
            raise DataError(
                f"{where}: labels that are not finite numbers",
                expected="numbers",
                fix="write 0 where a label does not hold; leave out samples whose labels nobody "
                "knows, or their labels where the format allows it",
            )

        # also at the threshold itself, if the rule says so
        held = numbers > self.label_threshold
        if self.label_rule == ">=":
            held |= numbers == self.label_threshold
        return held.astype(np.uint8)

    @property
    def rule(self) -> str:
        """The label rule in words, for notes."""
        return f"a label holds where its value is {self.label_rule} {self.label_threshold:g}"


@dataclass(frozen=True, repr=False, eq=False)
class Unreadable(Sample):
    """Stands in the place of a sample whose file is damaged; it has no sequences.

    Attributes:
        error: what is wrong with the file.
    """

    error: DataError = field(default_factory=lambda: DataError("a damaged file"))


@dataclass
class Reading:
    """An opened source.

    Attributes:
        label_names: names of the label columns of ``samples``, as the source names them.
        dims: feature width per modality.
        aligned: whether all modalities of a sample share their steps.
        samples: (split, sample) one by one; to be gone through once. A sample may turn out to have
            no modality.
        files: what was read, for provenance; by default the source, where it is one file.
        notes: what was dropped, assumed or unmatched; complete only after ``samples`` ended.
        extraction: modality -> how its features were extracted, where the source tells.
        account: what the source holds, and what of it was dropped or not used; complete only after
            ``samples`` ended.
        count: how many samples there are at most; None where nobody has counted.
    """

    label_names: tuple[str, ...]
    dims: dict[Modality, int]
    aligned: bool
    samples: Iterable[tuple[str, Sample]]
    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    extraction: Mapping[Modality, Extraction] = field(default_factory=dict)
    account: Account = field(default_factory=Account)
    count: int | None = None

    def told(self) -> list[str]:
        """Return everything there is to say; complete only after ``samples`` ended."""
        return [*self.notes, *self.account.notes()]


@contextmanager
def unreadable(
    path: Path, expected: str, kinds: type[Exception] | tuple[type[Exception], ...] = Exception
) -> Iterator[None]:
    """Turn whatever a library raises over a damaged file into one ``DataError``.

    Only calls of a library belong inside: a mistake in code of our own would be reported as damage
    of the file.

    Args:
        path: the file.
        expected: what would be right, for messages.
        kinds: what is damage; a damaged file can make most libraries raise anything.
    """
    try:
        yield
    except EmotailorError:
        raise
    except kinds as error:
        found = type(error).__name__
        reason = " ".join(str(error).split())
        if reason:
            found = f"{found}: {reason[:200]}"

        raise DataError(
            f"{path} cannot be read: {found}",
            expected=expected,
            fix="check that it is complete, or copy or download it again",
        ) from error


def require_file(path: Path, what: str) -> Path:
    """Return ``path`` if it is a file that holds data.

    Raises:
        DataError: it does not exist, is a folder, a pipe or a device, which is not opened, is
            empty, or is something else that was saved in
            place of the file, such as a web page.
    """
    found = not_a_file(path)
    if found is not None:
        raise DataError(found, expected=what, fix="check the path")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty", expected=what, fix="copy or download it again")

    refuse_stand_in(path)
    return path


def canonical_split(name: str) -> str | None:
    """Return ``train``, ``valid``, ``test`` or another name as given; None for ``none`` or empty.

    ``dev``, ``val`` and the SDK's ``standard_valid_fold`` all mean ``valid``.
    """
    name = name.strip()
    if name.lower() in ("", "none", "nan"):
        return None

    fold = _SDK_FOLD.fullmatch(name)
    if fold is not None:
        return fold[1]
    return ALIASES.get(name.lower(), name)


def as_text(value: Any, where: str) -> str:
    """Return a str from a str, bytes or NumPy scalar of either.

    Args:
        value: what is stored.
        where: file and key, for messages.

    Raises:
        DataError: bytes that are not UTF-8.
    """
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: {value[:80]!r}", expected="text in UTF-8") from error


def as_array(value: Any, where: str, expected: str) -> np.ndarray:
    """Return an array of what a file holds.

    Args:
        value: anything.
        where: file, split and key, for messages.
        expected: what would be right, for messages.

    Raises:
        DataError: it cannot be an array, such as rows of different lengths.
    """
    count, width = _written_out(value, {})
    if width > _LARGEST_NUMBER and count * width > _MOST_TEXT:
        raise DataError(
            f"{where}: {count} items, one of them a text of {width} bytes",
            expected=expected,
            fix="an array gives every text the room of the longest: shorten it, or leave it out",
        )

    try:
        return np.asarray(value)
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        raise DataError(
            f"{where}: a {type(value).__name__} that is no array: {error}", expected=expected
        ) from error


def _written_out(value: Any, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Return how many items a list has, over all levels, and the bytes of the largest in NumPy.

    Args:
        value: anything; only lists and tuples are gone through.
        known: what was gone through already, by identity; it is filled.
    """
    if isinstance(value, str):
        return 1, 4 * len(value)
    if isinstance(value, bytes):
        return 1, len(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.size, value.itemsize
    if not isinstance(value, list | tuple):
        return 1, 0

    key = id(value)
    if key in known:
        return known[key]
    count = len(value)
    width = 0
    for item in value:
        kind = type(item)
        if kind is float or kind is int:
            continue
        of_item, wide = _written_out(item, known)
        count += of_item - 1
        width = max(width, wide)
    known[key] = count, width
    return count, width


@dataclass(frozen=True)
class CsvRows:
    """What a CSV holds.

    Attributes:
        columns: names in the first line.
        rows: column -> cell, per row; a row that is too short has None in the cells it lacks.
        lines: number of the line at which each row ends, for messages.
    """

    columns: list[str]
    rows: list[dict[str, str]]
    lines: list[int]


def read_csv(path: Path, expected: str, *, strict: bool = False) -> CsvRows:
    """Read a CSV with a line of column names.

    Args:
        path: the file.
        expected: what would be right, for messages.
        strict: refuse quotes that are not closed.

    Columns may be separated by commas, semicolons or tabs; text may be UTF-8 or UTF-16 with a byte
    order mark.

    Raises:
        DataError: the file is missing or damaged, or no text.
    """
    require_file(path, expected)
    encoding = text_encoding(path, expected)
    rows: list[dict[str, str]] = []
    ends = []
    with unreadable(path, expected), path.open(newline="", encoding=encoding) as file:
        delimiter = _delimiter(file.readline(_LONGEST_LINE))
        file.seek(0)

        lines = _Lines(path, file, expected)
        reader = csv.DictReader(lines, strict=strict, delimiter=delimiter)
        columns = [column.strip() for column in reader.fieldnames or []]
        if len(columns) > _MOST_COLUMNS:
            raise DataError(f"{path} has {len(columns)} columns", expected=expected)
        reader.fieldnames = columns

        # a row may take several lines, so its number says too little
        lines.begin_row()
        for row in reader:
            if len(rows) * len(columns) > _MOST_CELLS:
                raise DataError(
                    f"{path} has more than {_MOST_CELLS} cells",
                    expected=expected,
                    fix="keep features in .npy or .npz files, and labels alone in the CSV",
                )
            rows.append(row)
            ends.append(reader.line_num)
            lines.end_row()
        lines.refuse_open_quote()
    return CsvRows(columns, rows, ends)


class _Lines:
    """The lines of a CSV, none too long to keep, and whether a quote swallows the rest of them."""

    def __init__(self, path: Path, file: TextIO, expected: str) -> None:
        self._path = path
        self._file = file
        self._expected = expected
        self._number = 0
        self.begin_row()

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._file.readline(_LONGEST_LINE + 1)
        if not line:
            raise StopIteration

        self._number += 1
        where = f"{self._path}, line {self._number}"
        if len(line) > _LONGEST_LINE:
            raise DataError(
                f"{where}: more than {_LONGEST_LINE} characters", expected=self._expected
            )
        if "\0" in line:
            raise DataError(f"{where}: a zero byte", expected=self._expected)

        self._quotes += line.count('"')
        self._taken += 1
        return line

    def begin_row(self) -> None:
        """Count anew."""
        self._quotes = 0
        self._taken = 0
        self._swallowed = 0

    def end_row(self) -> None:
        """Remember the lines of a row in which a quote stays open; it can only be the last."""
        swallowed = self._taken if self._quotes % 2 else 0
        self.begin_row()
        self._swallowed = swallowed

    def refuse_open_quote(self) -> None:
        """Refuse a file of which the last row takes several lines and has a quote too much.

        Raises:
            DataError: it is so.
        """
        if self._swallowed < 2:
            return
        first = self._number - self._swallowed + 1
        raise DataError(
            f"{self._path}, line {first}: a quote that is not closed takes the rest of the file",
            expected=self._expected,
            fix="close it, or double a quote that is meant as text",
        )


_TRUTH = {"true": 1.0, "false": 0.0}
"""How pandas and spreadsheets write yes and no."""


def as_number(cell: str) -> float:
    """Return the number in a cell, also of ``True`` and ``False``.

    Raises:
        ValueError: it is none.
    """
    truth = _TRUTH.get(cell.strip().lower())
    return float(cell) if truth is None else truth


def text_encoding(path: Path, expected: str) -> str:
    """Return how the text of a file is stored: UTF-8, or UTF-16 with its mark.

    Args:
        path: the file.
        expected: what would be right, for messages.

    Raises:
        DataError: it is no text, or in another encoding.
    """
    kind = kind_of(path)
    if kind != "text":
        raise DataError(
            f"{path} cannot be read as text: it is {_WORDS.get(kind, kind)}", expected=expected
        )

    with path.open("rb") as file:
        mark = file.read(2)
    if mark in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"

    _check_utf8(path, expected)
    return "utf-8-sig"


def _check_utf8(path: Path, expected: str) -> None:
    """Go through the whole file, so that the message names the place."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    position = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            # the end of a piece may cut a character
            kept, _ = decoder.getstate()
            try:
                decoder.decode(piece)
            except UnicodeDecodeError as error:
                byte = error.object[error.start]
                place = position - len(kept) + error.start
                raise DataError(
                    f"{path} cannot be read as UTF-8: byte 0x{byte:02x} at position {place} "
                    f"({type(error).__name__})",
                    expected=expected,
                    fix="save it as UTF-8",
                ) from error
            position += len(piece)


_WORDS = {
    "zip": "a zip archive (a spreadsheet, a .npz or a file of torch)",
    "torch": "a file of torch",
    "pickle": "a pickle",
    "HDF5": "an HDF5 file",
    "npy": "a NumPy array",
    "binary": "binary data",
}
"""What kinds of files are called in messages."""


def _delimiter(header: str) -> str:
    """Return what separates the columns: whatever the first line has most of."""
    counts = {mark: header.count(mark) for mark in (",", ";", "\t")}
    return max(counts, key=lambda mark: counts[mark])


class Block:
    """The sequences of one modality in one split: (n, steps, dim), or n arrays (steps_i, dim).

    Args:
        where: file, split and key, for messages.
        value: an array, or a list of arrays.
        vectors: accept (n, dim) too: sequences of one step.

    Attributes:
        dim: feature width.
        lengths: number of steps of each sequence.
        shape: steps and dim, where all sequences have one shape; else None.

    Raises:
        DataError: the value has another shape or does not hold numbers.
    """

    shape: tuple[int, int] | None

    def __init__(self, where: str, value: Any, *, vectors: bool = False) -> None:
        listed = isinstance(value, list | tuple)
        if isinstance(value, np.ndarray) and value.dtype.kind == "O":
            listed = value.ndim > 0

        # each sequence has its own number of steps
        if listed:
            items = _separate(where, value)
            lengths = [len(item) for item in items]
            self._items: Any = items
            self.dim = items[0].shape[1]
            self.lengths = np.array(lengths)
            self.shape = None
            return

        # (samples, steps, features)
        array = _rectangular(where, value, vectors)
        count, steps, self.dim = array.shape
        self._items = array
        self.lengths = np.full(count, steps)
        self.shape = (steps, self.dim)

    def turn(self) -> None:
        """Take what was read as (steps, dim) as (dim, steps), where all have one shape."""
        self._items = self._items.transpose(0, 2, 1)
        count, steps, self.dim = self._items.shape
        self.lengths = np.full(count, steps)
        self.shape = (steps, self.dim)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Float[np.ndarray, "steps dim"]:
        return as_float(self._items[index])


_SEQUENCES = "numbers of shape (samples, steps, features)"


def _separate(where: str, value: Any) -> list[np.ndarray]:
    """Return a list of arrays (steps_i, dim)."""
    items = [as_array(item, where, _SEQUENCES) for item in value]
    if not items:
        raise DataError(f"{where}: no items", expected=_SEQUENCES)

    for item in items:
        numeric = item.dtype.kind in "fiub"
        if item.ndim == 2 and numeric:
            continue

        found = f"item of {item.dtype} and shape {item.shape}"
        raise DataError(f"{where}: {found}", expected=_SEQUENCES)
    return _turned_if_evident(where, items)


def _turned_if_evident(where: str, items: list[np.ndarray]) -> list[np.ndarray]:
    """Return arrays (steps_i, dim): of equal width, also where they lie as (dim, steps_i)."""
    widths = {item.shape[1] for item in items}
    if len(widths) == 1:
        return items

    # all of one height and of many widths: the steps are the columns
    heights = {len(item) for item in items}
    if len(heights) == 1:
        return [item.T for item in items]
    raise DataError(
        f"{where}: sequences of {sorted(widths)[:5]} features",
        expected="the same number of features in every sequence",
    )


def _rectangular(where: str, value: Any, vectors: bool) -> np.ndarray:
    """Return one array (n, steps, dim)."""
    expected = _SEQUENCES
    if vectors:
        expected = f"{_SEQUENCES} or (samples, features)"

    array = as_array(value, where, expected)
    if array.ndim == 2 and vectors:
        array = array[:, None]  # (n, 1, dim)

    numeric = array.dtype.kind in "fiub"
    if array.ndim != 3 or not array.shape[2] or not numeric:
        found = _describe(value, array)
        raise DataError(f"{where}: {found}", expected=expected)
    return array


def _describe(value: Any, array: np.ndarray) -> str:
    kind = str(array.dtype) if array.dtype != object else type(value).__name__
    return f"{kind} of shape {array.shape}"


def as_float(values: np.ndarray) -> Float[np.ndarray, "..."]:
    """Return ``values`` as they are if they are float16, else as float32."""
    array = np.asarray(values)
    # whatever its byte order is
    if array.dtype.newbyteorder("=") == np.float16:
        return array.astype(np.float16, copy=False)
    return as_float32(array)


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
        count = counts[split]
        for m, block in blocks.items():
            if len(block) != count:
                raise DataError(
                    f"{path}: split {split!r} has {len(block)} {m} sequences but {count} samples",
                    expected="one sequence per sample",
                )

            # the first split that has the modality sets its width
            before = dims.setdefault(m, block.dim)
            if before != block.dim:
                raise DataError(
                    f"{path}: {m} has {block.dim} features in split {split!r} and {before} before",
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
        same = all(np.array_equal(lengths[0], other) for other in lengths)
        if same:
            continue
        if not align:
            return False

        longest = {m: int(block.lengths.max(initial=0)) for m, block in blocks.items()}
        raise DataError(
            f"{path}: split {split!r} has {longest} steps and cannot be aligned",
            expected="the same number of steps in every modality",
            fix="convert it as unaligned, or use the aligned file",
        )
    return align is not False


class Padded:
    """The sequences of all splits of a source that pads them.

    Args:
        path: the source, for messages.
        blocks: split -> modality -> sequences.
        counts: split -> number of samples.
        align: True or False to insist on aligned or unaligned; None to find out.

    Attributes:
        blocks: as given.
        dims: feature width per modality.
        aligned: whether step i of every modality of a sample is the same moment.

    Raises:
        DataError: the splits do not fit each other or ``align``.
    """

    def __init__(
        self,
        path: Path,
        blocks: Mapping[str, Mapping[Modality, Block]],
        counts: Mapping[str, int],
        align: bool | None,
    ) -> None:
        self.blocks = blocks
        self.dims = check_blocks(blocks, counts, path)
        self.aligned = decide_aligned(blocks, align, path)

    def cut(
        self,
        split: str,
        index: int,
        lengths: Mapping[Modality, int] | None = None,
        spans: Mapping[Modality, slice] | None = None,
    ) -> dict[Modality, Float[np.ndarray, "_ _"]]:
        """Return the sequences of one sample without their padding.

        Args:
            split: the split.
            index: which sample of it.
            lengths: number of real steps, where the file says it.
            spans: where the real steps lie, where the file says that; it comes before ``lengths``.
        """
        known = dict(lengths or {})
        padded = {}
        for m, block in self.blocks[split].items():
            padded[m] = block[index]
            if spans is not None and m in spans:
                padded[m] = padded[m][spans[m]]
                known[m] = len(padded[m])
        return strip_padding(padded, aligned=self.aligned, lengths=known)


def splits_of(content: Any, path: Path) -> dict[str, dict[str, Any]]:
    """Return the splits of a ``{split: {key: ...}}`` file; other top-level entries are ignored.

    Args:
        content: what was unpickled.
        path: path of the file, for messages.

    Raises:
        DataError: there is no split, or there are two of one name.
    """
    # what a pickle holds may be anything
    entries = content if isinstance(content, dict) else {}
    splits = {}
    for name, entry in entries.items():
        if not isinstance(name, str) or not isinstance(entry, dict):
            continue
        split = canonical_split(name)
        if split in splits:
            raise DataError(f"{path} has the split {split} twice", expected="each split once")
        if split in ORDER:
            splits[split] = entry

    if not splits:
        found = f"a {type(content).__name__}"
        if isinstance(content, dict):
            names = [str(key)[:30] for key in content]
            found = f"entries {names[:8]}"
        raise DataError(
            f"{path} holds {found} and no split",
            expected="a dictionary with the splits train, valid and test",
        )

    return splits


def pick_columns(
    where: str, columns: Sequence[str], wanted: Sequence[str], same: Any = str
) -> list[str]:
    """Return the column for each wanted label, compared after ``same``.

    Raises:
        DataError: there is no such column.
    """
    # of two columns that are the same label, the last
    by_name = {same(column): column for column in columns}

    picked = []
    unknown = []
    for name in wanted:
        column = by_name.get(same(name))
        if column is None:
            unknown.append(repr(name))
        else:
            picked.append(column)

    if unknown:
        names = ", ".join(unknown)
        known = ", ".join(columns)
        raise DataError(f"{where} has no label {names}", expected=f"some of its columns {known}")
    return picked
