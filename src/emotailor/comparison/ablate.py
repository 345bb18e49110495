"""The ablations of TAILOR (Table 3): its variants trained and tested as a benchmark.

Each variant is TAILOR with one setting switched, see ``models/tailor/ablations.py``. Runs, folders,
failures, tests and tables are those of the benchmark::

    OUT/ablation.json           everything: settings, runs, metrics, tests, failures
    OUT/table.md, .csv, .tex    the table
    OUT/<variant>/seed<N>/      run folder
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from emotailor.comparison.plan import (
    FIRST_SEED,
    Differences,
    Kind,
    Plan,
    complete_plan,
    numbers,
)
from emotailor.comparison.published import published_setting
from emotailor.comparison.runner import PlanResult, run_plan
from emotailor.config import parse_overrides, read_toml
from emotailor.data.dataset import EmotionDataset
from emotailor.data.store import open_dataset
from emotailor.data.synthetic import is_planted
from emotailor.errors import ConfigError
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.models.system import Preset
from emotailor.models.table import find_system
from emotailor.models.tailor.ablations import ABLATIONS, FULL, Ablation, find_ablation
from emotailor.models.tailor.config import TailorConfig
from emotailor.runs.train import PlannedRun, fixed_settings
from emotailor.training.run_config import RunConfig

SYSTEM = "tailor"
NOTE = (
    "Paper: Table 3 of TAILOR (AAAI 2022), aligned CMU-MOSEI, as published; neither threshold nor "
    "number of runs is given there. Its P and R may be exchanged: the authors' program swaps the "
    "two. Acc and F1 are not affected."
)
OTHER_DATA = (
    "This is not the test split of aligned CMU-MOSEI: beside the paper's numbers only the order of "
    "the rows and the signs of the differences can be compared, not the values."
)

PLANTED_COSTS = frozenset({"common", "identical", "label_embedding", "label_correlation"})
"""Variants that should cost something on synthetic data: what all modalities share carries no
label, and each label shows itself in a window of its own, while the last three see one mean over
time. What the others switch has nothing to do with where the evidence lies."""


def ablate(
    data: str | Path,
    out: str | Path,
    *,
    console: Console | None = None,
    thresholds: ThresholdMode = "tuned",
    resamples: int = 2000,
    **options: Any,
) -> PlanResult:
    """Train and test variants of TAILOR on one data set, or go on after a stop.

    Args:
        data: stored data set.
        out: folder of runs and tables.
        console: where to print what happens; by default nowhere.
        thresholds: ``fixed``, ``tuned`` or ``per_label``, all chosen on the validation split.
        resamples: of the paired test against the full model; 0 for none.
        options: of :func:`plan_ablation`.

    Raises:
        EmotailorError: as :func:`plan_ablation` and ``run_plan``.
    """
    plan = plan_ablation(Path(data), Path(out), **options)
    return run_plan(
        plan, console or Console(quiet=True), thresholds=thresholds, resamples=resamples
    )


def plan_ablation(
    data: Path,
    out: Path,
    *,
    variants: Sequence[str] = ("all",),
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

    Args:
        data: stored data set.
        out: folder of runs and tables.
        variants: names of variants, or ``all``; the full model is always one of them.
        seeds: runs of each variant.
        seed: of the first; the others count up.
        preset: where settings that nobody gives come from.
        config_file: TOML as for ``emotailor train``, for all variants.
        settings: ``KEY=VALUE`` as for ``emotailor train``, for all variants; they win.
        modalities: names or initials; by default all of the data.
        device: to train and test on.
        jobs: runs at a time; by default one per core, and one on a GPU.
        split: on which the variants are tested.

    Raises:
        ConfigError: a wrong setting, one that a variant switches, or runs with other settings in
            ``out``.
        DataError: no such data set, or a split is missing.
    """
    rows = chosen_variants(variants)
    layers = [read_toml(config_file) if config_file else {}, parse_overrides(settings)]
    for layer, where in zip(layers, (str(config_file), "--set"), strict=True):
        _check_layer(layer, where)
    fixed = fixed_settings(data, modalities, device)
    dataset = open_dataset(data)
    full = [
        RunConfig.build(
            *layers, fixed, {"training": {"seed": number}}, preset=preset, aligned=dataset.aligned
        )
        for number in numbers(seed, seeds, jobs)
    ]
    runs = [PlannedRun(config, out / FULL / f"seed{config.training.seed}") for config in full]
    return plan_variants(data, dataset, out, runs, rows, split=split, jobs=jobs)


