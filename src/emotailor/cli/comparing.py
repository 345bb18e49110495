"""Commands about several runs: benchmark, ablate, tune, reproduce."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from emotailor.cli import completion
from emotailor.cli.console import out, say
from emotailor.cli.options import (
    BatchSize,
    Data,
    Deciding,
    DryRun,
    Epochs,
    FirstSeed,
    Jobs,
    KeepProtocols,
    LearningRate,
    Metrics,
    Modalities,
    OwnDevice,
    OwnSystem,
    Patience,
    Preset,
    PresetOption,
    Resamples,
    RunFile,
    Seeds,
    Systems,
    SystemsFile,
    SystemsSettings,
    Tables,
    TestSplit,
    ThresholdChoice,
    Track,
    modality_names,
    training_settings,
    use_own,
)
from emotailor.cli.pages import App

group = App(help="Repeat what a paper did, as one job.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(benchmark)
    app.command()(ablate)
    app.command()(tune)
    app.command(hidden=True)(trial)
    app.add_typer(group, name="reproduce")


def _carry_out(
    plan: Any,
    thresholds: ThresholdChoice,
    resamples: int,
    metrics: Sequence[str],
    *,
    dry_run: bool,
    track: str | None,
) -> None:
    """Show what a comparison will do, do it, and say where it is and what failed."""
    from emotailor.comparison.disk import describe_disk
    from emotailor.comparison.plan import describe_plan, describe_skipped, render_plan
    from emotailor.comparison.runner import next_command, run_plan

    # hours may lie between the plan and the table: what it takes is said before
    say(render_plan(plan), describe_plan(plan))
    if skipped := describe_skipped(plan):
        say(skipped)
    if disk := describe_disk([plan]):
        say(disk)
    if dry_run:
        return

    result = run_plan(
        plan,
        out,
        thresholds=thresholds.value,
        resamples=resamples,
        metrics=metrics,
        track=track,
    )
    say(*(f"stored: {path}" for path in result.stored))
    if command := next_command(plan, result):
        say(f"next: {command}")
    if result.failed:
        raise typer.Exit(1)


def benchmark(
    data: Data,
    out_path: Tables,
    models: Systems = "all",
    seeds: Seeds = 5,
    seed: FirstSeed = 42,
    preset: PresetOption = Preset.tuned,
    config_file: SystemsFile = None,
    settings: SystemsSettings = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    patience: Patience = None,
    modalities: Annotated[
        str | None,
        typer.Option(
            help="The modalities to use. Each system takes those that it can take; one for which "
            "they are too few is left out.",
            autocompletion=completion.modalities,
        ),
    ] = None,
    thresholds: Deciding = ThresholdChoice.tuned,
    metrics: Metrics = None,
    resamples: Resamples = 2000,
    split: TestSplit = "test",
    device: OwnDevice = None,
    jobs: Jobs = None,
    protocols: KeepProtocols = False,
    track: Track = None,
    dry_run: DryRun = False,
) -> None:
    """Train and test systems with several seeds. Run it again to resume after a stop.

    Prints and stores one table of all systems, with a paired test against TAILOR. Exits with 1
    where a run failed. The others are not lost.
    """
    from emotailor.comparison.benchmark import plan_benchmark

    plan = plan_benchmark(
        data,
        out_path,
        models=models.split(","),
        seeds=seeds,
        seed=seed,
        preset=preset.value,
        config_file=config_file,
        settings=settings or [],
        modalities=modality_names(modalities),
        device=device,
        jobs=jobs,
        split=split,
        training=training_settings(epochs, batch_size, learning_rate, patience),
        protocols=protocols,
    )
    _carry_out(plan, thresholds, resamples, metrics or (), dry_run=dry_run, track=track)


def ablate(
    data: Data,
    out_path: Tables,
    model: Annotated[
        str,
        typer.Option(
            help="The system: a name of `emotailor models`, or a class of your own as "
            "package.module:Class or path/file.py:Class. It must have variants.",
            autocompletion=completion.systems,
        ),
    ] = "tailor",
    variants: Annotated[
        str,
        typer.Option(
            help="The variants, such as without_amr,identical. The full model is always run too.",
            autocompletion=completion.variants,
        ),
    ] = "all",
    seeds: Seeds = 5,
    seed: FirstSeed = 42,
    preset: PresetOption = Preset.tuned,
    config_file: RunFile = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A setting for every variant, such as training.epochs=5. May be repeated.",
        ),
    ] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    patience: Patience = None,
    modalities: Modalities = None,
    thresholds: Deciding = ThresholdChoice.tuned,
    metrics: Metrics = None,
    resamples: Resamples = 2000,
    split: TestSplit = "test",
    device: OwnDevice = None,
    jobs: Jobs = None,
    track: Track = None,
    dry_run: DryRun = False,
) -> None:
    """Take a system apart: TAILOR as Table 3 of its paper does. Run it again to resume.

    Prints and stores a table of the variants (of TAILOR twelve, beside the paper's numbers), with a
    paired test against the full model. Exits with 1 where a run failed. The others are not lost.
    """
    from emotailor.comparison.ablate import plan_ablation

    plan = plan_ablation(
        data,
        out_path,
        system=model,
        variants=variants.split(","),
        seeds=seeds,
        seed=seed,
        preset=preset.value,
        config_file=config_file,
        settings=settings or [],
        modalities=modality_names(modalities),
        device=device,
        jobs=jobs,
        split=split,
        training=training_settings(epochs, batch_size, learning_rate, patience),
    )
    _carry_out(plan, thresholds, resamples, metrics or (), dry_run=dry_run, track=track)


def tune(
    data: Data,
    out_path: Annotated[
        Path, typer.Option("--out", "-o", help="The folder for trials and tables.")
    ],
    models: Systems = "all",
    trials: Annotated[
        int, typer.Option(min=1, metavar="N", help="The number of trials of each system.")
    ] = 10,
    seeds: Annotated[
        int, typer.Option(min=1, metavar="N", help="The number of runs of each trial.")
    ] = 1,
    seed: FirstSeed = 42,
    tried: Annotated[
        list[str] | None,
        typer.Option(
            "--try",
            metavar="KEY=VALUE,VALUE",
            help="Values of a setting, in place of what would be tried of it, such as "
            "training.learning_rate=1e-4,1e-3. May be repeated.",
        ),
    ] = None,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune/--no-prune", help="End trials early that are worse than the median of others."
        ),
    ] = True,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where trials are stored, for several hosts: any address that Optuna knows, such "
            "as postgresql://… or sqlite:///trials.db. By default a file in the folder.",
        ),
    ] = None,
    preset: PresetOption = Preset.tuned,
    config_file: SystemsFile = None,
    settings: SystemsSettings = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    patience: Patience = None,
    modalities: Modalities = None,
    device: OwnDevice = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
) -> None:
    """Search the settings of systems on validation data, each with equal effort.

    Run it again to resume after a stop. Settings that are given win over those that are tried.
    Ends with the best settings as a file for `emotailor benchmark --config`.
    """
    from emotailor.comparison.tune import BEST, describe_plan, plan_tune, render_plan, run_tune

    plan = plan_tune(
        data,
        out_path,
        models=models.split(","),
        trials=trials,
        seeds=seeds,
        seed=seed,
        tried=tried or [],
        prune=prune,
        storage=storage,
        preset=preset.value,
        config_file=config_file,
        settings=settings or [],
        modalities=modality_names(modalities),
        device=device,
        jobs=jobs,
        training=training_settings(epochs, batch_size, learning_rate, patience),
    )
    say(render_plan(plan), describe_plan(plan))
    if dry_run:
        return

    result = run_tune(plan, out)
    say(*(f"stored: {path}" for path in result.stored))
    if result.best:
        best = shlex.quote(str(out_path / BEST))
        where = f"--data {shlex.quote(str(data))} --config {best}"
        say(f"next: emotailor benchmark {where} --out runs/benchmark")
    if result.failed:
        raise typer.Exit(1)


def trial(
    folder: Annotated[Path, typer.Argument(help="The folder of a system in a search.")],
    model: OwnSystem = None,
) -> None:
    """Carry out one trial of a search: `emotailor tune` calls this in processes of their own."""
    from emotailor.comparison.trial import carry_out_trial

    use_own(model)
    outcome = carry_out_trial(folder)
    say(f"trial: {outcome or 'none is left'}")


@group.command("paper")
def reproduce_paper(
    data: Annotated[
        Path,
        typer.Option("--data", "-d", help="A stored data set, word-aligned if you have it so."),
    ],
    out_path: Annotated[
        Path, typer.Option("--out", "-o", help="The folder for everything that is written.")
    ],
    unaligned: Annotated[
        Path | None,
        typer.Option(help="The same samples unaligned, for the other half of Table 2."),
    ] = None,
    seeds: Seeds = 5,
    seed: FirstSeed = 42,
    preset: PresetOption = Preset.paper,
    config_file: SystemsFile = None,
    settings: SystemsSettings = None,
    resamples: Resamples = 2000,
    device: OwnDevice = None,
    jobs: Jobs = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="First time a few training steps of every kind of run, for a better estimate.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only print the plan and the time it will take. Writes nothing, unless it "
            "measures.",
        ),
    ] = False,
) -> None:
    """Make Table 2 in both settings, Table 3 and the figures of TAILOR. Run it again to resume.

    Shows the plan and the time it is expected to take on this device, from sizes or measured. Ends
    with one page: our numbers beside the published ones. Exits with 1 where a run failed. The
    others are not lost.
    """
    from emotailor.comparison.disk import describe_disk
    from emotailor.folders import check_free
    from emotailor.paper.plan import plan_paper
    from emotailor.paper.reproduce import run_paper
    from emotailor.paper.time import describe_plan, expect, render_plan

    if not dry_run:
        check_free(out_path)  # before the plan, which takes a while
    plan = plan_paper(
        data,
        out_path,
        unaligned=unaligned,
        seeds=seeds,
        seed=seed,
        preset=preset.value,
        config_file=config_file,
        settings=settings or [],
        device=device,
        jobs=jobs,
    )
    expected = expect(plan, out, measure=measure)
    say(render_plan(plan, expected), describe_plan(plan, expected))
    if disk := describe_disk(stage.plan for stage in plan.stages):
        say(disk)
    if dry_run:
        return

    outcome = run_paper(plan, out, resamples=resamples, expected=expected)
    say(*(f"missing: {line}" for line in outcome.missing))
    if outcome.time:
        say(outcome.time)
    say(f"stored: {outcome.report}")
    if outcome.missing:
        raise typer.Exit(1)
