"""The files that an evaluation leaves: the one place that writes and reads them.

- ``evaluation-<split>.json`` of a run: metrics under every kind of threshold, with intervals.
- ``predictions-<split>.csv`` of a run: labels, probabilities and decisions, one sample a row.
- ``evaluation-<split>.json`` of a folder of runs: mean and standard deviation over seeds.

Version 1 of the JSON files has no field ``version`` and no metrics of others; it is still read.
"""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float, Shaped
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emotailor.config import first_problem
from emotailor.errors import DataError
from emotailor.evaluation.calibration import Calibration
from emotailor.evaluation.comparison import Interval, PairedDifference, SeedSummary
from emotailor.evaluation.metrics import Metrics
from emotailor.evaluation.protocols import Protocols
from emotailor.evaluation.robustness import Robust
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.files import json_text, write_text, write_together
from emotailor.text import from_cell, to_cell
from emotailor.verified import is_there, read_json, read_text

VERSION = 3
"""The version of the JSON files written."""

AGAIN = "evaluate again with `emotailor evaluate`"
AS_WRITTEN = "predictions as written"

StoredT = TypeVar("StoredT", bound=BaseModel)


class StoredEvaluation(BaseModel):
    """What ``evaluation-<split>.json`` holds of a run.

    Attributes:
        version: version of the file; 1 where the file does not say.
        split: name of the split.
        data: name and fingerprint of the data set.
        thresholds: kind of threshold that was asked for; the intervals belong to it.
        metrics: kind of threshold -> metrics.
        intervals: metric -> bootstrap interval; empty where there are none.
        notes: what a reader of the numbers should know.
        predictions: SHA-256 of the table of predictions that the metrics are of; None before
            version 3.
        baselines: name of a baseline -> metrics on the same samples, thresholds of the same kind.
        differences: name of a baseline -> micro-F1 of the model minus that of the baseline.
        findings: what is suspicious about the model; None where nobody has looked.
        calibration: how far the probabilities can be believed; None where it was not measured.
        protocols: what the rules of other programs would report; None where nobody asked.
        robustness: how the model does on damaged samples; empty where nobody asked.
    """

    model_config = ConfigDict(frozen=True)

    version: int = Field(1, ge=1, le=VERSION)
    split: str
    data: dict[str, str]
    thresholds: ThresholdMode
    metrics: dict[ThresholdMode, Metrics]
    intervals: dict[str, Interval]
    notes: list[str]
    predictions: str | None = None
    baselines: dict[str, Metrics] = Field(default_factory=dict)
    differences: dict[str, PairedDifference] = Field(default_factory=dict)
    findings: list[str] | None = None
    calibration: Calibration | None = None
    protocols: Protocols | None = None
    robustness: list[Robust] = Field(default_factory=list)


class StoredSummary(BaseModel):
    """What ``evaluation-<split>.json`` holds of a folder of runs.

    Attributes:
        version: version of the file; 1 where the file does not say.
        split: name of the split.
        thresholds: kind of threshold.
        runs: names of the run folders.
        summary: mean and standard deviation of each metric over the runs.
    """

    model_config = ConfigDict(frozen=True)

    version: int = Field(1, ge=1, le=VERSION)
    split: str
    thresholds: ThresholdMode
    runs: list[str]
    summary: SeedSummary


@dataclass(frozen=True)
class StoredPredictions:
    """What ``predictions-<split>.csv`` holds.

    Attributes:
        ids: ids of the n samples.
        label_names: names of the L labels.
        labels: (n, L), 0 or 1, the truth.
        probabilities: (n, L); in the file they have six digits after the point.
        decisions: (n, L), whether the label was predicted.
    """

    ids: tuple[str, ...]
    label_names: tuple[str, ...]
    labels: Shaped[np.ndarray, "n labels"]
    probabilities: Float[np.ndarray, "n labels"]
    decisions: Bool[np.ndarray, "n labels"]


def evaluation_file(folder: Path, split: str) -> Path:
    """Return where a run, or a folder of runs, keeps its evaluation on a split."""
    return folder / f"evaluation-{split}.json"


def predictions_file(folder: Path, split: str) -> Path:
    """Return where a run keeps its predictions on a split."""
    return folder / f"predictions-{split}.csv"


# ---------------------------------------------------------------------- evaluations


def write_evaluation(folder: Path, evaluation: StoredEvaluation) -> Path:
    """Write the evaluation of a run into its folder; return the file."""
    return _write(evaluation_file(folder, evaluation.split), evaluation)


def read_evaluation(folder: Path, split: str) -> StoredEvaluation | None:
    """Return the evaluation that a run folder holds on a split; None where it holds none.

    Raises:
        DataError: the file is damaged, or a later version wrote it.
    """
    return _read(evaluation_file(folder, split), StoredEvaluation)


