"""What a run must beat, and what is suspicious about it: baselines and checks of one model."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from emotailor.data.dataset import EmotionDataset
from emotailor.data.store import open_dataset
from emotailor.errors import DataError, EmotailorError
from emotailor.evaluation.baselines import BaselineResult, baselines
from emotailor.evaluation.comparison import PairedDifference, paired_bootstrap
from emotailor.evaluation.custom import MetricLike
from emotailor.evaluation.display import number, title_of
from emotailor.evaluation.health import Finding, Training
from emotailor.evaluation.metrics import Metrics
from emotailor.evaluation.tables import SIGN, terminal_table, with_ends
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.runs.data import trained_on
from emotailor.training.history import read_history
from emotailor.training.model_folder import ModelCard
from emotailor.training.run_config import RunConfig
from emotailor.training.stored_config import has_run_config, read_run_config


def config_of(run: Path) -> RunConfig | None:
    """Return the settings of a training; None where there are none, or they are damaged."""
    if not has_run_config(run):
        return None
    try:
        return read_run_config(run).config
    except EmotailorError:  # the model works without it
        return None


def training_of(run: Path) -> Training:
    """Return how a run was trained, as far as its folder tells."""
    config = config_of(run)
    try:
        history = read_history(run)
    except EmotailorError:  # a damaged history is reported where it is shown
        history = []

    # a system that is fitted at once has no epochs
    by_gradients = [record for record in history if record.train]
    if config is None or not by_gradients:
        return Training()
    return Training(
        epochs=len(by_gradients),
        learning_rate=config.training.learning_rate,
        updates=by_gradients[-1].step,
        scores=[record.score("micro_f1") for record in by_gradients],
    )


def baselines_of(
    run: Path,
    card: ModelCard,
    dataset: EmotionDataset,
    split: str,
    mode: ThresholdMode,
    *,
    metrics: Sequence[MetricLike] = (),
    store: bool = True,
) -> tuple[dict[str, BaselineResult], str | None]:
    """Return the baselines of a model, or why there are none.

    They see the modalities of the model, and are fitted on the data of its training; where those
    are gone, on the data that it is judged on.

    Args:
        run: run or model folder, where the regression is kept.
        card: of the model.
        dataset: the data set that it is judged on.
        split: the split that it is judged on.
        mode: how thresholds are chosen.
        metrics: metrics of others.
        store: keep the regression in the folder.
    """
    config = config_of(run)
    train = "train" if config is None else config.data.train_split
    valid = "valid" if config is None else config.data.valid_split
    fixed = card.unscaled_thresholds.get("fixed")
    options = {}
    if config is not None:
        # as it was set: the one on the card may be scaled with the probabilities
        options["fixed"] = config.training.threshold
    elif fixed is not None:
        options["fixed"] = next(iter(fixed.values.values()))

    try:
        found = baselines(
            dataset,
            split,
            mode,
            modalities=list(card.dims),
            label_names=card.label_names,
            train=train,
            valid=valid,
            fitted_on=_trained_on(run, card, dataset),
            metrics=metrics,
            folder=run if store else None,
            **options,
        )
    except DataError as error:
        return {}, f"no baselines: {error.found}"
    return found, None


def _trained_on(run: Path, card: ModelCard, dataset: EmotionDataset) -> EmotionDataset | None:
    """Return the data of a training where they are others than these and still there."""
    if card.fingerprint == dataset.card.fingerprint:
        return None
    try:
        own = open_dataset(trained_on(run))
    except DataError:
        return None

    # another data set may lie at that path by now
    return own if own.card.fingerprint == card.fingerprint else None


def differences_from(
    labels: np.ndarray,
    probabilities: np.ndarray,
    thresholds: np.ndarray,
    found: Mapping[str, BaselineResult],
    *,
    groups: np.ndarray,
    resamples: int,
) -> dict[str, PairedDifference]:
    """Return by how much a model is better than each baseline in micro-F1, on the same samples."""
    differences = {}
    for name, baseline in found.items():
        tested = paired_bootstrap(
            labels,
            probabilities,
            baseline.probabilities,
            thresholds_a=thresholds,
            thresholds_b=baseline.thresholds,
            groups=groups,
            resamples=resamples,
            ranking=False,
        )
        if "micro_f1" in tested:
            differences[name] = tested["micro_f1"]
    return differences


# ---------------------------------------------------------------------- how they are shown


COLUMNS = ("accuracy", "micro_f1", "mean_average_precision", "mean_roc_auc")


def baselines_table(
    metrics: Metrics,
    found: Mapping[str, Metrics],
    differences: Mapping[str, PairedDifference],
    *,
    marked: bool,
) -> RenderableType:
    """Return a table of a model and its baselines that fits 80 columns.

    Args:
        metrics: metrics of the model.
        found: name of a baseline -> metrics on the same samples.
        differences: name of a baseline -> micro-F1 of the model minus that of the baseline.
        marked: the model is below a baseline.
    """
    titles = [title_of(metric) for metric in COLUMNS]
    if differences:
        titles += [f"{title_of('micro_f1')}: model - this", "p"]
    table = terminal_table("beside baselines", *titles)

    name = f"this model {SIGN}" if marked else "this model"
    for title, own in {name: metrics, **found}.items():
        overall = own.overall()
        cells = [number(overall[metric]) for metric in COLUMNS]
        difference = differences.get(title)
        if difference is not None:
            cells += [with_ends(difference), f"{difference.p_value:.4f}"]
        table.add_row(*map(Text, [title, *cells]))
    if not marked:
        return table

    note = Text(f"{SIGN} a baseline is better in one of them; the check below says which", "dim")
    return Group(table, note)


def shown_baselines(
    several: Sequence[Mapping[str, BaselineResult]],
) -> dict[str, Metrics]:
    """Return the baselines of several runs, each once.

    Runs that see other modalities than each other have regressions of their own, which are counted.
    """
    shown: dict[str, Metrics] = {}
    for found in several:
        for name, baseline in found.items():
            alike = [metrics for title, metrics in shown.items() if title.startswith(name)]
            if baseline.metrics in alike:
                continue
            title = f"{name} ({len(alike) + 1})" if alike else name
            shown[title] = baseline.metrics
    return shown


def findings_lines(found: Sequence[Finding | str]) -> list[Text]:
    """Return a line for each finding."""
    return [Text(f"check: {finding}", style="bold yellow") for finding in found]