def plan_variants(
    data: Path,
    dataset: EmotionDataset,
    out: Path,
    full: Sequence[PlannedRun],
    rows: Sequence[Ablation],
    *,
    split: str = "test",
    jobs: int | None = None,
) -> Plan:
    """Plan variants of given full models, whose runs may lie anywhere.

    Args:
        data: path of the data set.
        dataset: that data set.
        out: folder of the other runs and of the tables.
        full: runs of the full model, one per seed.
        rows: the variants, the full model among them.
        split: on which they are tested.
        jobs: runs at a time; by default one per core, and one on a GPU.

    A variant that would be the full model on these data is skipped.

    Raises:
        ConfigError: the full model has switched what a variant switches, or as ``complete_plan``.
        DataError: a split is missing.
    """
    system = find_system(SYSTEM)
    built = [
        (replace(system, name=row.name, title=row.title), [_switch(run, row, out) for run in full])
        for row in rows
    ]
    same = published_setting(dataset.card) == "aligned" and split == "test"
    kind = Kind(
        name="ablation",
        reference=FULL,
        paper="Table 3",
        published={row.name: row.published for row in rows},
        notes=(NOTE,) if same else (NOTE, OTHER_DATA),
        read=against_the_plant if is_planted(dataset) else lambda _: (),
    )
    model, modalities = full[0].config.model, full[0].config.data.modalities
    assert isinstance(model, TailorConfig)
    there = [m for m in dataset.dims if modalities is None or m in modalities]
    skip = {row.name: row.why_full(model, there) for row in rows}
    return complete_plan(data, dataset, out, built, kind, split=split, jobs=jobs, skip=skip)


def chosen_variants(names: Sequence[str]) -> list[Ablation]:
    """Return the chosen variants and the full model, in the order of the table.

    Raises:
        ConfigError: there is no such variant.
    """
    wanted = {name.strip() for name in names}
    if "all" in wanted:
        wanted = wanted - {"all"} | set(ABLATIONS)
    found = {find_ablation(name).name for name in sorted(wanted)} | {FULL}
    return [row for row in ABLATIONS.values() if row.name in found]


def _switch(run: PlannedRun, row: Ablation, out: Path) -> PlannedRun:
    """Return the run of a variant; that of the full model is left as it is."""
    config = run.config
    assert isinstance(config.model, TailorConfig)
    model = row.apply(config.model)
    if row.name == FULL:
        return run
    switched = config.replace(model=model.to_json())
    return PlannedRun(switched, out / row.name / f"seed{config.training.seed}")


def against_the_plant(differences: Differences) -> list[str]:
    """Say which variants cost what synthetic data were made to let them cost.

    A variant costs something where the whole interval of its micro-F1 minus the full model's lies
    below 0. A variant that should cost nothing and is seen to cost nothing may yet cost too little
    to be seen.

    Args:
        differences: variant -> metric -> variant minus full model.
    """
    found = {name: d["micro_f1"] for name, d in differences.items() if "micro_f1" in d}
    if not found:
        return []
    titles = {name: ABLATIONS[name].title for name in found}
    should = [titles[name] for name in found if name in PLANTED_COSTS]
    off = [
        f"{titles[name]} ({d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}])"
        for name, d in found.items()
        if (d.high < 0) != (name in PLANTED_COSTS)
    ]
    return [
        f"The data are planted: {', '.join(should) or 'none of these rows'} should cost micro-F1 "
        f"(interval below 0), other rows nothing. {len(found) - len(off)} of {len(found)} do as "
        "planted" + (f"; not so: {'; '.join(off)}." if off else ".")
    ]


def _check_layer(values: Mapping[str, Any], where: str) -> None:
    """Refuse what would make the runs something else than variants of one model."""
    if values.get("system", SYSTEM) != SYSTEM:
        raise ConfigError(
            f"{where}: system = {values['system']!r}", expected=f"{SYSTEM}, which is ablated"
        )
    for (table, key), option in {
        ("data", "path"): "--data",
        ("training", "seed"): "--seed",
    }.items():
        given = values.get(table, {})
        if not isinstance(given, Mapping):
            raise ConfigError(f"{where}: {table} = {given!r}", expected="a table of settings")
        if key in given:
            raise ConfigError(
                f"{where}: {table}.{key}",
                expected="the same for all variants",
                fix=f"give it with {option}",
            )