def write_results(
    folder: Path, evaluation: StoredEvaluation, predictions: StoredPredictions
) -> tuple[Path, Path]:
    """Write the evaluation of a run and the predictions that it is of; return both files.

    Raises:
        OSError: they cannot be written; then the earlier files are still there.
    """
    file = evaluation_file(folder, evaluation.split)
    table = predictions_file(folder, evaluation.split)
    text = _to_csv(predictions)
    evaluation = evaluation.model_copy(update={"predictions": _hash_of(text)})
    write_together({table: text, file: _to_json(evaluation)})
    return file, table


def write_summary(folder: Path, summary: StoredSummary) -> Path:
    """Write the summary over seeds into the folder of the runs; return the file."""
    return _write(evaluation_file(folder, summary.split), summary)


def read_summary(folder: Path, split: str) -> StoredSummary | None:
    """Return the summary over seeds that a folder of runs holds; None where it holds none.

    Raises:
        DataError: the file is damaged, or a later version wrote it.
    """
    return _read(evaluation_file(folder, split), StoredSummary)


def _write(file: Path, content: BaseModel) -> Path:
    write_text(file, _to_json(content))
    return file


def _to_json(content: BaseModel) -> str:
    return json_text({**content.model_dump(mode="json"), "version": VERSION})


def _read(file: Path, kind: type[StoredT]) -> StoredT | None:
    if not is_there(file):
        return None

    expected = f"an evaluation of version {VERSION} or before"
    values = read_json(file, hashed_since=3, expected=expected, fix=AGAIN)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise DataError(
            f"{file} is damaged or of a later version: {first_problem(error)}",
            expected=expected,
            fix=AGAIN,
        ) from error


# ---------------------------------------------------------------------- predictions


def write_predictions(folder: Path, split: str, predictions: StoredPredictions) -> Path:
    """Write the predictions of a run on a split into its folder; return the file."""
    file = predictions_file(folder, split)
    write_text(file, _to_csv(predictions))
    return file


def _to_csv(predictions: StoredPredictions) -> str:
    header = _header(predictions.label_names)
    decided = predictions.decisions.astype(int)  # 0 and 1 in the file

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row, sample_id in enumerate(predictions.ids):
        labels = predictions.labels[row].tolist()
        probabilities = [f"{p:.6f}" for p in predictions.probabilities[row]]
        decisions = decided[row].tolist()
        writer.writerow([to_cell(sample_id), *labels, *probabilities, *decisions])
    return text.getvalue()


def read_predictions(folder: Path, split: str) -> StoredPredictions | None:
    """Return the predictions that a run folder holds on a split; None where it holds none.

    Raises:
        DataError: the file is damaged.
    """
    file = predictions_file(folder, split)
    if not is_there(file):
        return None

    text = read_text(file, expected=AS_WRITTEN, fix=AGAIN)
    evaluation = read_evaluation(folder, split)
    if evaluation is not None and evaluation.predictions not in (None, _hash_of(text)):
        raise _damaged(file, f"it is not what {evaluation_file(folder, split).name} is of")

    try:
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise _damaged(file, str(error)) from error
    return _parse(file, rows)


def _hash_of(text: str) -> str:
    """Return the SHA-256 of a table, whatever the system ends its lines with."""
    unix = text.replace("\r\n", "\n")
    return hashlib.sha256(unix.encode()).hexdigest()


def _header(label_names: Sequence[str]) -> list[str]:
    true = [f"true:{name}" for name in label_names]
    probable = [f"p:{name}" for name in label_names]
    decided = [to_cell(name) for name in label_names]
    return ["id", *true, *probable, *decided]


def _parse(file: Path, rows: list[list[str]]) -> StoredPredictions:
    """Return the table of a file, checked."""
    if len(rows) < 2:
        raise _damaged(file, "it has no samples")

    # three columns per label, after the id
    header = rows[0]
    count = (len(header) - 1) // 3
    names = tuple(from_cell(cell) for cell in header[1 + 2 * count :])
    if not names or header != _header(names):
        raise _damaged(file, "its header is not that of a table of predictions")

    # the header is line 1
    samples = rows[1:]
    for number, row in enumerate(samples, 2):
        if len(row) != len(header):
            raise _damaged(file, f"line {number} has {len(row)} cells instead of {len(header)}")

    ids = tuple(from_cell(row[0]) for row in samples)
    cells = np.array([row[1:] for row in samples])  # (n, 3 L), text
    labels, probabilities, decisions = np.split(cells, 3, axis=1)

    for values in (labels, decisions):
        known = np.isin(values, ("0", "1"))
        if not known.all():
            raise _damaged(file, "a label or a decision is neither 0 nor 1")

    try:
        numbers = probabilities.astype(np.float64)
    except ValueError as error:
        raise _damaged(file, str(error)) from error
    inside = (numbers >= 0) & (numbers <= 1)  # false for NaN as well
    if not inside.all():
        raise _damaged(file, "a probability is not in [0, 1]")

    return StoredPredictions(
        ids=ids,
        label_names=names,
        labels=labels.astype(np.uint8),
        probabilities=numbers,
        decisions=decisions == "1",
    )


def _damaged(file: Path, why: str) -> DataError:
    return DataError(f"{file} is damaged: {why}", expected=AS_WRITTEN, fix=AGAIN)
