"""What a trained model says of every sample of a split, beside what is true."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64

from emotailor.data.dataset import EmotionDataset, Split
from emotailor.errors import DataError, ModelError
from emotailor.evaluation.metrics import Metrics
from emotailor.report.mistakes import log_odds
from emotailor.runs.data import matching_labels
from emotailor.runs.evaluate import evaluate_run
from emotailor.runs.run import Run
from emotailor.runs.stored import StoredEvaluation
from emotailor.serving.predictor import Predictor


@dataclass(frozen=True, eq=False)
class Judged:
    """The answers of one model on the n labelled samples of a split.

    Attributes:
        name: of the run, as it is shown.
        run: the run.
        predictor: its model.
        dataset: the data set.
        part: the samples.
        evaluation: the metrics, as stored.
        label_names: the L labels.
        true: (n, L), which labels hold.
        probabilities: (n, L).
        named: (n, L), which labels the model names.
        thresholds: (L,).
    """

    name: str
    run: Run
    predictor: Predictor
    dataset: EmotionDataset
    part: Split
    evaluation: StoredEvaluation
    label_names: tuple[str, ...]
    true: Bool[np.ndarray, "n labels"]
    probabilities: Float64[np.ndarray, "n labels"]
    named: Bool[np.ndarray, "n labels"]
    thresholds: Float64[np.ndarray, "labels"]

    def __len__(self) -> int:
        return len(self.part)

    @property
    def metrics(self) -> Metrics:
        """The metrics with the thresholds that decide here."""
        return self.evaluation.metrics[self.evaluation.thresholds]

    @cached_property
    def wrong(self) -> Bool[np.ndarray, "n labels"]:
        """Which decisions are wrong."""
        return self.named ^ self.true

    @cached_property
    def log_odds(self) -> Float64[np.ndarray, "n labels"]:
        """How sure the model is: from .98 to .99 is as far as from .5 to .67."""
        return log_odds(self.probabilities)

    @cached_property
    def distances(self) -> Float64[np.ndarray, "n labels"]:
        """How far each probability is from its threshold, in log-odds."""
        return np.abs(self.log_odds - log_odds(self.thresholds))

    @cached_property
    def texts(self) -> list[str]:
        """What is found in a search, one text a sample: its id and its words, in small letters."""
        found = []
        for row, name in enumerate(self.part.ids):
            said = f"{name}\n{self.part.text(row)}"
            found.append(said.casefold())
        return found

    @cached_property
    def by_id(self) -> Int64[np.ndarray, "n"]:
        """The positions of the samples in the order of their ids."""
        order = sorted(range(len(self)), key=lambda row: self.part.ids[row])
        return np.array(order, np.int64)

    def ordered_as(self, label_names: Sequence[str]) -> "Judged":
        """Return the same with the labels in another order."""
        columns = [self.label_names.index(name) for name in label_names]
        return replace(
            self,
            label_names=tuple(label_names),
            true=self.true[:, columns],
            probabilities=self.probabilities[:, columns],
            named=self.named[:, columns],
            thresholds=self.thresholds[columns],
        )


def open_judged(
    path: str | Path,
    *,
    data: str | Path | None = None,
    split: str = "test",
    device: str = "auto",
    tell: Callable[[str], None] | None = None,
) -> Judged:
    """Open a run and a data set, with the predictions of the one on the other.

    Predictions are those that are stored, if they are of this model and these data; else they are
    made, and stored as ``emotailor evaluate`` does.

    Args:
        path: run folder, model folder, or the name of a model.
        data: stored data set; by default the one the run was trained on.
        split: name of the split.
        device: device to compute on.
        tell: takes a line on what takes a while.

    Raises:
        ModelError: there is no model, it is damaged, or the data do not fit it.
        DataError: there is no data set or split, it is empty, or it has other labels.
    """
    run = Run.open(path)
    predictor = run.predictor(device=device)
    dataset = run.dataset(data)
    name = dataset.split_name(split)
    if not len(dataset[name]):
        raise DataError(f"split {name!r} of {dataset.card.name!r} is empty")
    predictor.check_fits(dataset)
    labelled = dataset.with_labels()
    part = labelled[name]
    true = matching_labels(labelled, part, run.label_names)

    found = run.stored_results(name, dataset=dataset, device=device)
    if found is None:
        if tell is not None:
            tell(
                f"evaluating {_called(run)} on split {name}, once: there is no evaluation of it yet"
            )
        where = run.data_path if data is None else data
        found = evaluate_run(path, split=name, data=where, device=device).to_stored()
    evaluation, predictions = found

    chosen = run.model.thresholds[evaluation.thresholds]
    return Judged(
        name=_called(run),
        run=run,
        predictor=predictor,
        dataset=dataset,
        part=part,
        evaluation=evaluation,
        label_names=run.label_names,
        true=true.astype(bool),
        probabilities=predictions.probabilities,
        named=predictions.decisions,
        thresholds=np.asarray(chosen.array(run.label_names), np.float64),
    )


def _called(run: Run) -> str:
    """Return how a run is called: the name of its model, or the last two parts of its path."""
    if run.is_named:
        return run.name
    parts = run.folder.resolve().parts
    return "/".join(parts[-2:]).lstrip("/")


def open_other(
    one: Judged,
    path: str | Path,
    *,
    data: str | Path | None = None,
    device: str = "auto",
    tell: Callable[[str], None] | None = None,
) -> Judged:
    """Open a second run on the data of a first one.

    Args:
        one: the first.
        path: run folder, model folder, or the name of a model.
        data: the data set, where it was given; None where the first was trained on it.
        device: device to compute on.
        tell: takes a line on what takes a while.

    Raises:
        ModelError: there is no model, it was trained on other data and nobody said on which data
            both are to be compared, or it has other labels.
        DataError: as for :func:`open_judged`.
    """
    run = Run.open(path)
    if set(run.label_names) != set(one.label_names):
        raise ModelError(
            f"{path} has the labels {', '.join(run.label_names)}",
            expected=f"those of {one.name}: {', '.join(one.label_names)}",
            fix="compare runs with the same labels",
        )
    fingerprint = one.dataset.card.fingerprint
    if data is None and run.model.fingerprint != fingerprint:
        raise ModelError(
            f"{path} was trained on {run.data_name} ({run.model.fingerprint}), {one.name} on "
            f"{one.dataset.card.name} ({fingerprint})",
            expected="two runs on the same data",
            fix="name with --data the data set on which both are compared",
        )
    where = one.run.data_path if data is None else data
    found = open_judged(path, data=where, split=one.part.name, device=device, tell=tell)
    return found.ordered_as(one.label_names)
