"""Evaluation of trained runs: metrics, intervals and predictions, stored beside the model."""

import csv
import io
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from emotailor.data.dataset import EmotionDataset, Split
from emotailor.data.sample import video_of
from emotailor.data.store import open_dataset
from emotailor.errors import DataError, ModelError
from emotailor.evaluation.comparison import Interval, bootstrap, summarise_seeds
from emotailor.evaluation.metrics import Metrics, decide, evaluate
from emotailor.evaluation.report import (
    Setting,
    comparison_table,
    label_table,
    metrics_table,
    seeds_table,
)
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.files import write_json, write_text
from emotailor.serving.predictor import Predictor
from emotailor.training.checkpoint import read_progress
from emotailor.training.model_folder import find_model_folder

RESAMPLES = 2000


@dataclass(frozen=True)
class RunEvaluation:
    """How one trained model does on one split.

    Attributes:
        run: run or model folder.
        split: name of the split.
        mode: how the thresholds were chosen, on validation data.
        metrics: with those thresholds.
        intervals: 95 % bootstrap intervals; the segments of a video are drawn together. None
            where the split has a single video, which a note says.
        by_mode: the metrics under every kind of threshold the model has.
        labels: (n, L), as the model orders them.
        probabilities: (n, L).
        notes: what a reader of the numbers should know.
        stored: the files written.
    """

    run: Path
    split: str
    mode: ThresholdMode
    metrics: Metrics
    intervals: dict[str, Interval]
    by_mode: dict[ThresholdMode, Metrics]
    labels: np.ndarray
    probabilities: np.ndarray
    notes: list[str]
    stored: tuple[Path, ...] = ()


def matching_labels(
    dataset: EmotionDataset, split: Split, label_names: Sequence[str]
) -> np.ndarray:
    """Return the labels of a split in the order of ``label_names``, matched by name, (n, L).

    Raises:
        DataError: the data set has other labels.
    """
    if set(dataset.label_names) != set(label_names):
        raise DataError(
            f"the data set {dataset.card.name!r} has the labels {', '.join(dataset.label_names)}",
            expected=f"those of the model: {', '.join(label_names)}",
            fix="evaluate on data with the same labels, in any order",
        )
    return split.labels[:, [dataset.label_names.index(name) for name in label_names]]


def find_runs(path: Path) -> list[Path]:
    """Return the runs at ``path``: itself, or the runs in it, one per seed.

    Warns of runs in it that have no model yet.

    Raises:
        ModelError: there is none.
    """
    inside = sorted(
        (p.parent.parent for p in path.glob("*/model/model.json")), key=lambda p: (len(p.name), p)
    )
    try:
        find_model_folder(path)
    except ModelError:
        if not inside:
            raise
        started = {p.parent for p in path.glob("*/config.json")}
        if waiting := sorted(p.name for p in started - set(inside)):
            warnings.warn(
                f"{', '.join(waiting)} in {path}: no trained model yet, left out", stacklevel=2
            )
        return inside
    return [path]


def trained_on(run: Path) -> Path:
    """Return the path of the data set a run was trained on.

    Raises:
        DataError: the run does not say, as an imported model, or the data set is gone.
    """
    try:
        config = json.loads((run / "config.json").read_text(encoding="utf-8"))
        path = Path(config["config"]["data"]["path"])
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(
            f"{run} does not say which data it was trained on", fix="name a data set with --data"
        ) from None
    if not path.exists():
        raise DataError(
            f"the data set {path}, on which {run} was trained, is not there",
            fix="name it with --data, or start where the training was started",
        )
    return path


def why_not_resampled(ids: Sequence[str]) -> str | None:
    """Say why there are no intervals and tests on these samples; None where there are.

    Args:
        ids: of the samples, which tell their videos.
    """
    if len({video_of(sample_id) for sample_id in ids}) > 1:
        return None
    what = "one sample" if len(ids) == 1 else f"{len(ids)} samples of one video"
    return f"the split has {what}, so all resamples of videos are alike"


