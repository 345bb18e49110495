"""Evaluation of trained runs: metrics, intervals and predictions, stored beside the model."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Group, RenderableType
from rich.text import Text

from emotailor.data.dataset import EmotionDataset, Split
from emotailor.data.store import open_dataset
from emotailor.errors import DataError, ModelError
from emotailor.evaluation.baselines import BaselineResult
from emotailor.evaluation.calibration import Calibration, calibration
from emotailor.evaluation.comparison import (
    Interval,
    PairedDifference,
    bootstrap,
    summarise_seeds,
)
from emotailor.evaluation.custom import MetricLike, resolve_metrics
from emotailor.evaluation.display import (
    Published,
    comparison_table,
    label_table,
    metrics_table,
    seeds_table,
)
from emotailor.evaluation.health import BELOW, Finding, findings
from emotailor.evaluation.metrics import OVERALL, Metrics, decide, evaluate
from emotailor.evaluation.notebook import format_number, html_table
from emotailor.evaluation.protocols import Protocols
from emotailor.evaluation.regression import REGRESSION
from emotailor.evaluation.robustness import Robust, robustness_of_several, robustness_table
from emotailor.evaluation.tables import SIGN
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.files import READ_ONLY
from emotailor.frames import data_frame
from emotailor.runs.baselines import (
    baselines_of,
    baselines_table,
    differences_from,
    findings_lines,
    shown_baselines,
    training_of,
)
from emotailor.runs.data import matching_labels, trained_on
from emotailor.runs.protocols import protocols_of, protocols_table, seeds_of_rules
from emotailor.runs.robustness import robustness_of, wanted_damages
from emotailor.runs.stored import (
    VERSION,
    StoredEvaluation,
    StoredPredictions,
    StoredSummary,
    write_results,
    write_summary,
)
from emotailor.serving.predictor import Predictor
from emotailor.shipped.find import is_named, meant_by
from emotailor.training.checkpoint import read_progress
from emotailor.training.model_folder import ModelCard, find_model_folder

RESAMPLES = 2000


@dataclass(frozen=True, repr=False)
class RunEvaluation:
    """How one trained model does on one split.

    Attributes:
        run: run or model folder.
        split: name of the split.
        data: name and fingerprint of the data set.
        mode: how the thresholds were chosen, on validation data.
        metrics: metrics with those thresholds.
        intervals: 95 % bootstrap intervals; the segments of a video are drawn together. None
            where the split has a single video, which a note says.
        by_mode: metrics under every kind of threshold the model has.
        ids: ids of the n samples.
        labels: (n, L), as the model orders them.
        probabilities: (n, L).
        decisions: (n, L), which labels are predicted.
        notes: what a reader of the numbers should know.
        baselines: name -> what a system must beat, on the same samples with thresholds of the same
            kind; empty where there are none, which a note says.
        differences: name of a baseline -> micro-F1 of the model minus that of the baseline.
        findings: what is suspicious about the model, and what to try; empty where nothing is.
        protocols: what the rules of other programs would report; None where nobody asked, or where
            it cannot be said, which a note says.
        robustness: how it does on samples that something has happened to, those as they are first;
            empty where nobody asked.
        stored: the files written.
        not_stored: why nothing was written, where that is a failure, as on a full disk; None where
            the files were written, or may not be.
    """

    run: Path
    split: str
    data: dict[str, str]
    mode: ThresholdMode
    metrics: Metrics
    intervals: dict[str, Interval]
    by_mode: dict[ThresholdMode, Metrics]
    ids: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    decisions: np.ndarray
    notes: list[str]
    baselines: Mapping[str, BaselineResult] = field(default_factory=dict)
    differences: Mapping[str, PairedDifference] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    protocols: Protocols | None = None
    robustness: Sequence[Robust] = ()
    stored: tuple[Path, ...] = ()
    not_stored: OSError | None = None

    @cached_property
    def calibration(self) -> Calibration:
        """How far the probabilities can be believed: reliability curve, errors, Brier score."""
        return calibration(self.labels, self.probabilities, tuple(self.metrics.labels))

    def to_dataframe(self) -> Any:
        """Return a ``pandas.DataFrame``: a row per overall metric, with its interval.

        Raises:
            ConfigError: pandas is not installed.
        """
        rows = []
        for name, value in self.metrics.overall().items():
            # without an interval, its ends are empty
            row: dict[str, Any] = {"metric": name, "value": value, "low": None, "high": None}
            interval = self.intervals.get(name)
            if interval is not None:
                row["low"] = interval.low
                row["high"] = interval.high
            rows.append(row)

        return data_frame(rows, index="metric")

    def __repr__(self) -> str:
        found = self.intervals.get("micro_f1") or format_number(self.metrics.micro_f1)
        samples = f"{self.metrics.samples} samples"
        where = f"{self.run}, split {self.split}, {samples}, thresholds {_plain(self.mode)}"
        return f"RunEvaluation({where}: micro-F1 {found})"

    def _repr_html_(self) -> str:
        rows = []
        for name, value in self.metrics.overall().items():
            shown = self.intervals.get(name) or format_number(value)
            rows.append((name, shown))
        caption = f"{self.run}: split {self.split}, thresholds {_plain(self.mode)}"
        return html_table(("metric", "value"), rows, caption=caption)

    def to_stored(self) -> tuple[StoredEvaluation, StoredPredictions]:
        """Return what the files hold; the probabilities are rounded to six digits."""
        evaluation = StoredEvaluation(
            version=VERSION,
            split=self.split,
            data=self.data,
            thresholds=self.mode,
            metrics=self.by_mode,
            intervals=self.intervals,
            notes=self.notes,
            baselines={name: found.metrics for name, found in self.baselines.items()},
            differences=dict(self.differences),
            findings=[str(finding) for finding in self.findings],
            calibration=self.calibration,
            protocols=self.protocols,
            robustness=list(self.robustness),
        )

        rounded = [_six_digits(row) for row in self.probabilities]
        predictions = StoredPredictions(
            ids=self.ids,
            label_names=tuple(self.metrics.labels),
            labels=self.labels,
            probabilities=np.array(rounded),
            decisions=self.decisions,
        )
        return evaluation, predictions


def find_runs(path: Path) -> list[Path]:
    """Return the runs at ``path``: itself, or the runs in it, one per seed; or a named model.

    Warns of runs in it that have no model yet.

    Raises:
        ModelError: there is none.
    """
    if is_named(path):
        return [path]
    found = [file.parent.parent for file in path.glob("*/model/model.json")]
    inside = sorted(found, key=lambda run: (len(run.name), run))  # seed9 before seed10

    # a folder that is a run itself has a model folder
    try:
        find_model_folder(path)
    except ModelError:
        if not inside:
            raise
    else:
        return [path]

    started = {file.parent for file in path.glob("*/config.json")}
    waiting = sorted(run.name for run in started - set(inside))
    if waiting:
        names = ", ".join(waiting)
        warnings.warn(f"{names} in {path}: no trained model yet, left out", stacklevel=2)
    return inside


def why_not_resampled(videos: Sequence[str]) -> str | None:
    """Say why there are no intervals and tests on these samples; None where there are.

    Args:
        videos: the video of each sample.
    """
    if len(set(videos)) > 1:
        return None

    what = "one sample"
    if len(videos) > 1:
        what = f"{len(videos)} samples of one video"
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
    metrics: Sequence[MetricLike] = (),
    protocols: bool = False,
    without: Sequence[str] = (),
    corrupt: bool = False,
) -> RunEvaluation:
    """Evaluate a trained model on every sample of a split.

    Args:
        run: run folder or model folder; or ``words``, which ships, or ``hf://user/name``.
        data: stored data set; by default the one the run was trained on.
        split: name of the split.
        thresholds: ``fixed``, ``tuned``, ``per_label`` or ``macro``; all were chosen on
            validation data.
        resamples: number of bootstrap resamples; 0 for no intervals.
        device: device for the model.
        store: write ``evaluation-<split>.json`` and ``predictions-<split>.csv`` into ``run``; where
            that is forbidden, a note says so. Beside a model that has a name and no path nothing is
            written.
        metrics: metrics of others: references such as ``my_module:my_metric``, names of installed
            ones, or functions; see :mod:`emotailor.evaluation.custom`.
        protocols: say what the rules of other programs would have reported, too; where the
            predictions of every epoch were not kept, a note says so.
        without: evaluate on samples without these modalities too: each entry is one of them, some
            (``"visual,audio"``), or ``"each"`` for every one by itself.
        corrupt: evaluate on samples with noise, delays and missing steps in each modality too, and
            with misheard words where they can be encoded.

    Raises:
        ModelError: there is no model, or the data do not fit it.
        DataError: there is no such data set or split, or it has other labels.
        ConfigError: a metric of others cannot be found, fails, or returns NaN or no number; or
            nothing can be taken away that is asked for.
    """
    extra = resolve_metrics(metrics, taken=OVERALL)
    named = Path(run)
    store = store and not is_named(named)
    run = meant_by(named)
    predictor = Predictor.load(run, device=device, thresholds=thresholds)
    path = trained_on(run) if data is None else Path(data)
    stored = open_dataset(path)
    predictor.check_extraction(stored)
    split = stored.split_name(split)
    if not len(stored[split]):
        raise DataError(f"split {split!r} of {path} is empty", expected="at least one sample")

    damages = wanted_damages(predictor, without, corrupt=corrupt, aligned=stored.aligned)

    # nothing can be said of samples whose labels nobody knows
    dataset = stored.with_labels()
    part = dataset[split]

    names = predictor.label_names
    labels = matching_labels(dataset, part, names)  # (n, L)
    probabilities = predictor.predict_proba(part)  # (n, L)

    # the metrics under every kind of threshold
    by_mode = {}
    for mode, chosen in predictor.card.thresholds.items():
        cuts = chosen.array(names)
        by_mode[mode] = evaluate(labels, probabilities, names, cuts, metrics=extra)

    # the intervals under the one asked for; the segments of a video are drawn together
    intervals = {}
    if resamples:
        groups = np.array(dataset.videos(split))
        intervals = bootstrap(
            labels,
            probabilities,
            predictor.thresholds,
            groups=groups,
            resamples=resamples,
            metrics=extra,
        )

    notes = _state(run) + _notes(predictor.card, path, dataset, part, resampled=resamples > 0)
    unknown = len(stored[split]) - len(part)
    if unknown:
        total = len(stored[split])
        notes.append(f"{unknown} of {total} samples have no labels and are left out")
    if intervals:
        undefined = [metric.name for metric in extra if metric.name not in intervals]
        for name in undefined:
            notes.append(f"no interval of {name}: some resample leaves it undefined")

    # what it must beat, and what is suspicious
    floor, why = baselines_of(
        run, predictor.card, dataset, split, predictor.mode, metrics=extra, store=store
    )
    if why is not None:
        notes.append(why)
    differences = {}
    if resamples:
        differences = differences_from(
            labels,
            probabilities,
            predictor.thresholds,
            floor,
            groups=np.array(dataset.videos(split)),
            resamples=resamples,
        )
    regression = floor.get(REGRESSION)
    suspicious = findings(
        by_mode[predictor.mode],
        probabilities,
        baselines={name: found.metrics for name, found in floor.items()},
        training=training_of(run),
        strength=None if regression is None else regression.strength,
    )

    card = dataset.card
    by_rule = None
    if protocols:
        by_rule, why_not = protocols_of(
            run, predictor.card, card.fingerprint, split, labels, mode=predictor.mode
        )
        if why_not:
            notes.append(f"no other rules: {why_not}")

    robustness, lacking = robustness_of(
        predictor,
        part,
        labels,
        probabilities,
        damages,
        corrupt=corrupt,
        groups=np.array(dataset.videos(split)),
        resamples=resamples,
        aligned=dataset.aligned,
    )
    notes += lacking

    result = RunEvaluation(
        run=named,
        split=split,
        data={"name": card.name, "fingerprint": card.fingerprint},
        mode=predictor.mode,
        metrics=by_mode[predictor.mode],
        intervals=intervals,
        by_mode=by_mode,
        ids=tuple(part.ids),
        labels=labels,
        probabilities=probabilities,
        decisions=decide(probabilities, predictor.thresholds),
        notes=notes,
        baselines=floor,
        differences=differences,
        findings=suspicious,
        protocols=by_rule,
        robustness=robustness,
    )
    return _stored(result) if store else result


def _notes(
    card: ModelCard, path: Path, dataset: EmotionDataset, part: Split, *, resampled: bool
) -> list[str]:
    """What a reader of the numbers should know of the samples."""
    notes = []
    why = why_not_resampled(dataset.videos(part.name))
    if resampled and why:
        notes.append(f"no intervals: {why}")

    known = card.fingerprint
    if known is not None and known != dataset.card.fingerprint:
        notes.append(f"{path} is not the data set the model was trained on")
    if part.name == "train":
        notes.append("these samples were trained on")
    elif part.name == "valid":
        notes.append("epoch and thresholds were chosen on these samples")
    return notes


def _state(run: Path) -> list[str]:
    """Say where the training of a run stands, unless it is done."""
    notes: list[str] = []
    try:
        progress = read_progress(run / "checkpoint", notes.append)
    except ModelError:  # the checkpoint is damaged, but the model beside it may be whole
        return [f"the checkpoint of {run} is damaged"]

    if progress is not None and not progress.finished:
        notes.append(f"the training of {run} is not finished: {progress.epoch} epochs are done")
    return notes


def _stored(result: RunEvaluation) -> RunEvaluation:
    """Write an evaluation into its run folder; where that cannot be done, note it."""
    evaluation, predictions = result.to_stored()
    try:
        files = write_results(result.run, evaluation, predictions)
    except OSError as error:  # what was computed is not lost for it
        note = f"nothing is stored in {result.run}: {error.strerror}"
        notes = [*result.notes, note]
        # the folder of a colleague, or a medium that is read-only, is no failure
        failed = None if error.errno in READ_ONLY else error
        return replace(result, notes=notes, not_stored=failed)

    return replace(result, stored=files)


def store_summary(results: Sequence[RunEvaluation], folder: Path) -> str:
    """Write mean and standard deviation over runs beside them; return a line on what was written.

    Raises:
        OSError: it cannot be written, though the folder is not read-only.
    """
    first = results[0]
    summary = StoredSummary(
        version=VERSION,
        split=first.split,
        thresholds=first.mode,
        runs=[result.run.name for result in results],
        summary=summarise_seeds([result.metrics for result in results]),
    )
    try:
        file = write_summary(folder, summary)
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        return f"note: nothing is stored in {folder}: {error.strerror}"
    return f"stored: {file}"


def render_evaluations(
    results: Sequence[RunEvaluation], *, published: Published | None = None
) -> RenderableType:
    """Return tables of one evaluation, or of several runs with their mean and deviation.

    Args:
        results: evaluations on one split.
        published: numbers to show beside.
    """
    if len(results) == 1:
        tables = _tables_of_one(results[0], published)
    else:
        tables = _tables_of_several(results, published)

    # each note once, though several runs may have it
    notes: set[str] = set()
    for result in results:
        notes.update(result.notes)
    lines = [Text(f"note: {note}", style="yellow") for note in sorted(notes)]
    return Group(*tables, *_checks(results), *lines)


def _checks(results: Sequence[RunEvaluation]) -> list[Text]:
    """Return the findings; of several runs each says whose it is."""
    if len(results) == 1:
        return findings_lines(results[0].findings)

    names = _names(results)
    lines = []
    for name, result in zip(names, results, strict=True):
        lines += findings_lines([f"{name}: {finding}" for finding in result.findings])
    return lines


def _names(results: Sequence[RunEvaluation]) -> list[str]:
    """Return a name for each run: that of its folder, or the whole path where two are alike."""
    names = [result.run.name for result in results]
    if len(set(names)) < len(names):
        return [str(result.run) for result in results]
    return names


def _is_below(result: RunEvaluation) -> bool:
    return any(finding.kind == BELOW for finding in result.findings)


def _tables_of_one(result: RunEvaluation, published: Published | None) -> list[RenderableType]:
    heading = f"{result.run}: split {result.split}, thresholds {_plain(result.mode)}"
    modes = {}
    for mode, metrics in result.by_mode.items():
        modes[_plain(mode)] = metrics

    return [
        Text(heading, style="bold"),
        metrics_table(
            result.metrics,
            result.intervals,
            title="All labels",
            published=published,
        ),
        *_floor(result),
        label_table(result.metrics),
        comparison_table(
            modes,
            title="By how thresholds were chosen (on validation data)",
            first="thresholds",
        ),
        *_rules(result),
        *_robustness(result),
        Text(str(result.calibration)),
    ]


def _rules(result: RunEvaluation) -> list[RenderableType]:
    """Return a table of what other rules would report; none where nobody asked."""
    if result.protocols is None:
        return []
    return [protocols_table(result.protocols, "What each rule would report")]


def _robustness(result: RunEvaluation) -> list[RenderableType]:
    """Return a table of damaged samples; none where nobody asked."""
    return [robustness_table(result.robustness)] if result.robustness else []


def _floor(result: RunEvaluation) -> list[RenderableType]:
    """Return a table of the model and its baselines; none where there are none."""
    if not result.baselines:
        return []

    table = baselines_table(
        result.metrics,
        {name: found.metrics for name, found in result.baselines.items()},
        result.differences,
        marked=_is_below(result),
    )
    return [table]


def _tables_of_several(
    results: Sequence[RunEvaluation], published: Published | None
) -> list[RenderableType]:
    first = results[0]
    metrics = [result.metrics for result in results]

    # a run that is below a baseline is marked; the baselines come last
    each = {}
    for name, result in zip(_names(results), results, strict=True):
        marked = f"{name} {SIGN}" if _is_below(result) else name
        each[marked] = result.metrics
    each |= shown_baselines([result.baselines for result in results])
    summary = summarise_seeds(metrics)
    return [
        comparison_table(
            each,
            title=f"Split {first.split}, thresholds {_plain(first.mode)}",
        ),
        seeds_table(
            {f"{len(results)} runs": summary},
            title="Mean and standard deviation",
            published=published,
        ),
        *_rules_of_several(results),
        *_robustness_of_several(results),
    ]


def _robustness_of_several(results: Sequence[RunEvaluation]) -> list[RenderableType]:
    """Return a table of damaged samples over the runs; none where nobody asked."""
    if not results[0].robustness:
        return []
    pairs = zip(_names(results), results, strict=True)
    return [robustness_of_several({name: result.robustness for name, result in pairs})]


def _rules_of_several(results: Sequence[RunEvaluation]) -> list[RenderableType]:
    """Return a table of what other rules would report; none where nobody asked."""
    found = {}
    for name, result in zip(_names(results), results, strict=True):
        if result.protocols is not None:
            found[name] = result.protocols
    return [seeds_of_rules(found)] if found else []


def _six_digits(values: Float[np.ndarray, "n"]) -> list[float]:
    """Return numbers as they come back from the text of a file."""
    return [float(f"{value:.6f}") for value in values]


def _plain(mode: ThresholdMode) -> str:
    return mode.replace("_", " ")
