"""The benchmark: every system on one data set with several seeds, in one table.

Each run is an ``emotailor train`` in a process of its own, so a failure concerns that run alone,
and a stopped benchmark is resumed by the same command::

    OUT/benchmark.json          everything: settings, runs, metrics, tests, failures
    OUT/table.md, .csv, .tex    the table
    OUT/<system>/seed<N>/       run folder
    OUT/<system>/seed<N>.json   its settings, as given to ``emotailor train --config``
    OUT/<system>/seed<N>.log    what it printed
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from emotailor.comparison import published
from emotailor.comparison.given import build_config, chosen_systems, for_system, settings_layers
from emotailor.comparison.plan import FIRST_SEED, Kind, Plan, complete_plan, numbers
from emotailor.comparison.runner import PlanResult, run_plan
from emotailor.data.dataset import EmotionDataset
from emotailor.data.store import open_dataset
from emotailor.evaluation.custom import MetricLike
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.models.system import Preset, System
from emotailor.runs.train import PlannedRun, fixed_settings


def benchmark(
    data: str | Path,
    out: str | Path,
    *,
    console: Console | None = None,
    thresholds: ThresholdMode = "tuned",
    resamples: int = 2000,
    metrics: Sequence[MetricLike] = (),
    **options: Any,
) -> PlanResult:
    """Train and test systems on one data set, or resume where an earlier call was stopped.

    Args:
        data: stored data set.
        out: folder of runs and tables.
        console: where to print what happens; by default nowhere.
        thresholds: ``fixed``, ``tuned``, ``per_label`` or ``macro``, all chosen on the
            validation split.
        resamples: number of resamples of the paired test against TAILOR; 0 for no test.
        metrics: metrics of others, as for ``run_plan``.
        options: options of :func:`plan_benchmark`.

    Raises:
        EmotailorError: as :func:`plan_benchmark` and :func:`run_plan`.
    """
    plan = plan_benchmark(Path(data), Path(out), **options)
    return run_plan(
        plan,
        console or Console(quiet=True),
        thresholds=thresholds,
        resamples=resamples,
        metrics=metrics,
    )


def plan_benchmark(
    data: Path,
    out: Path,
    *,
    models: Sequence[str | type[Any] | System] = ("all",),
    seeds: int = 5,
    seed: int = FIRST_SEED,
    preset: Preset = "tuned",
    config_file: Path | None = None,
    settings: Sequence[str] = (),
    modalities: Sequence[str] | None = None,
    device: str | None = None,
    jobs: int | None = None,
    split: str = "test",
    training: Mapping[str, Any] | None = None,
    protocols: bool = False,
) -> Plan:
    """Put the settings of all runs together, checked, before anything heavy starts.

    Later sources win: the system's recipe, ``[all]`` and ``[SYSTEM]`` of the file, ``settings`` of
    all systems, ``settings`` of one, the other options.

    Args:
        data: stored data set.
        out: folder of runs and tables.
        models: systems: names, or ``all``, or systems of your own as for ``use_system``.
        seeds: number of runs of each system.
        seed: seed of the first run; the others count up.
        preset: where settings that nobody gives come from.
        config_file: TOML with a table ``all`` (``training``, ``data``, ``alignment``) and one per
            system.
        settings: ``KEY=VALUE`` for all systems, ``SYSTEM:KEY=VALUE`` for one.
        modalities: names or initials; a system takes those that it can take, and is skipped where
            they are too few for it.
        device: to train and test on.
        jobs: runs at a time; by default one per GPU, or else one per core.
        split: split on which the systems are tested.
        training: settings of all trainings that options give, such as ``{"epochs": 5}``.
        protocols: keep what every epoch predicts on ``split``, so that the table says what the
            rules of other programs would have reported.

    Raises:
        ConfigError: a wrong setting, no system left, or runs with other settings in ``out``.
        DataError: no such data set, or a split is missing.
    """
    rows = chosen_systems(models)
    layers = settings_layers(config_file, settings, rows)
    fixed = fixed_settings(data, modalities, device, training)
    dataset = open_dataset(data)  # recipes go by its size, and by whether it is aligned
    split = dataset.split_name(split)
    if protocols:
        fixed["training"]["protocols"] = split

    built = []
    for row in rows:
        given = [*layers(row), for_system(fixed, row)]
        runs = []
        for number in numbers(seed, seeds, jobs):
            config = build_config(row.name, preset, given, number, card=dataset.card)
            folder = out / row.folder / f"seed{number}"
            runs.append(PlannedRun(config, folder))
        built.append((row, runs))

    kind = _kind(dataset, split)
    return complete_plan(data, dataset, out, built, kind, split=split, jobs=jobs)


def _kind(dataset: EmotionDataset, split: str) -> Kind:
    """Return the kind of comparison: with published numbers where the data are the paper's."""
    setting = published.published_setting(dataset)
    if setting is None or split != "test":  # the paper tests on no other split
        return Kind(notes=published.notes_without(dataset))

    table = published.TABLE_2[setting]
    return Kind(paper=setting, published=table, notes=(published.NOTE, published.ELSEWHERE))
