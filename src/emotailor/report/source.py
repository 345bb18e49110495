"""What a page about a run is made from: the run, its data, and notes of what is missing."""

from dataclasses import dataclass, field
from pathlib import Path

from emotailor.data.dataset import EmotionDataset, Split
from emotailor.errors import ConfigError, DataError, ModelError
from emotailor.runs.data import matching_labels
from emotailor.runs.evaluate import evaluate_run
from emotailor.runs.run import Run
from emotailor.runs.stored import StoredEvaluation, StoredPredictions
from emotailor.serving.predictor import Predictor
from emotailor.text import sentence
from emotailor.training.run_config import RunConfig

Results = tuple[StoredEvaluation, StoredPredictions]


@dataclass
class PageSource:
    """A run, and as much of what surrounds it as is there.

    Attributes:
        run: the run.
        split: name of the split that was asked for.
        device: device to compute on.
        config: settings of the training; None where there are none, or they are damaged.
        data_path: path of the data set, as given or as the run says; None where neither is known.
        dataset: the data set; None where it is not there.
        part: the split that is looked at; None where it is not there or does not fit the model.
        missing: what is left out of the page, and why.
    """

    run: Run
    split: str
    device: str
    config: RunConfig | None = None
    data_path: Path | None = None
    dataset: EmotionDataset | None = None
    part: Split | None = None
    missing: list[str] = field(default_factory=list)

    @property
    def predictor(self) -> Predictor:
        """The trained model, ready to predict."""
        return self.run.predictor(device=self.device)

    @property
    def data_name(self) -> str:
        """The name of the data, as far as it is known."""
        if self.dataset is not None:
            return self.dataset.card.name
        return self.run.data_name


def open_source(path: Path, data: Path | None, split: str | None, device: str) -> PageSource:
    """Open a run and the data it was trained on, as far as they are there.

    Args:
        path: run or model folder.
        data: stored data set; None for the one the run was trained on.
        split: name of the split; None for ``test``.
        device: device to compute on.

    Raises:
        ModelError: there is no model, or it is damaged.
        DataError: data or split were given, and cannot be used.
    """
    run = Run.open(path)
    run.predictor(device=device)  # a damaged model is found here
    source = PageSource(run, split or "test", device)
    try:
        source.config = run.config
    except ConfigError:
        file = run.folder / "config.json"
        source.missing.append(f"{file} is damaged: the settings of the training are left out.")

    try:
        _open_data(source, data)
    except (DataError, ModelError) as error:
        split_is_missing = split is not None and source.dataset is not None
        if data is not None or split_is_missing:
            raise
        left = "new predictions and explanations"
        if source.dataset is None:
            left += ", and the card of the data set"
        source.missing.append(f"{sentence(error.found)} Left out: {left}.")
    return source


def _open_data(source: PageSource, data: Path | None) -> None:
    """Fill in data set and split, as far as they are there and fit the model.

    Raises:
        DataError: there is no data set or split, it is empty, or it has other labels.
        ModelError: the features do not fit the model.
    """
    run = source.run
    source.data_path = data or run.data_path
    source.dataset = run.dataset(source.data_path)

    part = source.dataset[source.split]
    if len(part) == 0:
        raise DataError(f"split {source.split!r} of {source.data_path} is empty")

    part = part.with_labels()
    source.predictor.check_extraction(source.dataset)
    matching_labels(source.dataset, part, run.label_names)

    # the model says itself whether the features fit, on one sample
    predictor = source.predictor
    for sample in part:
        if predictor.can_see(sample):
            predictor.predict([sample])
            break

    # set last: a part that is there can be used
    source.part = part


def results_of(source: PageSource) -> Results | None:
    """Return the stored evaluation, if it is of this model; else evaluate, if the data are there.

    None where neither can be, which is noted in ``source.missing``.
    """
    run = source.run
    split = source.split
    device = source.device
    if source.part is None:
        stored = run.stored_results(split, device=device)
        if stored is None:
            source.missing.append(
                f"No evaluation of this model on split {split!r} is stored: metrics and "
                "mistakes are left out."
            )
        return stored

    # a page shows intervals and findings: an evaluation without them is made again
    stored = run.stored_results(split, dataset=source.dataset, device=device)
    if stored is not None:
        evaluation, _ = stored
        if evaluation.intervals and evaluation.findings is not None:
            return stored

    made = evaluate_run(
        run.folder,
        split=split,
        data=source.data_path,
        device=device,
        store=not run.is_named,
    )
    return made.to_stored()
