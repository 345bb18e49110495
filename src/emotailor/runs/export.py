"""Exporting a trained model as one ONNX file, and finding the file that belongs to a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emotailor.data.dataset import EmotionDataset, Split
from emotailor.data.sample import Sample
from emotailor.data.store import open_dataset
from emotailor.errors import ConfigError, DataError, EmotailorError
from emotailor.evaluation.metrics import decide
from emotailor.export.check import Checked
from emotailor.export.int8 import Changed, changed_decisions
from emotailor.export.onnx_file import is_onnx, read_onnx
from emotailor.export.onnx_model import load_onnx
from emotailor.export.write import check_name, write_onnx
from emotailor.folders import check_place
from emotailor.runs.data import trained_on
from emotailor.serving.predictor import Predictor
from emotailor.shipped.find import is_shipped, meant_by
from emotailor.shipped.hub import hub_name, is_on_hub
from emotailor.training.model_folder import (
    LoadedModel,
    find_model_folder,
    load_model,
    read_model_card,
)

REAL = 64
"""Samples of the data that the graph is checked on, half of them the longest."""

FILE = "model.onnx"
"""The file beside the weights of a model."""


@dataclass(frozen=True)
class Exported:
    """An ONNX file that was written.

    Attributes:
        path: the file.
        size: number of its bytes.
        checked: what was compared with torch; of an 8-bit file, the graph before it was rounded.
        data: name of the data set whose samples were used; empty where there were none.
        changed: of an 8-bit file, what rounding does to decisions, a split each.
        int8: whether the weights have 8 bits.
    """

    path: Path
    size: int
    checked: Checked
    data: str
    changed: tuple[Changed, ...] = ()
    int8: bool = False

    def lines(self) -> list[str]:
        """Return what to print, a line each."""
        done = self.checked
        real = f" and {done.samples} samples of {self.data}" if done.samples else ""
        lines = [
            f"checked: as torch within {done.difference:.1e} in every probability, on "
            f"{done.batches} random batches{real}"
        ]
        if self.int8 and not self.changed:
            lines.append("note: decisions that rounding changes were not counted: name --data")
        lines += [f"rounded to 8 bits, {changed}" for changed in self.changed]
        lines.append(f"stored: {self.path} ({self.size / 1e6:.1f} MB)")
        return lines


def export_onnx(
    model: str | Path,
    file: str | Path,
    *,
    data: str | Path | None = None,
    int8: bool = False,
    overwrite: bool = False,
) -> Exported:
    """Write a trained model as one ONNX file that needs neither its folder nor PyTorch.

    Before the file gets its name, ONNX Runtime and PyTorch must agree within 1e-4, on random
    batches and on samples of the data.

    Args:
        model: a run folder or a model folder.
        file: to write, called ``.onnx``.
        data: stored data set to check on, and to count on which decisions 8 bits change; by default
            the one that the run was trained on, where it is there.
        int8: round the weights to 8 bits.
        overwrite: replace a file that is there.

    Raises:
        ModelError: there is no model, it cannot be exported, or the graph computes something else.
        DataError: there is no such data set.
        ConfigError: a package is not installed, or the file must not be written.
    """
    path = Path(file)
    check_name(path)
    _check_free(path, overwrite=overwrite)
    place = meant_by(model)
    loaded = load_model(place)
    dataset = _data_of(place, data)
    samples: list[Sample] = []
    if dataset is not None:
        Predictor(loaded).check_fits(dataset)
        samples = _chosen(_judged(dataset)[-1], loaded)

    written = write_onnx(loaded, path, samples, int8=int8)
    changed: tuple[Changed, ...] = ()
    if int8 and dataset is not None:
        changed = _changes(loaded, load_onnx(path), _judged(dataset))
    name = "" if dataset is None else dataset.card.name
    return Exported(path, written.size, written.checked, name, changed, int8)


def onnx_for(model: str | Path | None, say: Callable[[str], None]) -> Path:
    """Return the ONNX file of a model: itself, or the one beside its weights, made where need be.

    Args:
        model: an ONNX file, a run folder or a model folder.
        say: is told what is written.

    Raises:
        ModelError: there is no model, or it cannot be exported.
        ConfigError: a package is not installed, or nothing can be written beside the weights, as
            of a model of the Hugging Face Hub.
    """
    if model is not None and is_onnx(model):
        return Path(model)

    if model is not None and is_on_hub(model):
        name = hub_name(model)
        raise ConfigError(
            f"{name} is no folder of yours, in which {FILE} could be stored",
            expected="an ONNX file, or a folder with a copy of the model",
            fix=f"`emotailor export {name} --onnx FILE`, then name FILE",
        )
    place = meant_by(model)
    folder = find_model_folder(place)
    file = folder / FILE
    if _is_of(file, folder):
        return file
    if model is None or is_shipped(model):
        check_place(file, ConfigError)
    say(f"exporting {folder} to {file}, once")
    for line in export_onnx(place, file, overwrite=True).lines():
        say(line)
    return file


def _is_of(file: Path, folder: Path) -> bool:
    """Whether an ONNX file is that of the model in a folder as it is now."""
    if not file.is_file():
        return False
    try:
        described = read_onnx(file).described
    except EmotailorError:
        return False  # it is written again
    return described.card == read_model_card(folder) and not described.int8


def _check_free(path: Path, *, overwrite: bool) -> None:
    """Refuse a path that the file must not be written to.

    Raises:
        ConfigError: something is in its place, or the place cannot be written to.
    """
    check_place(path, ConfigError)
    if path.is_dir():
        raise ConfigError(f"{path} is a folder", expected="a file", fix="choose another file")
    if path.exists() and not overwrite:
        raise ConfigError(
            f"{path} already exists",
            expected="a path that is free",
            fix="choose another file, or pass --overwrite to replace it",
        )


def _data_of(place: Path, data: str | Path | None) -> EmotionDataset | None:
    """Return the data set that is named, or that of the training; None where that is not there.

    Raises:
        DataError: the one that is named cannot be opened.
    """
    if data is not None:
        return open_dataset(Path(data))
    try:
        return open_dataset(trained_on(place))
    except DataError:
        return None


def _judged(dataset: EmotionDataset) -> list[Split]:
    """Return the splits that a model is not trained on; all where there are no others."""
    splits = [split for split in dataset.splits.values() if len(split)]
    held_out = [split for split in splits if split.name != "train"]
    return held_out or splits


def _chosen(split: Split, loaded: LoadedModel) -> list[Sample]:
    """Return the longest samples of a split, and others from all over it."""
    lengths = [split.lengths(m) for m in loaded.model.dims if m in split.modalities]
    longest = np.max(lengths, axis=0)  # (n,)
    order = np.argsort(-longest, kind="stable")
    half = REAL // 2
    rest = order[half:]
    stride = max(1, len(rest) // half)
    places = [*order[:half], *rest[::stride][:half]]
    return [split.sample(int(k)) for k in places]


def _changes(
    loaded: LoadedModel, rounded: LoadedModel, splits: Sequence[Split]
) -> tuple[Changed, ...]:
    """Count on each split the decisions that differ between two models."""
    whole = Predictor(loaded)
    small = Predictor(rounded)
    found = []
    for split in splits:
        before = whole.predict_proba(split)
        after = small.predict_proba(split)
        found.append(
            changed_decisions(
                split.name,
                whole.label_names,
                decide(before, whole.thresholds),
                decide(after, small.thresholds),
                float(np.abs(before - after).max()),
            )
        )
    return tuple(found)
