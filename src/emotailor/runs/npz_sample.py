"""One sample in one ``.npz`` file."""

import zipfile
from pathlib import Path

import numpy as np

from emotailor.data.sample import MODALITIES, Sample
from emotailor.errors import DataError


def read_sample(path: Path) -> Sample:
    """Read one sample from an ``.npz`` file; its id is the file's name.

    Raises:
        DataError: the file is missing, damaged, or holds none of the modalities.
    """
    expected = f"an .npz file with arrays (steps, dim) named {', '.join(MODALITIES)}"
    if not path.is_file():
        raise DataError(f"no file at {path}", expected=expected)

    try:
        with zipfile.ZipFile(path):  # a lone .npy or a pickle is no .npz
            pass
        # np.load would leave a file open that it cannot read
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {m: np.asarray(file[m]) for m in MODALITIES if m in file}
            names = list(file)
    except Exception as error:  # numpy and zipfile fail on damaged files in many ways
        lines = str(error).splitlines() or [type(error).__name__]
        raise DataError(
            f"{path} cannot be read, and nothing in it was executed: {lines[0]}",
            expected=expected,
            fix="write it with numpy.savez, plain numbers alone",
        ) from error

    if not arrays:
        held = ", ".join(names) or "no arrays"
        raise DataError(f"{path} holds {held}", expected=expected)

    columns = [name for name in names if name in {"id", "ids", "split"}]
    if columns:
        raise DataError(
            f"{path} also holds {', '.join(columns)}: it is a whole data set",
            expected=f"one sample: {expected}",
            fix="convert a data set with `emotailor data convert` and predict on that",
        )

    sequences = {}
    for m, x in arrays.items():
        if x.ndim != 2 or x.dtype.kind not in "fiub":
            raise DataError(f"{path}: {m} is {x.dtype} of shape {x.shape}", expected=expected)
        with np.errstate(over="ignore"):  # beyond float32 becomes inf, which is refused later
            sequences[m] = x.astype(np.float32)
    return Sample(path.stem, sequences)
