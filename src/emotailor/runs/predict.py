"""Samples to predict, and predictions to read."""

import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from emotailor.data.checker import DataWarning
from emotailor.data.sample import MODALITIES, Sample
from emotailor.data.store import open_dataset
from emotailor.errors import DataError
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.serving.prediction import Prediction
from emotailor.serving.predictor import Predictor
from emotailor.text import indented


def read_samples(
    source: Path,
    *,
    split: str = "test",
    ids: Sequence[str] = (),
    limit: int | None = None,
    predictor: Predictor | None = None,
) -> list[Sample]:
    """Return samples of a stored data set, or the one sample in an ``.npz`` file.

    Args:
        source: data set folder, or a file with arrays ``visual``, ``audio``, ``text``, each
            (steps, dim).
        split: name of the split of a data set.
        ids: ids of the samples; empty for all.
        limit: largest number of samples.
        predictor: that the samples are for; a stored data set must have features of its kind.

    Raises:
        ModelError: the features of the data set were extracted in another way.
        DataError: nothing there, a damaged file, an empty split, or an unknown id.
    """
    if source.suffix.lower() == ".npz":
        sample = read_sample(source)
        if ids and sample.id not in ids:
            raise DataError(
                f"no sample {ids[0]!r} in {source}",
                expected=repr(sample.id),
            )
        return [sample]

    dataset = open_dataset(source)
    if predictor is not None:
        predictor.check_extraction(dataset)
    part = dataset[split]
    if not len(part):
        raise DataError(f"split {split!r} of {source} is empty", expected="at least one sample")

    # all samples, or those named, in the order in which they are named
    positions = list(range(len(part)))
    if ids:
        positions = [part.index_of(sample_id) for sample_id in ids]
    wanted = positions[:limit]
    return [part.sample(position) for position in wanted]


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


def predict_samples(
    predictor: Predictor, samples: Sequence[Sample], *, explain: bool
) -> list[Prediction]:
    """Predict the samples that the model can see anything of, and warn about the others.

    Raises:
        DataError: it can see none of them, or one has wrong dims or values.
        ModelError: a sequence is longer than the model can take.
    """
    seen = [sample for sample in samples if predictor.can_see(sample)]
    if not seen:
        return predictor.predict(samples, explain=explain)  # it says what is missing

    unseen = len(samples) - len(seen)
    if unseen:
        modalities = ", ".join(predictor.modalities)
        warnings.warn(
            f"{unseen} of {len(samples)} samples have none of {modalities} and are left out",
            DataWarning,
            stacklevel=2,
        )
    return predictor.predict(seen, explain=explain)


def predict(
    model: str | Path,
    source: str | Path | Sequence[Sample],
    *,
    split: str = "test",
    ids: Sequence[str] = (),
    limit: int | None = None,
    explain: bool = False,
    thresholds: ThresholdMode | None = None,
    device: str = "auto",
) -> list[Prediction]:
    """Name the emotions of samples.

    Args:
        model: a run folder or a model folder.
        source: a stored data set, an ``.npz`` with one sample, or samples.
        split: the split of the data set.
        ids: the ids of the samples; empty for all.
        limit: the largest number of samples.
        explain: whether to measure the evidence for each emotion.
        thresholds: the thresholds for decisions; by default those tuned on validation data.
        device: the device to compute on.

    Raises:
        ModelError: there is no model, or the samples do not fit it.
        DataError: there is no such data set, split or sample.
    """
    predictor = Predictor.load(model, device=device, thresholds=thresholds)

    # samples may come from a file, or as they are
    if isinstance(source, str | Path):
        path = Path(source)
        samples = read_samples(path, split=split, ids=ids, limit=limit, predictor=predictor)
    else:
        samples = list(source)[:limit]

    return predict_samples(predictor, samples, explain=explain)


def render_predictions(predictions: Sequence[Prediction]) -> RenderableType:
    """Return one table per sample: label, probability, decision, and the evidence for it."""
    tables = [_render(prediction) for prediction in predictions]
    explained = any(prediction.explanation for prediction in predictions)
    if not explained:
        return Group(*tables)

    note = Text(
        "no visual ...: change of the label's log-odds without that modality.\n"
        "evidence: the modality it misses most, and there the steps it misses most.\n"
        "-: no modality speaks for the label.",
        style="dim",
    )
    return Group(*tables, note)


def _render(prediction: Prediction) -> RenderableType:
    header, rows = prediction.table()
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(header[0], overflow="fold")
    for title in header[1:]:
        # probabilities, and changes without a modality, are numbers
        is_number = title == "p" or title.startswith("no ")
        side: Literal["left", "right"] = "right" if is_number else "left"
        table.add_column(title, justify=side, no_wrap=True)

    for row in rows:
        cells = [Text(cell) for cell in row]
        table.add_row(*cells)

    held = ", ".join(prediction.labels) or "none of the labels"
    # the id may be the name of a file, which can hold a line break
    heading = Text.assemble((indented(prediction.id), "bold"), f": {held}")
    return Group(heading, table)
