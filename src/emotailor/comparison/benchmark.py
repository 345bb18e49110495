"""The benchmark: every system on one data set with several seeds, in one table.

Each run is an ``emotailor train`` in a process of its own, so a failure concerns that run alone,
and a stopped benchmark is resumed by the same command::

    OUT/benchmark.json          everything: settings, runs, metrics, tests, failures
    OUT/table.md, .csv, .tex    the table
    OUT/<system>/seed<N>/       run folder
    OUT/<system>/seed<N>.json   its settings, as given to ``emotailor train --config``
    OUT/<system>/seed<N>.log    what it printed
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from emotailor.comparison import published
from emotailor.comparison.plan import FIRST_SEED, Kind, Plan, complete_plan, numbers, use_systems
from emotailor.comparison.runner import PlanResult, run_plan
from emotailor.config import parse_overrides, read_toml
from emotailor.data.card import DatasetCard
from emotailor.data.dataset import EmotionDataset
from emotailor.data.store import open_dataset
from emotailor.errors import ConfigError
from emotailor.evaluation.custom import MetricLike
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.meant import question, settings_meant
from emotailor.models.system import Preset, System
from emotailor.models.table import SYSTEMS
from emotailor.runs.train import PlannedRun, fixed_settings
from emotailor.training.run_config import SETTINGS_OF_ALL, RunConfig


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
    rows = _chosen(models)
    layers = _layers(config_file, settings, rows)
    fixed = fixed_settings(data, modalities, device, training)
    dataset = open_dataset(data)  # recipes go by its size, and by whether it is aligned
    split = dataset.split_name(split)
    if protocols:
        fixed["training"]["protocols"] = split

    built = []
    for row in rows:
        given = [*layers(row), _for_system(fixed, row)]
        runs = []
        for number in numbers(seed, seeds, jobs):
            config = _build(row.name, preset, given, number, card=dataset.card)
            folder = out / row.folder / f"seed{number}"
            runs.append(PlannedRun(config, folder))
        built.append((row, runs))

    kind = _kind(dataset, split)
    return complete_plan(data, dataset, out, built, kind, split=split, jobs=jobs)


def _for_system(fixed: Mapping[str, Any], row: System) -> dict[str, Any]:
    """Return the settings of all, with those of the modalities that a system can take.

    A system that can take none of them keeps all, and is left out, which the plan explains.
    """
    of_data = dict(fixed["data"])
    usable = row.usable(of_data.get("modalities", ()))
    if usable:
        of_data["modalities"] = usable
    return {**fixed, "data": of_data}


def _kind(dataset: EmotionDataset, split: str) -> Kind:
    """Return the kind of comparison: with published numbers where the data are the paper's."""
    setting = published.published_setting(dataset)
    if setting is None or split != "test":  # the paper tests on no other split
        return Kind(notes=published.notes_without(dataset))

    table = published.TABLE_2[setting]
    return Kind(paper=setting, published=table, notes=(published.NOTE, published.ELSEWHERE))


def _chosen(models: Sequence[str | type[Any] | System]) -> list[System]:
    """Return the chosen systems: those of the package in the order of the table, then others."""
    wanted: list[str | type[Any] | System] = []
    for model in models:
        name = model.strip() if isinstance(model, str) else model
        if name == "all":
            wanted += SYSTEMS
        else:
            wanted.append(name)

    if not wanted:
        ours = ", ".join(SYSTEMS)
        raise ConfigError("no systems to compare", expected=f"some of {ours}, or all")

    # a system that is named twice is compared once
    chosen = {row.name: row for row in use_systems(wanted)}
    own = [chosen[name] for name in SYSTEMS if name in chosen]
    others = [row for name, row in chosen.items() if name not in SYSTEMS]
    return own + others


Layers = Callable[[System], list[Mapping[str, Any]]]
"""System -> its tables of settings; later ones win."""