def evaluate_run(
    run: str | Path,
    *,
    data: str | Path | None = None,
    split: str = "test",
    thresholds: ThresholdMode | None = None,
    resamples: int = RESAMPLES,
    device: str = "auto",
    store: bool = True,
) -> RunEvaluation:
    """Evaluate a trained model on every sample of a split.

    Args:
        run: run folder or model folder.
        data: stored data set; by default the one the run was trained on.
        split: its name.
        thresholds: ``fixed``, ``tuned`` or ``per_label``; all were chosen on validation data.
        resamples: of the bootstrap; 0 for no intervals.
        device: to compute on.
        store: write ``evaluation-<split>.json`` and ``predictions-<split>.csv`` into ``run``; where
            that is forbidden, a note says so.

    Raises:
        ModelError: there is no model, or the data do not fit it.
        DataError: there is no such data set or split, or it has other labels.
    """
    run = Path(run)
    predictor = Predictor.load(run, device=device, thresholds=thresholds)
    path = Path(data) if data is not None else trained_on(run)
    dataset = open_dataset(path)
    part = dataset[split]
    if not len(part):
        raise DataError(f"split {split!r} of {path} is empty", expected="at least one sample")
    names = predictor.label_names
    labels = matching_labels(dataset, part, names)
    probabilities = predictor.predict_proba(part)
    by_mode = {
        mode: evaluate(labels, probabilities, names, chosen.array(names))
        for mode, chosen in predictor.card.thresholds.items()
    }
    intervals = {}
    if resamples:
        groups = np.array([video_of(sample_id) for sample_id in part.ids])
        intervals = bootstrap(
            labels, probabilities, predictor.thresholds, groups=groups, resamples=resamples
        )
    notes = _state(run)
    if resamples and (why := why_not_resampled(part.ids)):
        notes.append(f"no intervals: {why}")
    known = predictor.card.data.get("fingerprint")
    if known is not None and known != dataset.card.fingerprint:
        notes.append(f"{path} is not the data set the model was trained on")
    if split == "train":
        notes.append("these samples were trained on")
    elif split == "valid":
        notes.append("epoch and thresholds were chosen on these samples")
    result = RunEvaluation(
        run,
        split,
        predictor.mode,
        by_mode[predictor.mode],
        intervals,
        by_mode,
        labels,
        probabilities,
        notes,
    )
    if not store:
        return result
    try:
        return replace(result, stored=_store(result, predictor, part, dataset))
    except PermissionError as error:  # the model of a colleague, whose folder is read-only
        return replace(result, notes=[*notes, f"nothing is stored in {run}: {error.strerror}"])


def _state(run: Path) -> list[str]:
    """Say where the training of a run stands, unless it is done."""
    try:
        progress = read_progress(run / "checkpoint")
    except ModelError:  # the checkpoint is damaged, but the model beside it may be whole
        return [f"the checkpoint of {run} is damaged"]
    if progress is None or progress.finished:
        return []
    return [f"the training of {run} is not finished: {progress.epoch} epochs are done"]


def _store(
    result: RunEvaluation, predictor: Predictor, split: Split, dataset: EmotionDataset
) -> tuple[Path, Path]:
    summary = result.run / f"evaluation-{result.split}.json"
    table = result.run / f"predictions-{result.split}.csv"
    write_json(
        summary,
        {
            "split": result.split,
            "data": {"name": dataset.card.name, "fingerprint": dataset.card.fingerprint},
            "thresholds": result.mode,
            "metrics": {
                m: metrics.model_dump(mode="json") for m, metrics in result.by_mode.items()
            },
            "intervals": {k: v.model_dump(mode="json") for k, v in result.intervals.items()},
            "notes": result.notes,
        },
    )
    names = predictor.label_names
    decided = decide(result.probabilities, predictor.thresholds)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", *(f"true:{n}" for n in names), *(f"p:{n}" for n in names), *names])
    for i, sample_id in enumerate(split.ids):
        writer.writerow(
            [
                sample_id,
                *result.labels[i].tolist(),
                *(f"{p:.6f}" for p in result.probabilities[i]),
                *decided[i].astype(int).tolist(),
            ]
        )
    write_text(table, text.getvalue())
    return summary, table


def store_summary(results: Sequence[RunEvaluation], folder: Path) -> Path:
    """Write mean and standard deviation over runs beside them; return the file."""
    first = results[0]
    summary = summarise_seeds([result.metrics for result in results])
    file = folder / f"evaluation-{first.split}.json"
    write_json(
        file,
        {
            "split": first.split,
            "thresholds": first.mode,
            "runs": [str(result.run.name) for result in results],
            "summary": summary.model_dump(mode="json"),
        },
    )
    return file


def render_evaluations(
    results: Sequence[RunEvaluation], *, paper: Setting | None = None
) -> RenderableType:
    """Tables of one evaluation, or of several runs with their mean and standard deviation."""
    notes = sorted({note for result in results for note in result.notes})
    lines = [Text(f"note: {note}", style="yellow") for note in notes]
    first = results[0]
    if len(results) == 1:
        modes = {
            f"thresholds {mode.replace('_', ' ')}": metrics
            for mode, metrics in first.by_mode.items()
        }
        heading = f"{first.run}: split {first.split}, thresholds {first.mode.replace('_', ' ')}"
        return Group(
            Text(heading, style="bold"),
            metrics_table(first.metrics, first.intervals, title="All labels", paper=paper),
            label_table(first.metrics),
            comparison_table(modes, title="By how thresholds were chosen (on validation data)"),
            *lines,
        )
    runs = {f"{len(results)} runs": summarise_seeds([r.metrics for r in results])}
    unique = len({result.run.name for result in results}) == len(results)
    each = {result.run.name if unique else str(result.run): result.metrics for result in results}
    return Group(
        comparison_table(
            each, title=f"Split {first.split}, thresholds {first.mode.replace('_', ' ')}"
        ),
        seeds_table(runs, title="Mean and standard deviation", paper=paper),
        *lines,
    )
