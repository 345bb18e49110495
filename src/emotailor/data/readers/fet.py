"""What MMSA-FET's ``run_single`` writes: a folder with one pickle per clip.

    <video>$_$<clip>.pkl   {"audio": (T, D), "vision": (T, D), "text": (T, D), each optional,
                            "config": the extractors' settings, "align": words with their times,
                            "text_bert": token ids, not read}

The name of the file is the id of the sample; labels come from a label file. ``run_dataset`` writes
one pickle in the layout of :mod:`emotailor.data.readers.mmsa`.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from emotailor.data.extraction import Extraction
from emotailor.data.readers._common import ConvertOptions, Reading, as_array, as_float
from emotailor.data.readers._pickle import load_pickle
from emotailor.data.readers.account import Account, Parts
from emotailor.data.readers.csd import Folds
from emotailor.data.readers.joining.labels import read_label_table
from emotailor.data.sample import MODALITIES, UNSPLIT, Modality, Sample
from emotailor.errors import DataError

_KEYS: dict[Modality, tuple[str, str]] = {
    "visual": ("vision", "video"),
    "audio": ("audio", "audio"),
    "text": ("text", "text"),
}
"""Modality -> its key, and the key of its settings."""

_EXPECTED = "a folder of pickles of MMSA-FET's run_single, one per clip"
_ARRAY = "numbers of shape (steps, features)"


def read_fet(path: Path, options: ConvertOptions) -> Reading:
    """Open a folder of pickles of MMSA-FET, one per clip.

    Raises:
        DataError: there is no pickle or no label file, or a pickle is damaged or of another kind.
    """
    files = _clips_in(path)
    if not files:
        raise DataError(f"{path} has no pickle", expected=_EXPECTED)
    if options.labels is None and options.unlabelled:
        return _unlabelled(files, options)
    if options.labels is None:
        raise DataError(
            f"{path} has no labels",
            expected="a file with the emotion labels, joined by the names of the files",
            fix="pass --labels with a CSV (columns id, clip, happy, sad, ..., split)",
        )

    account = Account()
    table = read_label_table(options.labels, options, account)
    account.columns = table.columns
    notes = [*table.notes, options.rule]
    if options.folds is None and not options.split_by_hash:
        told = dict(vars(options))
        told["folds"] = options.labels
        options = ConvertOptions(**told)
    folds = Folds(options, table, notes, path)

    clips = _Clips(files, options.align, account)

    def samples() -> Iterator[tuple[str, Sample]]:
        found = set()
        for file in files:
            segment = table.find(file.stem)
            if segment is None:
                account.drop("sample", f"without labels in {table.path.name}", file.stem)
                continue
            found.add(segment.key)

            split = folds.split_of(segment)
            if split is None:
                account.drop("sample", "in no split", file.stem)
                continue
            yield split, Sample(file.stem, clips.sequences(file), segment.labels)
        table.leave_others(found)

    used = [*files, table.path]
    return Reading(
        table.names, clips.dims, clips.aligned, samples(), used, notes, clips.extraction, account
    )


def _unlabelled(files: list[Path], options: ConvertOptions) -> Reading:
    """Return clips of which nobody knows a label."""
    account = Account()
    clips = _Clips(files, options.align, account)
    notes = ["the source has no labels: the samples are for prediction alone"]

    def samples() -> Iterator[tuple[str, Sample]]:
        for file in files:
            yield UNSPLIT, Sample(file.stem, clips.sequences(file))

    return Reading(
        (), clips.dims, clips.aligned, samples(), files, notes, clips.extraction, account
    )


class _Clips:
    """The features of clips, each in a file of its own.

    Attributes:
        dims: feature width per modality.
        aligned: whether all modalities of a clip share their steps.
        extraction: how the features were extracted.

    Raises:
        DataError: the first file has no modality.
    """

    def __init__(self, files: Sequence[Path], align: bool | None, account: Account) -> None:
        self._account = account
        first = self._content(files[0])
        self.dims: dict[Modality, int] = {}
        for m, values in _sequences(files[0], first).items():
            self.dims[m] = values.shape[1]

        # the others must have the same
        if not self.dims:
            raise DataError(f"{files[0]} has no modality", expected=_EXPECTED)
        self.aligned = "align" in first if align is None else align
        self.extraction = _extraction(first, self.dims)

    def _content(self, file: Path) -> Parts:
        return self._account.hold("entries of the pickles", _content(file))

    def sequences(self, file: Path) -> dict[Modality, Float[np.ndarray, "steps dim"]]:
        """Return the sequences of a clip.

        Raises:
            DataError: they do not fit those of the first.
        """
        sequences = _sequences(file, self._content(file))
        _check(file, sequences, self.dims, aligned=self.aligned)
        return sequences


def _clips_in(path: Path) -> list[Path]:
    """Return the pickles of a folder, in order of their names."""
    return sorted(path.glob("*.pkl")) if path.is_dir() else []


def _content(file: Path) -> Mapping[str, Any]:
    content = load_pickle(file)
    if not isinstance(content, dict):
        raise DataError(f"{file} holds a {type(content).__name__}", expected=_EXPECTED)
    return content


def _sequences(
    file: Path, content: Mapping[str, Any]
) -> dict[Modality, Float[np.ndarray, "steps dim"]]:
    found: dict[Modality, Float[np.ndarray, "steps dim"]] = {}
    for m in MODALITIES:
        key, _ = _KEYS[m]
        if key not in content:
            continue
        where = f"{file}: {key!r}"
        values = as_array(content[key], where, _ARRAY)

        # its reader of GloVe leaves the numbers as text
        if values.dtype.kind in "US":
            try:
                values = values.astype(np.float64)
            except ValueError as error:
                raise DataError(f"{where}: {error}", expected=_ARRAY) from error
        if values.dtype.kind not in "fiub" or values.ndim != 2:
            raise DataError(f"{where} is {values.dtype} {values.shape}", expected=_ARRAY)
        found[m] = as_float(values)
    return found


def _check(
    file: Path,
    sequences: Mapping[Modality, np.ndarray],
    dims: Mapping[Modality, int],
    *,
    aligned: bool,
) -> None:
    """Refuse a file that does not fit the others."""
    found = {m: values.shape[1] for m, values in sequences.items()}
    for m, dim in found.items():
        if dims.get(m) != dim:
            raise DataError(f"{file}: {m} has {dim} features", expected=f"{dims.get(m)} as before")

    steps = {m: len(values) for m, values in sequences.items()}
    if aligned and len(set(steps.values())) > 1:
        raise DataError(
            f"{file} has {steps} steps",
            expected="the same number of steps in every modality",
            fix="convert it as unaligned",
        )


def _extraction(content: Mapping[str, Any], dims: Mapping[Modality, int]) -> dict[Modality, Any]:
    """Say how features were extracted, as the settings in the file tell."""
    found: dict[Modality, Extraction] = {}
    config = content.get("config")
    for m in dims:
        _, key = _KEYS[m]
        settings = config.get(key) if isinstance(config, dict) else None
        if not isinstance(settings, dict):
            continue

        # text is extracted by a model, the others by a tool
        name = settings.get("tool") or settings.get("model")
        if isinstance(name, str) and name:
            told = {str(option): _plain(value) for option, value in settings.items()}
            found[m] = Extraction(extractor=name, settings=told)
    return found


def _plain(value: Any) -> Any:
    """Return a setting as JSON has it."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return str(value)
