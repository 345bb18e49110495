"""A trained run: one object over its folder, from which everything else is asked.

Everything is read when it is asked for, and then kept. A bare model folder (an imported
checkpoint, a model sent by mail) is a run too: it has no settings of a training and no history.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from emotailor.data.dataset import EmotionDataset, Split
from emotailor.data.store import open_dataset
from emotailor.errors import ConfigError, DataError, EmotailorError
from emotailor.evaluation.custom import MetricLike
from emotailor.evaluation.metrics import evaluate
from emotailor.evaluation.notebook import html_table
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.models.table import find_system
from emotailor.runs.data import trained_on
from emotailor.runs.evaluate import RESAMPLES, RunEvaluation, evaluate_run
from emotailor.runs.stored import (
    StoredEvaluation,
    StoredPredictions,
    read_evaluation,
    read_predictions,
)
from emotailor.serving.predictor import Predictor
from emotailor.shipped.find import is_named, meant_by, name_of
from emotailor.training.checkpoint import read_progress
from emotailor.training.history import EpochRecord, history_frame, read_history
from emotailor.training.model_folder import ModelCard, find_model_folder, read_model_card
from emotailor.training.run_config import RunConfig
from emotailor.training.stored_config import has_run_config, read_run_config

SPOT_CHECKS = 8  # samples on which stored predictions are compared with the model's
ROUNDING = 0.002  # what rounded probabilities may change in micro-F1
SAME = 1e-4  # what two devices may differ in a probability


class Run:
    """A trained model with all that is stored around it.

    Use :meth:`open`.

    Attributes:
        folder: run folder, or bare model folder.
        name: how the run is called: its folder as it was given, or the name of a model.
        is_named: whether it is a model with a name, beside which nothing is written.
        model: card of the trained model: system, labels, dims, thresholds, versions.
    """

    def __init__(self, folder: Path, model: ModelCard, name: str | None = None) -> None:
        self.folder = folder
        self.name = str(folder) if name is None else name
        self.is_named = name is not None
        self.model = model
        self._predictors: dict[tuple[str, ThresholdMode | None], Predictor] = {}

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Open a run folder or a model folder, or a model by its name.

        Raises:
            ModelError: there is no trained model, or its card is damaged.
            ConfigError: the name can be none of the Hugging Face Hub.
        """
        folder = meant_by(path)
        card = read_model_card(find_model_folder(folder))
        return cls(folder, card, name_of(path) if is_named(path) else None)

    # ------------------------------------------------------------------ what it is

    @property
    def system(self) -> str:
        """The name of the system, such as ``tailor``."""
        return self.model.system

    @property
    def title(self) -> str:
        """The system as papers write it; its name where this version does not know it."""
        try:
            return find_system(self.system).title
        except ConfigError:
            return self.system

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels, in the order of the model's outputs."""
        return self.model.label_names

    @property
    def data_name(self) -> str:
        """The name of the training data, as far as the model knows it."""
        return str(self.model.data.get("name", "unknown data"))

    @cached_property
    def config(self) -> RunConfig | None:
        """The settings of the training; None for a bare model folder.

        Raises:
            ConfigError: ``config.json`` is damaged.
        """
        if not has_run_config(self.folder):
            return None

        stored = read_run_config(self.folder)
        return stored.config

    @property
    def seed(self) -> int | None:
        """The seed of the training; None for a bare model folder."""
        if self.config is None:
            return None
        return self.config.training.seed

    @property
    def finished(self) -> bool:
        """Whether the training is done; a model without a checkpoint is.

        Raises:
            ModelError: the checkpoint is damaged.
        """
        progress = read_progress(self.folder / "checkpoint")
        if progress is None:
            return True
        return progress.finished

    @cached_property
    def history(self) -> list[EpochRecord]:
        """One record per epoch: losses, validation scores, seconds; empty where none is stored.

        Raises:
            ModelError: ``metrics.jsonl`` is damaged.
        """
        return read_history(self.folder)

    def history_to_dataframe(self) -> Any:
        """Return a ``pandas.DataFrame`` of the history: a row per epoch.

        Raises:
            ModelError: ``metrics.jsonl`` is damaged.
            ConfigError: pandas is not installed.
        """
        return history_frame(self.history)

    # ------------------------------------------------------------------ model and data

    def predictor(
        self, *, device: str = "auto", thresholds: ThresholdMode | None = None
    ) -> Predictor:
        """Return the trained model, ready to predict; it is loaded once.

        Raises:
            ModelError: the model is damaged.
            ConfigError: unknown device or thresholds.
        """
        key = (device, thresholds)
        if key not in self._predictors:
            self._predictors[key] = Predictor.load(
                self.folder,
                device=device,
                thresholds=thresholds,
            )
        return self._predictors[key]

    @property
    def data_path(self) -> Path:
        """The path of the data set that the run was trained on.

        Raises:
            DataError: the run does not say, as an imported model, or the data set is gone.
        """
        return trained_on(self.folder)

    def dataset(self, path: str | Path | None = None) -> EmotionDataset:
        """Open a data set; by default the one that the run was trained on.

        Raises:
            DataError: the run does not name it, it is gone, or it is damaged.
        """
        return open_dataset(self.data_path if path is None else Path(path))

    # ------------------------------------------------------------------ evaluation

    def evaluation(self, split: str = "test") -> StoredEvaluation | None:
        """Return the stored evaluation on a split; None where there is none of this model.

        Raises:
            DataError: the stored file is damaged.
        """
        found = read_evaluation(self.folder, split)
        if found is None or not self._has_thresholds_of(found):
            return None
        return found

    def predictions(self, split: str = "test") -> StoredPredictions | None:
        """Return the stored predictions on a split; None where there are none for these labels.

        Raises:
            DataError: the stored file is damaged.
        """
        found = read_predictions(self.folder, split)
        if found is None or found.label_names != self.label_names:
            return None
        return found

    @cached_property
    def findings(self) -> list[str]:
        """What is suspicious about the model, and what to try; empty where nothing is.

        Those of the stored evaluation on the test split; where none is stored, the model is
        checked on its validation split.

        Raises:
            DataError: nothing is stored, and the data are gone.
        """
        try:
            stored = self.evaluation("test")
        except DataError:
            stored = None
        if stored is not None and stored.findings is not None:
            return list(stored.findings)

        split = "valid" if self.config is None else self.config.data.valid_split
        made = self.evaluate(split, resamples=0, store=False)
        return [str(finding) for finding in made.findings]

    def evaluate(
        self,
        split: str = "test",
        *,
        data: str | Path | None = None,
        thresholds: ThresholdMode | None = None,
        resamples: int = RESAMPLES,
        device: str = "auto",
        store: bool = True,
        metrics: Sequence[MetricLike] = (),
        protocols: bool = False,
        without: Sequence[str] = (),
        corrupt: bool = False,
    ) -> RunEvaluation:
        """Evaluate the model on a split now; arguments and errors are those of ``evaluate_run``."""
        return evaluate_run(
            self.folder,
            data=data,
            split=split,
            thresholds=thresholds,
            resamples=resamples,
            device=device,
            store=store,
            metrics=metrics,
            protocols=protocols,
            without=without,
            corrupt=corrupt,
        )

    def stored_results(
        self,
        split: str = "test",
        *,
        dataset: EmotionDataset | None = None,
        device: str = "auto",
    ) -> tuple[StoredEvaluation, StoredPredictions] | None:
        """Return stored evaluation and predictions if they are surely those of this model.

        The metrics are computed again from the predictions. With a data set, the data must be the
        same, and the model must predict some of the samples as stored.

        Args:
            split: name of the split.
            dataset: data set to check against; None to check without one.
            device: device for the model.

        Returns:
            None where nothing is stored, or something else, or a damaged file.
        """
        try:
            evaluation = self.evaluation(split)
            predictions = self.predictions(split)
        except DataError:
            return None
        if evaluation is None or predictions is None:
            return None

        if not self._fit_together(evaluation, predictions):
            return None

        if dataset is not None:
            part = dataset.with_labels()[split]
            same_data = evaluation.data.get("fingerprint") == dataset.card.fingerprint
            same_samples = predictions.ids == tuple(part.ids)
            if not same_data or not same_samples or not self._predicts(part, predictions, device):
                return None
        return evaluation, predictions

    def _has_thresholds_of(self, evaluation: StoredEvaluation) -> bool:
        """Whether an evaluation used this model's thresholds, which another model has not."""
        thresholds = self.model.thresholds
        if evaluation.thresholds not in thresholds:
            return False
        if evaluation.metrics.keys() != thresholds.keys():
            return False

        # every mode, label by label
        for mode, metrics in evaluation.metrics.items():
            used = {name: label.threshold for name, label in metrics.labels.items()}
            if used != thresholds[mode].values:
                return False
        return True

    def _fit_together(self, evaluation: StoredEvaluation, predictions: StoredPredictions) -> bool:
        """Whether stored metrics are those of the stored predictions."""
        mode = evaluation.thresholds
        metrics = evaluation.metrics[mode]
        cuts = self.model.thresholds[mode].array(self.label_names)
        again = evaluate(
            predictions.labels,
            predictions.probabilities,
            self.label_names,
            cuts,
        )

        same_size = again.samples == metrics.samples
        # in the table of predictions, probabilities have six digits
        return same_size and abs(again.micro_f1 - metrics.micro_f1) <= ROUNDING

    def _predicts(self, part: Split, predictions: StoredPredictions, device: str) -> bool:
        """Whether the model predicts some samples as stored."""
        predictor = self.predictor(device=device)

        # samples at equal distances, of which the model can see something
        step = max(1, len(part) // SPOT_CHECKS)
        rows = []
        samples = []
        for row in range(0, len(part), step):
            sample = part.sample(row)
            if predictor.can_see(sample):
                rows.append(row)
                samples.append(sample)
        if not samples:
            return False

        predicted = []
        for prediction in predictor.predict(samples):
            own = [prediction.probabilities[name] for name in self.label_names]
            predicted.append(own)

        stored = predictions.probabilities[rows]  # (rows, L)
        difference = np.abs(np.array(predicted) - stored)
        return bool(difference.max() < SAME)

    # ------------------------------------------------------------------ how it is shown

    def __repr__(self) -> str:
        values = [value for _, value in self._facts()]
        return f"Run({', '.join(values)})"

    def _repr_html_(self) -> str:
        return html_table((), self._facts(), caption="Run")

    def _facts(self) -> Sequence[tuple[str, str]]:
        """What is shown of the run; damaged files show as such."""
        facts = [
            ("folder", str(self.folder)),
            ("system", self.title),
            ("data", self.data_name),
        ]
        try:
            if self.seed is not None:
                facts.append(("seed", f"seed {self.seed}"))
            state = "finished" if self.finished else "not finished"
            facts.append(("training", state))
        except EmotailorError as error:
            facts.append(("damaged", error.found))
        return facts