def _layers(config_file: Path | None, settings: Sequence[str], rows: Sequence[System]) -> Layers:
    """Read the settings once; return what gives those of a system, the ones that win last."""
    # a system of others may be called by its class alone
    owners = {name: name for name in ("all", *SYSTEMS)}
    for row in rows:
        owners.setdefault(row.folder, row.name)
        owners[row.name] = row.name

    from_file = read_toml(config_file) if config_file else {}
    from_settings = _read_settings(settings)
    tables = [
        _by_owner(from_file, str(config_file), owners),
        _by_owner(from_settings, "--set", owners),
    ]

    def layers(row: System) -> list[Mapping[str, Any]]:
        found = []
        for table in tables:
            found.append(table.get("all", {}))
            found.append(table.get(row.name, {}))
        return found

    return layers


def _read_settings(settings: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return the settings of each owner: ``KEY=VALUE`` is of all, ``SYSTEM:KEY=VALUE`` of one."""
    given: dict[str, list[str]] = {}
    for item in settings:
        key, equals, value = item.partition("=")

        # the name of a system of others has a colon of its own
        system, colon, inner = key.rpartition(":")
        owner = system.strip() if colon else "all"
        override = f"{inner}{equals}{value}"
        given.setdefault(owner, []).append(override)

    return {owner: parse_overrides(overrides) for owner, overrides in given.items()}


def _by_owner(
    tables: Mapping[str, Any], where: str, owners: Mapping[str, str]
) -> dict[str, Mapping[str, Any]]:
    """Return the checked tables by the full names of their systems."""
    found: dict[str, Mapping[str, Any]] = {}
    for owner, values in tables.items():
        _check_layer(owner, values, where, owners)
        name = owners[owner]
        found[name] = values
    return found


def _check_layer(owner: str, values: Any, where: str, owners: Mapping[str, str]) -> None:
    """Refuse settings of nobody, and those that would make the runs no comparison."""
    if owner not in owners:
        raise ConfigError(
            f"{where}: settings for {owner!r}, which is no system here",
            expected=_nearest(owner, owners),
            fix="in a file one table per system, with --set SYSTEM:model.KEY=VALUE",
        )
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: {owner} = {values!r}", expected="a table of settings")

    # a key of one model means nothing to the others
    strange = sorted(set(values) - set(SETTINGS_OF_ALL))
    if owner == "all" and strange:
        meant = settings_meant(strange[0], None, SETTINGS_OF_ALL)
        if meant:
            found = f"{where}: {strange[0]} = {values[strange[0]]!r} is not a setting"
            raise ConfigError(found, expected=question(meant))
        raise ConfigError(
            f"{where}: {', '.join(strange)} for all systems",
            expected="training.*, data.*, alignment.* or adapters.*; models have their own",
            fix="name the system: --set tailor:model.hidden_size=128",
        )

    for table in ("model", *SETTINGS_OF_ALL):
        given = values.get(table, {})
        if not isinstance(given, Mapping):
            raise ConfigError(
                f"{where}: {table} = {given!r} of {owner}", expected="a table of settings"
            )
    _check_reserved(owner, values, where)


def _nearest(name: str, known: Iterable[str]) -> str:
    """Return a question for the name that may be meant, or all names."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return ", ".join(names)


def _check_reserved(owner: str, values: Mapping[str, Any], where: str) -> None:
    """Refuse what an option gives to all systems."""
    given = {
        "system": "system" in values,
        "data.path": "path" in values.get("data", {}),
        "training.seed": "seed" in values.get("training", {}),
    }
    options = {"system": "--models", "data.path": "--data", "training.seed": "--seed"}
    for key, is_given in given.items():
        if is_given:
            raise ConfigError(
                f"{where}: {key} of {owner}",
                expected="the same for all systems",
                fix=f"give it with {options[key]}",
            )


def _build(
    name: str,
    preset: Preset,
    layers: Sequence[Mapping[str, Any]],
    seed: int,
    *,
    card: DatasetCard | None,
) -> RunConfig:
    """Return the settings of one run; an error names the system."""
    # the last layer wins: no file can change these
    own = {"system": name, "training": {"seed": seed}}
    try:
        return RunConfig.for_data(*layers, own, system=name, preset=preset, card=card)
    except ConfigError as error:
        raise ConfigError(
            f"{name}: {error.found}", expected=error.expected, fix=error.fix
        ) from error
