"""Ablations of a system: its variants trained and tested as a benchmark.

Each variant is the system with some settings changed: ``System.variants`` in the table of systems.
Those of TAILOR are Table 3 of its paper. Runs, folders, failures, tests and tables are those of the
benchmark::

    OUT/ablation.json           everything: settings, runs, metrics, tests, failures
    OUT/table.md, .csv, .tex    the table
    OUT/<variant>/seed<N>/      run folder
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from emotailor.comparison.plan import (
    FIRST_SEED,
    REFERENCE,
    Differences,
    Kind,
    Plan,
    complete_plan,
    numbers,
    use_systems,
)
from emotailor.comparison.published import notes_without, published_setting
from emotailor.comparison.runner import PlanResult, run_plan
from emotailor.config import parse_overrides, read_toml
from emotailor.data.dataset import EmotionDataset
from emotailor.data.store import open_dataset
from emotailor.data.synthetic import is_planted
from emotailor.errors import ConfigError
from emotailor.evaluation.comparison import PairedDifference
from emotailor.evaluation.custom import MetricLike
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.models.system import FULL, Preset, System, Variant
from emotailor.models.table import SYSTEMS, find_system
from emotailor.runs.train import PlannedRun, fixed_settings
from emotailor.training.run_config import RunConfig, check_keys

NOTE = (
    "Paper: Table 3 of TAILOR (AAAI 2022), aligned CMU-MOSEI, as published; neither threshold nor "
    "number of runs is given there. Its P and R may be exchanged: the authors' program swaps the "
    "two. Acc and F1 are not affected."
)

PLANTED_COSTS = frozenset({"common", "identical", "label_embedding", "label_correlation"})
"""Variants of TAILOR that should cost something on synthetic data: what all modalities share
carries no label, and each label shows itself in a window of its own, while the last three see one
mean over time. What the others switch has nothing to do with where the evidence lies."""

_NAME = re.compile(r"\w[\w.-]*")

RESERVED = (("data", "path", "--data"), ("training", "seed", "--seed"))
"""Table and key of settings that all variants share, and the option that gives them."""


def ablate(
    data: str | Path,
    out: str | Path,
    *,
    console: Console | None = None,
    thresholds: ThresholdMode = "tuned",
    resamples: int = 2000,
    metrics: Sequence[MetricLike] = (),
    **options: Any,
) -> PlanResult:
    """Train and test variants of a system on one data set, or resume after a stop.

    Args:
        data: stored data set.
        out: folder of runs and tables.
        console: where to print what happens; by default nowhere.
        thresholds: ``fixed``, ``tuned``, ``per_label`` or ``macro``, all chosen on the
            validation split.
        resamples: number of resamples of the paired test against the full model; 0 for no test.
        metrics: metrics of others, as for ``run_plan``.
        options: options of :func:`plan_ablation`.

    Raises:
        EmotailorError: as :func:`plan_ablation` and ``run_plan``.
    """
    plan = plan_ablation(Path(data), Path(out), **options)
    return run_plan(
        plan,
        console or Console(quiet=True),
        thresholds=thresholds,
        resamples=resamples,
        metrics=metrics,
    )


def plan_ablation(
    data: Path,
    out: Path,
    *,
    system: str | type[Any] | System = REFERENCE,
    variants: Sequence[str] = ("all",),
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
) -> Plan:
    """Put the settings of all runs together, checked, before anything heavy starts.

    Args:
        data: stored data set.
        out: folder of runs and tables.
        system: the system to take apart: its name, or one of your own as for ``use_system``.
        variants: names of variants, or ``all``; the full model is always one of them.
        seeds: number of runs of each variant.
        seed: seed of the first run; the others count up.
        preset: where settings that nobody gives come from.
        config_file: TOML as for ``emotailor train``, for all variants.
        settings: ``KEY=VALUE`` as for ``emotailor train``, for all variants; they win.
        modalities: names or initials; by default all of the data.
        device: to train and test on.
        jobs: runs at a time; by default one per GPU, or else one per core.
        split: split on which the variants are tested.
        training: settings of all trainings that options give, such as ``{"epochs": 5}``.

    Raises:
        ConfigError: a wrong setting, one that a variant switches, a system without variants, or
            runs with other settings in ``out``.
        DataError: no such data set, or a split is missing.
    """
    (row,) = use_systems([system])
    chosen = chosen_variants(row, variants)

    # a wrong setting is found before the data are read
    from_file = read_toml(config_file) if config_file else {}
    _check_layer(from_file, str(config_file), row)
    from_settings = parse_overrides(settings)
    _check_layer(from_settings, "--set", row)

    fixed = fixed_settings(data, modalities, device, training)
    dataset = open_dataset(data)
    split = dataset.split_name(split)
    runs = []
    for number in numbers(seed, seeds, jobs):
        config = RunConfig.for_data(
            from_file,
            from_settings,
            fixed,
            {"training": {"seed": number}},
            system=row.name,
            preset=preset,
            card=dataset.card,
        )
        runs.append(PlannedRun(config, out / FULL / f"seed{number}"))
    return plan_variants(data, dataset, out, runs, chosen, split=split, jobs=jobs)


def plan_variants(
    data: Path,
    dataset: EmotionDataset,
    out: Path,
    full: Sequence[PlannedRun],
    rows: Sequence[Variant],
    *,
    split: str = "test",
    jobs: int | None = None,
) -> Plan:
    """Plan variants of given full models, whose runs may lie anywhere.

    A variant that would be the full model on these data is skipped.

    Args:
        data: path of the data set.
        dataset: that data set.
        out: folder of the other runs and of the tables.
        full: runs of the full model, one per seed.
        rows: the variants, the full model among them.
        split: split on which they are tested.
        jobs: runs at a time; by default one per GPU, or else one per core.

    Raises:
        ConfigError: the full model has switched what a variant switches, or as ``complete_plan``.
        DataError: a split is missing.
    """
    config = full[0].config
    system = find_system(config.system)
    chosen = config.data.modalities
    there = [m for m in dataset.dims if chosen is None or m in chosen]

    built = []
    skip = {}
    for variant in rows:
        row = replace(system, name=variant.name, title=variant.title)
        runs = [_switch(run, variant, out) for run in full]
        built.append((row, runs))
        skip[variant.name] = variant.why_full(config.model, there)

    # Table 3 is of aligned data alone
    same_data = published_setting(dataset) == "aligned" and split == "test"
    kind = _kind(system, rows, same_data=same_data, planted=is_planted(dataset))
    if not same_data and system.name == REFERENCE:
        kind = replace(kind, notes=notes_without(dataset))
    return complete_plan(data, dataset, out, built, kind, split=split, jobs=jobs, skip=skip)


def _kind(system: System, rows: Sequence[Variant], *, same_data: bool, planted: bool) -> Kind:
    """Return what sets the ablations of a system apart from another comparison."""
    published = {row.name: row.published for row in rows if row.published}
    kind = Kind(name="ablation", reference=FULL, published=published)

    if system.name != REFERENCE:
        where = f"ablations of {system.title}" if published else None
        return replace(kind, paper=where)

    # what is known of TAILOR alone: its Table 3, and what planted data let its variants cost
    if same_data:
        kind = replace(kind, paper="Table 3", notes=(NOTE,))
    else:
        kind = replace(kind, published={})
    if planted:
        kind = replace(kind, read=against_the_plant)
    return kind


def chosen_variants(system: System, names: Sequence[str] = ("all",)) -> list[Variant]:
    """Return the chosen variants and the full model, in the order of the table.

    Raises:
        ConfigError: the system has no variants, there is no such variant, or it cannot be one.
    """
    if not system.variants:
        raise _without_variants(system)

    known = {variant.name: variant for variant in system.variants.values()}
    known.setdefault(FULL, Variant(FULL, system.title))
    _check_variants(system, known)

    wanted = {name.strip() for name in names}
    if "all" in wanted:
        wanted.remove("all")
        wanted.update(known)

    for name in sorted(wanted):
        if name not in known:
            raise _unknown_variant(name, list(known))

    # the others are compared with it
    wanted.add(FULL)
    return [variant for name, variant in known.items() if name in wanted]


def _without_variants(system: System) -> ConfigError:
    able = [name for name, row in SYSTEMS.items() if row.variants]
    return ConfigError(
        f"{system.title} has no variants",
        expected=f"a system that declares some, such as {', '.join(able)}",
        fix="give the class an attribute `variants`: name -> emotailor.Variant",
    )


def _unknown_variant(name: str, known: Sequence[str]) -> ConfigError:
    close = difflib.get_close_matches(name, known, n=1)
    return ConfigError(
        f"unknown variant {name!r}",
        expected=f"one of {', '.join(known)}",
        fix=f"did you mean {close[0]}?" if close else None,
    )


def _check_variants(system: System, variants: Mapping[str, Variant]) -> None:
    """Refuse names that are no folder, and a full model that changes something."""
    for name in variants:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{system.title} has a variant {name!r}",
                expected="a name of letters, digits, '_', '-' and '.', which is a folder too",
            )

    changes = variants[FULL].changes
    if changes:
        raise ConfigError(
            f"the variant {FULL!r} of {system.title} changes {', '.join(changes)}",
            expected="no changes: it is the full model, with which the others are compared",
            fix="give that variant another name",
        )


def _switch(run: PlannedRun, variant: Variant, out: Path) -> PlannedRun:
    """Return the run of a variant; that of the full model is left as it is."""
    config = run.config

    # the full model, too, must be without what a variant switches
    model = variant.apply(config.model)
    if variant.name == FULL:
        return run

    switched = config.replace(model=model.to_json())
    folder = out / variant.name / f"seed{config.training.seed}"
    return PlannedRun(switched, folder)


def against_the_plant(differences: Differences) -> list[str]:
    """Say which variants of TAILOR cost what synthetic data were made to let them cost.

    A variant costs something where the whole interval of its micro-F1 minus the full model's lies
    below 0. A variant that should cost nothing and is seen to cost nothing may yet cost too little
    to be seen.

    Args:
        differences: variant -> metric -> variant minus full model.
    """
    variants = find_system(REFERENCE).variants
    tested = 0
    should = []  # titles of variants that should cost something
    off = []  # variants that do otherwise
    for name, by_metric in differences.items():
        difference = by_metric.get("micro_f1")
        if difference is None:
            continue

        tested += 1
        title = variants[name].title
        is_planted_cost = name in PLANTED_COSTS
        if is_planted_cost:
            should.append(title)

        costs = difference.high < 0
        if costs != is_planted_cost:
            off.append(f"{title} {_interval(difference)}")
    if tested == 0:
        return []

    titles = ", ".join(should) or "none of these rows"
    verdict = f"{tested - len(off)} of {tested} do as planted"
    if off:
        verdict += f"; not so: {'; '.join(off)}"
    return [
        f"The data are planted: {titles} should cost micro-F1 (interval below 0), "
        f"other rows nothing. {verdict}."
    ]


def _interval(found: PairedDifference) -> str:
    return f"({found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}])"


def _check_layer(values: Mapping[str, Any], where: str, system: System) -> None:
    """Refuse what would make the runs something else than variants of one model."""
    check_keys(values, system, where)
    named = values.get("system", system.name)
    if named != system.name:
        raise ConfigError(
            f"{where}: system = {named!r}", expected=f"{system.name}, which is taken apart"
        )

    # what an option gives to all variants
    for table, key, option in RESERVED:
        given = values.get(table, {})
        if not isinstance(given, Mapping):
            raise ConfigError(f"{where}: {table} = {given!r}", expected="a table of settings")

        if key in given:
            raise ConfigError(
                f"{where}: {table}.{key}",
                expected="the same for all variants",
                fix=f"give it with {option}",
            )
