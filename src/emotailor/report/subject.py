"""The run a report is about, and its evaluation: stored, if it is of this model, or made."""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from emotailor.data.dataset import EmotionDataset, Split
from emotailor.data.store import open_dataset
from emotailor.errors import ConfigError, DataError, ModelError
from emotailor.evaluation.comparison import Interval
from emotailor.evaluation.metrics import Metrics, decide, evaluate
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.models.table import find_system
from emotailor.runs.evaluate import evaluate_run
from emotailor.runs.run import matching_labels, trained_on
from emotailor.serving.predictor import Predictor
from emotailor.training.run_config import RunConfig
from emotailor.training.run_folder import CONFIG_FILE

SPOT_CHECKS = 8  # samples on which stored predictions are compared with the model's
ROUNDING = 0.002  # what rounded probabilities may change in micro-F1
SAME = 1e-4  # what two devices may differ in a probability


class StoredEvaluation(BaseModel):
    """What ``evaluation-<split>.json`` holds of a run."""

    split: str
    data: dict[str, str]
    thresholds: ThresholdMode
    metrics: dict[ThresholdMode, Metrics]
    intervals: dict[str, Interval]
    notes: list[str]


@dataclass(frozen=True)
class Predictions:
    """The predictions of a split.

    Attributes:
        ids: of the samples.
        labels: (n, L), true.
        probabilities: (n, L), of six digits.
        decided: (n, L), which labels were predicted.
    """

    ids: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    decided: np.ndarray


@dataclass
class Subject:
    """Everything that is known of a run.

    Attributes:
        run: run or model folder.
        predictor: its model.
        config: of its training; None for a model that was not trained here.
        data: path of the data set, as given or as the run says.
        dataset: None where it is not there.
        part: the split that was looked at; None where it is not there.
        split: its name.
        device: to compute on.
        missing: what is left out of the page, and why.
    """

    run: Path
    predictor: Predictor
    config: RunConfig | None
    data: Path | None
    dataset: EmotionDataset | None
    part: Split | None
    split: str
    device: str
    missing: list[str] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        """The labels, in the model's order."""
        return self.predictor.label_names

    @property
    def title(self) -> str:
        """The system, as papers write it."""
        return find_system(self.predictor.card.system).title

    @property
    def data_name(self) -> str:
        """How the data are called, as far as that is known."""
        if self.dataset is not None:
            return self.dataset.card.name
        return str(self.predictor.card.data.get("name", "unknown data"))


