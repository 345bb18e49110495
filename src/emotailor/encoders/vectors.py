"""Files of word vectors: one word and its numbers a line, as GloVe and word2vec write them.

A file of 400,000 words and 300 numbers has 1 GB. It is gone through once, which finds every damaged
line and its hash; what stays in memory is where each word stands. Numbers are read when a word is
asked for.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from emotailor.errors import ModelError
from emotailor.inputs import not_a_file

EXPECTED = "a text file with a word and its numbers in every line, as GloVe and word2vec write it"

_LONGEST_LINE = 2**20
_MOST_KEPT = 100_000
"""Vectors that are kept in memory."""

_NOT_TEXT = {
    b"PK\x03\x04": ("a zip archive", "unzip it"),
    b"\x1f\x8b": ("compressed with gzip", "gunzip it"),
    b"\x93NUMPY": ("an array of NumPy", "give the text file it was made of"),
}


@runtime_checkable
class Vectors(Protocol):
    """Words that have vectors.

    Attributes:
        dim: width of a vector.
        sha256: hash of all of them.
    """

    dim: int
    sha256: str

    def get(self, word: str) -> Float32[np.ndarray, "dim"] | None:
        """Return the vector of a word, written exactly so; None where it has none.

        Raises:
            ModelError: it is damaged.
        """


class VectorFile:
    """A text file of word vectors, with or without word2vec's line of two numbers at its top.

    Args:
        file: the file.

    Attributes:
        dim: width of a vector.
        sha256: hash of the file.

    Raises:
        ModelError: it is missing, no such file, cut off or damaged.
    """

    def __init__(self, file: Path) -> None:
        problem = not_a_file(file)
        if problem is not None:
            raise ModelError(problem, expected=EXPECTED, fix="check the path")

        self._file = file
        self._kept: dict[str, Float32[np.ndarray, "dim"]] = {}
        with file.open("rb") as stream:
            _refuse_other_kinds(file, stream)
            said, self.dim = _head(file, stream)
            self._places, self.sha256, count = _index(file, stream, self.dim, has_head=said > 0)

        if said and said != count:
            raise ModelError(
                f"{file} says that it has {said:,} vectors, and has {count:,}",
                expected=EXPECTED,
                fix="it was cut off: download or write it again",
            )

    def __len__(self) -> int:
        return len(self._places)

    def get(self, word: str) -> Float32[np.ndarray, "dim"] | None:
        """Return the vector of a word, written exactly so; None where it has none.

        Raises:
            ModelError: it holds something else than finite numbers.
        """
        if word in self._kept:
            return self._kept[word]
        place = self._places.get(word.encode())
        if place is None:
            return None

        with self._file.open("rb") as stream:
            stream.seek(place)
            line = stream.readline(_LONGEST_LINE)
        vector = self._numbers(word, line)
        if len(self._kept) == _MOST_KEPT:
            self._kept.clear()
        self._kept[word] = vector
        return vector

    def _numbers(self, word: str, line: bytes) -> Float32[np.ndarray, "dim"]:
        try:
            with np.errstate(over="ignore"):  # becomes infinite, and is refused below
                vector = np.array(line.split(), np.float32)
        except ValueError as error:
            raise ModelError(
                f"{self._file}: the vector of {word!r} is damaged: {error}", expected=EXPECTED
            ) from error

        if not np.isfinite(vector).all():
            raise ModelError(
                f"{self._file}: the vector of {word!r} holds NaN or an infinite number",
                expected="finite numbers",
                fix="download or write the file again",
            )
        return vector


def _refuse_other_kinds(file: Path, stream: BinaryIO) -> None:
    """Refuse a file that begins as no text of vectors does."""
    start = stream.read(6)
    stream.seek(0)
    for mark, (kind, fix) in _NOT_TEXT.items():
        if start.startswith(mark):
            raise ModelError(f"{file} is {kind}", expected=EXPECTED, fix=fix)


def _head(file: Path, stream: BinaryIO) -> tuple[int, int]:
    """Return how many vectors there are to be, 0 where nobody says, and their width."""
    first = stream.readline(_LONGEST_LINE)
    stream.seek(0)
    parts = first.split()

    # word2vec says how many words there are and how many numbers each has
    if len(parts) == 2 and all(part.isdigit() for part in parts):
        count, dim = map(int, parts)
        if count and dim:
            return count, dim

    numbers = parts[1:]
    if not numbers or not _is_number(numbers[-1]):
        shown = first[:60].decode(errors="replace").strip()
        raise ModelError(f"{file} begins with {shown!r}", expected=EXPECTED)
    return 0, len(numbers)


def _is_number(part: bytes) -> bool:
    try:
        float(part)
    except ValueError:
        return False
    return True


def _ends_in_number(word: bytes) -> bool:
    """Return whether a word has a number behind a space: then the line has one too many."""
    _, space, last = word.rpartition(b" ")
    return bool(space) and _is_number(last)


def _index(
    file: Path, stream: BinaryIO, dim: int, *, has_head: bool
) -> tuple[dict[bytes, int], str, int]:
    """Return where the numbers of each word stand, the hash of the file, and how many it has."""
    places: dict[bytes, int] = {}
    digest = hashlib.sha256()
    position = 0
    count = 0
    for number, line in enumerate(_lines(file, stream), 1):
        digest.update(line)
        start = position
        position += len(line)
        if number == 1 and has_head:
            continue

        content = line.rstrip()
        if not content:
            continue
        # a word may have spaces in it: the numbers are counted from the end
        word, *numbers = content.rsplit(b" ", dim)
        if len(numbers) != dim or _ends_in_number(word):
            raise _damaged_line(file, number, content, dim)
        count += 1
        places.setdefault(word, start + len(word))  # the first of two counts
    return places, digest.hexdigest(), count


def _lines(file: Path, stream: BinaryIO) -> Iterator[bytes]:
    while line := stream.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise ModelError(f"{file} has a line without an end", expected=EXPECTED)
        yield line


def _damaged_line(file: Path, number: int, content: bytes, dim: int) -> ModelError:
    # word2vec's own format has numbers of four bytes behind each word
    if number == 2 and b"\0" in content:
        return ModelError(
            f"{file} is word2vec's binary format",
            expected=EXPECTED,
            fix="save it as text: gensim's save_word2vec_format(path, binary=False)",
        )
    return ModelError(
        f"{file}, line {number}: not {dim} numbers behind a word",
        expected=EXPECTED,
        fix="it is cut off or damaged: download or write it again",
    )
