"""Samples to predict, and predictions to read."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from emotailor.data.dataset import MODALITIES, Sample
from emotailor.data.store import open_dataset
from emotailor.errors import DataError
from emotailor.serving.predictor import Prediction


def read_samples(
    source: Path, *, split: str = "test", ids: Sequence[str] = (), limit: int | None = None
) -> list[Sample]:
    """Return samples of a stored data set, or the one sample in an ``.npz`` file.

    Args:
        source: data set folder, or a file with arrays ``visual``, ``audio``, ``text``, each
            (steps, dim).
        split: of the data set.
        ids: only these samples; all without any.
        limit: only the first so many.

    Raises:
        DataError: nothing there, a damaged file, or an unknown id.
    """
    if source.suffix == ".npz":
        return [read_sample(source)]
    part = open_dataset(source)[split]
    positions = [part.index_of(i) for i in ids] if ids else range(len(part))
    return [part.sample(i) for i in positions[:limit]]


def read_sample(path: Path) -> Sample:
    """Read one sample from an ``.npz`` file; its id is the file's name.

    Raises:
        DataError: the file is missing, damaged, or holds none of the modalities.
    """
    expected = f"an .npz file with arrays (steps, dim) named {', '.join(MODALITIES)}"
    if not path.is_file():
        raise DataError(f"no file at {path}", expected=expected)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {m: file[m] for m in MODALITIES if m in file}
            names = list(file)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {error}", expected=expected) from None
    if not arrays:
        raise DataError(f"{path} holds {', '.join(names) or 'no arrays'}", expected=expected)
    return Sample(path.stem, arrays)


def render_predictions(predictions: Sequence[Prediction]) -> RenderableType:
    """One table per sample: label, probability, decision, and what carried it."""
    return Group(*(_render(prediction) for prediction in predictions))


def _render(prediction: Prediction) -> RenderableType:
    held = ", ".join(prediction.labels) or "none of the labels"
    table = Table(title=Text.assemble((prediction.id, "bold"), f": {held}"), title_justify="left")
    table.add_column("label")
    table.add_column("p", justify="right")
    table.add_column("holds")
    why = prediction.explanation
    if why is not None:
        modalities = list(next(iter(why.modalities.values())))
        for m in modalities:
            table.add_column(f"no {m}", justify="right")
        table.add_column("carried by", no_wrap=True)
    for name, probability in sorted(prediction.probabilities.items(), key=lambda item: -item[1]):
        row = [name, f"{probability:.3f}", "yes" if prediction.decisions[name] else ""]
        if why is not None:
            row += [f"{-why.modalities[name][m]:+.2f}" for m in modalities]
            modality, first, last = why.carrier(name)
            steps = f"step {first + 1}" if first == last else f"steps {first + 1}-{last + 1}"
            carried = why.modalities[name][modality] > 0
            row.append(f"{modality}, {steps}" if carried else "-")
        table.add_row(*row)
    if why is None:
        return table
    note = Text(
        "'no visual' is the change of the label's log-odds when the model cannot see that modality;"
        f" steps were hidden {why.window} at a time; '-': no modality speaks for the label.",
        style="dim",
    )
    return Group(table, note)