def sentence(text: str) -> str:
    """Return a note as a sentence."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def open_subject(run: Path, data: Path | None, split: str | None, device: str) -> Subject:
    """Open a run and the data it was trained on, as far as they are there.

    Args:
        run: run or model folder.
        data: stored data set; None for the one the run was trained on.
        split: its name; None for ``test``.
        device: to compute on.

    Raises:
        ModelError: there is no model, or it is damaged.
        DataError: data or split were given, and cannot be used.
    """
    predictor = Predictor.load(run, device=device)
    subject = Subject(run, predictor, None, data, None, None, split or "test", device)
    file = run / CONFIG_FILE
    if file.is_file():
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))["config"]
            subject.config = RunConfig.parse(stored)
        except (OSError, ValueError, KeyError, TypeError, ConfigError):
            subject.missing.append(f"{file} is damaged: the settings of the training are left out.")
    try:
        subject.data = data or trained_on(run)
        subject.dataset = open_dataset(subject.data)
        part = subject.dataset[subject.split]
        if not len(part):
            raise DataError(f"split {subject.split!r} of {subject.data} is empty")
        matching_labels(subject.dataset, part, predictor.label_names)
        seen = next((sample for sample in part if predictor.can_see(sample)), None)
        predictor.predict([] if seen is None else [seen])  # whether its features fit the model
        subject.part = part
    except (DataError, ModelError) as error:
        if data is not None or (split is not None and subject.dataset is not None):
            raise
        left = "new predictions and explanations"
        left += "" if subject.dataset is not None else ", and the card of the data set"
        subject.missing.append(f"{sentence(error.found)} Left out: {left}.")
    return subject


def evaluation_of(subject: Subject) -> tuple[StoredEvaluation | None, Predictions | None]:
    """Return what is stored of an earlier evaluation, if it is of this model, or evaluate."""
    stored = _read_evaluation(subject)
    if stored is not None and (subject.part is None or stored[0].intervals):
        return stored
    if subject.part is None:
        subject.missing.append(
            f"No evaluation of this model on split {subject.split!r} is stored: metrics and "
            "mistakes are left out."
        )
        return None, None
    found = evaluate_run(subject.run, data=subject.data, split=subject.split, device=subject.device)
    assert subject.dataset is not None
    card = subject.dataset.card
    evaluation = StoredEvaluation(
        split=found.split,
        data={"name": card.name, "fingerprint": card.fingerprint},
        thresholds=found.mode,
        metrics=found.by_mode,
        intervals=found.intervals,
        notes=found.notes,
    )
    rounded = [[float(f"{p:.6f}") for p in row] for row in found.probabilities]  # as stored
    decided = decide(found.probabilities, subject.predictor.thresholds)
    predictions = Predictions(tuple(subject.part.ids), found.labels, np.array(rounded), decided)
    return evaluation, predictions


def _read_evaluation(subject: Subject) -> tuple[StoredEvaluation, Predictions] | None:
    """Return the stored evaluation; None where there is none, or it is not of this model."""
    try:
        text = (subject.run / f"evaluation-{subject.split}.json").read_text(encoding="utf-8")
        evaluation = StoredEvaluation.model_validate_json(text)
        predictions = _read_predictions(
            subject.run / f"predictions-{subject.split}.csv", len(subject.names)
        )
    except (OSError, ValueError, csv.Error):
        return None
    return (evaluation, predictions) if _fits(subject, evaluation, predictions) else None


def _read_predictions(file: Path, labels: int) -> Predictions:
    with file.open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    if len(header) != 1 + 3 * labels or not rows:
        raise ValueError("another number of columns")
    return Predictions(
        tuple(row[0] for row in rows),
        np.array([[int(x) for x in row[1 : 1 + labels]] for row in rows], np.uint8),
        np.array([[float(x) for x in row[1 + labels : 1 + 2 * labels]] for row in rows]),
        np.array([[x == "1" for x in row[1 + 2 * labels :]] for row in rows]),
    )


def _fits(subject: Subject, evaluation: StoredEvaluation, predictions: Predictions) -> bool:
    """Whether a stored evaluation is of this model on these data."""
    known = {
        mode: {name: label.threshold for name, label in metrics.labels.items()}
        for mode, metrics in evaluation.metrics.items()
    }
    chosen = subject.predictor.card.thresholds  # fitted to the model: another has others
    if evaluation.thresholds not in known or known != {m: x.values for m, x in chosen.items()}:
        return False
    metrics, cuts = evaluation.metrics[evaluation.thresholds], chosen[evaluation.thresholds]
    try:
        again = evaluate(
            predictions.labels,
            predictions.probabilities,
            subject.names,
            cuts.array(subject.names),
        )
    except DataError:
        return False
    # in the table of predictions, probabilities have six digits
    if again.samples != metrics.samples or abs(again.micro_f1 - metrics.micro_f1) > ROUNDING:
        return False
    if subject.part is None or subject.dataset is None:
        return True
    return (
        evaluation.data.get("fingerprint") == subject.dataset.card.fingerprint
        and predictions.ids == tuple(subject.part.ids)
        and _predicts(subject, subject.part, predictions)
    )


def _predicts(subject: Subject, part: Split, predictions: Predictions) -> bool:
    """Whether the model predicts some samples as stored."""
    step = max(1, len(part) // SPOT_CHECKS)
    samples = {i: part.sample(i) for i in range(0, len(part), step)}
    seen = [i for i, sample in samples.items() if subject.predictor.can_see(sample)]
    found = subject.predictor.predict([samples[i] for i in seen])
    values = [[one.probabilities[name] for name in subject.names] for one in found]
    return bool(seen) and bool(np.abs(values - predictions.probabilities[seen]).max() < SAME)
