"""The benchmark: every system on one data set with several seeds, in one table.

Each run is an ``emotailor train`` in a process of its own, so a failure concerns that run alone,
and a stopped benchmark goes on where it was::

    OUT/benchmark.json          everything: settings, runs, metrics, tests, failures
    OUT/table.md, .csv, .tex    the table
    OUT/<system>/seed<N>/       run folder
    OUT/<system>/seed<N>.json   its settings, as given to ``emotailor train --config``
    OUT/<system>/seed<N>.log    what it printed
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from emotailor.comparison import published
from emotailor.comparison.plan import FIRST_SEED, Kind, Plan, complete_plan, numbers
from emotailor.comparison.runner import PlanResult, run_plan
from emotailor.config import parse_overrides, read_toml
from emotailor.data.store import open_dataset
from emotailor.errors import ConfigError
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.models.system import Preset
from emotailor.models.table import SYSTEMS, find_system
from emotailor.runs.train import PlannedRun, fixed_settings
from emotailor.training.run_config import RunConfig


def benchmark(
    data: str | Path,
    out: str | Path,
    *,
    console: Console | None = None,
    thresholds: ThresholdMode = "tuned",
    resamples: int = 2000,
    **options: Any,
) -> PlanResult:
    """Train and test systems on one data set, or go on where an earlier call was stopped.

    Args:
        data: stored data set.
        out: folder of runs and tables.
        console: where to print what happens; by default nowhere.
        thresholds: ``fixed``, ``tuned`` or ``per_label``, all chosen on the validation split.
        resamples: of the paired test against TAILOR; 0 for none.
        options: of :func:`plan_benchmark`.

    Raises:
        EmotailorError: as :func:`plan_benchmark` and :func:`run_plan`.
    """
    plan = plan_benchmark(Path(data), Path(out), **options)
    return run_plan(
        plan, console or Console(quiet=True), thresholds=thresholds, resamples=resamples
    )


def plan_benchmark(
    data: Path,
    out: Path,
    *,
    models: Sequence[str] = ("all",),
    seeds: int = 5,
    seed: int = FIRST_SEED,
    preset: Preset = "paper",
    config_file: Path | None = None,
    settings: Sequence[str] = (),
    modalities: Sequence[str] | None = None,
    device: str | None = None,
    jobs: int | None = None,
    split: str = "test",
) -> Plan:
    """Put the settings of all runs together, checked, before anything heavy starts.

    Later sources win: the system's recipe, ``[all]`` and ``[SYSTEM]`` of the file, ``settings`` of
    all systems, ``settings`` of one, the other options.

    Args:
        data: stored data set.
        out: folder of runs and tables.
        models: names of systems, or ``all``.
        seeds: runs of each system.
        seed: of the first; the others count up.
        preset: where settings that nobody gives come from.
        config_file: TOML with a table ``all`` (``training``, ``data``, ``alignment``) and one per
            system.
        settings: ``KEY=VALUE`` for all systems, ``SYSTEM:KEY=VALUE`` for one.
        modalities: names or initials; systems that cannot work with them are skipped.
        device: to train and test on.
        jobs: runs at a time; by default one per core, and one on a GPU.
        split: on which the systems are tested.

    Raises:
        ConfigError: a wrong setting, no system left, or runs with other settings in ``out``.
        DataError: no such data set, or a split is missing.
    """
    names = _chosen(models)
    layers = _layers(config_file, settings)
    fixed = fixed_settings(data, modalities, device)
    dataset = open_dataset(data)  # some recipes differ for unaligned data
    built = [
        (
            find_system(name),
            [
                PlannedRun(
                    _build(name, preset, [*layers(name), fixed], number, aligned=dataset.aligned),
                    out / name / f"seed{number}",
                )
                for number in numbers(seed, seeds, jobs)
            ],
        )
        for name in names
    ]
    setting = published.published_setting(dataset.card) if split == "test" else None
    kind = Kind()
    if setting:
        kind = Kind(paper=setting, published=published.TABLE_2[setting], notes=(published.NOTE,))
    return complete_plan(data, dataset, out, built, kind, split=split, jobs=jobs)


def _chosen(models: Sequence[str]) -> list[str]:
    """Names of the chosen systems in the order of the table."""
    wanted = {name.strip() for name in models}
    if "all" in wanted:
        wanted = wanted - {"all"} | set(SYSTEMS)
    for name in sorted(wanted):
        find_system(name)
    if not wanted:
        raise ConfigError("no systems to compare", expected=f"some of {', '.join(SYSTEMS)}, or all")
    return [name for name in SYSTEMS if name in wanted]


def _layers(config_file: Path | None, settings: Sequence[str]) -> Any:
    """Return what gives the layers of settings of a system."""
    given: dict[str, list[str]] = {}
    for item in settings:
        key, equals, value = item.partition("=")
        system, colon, inner = key.partition(":")
        owner = system.strip() if colon else "all"
        given.setdefault(owner, []).append((inner if colon else key) + equals + value)
    from_settings = {owner: parse_overrides(items) for owner, items in given.items()}
    from_file = read_toml(config_file) if config_file else {}
    for tables, where in ((from_file, str(config_file)), (from_settings, "--set")):
        for owner, values in tables.items():
            _check_layer(owner, values, where)

    def layers(name: str) -> list[Mapping[str, Any]]:
        sources = (from_file, from_settings)
        return [source.get(owner, {}) for source in sources for owner in ("all", name)]

    return layers


def _check_layer(owner: str, values: Any, where: str) -> None:
    """Refuse settings of nobody, and those that would make the runs no comparison."""
    if owner not in {"all", *SYSTEMS}:
        close = difflib.get_close_matches(owner, ["all", *SYSTEMS], n=1)
        raise ConfigError(
            f"{where}: settings for {owner!r}, which is no system",
            expected=f"did you mean {close[0]}?" if close else f"all, {', '.join(SYSTEMS)}",
            fix="in a file one table per system, with --set SYSTEM:model.KEY=VALUE",
        )
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: {owner} = {values!r}", expected="a table of settings")
    if owner == "all" and (strange := sorted(set(values) - {"training", "data", "alignment"})):
        raise ConfigError(
            f"{where}: {', '.join(strange)} for all systems",
            expected="training.*, data.* or alignment.*: models have settings of their own",
            fix="name the system: --set tailor:model.hidden_size=128",
        )
    for table in ("model", "training", "data", "alignment"):
        if not isinstance(values.get(table, {}), Mapping):
            raise ConfigError(
                f"{where}: {table} = {values[table]!r} of {owner}", expected="a table of settings"
            )
    reserved = {("system",): "--models", ("data", "path"): "--data", ("training", "seed"): "--seed"}
    for path, option in reserved.items():
        if path[-1] in (values if len(path) == 1 else values.get(path[0], {})):
            raise ConfigError(
                f"{where}: {'.'.join(path)} of {owner}",
                expected="the same for all systems",
                fix=f"give it with {option}",
            )


def _build(
    name: str,
    preset: Preset,
    layers: list[Mapping[str, Any]],
    seed: int,
    *,
    aligned: bool = True,
) -> RunConfig:
    own = {"system": name, "training": {"seed": seed}}
    try:
        return RunConfig.build(*layers, own, system=name, preset=preset, aligned=aligned)
    except ConfigError as error:
        raise ConfigError(
            f"{name}: {error.found}", expected=error.expected, fix=error.fix
        ) from None
