"""The chart on the page of a benchmark: all systems with their intervals, beside baselines."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from emotailor.comparison.results import StoredBenchmark, StoredRun, StoredSystem
from emotailor.data.dataset import EmotionDataset
from emotailor.data.ids import Videos
from emotailor.errors import DataError
from emotailor.evaluation.comparison import Interval, bootstrap
from emotailor.evaluation.display import title_of
from emotailor.evaluation.tables import TESTED, short
from emotailor.report.page import Dot, DotPlot
from emotailor.runs.stored import StoredPredictions, read_predictions

NOTE = (
    "Dot: mean over the runs; small lines: single runs, where there are several. Bar: 95 % "
    "interval over test samples, drawn by whole videos: the mean ends of the intervals of the "
    "runs. Bars that overlap do not say that two systems are alike: for that see the differences."
)
WITHOUT = "No bars: the predictions of the runs are not stored here any more."


def chart_of_systems(
    found: StoredBenchmark,
    folder: Path,
    dataset: EmotionDataset | None,
    baselines: Mapping[str, float],
) -> DotPlot | None:
    """Return the systems sorted by their score; None where none was tested.

    Args:
        found: the benchmark.
        folder: its folder, in which the predictions of the runs are.
        dataset: the data set, which tells videos apart; None where it is not there.
        baselines: name -> score on the same samples.
    """
    dots = []
    for name, system in found.systems.items():
        if system.summary is not None:
            intervals = _intervals(found, folder / name, system, dataset)
            dots.append(_dot(system, found, intervals))
    if not dots:
        return None

    dots.sort(key=lambda dot: -dot.value)
    has_bars = any(dot.low < dot.high for dot in dots)
    return DotPlot(
        title=f"{title_of(TESTED)} on the {found.split} split",
        dots=dots,
        lines=baselines,
        note=NOTE if has_bars else WITHOUT,
    )


def _dot(system: StoredSystem, found: StoredBenchmark, intervals: list[Interval]) -> Dot:
    assert system.summary is not None
    value = system.summary.overall[TESTED].mean

    points = []
    for run in system.runs:
        metrics = run.metrics.get(found.thresholds)
        if metrics is not None:
            points.append(metrics.micro_f1)

    low = value
    high = value
    between = ""
    if intervals:
        low = float(np.mean([one.low for one in intervals]))
        high = float(np.mean([one.high for one in intervals]))
        between = f"[{short(low)}, {short(high)}]"

    # a single run is the dot itself
    if len(points) == 1:
        points = []
    return Dot(system.title, value, low, high, short(value), between, points)


def _intervals(
    found: StoredBenchmark, folder: Path, system: StoredSystem, dataset: EmotionDataset | None
) -> list[Interval]:
    """Return the interval of each tested run; nothing where the predictions of one are lost."""
    intervals = []
    for run in system.runs:
        if not run.metrics:
            continue

        stored = _predictions(folder / f"seed{run.seed}", found.split)
        interval = None if stored is None else _interval(found, run, stored, dataset)
        if interval is None:
            return []
        intervals.append(interval)
    return intervals


def _predictions(folder: Path, split: str) -> StoredPredictions | None:
    try:
        return read_predictions(folder, split)
    except DataError:  # damaged: the tables are whole without it
        return None


def _interval(
    found: StoredBenchmark,
    run: StoredRun,
    stored: StoredPredictions,
    dataset: EmotionDataset | None,
) -> Interval | None:
    """Return the interval of one run; None where the predictions are not those of the table."""
    metrics = run.metrics[found.thresholds]
    if tuple(metrics.labels) != stored.label_names or metrics.samples != len(stored.ids):
        return None

    cuts = np.array([label.threshold for label in metrics.labels.values()])
    of_samples = _videos(stored, dataset)
    interval = bootstrap(
        stored.labels,
        stored.probabilities,
        cuts,
        groups=np.array(of_samples),
        ranking=False,
    ).get(TESTED)

    # probabilities have six digits in the file: one at its threshold may change sides
    if interval is None or abs(interval.value - metrics.micro_f1) > 0.005:
        return None
    return interval


def _videos(stored: StoredPredictions, dataset: EmotionDataset | None) -> list[str]:
    """Return the video of each sample, as far as the ids at hand tell."""
    known = list(stored.ids)
    if dataset is not None:
        known = [i for part in dataset.splits.values() for i in part.ids]
    videos = Videos(known)
    return [videos.of(i) for i in stored.ids]
