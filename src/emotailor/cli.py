"""The command line: every function parses, calls and prints; nothing is computed here.

Exit codes: 0 success, 1 a problem was found or an unforeseen failure, 2 wrong usage, 3 wrong
configuration, 4 unusable data, 5 unusable model, 130 interrupted (a training saves a checkpoint).
"""

import errno
import json
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from emotailor import __version__
from emotailor.errors import EmotailorError


class _ListByDefault(TyperGroup):
    """A group of commands that lists when none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["list"])


app = typer.Typer(
    help="Multi-modal, multi-label emotion recognition: TAILOR, from data to a prediction.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Make, look at and check data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")
models_app = typer.Typer(help="List the systems, or show one of them.", cls=_ListByDefault)
app.add_typer(models_app, name="models")
reproduce_app = typer.Typer(help="Do again what a paper did, as one job.", no_args_is_help=True)
app.add_typer(reproduce_app, name="reproduce")

out = Console(quiet=os.environ.get("RANK", "0") != "0")  # of several processes the first speaks
err = Console(stderr=True)


class Preset(StrEnum):
    """Where default settings come from."""

    paper = "paper"
    authors = "authors"


class ThresholdChoice(StrEnum):
    """How a probability becomes a decision."""

    fixed = "fixed"
    tuned = "tuned"
    per_label = "per_label"


class Rule(StrEnum):
    """Whether the label threshold itself counts."""

    above = ">"
    at_least = ">="


# arguments and options that several commands share

DataPath = Annotated[Path, typer.Argument(help="A stored data set (folder with dataset.json).")]
ModelPath = Annotated[Path, typer.Argument(help="A run folder or a model folder.")]
NewDataPath = Annotated[Path, typer.Option("--out", "-o", help="Data set folder to create.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is at the output path.")]

Data = Annotated[Path, typer.Option("--data", "-d", help="A stored data set.")]
OtherData = Annotated[
    Path | None, typer.Option("--data", "-d", help="By default the data trained on.")
]
Tables = Annotated[Path, typer.Option("--out", "-o", help="Folder of runs and tables.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
OwnDevice = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]

PresetOption = Annotated[
    Preset, typer.Option(help="Defaults of the papers or of the authors' programs.")
]
SystemsFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file with a table all and one per system."),
]
SystemsSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="[SYSTEM:]KEY=VALUE",
        help="For every system, as training.epochs=5, or for one, as mult:model.heads=4. May be "
        "repeated.",
    ),
]
Modalities = Annotated[str | None, typer.Option(help="A subset, such as visual,text or v,t.")]
Seeds = Annotated[int, typer.Option(min=1, metavar="N", help="Runs of each row of the table.")]
FirstSeed = Annotated[int, typer.Option(help="Of the first run; the others count up.")]
Deciding = Annotated[
    ThresholdChoice, typer.Option(help="How decisions are made; tuned on validation data.")
]
ChosenThresholds = Annotated[
    ThresholdChoice | None, typer.Option(help="By default the one tuned on validation data.")
]
Resamples = Annotated[int, typer.Option(min=0, help="Of the paired tests; 0 for none.")]
TestSplit = Annotated[str, typer.Option(help="Split to test on.")]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Runs at a time; by default one per core, or one on a GPU."
    ),
]


def _print(*renderables: Any) -> None:
    for renderable in renderables:
        line = isinstance(renderable, str)  # with paths and ids in it, which are no markup
        out.print(renderable, soft_wrap=line, markup=not line, highlight=False)


def _version(wanted: bool | None) -> None:
    if wanted:
        print(f"emotailor {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool | None,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = None,
) -> None:
    pass


# ---------------------------------------------------------------------- data


@data_app.command("convert")
def data_convert(
    source: Annotated[
        Path, typer.Argument(help="A file, or for csd, pom and table also the folder of the files.")
    ],
    out_path: NewDataPath,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="A format above, or a reader of your own as package.module:name or "
            "path/to/file.py:name; by default found out.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the data set; by default the source's.")] = (
        None
    ),
    labels: Annotated[
        Path | None, typer.Option(help="File with the emotion labels, joined by id.")
    ] = None,
    label_names: Annotated[
        str | None, typer.Option(help="Names of the label columns, separated by commas.")
    ] = None,
    label_threshold: Annotated[
        float, typer.Option(help="A label holds where its value is above this.")
    ] = 0.0,
    label_rule: Annotated[
        Rule, typer.Option(help="With >= a label also holds where its value equals the threshold.")
    ] = Rule.above,
    folds: Annotated[
        Path | None, typer.Option(help="File that says which video is in which split.")
    ] = None,
    split_by_hash: Annotated[
        bool,
        typer.Option(
            "--split-by-hash", help="Without --folds: 70/10/20 % by a hash of the video id."
        ),
    ] = False,
    align: Annotated[
        bool | None,
        typer.Option(
            "--align/--no-align",
            help="Word-aligned or native sequences; by default what the source has.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Most samples per split, for a quick try."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Turn the files people have into a stored data set.

    Formats, told apart by their content:

    tailor: train_valid_test.pt of TAILOR, HHMPN and CARAT

    mult: mosei_senti_data[_noalign].pkl of MulT, with --labels

    mmsa: aligned_50.pkl or unaligned_50.pkl of MMSA, with --labels

    csd: a folder of CMU-MultimodalSDK files, with --folds or --split-by-hash

    table: a CSV with id, split and labels, and .npy files beside it

    npz: one .npz with a row per sample

    pom: the folder of POM .h5 files of MFN

    A reader of your own is a function that takes a path and options and returns a Reading; see
    the page about data. Installed packages may offer more formats.
    """
    from emotailor.data.convert import convert
    from emotailor.data.inspect import inspect_dataset, render

    dataset = convert(
        source,
        out_path,
        format=format_name,
        name=name,
        labels=labels,
        label_names=[part.strip() for part in label_names.split(",")] if label_names else None,
        label_threshold=label_threshold,
        label_rule=label_rule.value,
        folds=folds,
        split_by_hash=split_by_hash,
        align=align,
        overwrite=overwrite,
        limit=limit,
    )
    _print(render(inspect_dataset(dataset)), f"stored in {out_path}")


@data_app.command("inspect")
def data_inspect(
    path: DataPath,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print dims, lengths, label counts and co-occurrence of a data set."""
    from emotailor.data.inspect import inspect_dataset, render
    from emotailor.data.store import open_dataset

    report = inspect_dataset(open_dataset(path))
    if as_json:
        print(report.model_dump_json(indent=2))
    else:
        _print(render(report))


@data_app.command("validate")
def data_validate(
    path: DataPath,
    quick: Annotated[
        bool, typer.Option("--quick", help="Skip the checks that read every value.")
    ] = False,
) -> None:
    """Check hashes, shapes, finiteness, label names and leaks between splits.

    Exits with 1 where the data cannot be trusted; warnings alone exit with 0.
    """
    from emotailor.data.validate import validate_dataset

    problems = validate_dataset(path, deep=not quick)
    for problem in problems:
        color = "red" if problem.severity == "error" else "yellow"
        line = Text.assemble(
            (f"{problem.severity}: ", color), f"{problem.where}: {problem.what}\n  {problem.fix}"
        )
        out.print(line, soft_wrap=True)
    errors = sum(problem.severity == "error" for problem in problems)
    _print(f"{path}: {errors} errors, {len(problems) - errors} warnings")
    if errors:
        raise typer.Exit(1)


@data_app.command("synthesize")
def data_synthesize(
    out_path: NewDataPath,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A setting, such as train=16326 or noise=1.0. May be repeated.",
        ),
    ] = None,
    aligned: Annotated[
        bool, typer.Option(help="One step a word, or each modality at its own rate.")
    ] = True,
    seed: Annotated[int, typer.Option(help="The same seed draws the same data.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Draw data with CMU-MOSEI's label statistics and a planted truth.

    Settings: train, valid, test (samples), noise, window, missing, visual_dim, audio_dim, text_dim.
    """
    from emotailor.config import merge, parse_overrides
    from emotailor.data.inspect import inspect_dataset, render
    from emotailor.data.synthetic import SyntheticConfig, synthesize

    values = merge({"aligned": aligned, "seed": seed}, parse_overrides(settings or []))
    config = SyntheticConfig.parse(values, "the synthetic data")
    dataset = synthesize(config, out_path, overwrite=overwrite)
    _print(render(inspect_dataset(dataset)), f"stored in {out_path}")


# ---------------------------------------------------------------------- systems


@models_app.command("list")
def models_list() -> None:
    """List the systems: name, paper, modalities, how they are trained. The default."""
    from emotailor.commands.models import list_models

    _print(list_models(), "more of one: emotailor models show NAME")


@models_app.command("show")
def models_show(
    name: Annotated[str, typer.Argument(help="Of a system, such as mult.")],
    data: Annotated[
        Path | None, typer.Option("--data", "-d", help="Sizes for a data set, not CMU-MOSEI.")
    ] = None,
) -> None:
    """Show paper, inputs, size, losses, training recipe and all settings of a system."""
    from emotailor.commands.models import describe, render_card

    _print(render_card(describe(name, data)))


# ---------------------------------------------------------------------- train and evaluate


@app.command()
def train(
    data: Data,
    out_path: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Run folder; by default runs/DATA-MODEL-seedN."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Which system; by default what the settings say, or tailor.")
    ] = None,
    preset: PresetOption = Preset.paper,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="TOML file with tables model, training and data, or a run's config.json.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A setting, such as model.hidden_size=128; wins over the file. May be repeated.",
        ),
    ] = None,
    modalities: Modalities = None,
    seed: Annotated[int | None, typer.Option(help="Of the first run; by default 42.")] = None,
    seeds: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="How many runs, one by one: seed, seed + 1, ..."),
    ] = 1,
    device: OwnDevice = None,
) -> None:
    """Train a system on a data set; run the same command again to go on after a stop."""
    from emotailor.runs.train import plan_runs, train_runs

    runs = plan_runs(
        data=data,
        out=out_path,
        system=model,
        preset=preset.value,
        config_file=config_file,
        settings=settings or [],
        modalities=_several(modalities),
        seed=seed,
        seeds=seeds,
        device=device,
    )
    train_runs(runs, out)
    where = runs[0].folder if seeds == 1 else runs[0].folder.parent
    _print(f"next: emotailor evaluate {shlex.quote(str(where))}")


@app.command()
def evaluate(
    run: Annotated[list[Path], typer.Argument(help="Run or model folders, or a folder of seeds.")],
    split: Annotated[str, typer.Option(help="Split to evaluate on.")] = "test",
    data: OtherData = None,
    thresholds: ChosenThresholds = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="Show the paper's TAILOR (CMU-MOSEI, aligned) beside.")
    ] = False,
    resamples: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 2000,
    device: Device = "auto",
) -> None:
    """Evaluate trained runs; prints and stores metrics, intervals and predictions."""
    from emotailor.comparison.published import published_numbers
    from emotailor.runs.evaluate import (
        evaluate_run,
        find_runs,
        render_evaluations,
        store_summary,
    )

    folders = [folder for path in run for folder in find_runs(path)]
    results = [
        evaluate_run(
            folder,
            data=data,
            split=split,
            thresholds=thresholds.value if thresholds else None,
            resamples=resamples,
            device=device,
        )
        for folder in folders
    ]
    stored = [f"stored: {path}" for result in results for path in result.stored]
    if len(run) == 1 and len(results) > 1:
        stored.append(f"stored: {store_summary(results, run[0])}")
    beside = published_numbers("aligned") if paper else None
    _print(render_evaluations(results, published=beside), *stored)


def _several(names: str | None) -> list[str] | None:
    return names.split(",") if names is not None else None


def _carry_out(plan: Any, thresholds: ThresholdChoice, resamples: int, *, dry_run: bool) -> None:
    """Show what a comparison is to do, do it, and say where it is and what failed."""
    from emotailor.comparison.plan import describe_plan, render_plan
    from emotailor.comparison.runner import next_command, run_plan

    _print(render_plan(plan), describe_plan(plan))
    if dry_run:
        return
    result = run_plan(plan, out, thresholds=thresholds.value, resamples=resamples)
    _print(*(f"stored: {path}" for path in result.stored))
    if command := next_command(plan, result):
        _print(f"next: {command}")
    if result.failed:
        raise typer.Exit(1)


@app.command()
def benchmark(
    data: Data,
    out_path: Tables,
    models: Annotated[
        str, typer.Option(help="Systems, separated by commas; see `emotailor models`.")
    ] = "all",
    seeds: Seeds = 5,
    seed: FirstSeed = 42,
    preset: PresetOption = Preset.paper,
    config_file: SystemsFile = None,
    settings: SystemsSettings = None,
    modalities: Annotated[
        str | None, typer.Option(help="A subset; systems that need others are skipped.")
    ] = None,
    thresholds: Deciding = ThresholdChoice.tuned,
    resamples: Resamples = 2000,
    split: TestSplit = "test",
    device: OwnDevice = None,
    jobs: Jobs = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan alone.")] = False,
) -> None:
    """Train and test systems with several seeds; again to go on after a stop.

    Prints and stores a table of all of them, with a paired test against TAILOR. Exits with 1 where
    a run failed; the others are not lost.
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
        modalities=_several(modalities),
        device=device,
        jobs=jobs,
        split=split,
    )
    _carry_out(plan, thresholds, resamples, dry_run=dry_run)


@app.command()
def ablate(
    data: Data,
    out_path: Tables,
    variants: Annotated[
        str,
        typer.Option(
            help="Such as without_amr,identical; the full model is always run beside them."
        ),
    ] = "all",
    seeds: Seeds = 5,
    seed: FirstSeed = 42,
    preset: PresetOption = Preset.paper,
    config_file: Annotated[
        Path | None, typer.Option("--config", "-c", help="TOML file, as for train.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="For every variant, such as training.epochs=5. May be repeated.",
        ),
    ] = None,
    modalities: Modalities = None,
    thresholds: Deciding = ThresholdChoice.tuned,
    resamples: Resamples = 2000,
    split: TestSplit = "test",
    device: OwnDevice = None,
    jobs: Jobs = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan alone.")] = False,
) -> None:
    """Take TAILOR apart as Table 3 of its paper does; again to go on after a stop.

    Prints and stores a table of twelve variants beside the paper's numbers, with a paired test
    against the full model. Exits with 1 where a run failed; the others are not lost.
    """
    from emotailor.comparison.ablate import plan_ablation

    plan = plan_ablation(
        data,
        out_path,
        variants=variants.split(","),
        seeds=seeds,
        seed=seed,
        preset=preset.value,
        config_file=config_file,
        settings=settings or [],
        modalities=_several(modalities),
        device=device,
        jobs=jobs,
        split=split,
    )
    _carry_out(plan, thresholds, resamples, dry_run=dry_run)


@reproduce_app.command("paper")
def reproduce_paper(
    data: Annotated[
        Path, typer.Option("--data", "-d", help="A stored data set, word-aligned if you have it.")
    ],
    out_path: Annotated[Path, typer.Option("--out", "-o", help="Folder of everything.")],
    unaligned: Annotated[
        Path | None, typer.Option(help="The same samples unaligned, for the other half of Table 2.")
    ] = None,
    seeds: Seeds = 5,
    seed: FirstSeed = 42,
    preset: PresetOption = Preset.paper,
    config_file: SystemsFile = None,
    settings: SystemsSettings = None,
    resamples: Resamples = 2000,
    device: OwnDevice = None,
    jobs: Jobs = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and its expected time alone.")
    ] = False,
) -> None:
    """Table 2 in both settings, Table 3 and the figures of TAILOR; again to go on after a stop.

    Shows the plan and the time it is expected to take on this device, and ends with one page: our
    numbers beside the published ones. Exits with 1 where a run failed; the others are not lost.
    """
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
    expected = expect(plan, out)
    _print(render_plan(plan, expected), describe_plan(plan, expected))
    if dry_run:
        return
    outcome = run_paper(plan, out, resamples=resamples, expected=expected)
    _print(*(f"missing: {line}" for line in outcome.missing))
    _print(*([outcome.time] if outcome.time else []), f"stored: {outcome.report}")
    if outcome.missing:
        raise typer.Exit(1)


@app.command()
def figures(
    run: Annotated[Path, typer.Argument(help="A run folder or a model folder.")],
    out_path: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write to; by default RUN/figures.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN2", help="A run without adversarial terms, beside RUN in Figure 6."
        ),
    ] = None,
    data: OtherData = None,
    split: Annotated[str, typer.Option(help="Split to look at.")] = "test",
    device: Device = "auto",
) -> None:
    """Draw the paper's figures for a run, and more; check the paper's claims."""
    from emotailor.figures.make import make_figures, render_report

    _print(
        render_report(
            make_figures(run, out=out_path, against=against, data=data, split=split, device=device)
        )
    )


@app.command()
def report(
    path: Annotated[
        Path, typer.Argument(metavar="RUN|BENCHMARK", help="A run, a model or a benchmark.")
    ],
    out_path: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write; by default report.html in that folder."),
    ] = None,
    data: OtherData = None,
    split: Annotated[
        str | None, typer.Option(help="Split of a run to look at; by default test.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Write one HTML page about a run or a benchmark, which can be mailed and read anywhere."""
    from emotailor.report.write import write_report

    written = write_report(path, out=out_path, data=data, split=split, device=device)
    _print(*(f"note: {line}" for line in written.missing), f"stored: {written.file}")


@app.command()
def predict(
    model: ModelPath,
    source: Annotated[
        Path, typer.Argument(help="A stored data set, or an .npz with visual, audio, text arrays.")
    ],
    split: Annotated[str, typer.Option(help="Split of the data set.")] = "test",
    sample_id: Annotated[
        list[str] | None, typer.Option("--id", help="Only this sample; may be repeated.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
    explain: Annotated[
        bool | None,
        typer.Option("--explain/--no-explain", help="By default for up to 20 samples."),
    ] = None,
    thresholds: ChosenThresholds = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    device: Device = "auto",
) -> None:
    """Name the emotions of samples, and say which modality and which steps carried each."""
    from emotailor.runs.predict import predict_samples, read_samples, render_predictions
    from emotailor.serving.predictor import Predictor

    predictor = Predictor.load(
        model, device=device, thresholds=thresholds.value if thresholds else None
    )
    samples = read_samples(source, split=split, ids=sample_id or [], limit=limit)
    predictions = predict_samples(
        predictor, samples, explain=len(samples) <= 20 if explain is None else explain
    )
    if as_json:
        for prediction in predictions:
            print(json.dumps(prediction.to_json(), ensure_ascii=False))
    else:
        _print(render_predictions(predictions))


@app.command("import-checkpoint")
def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="pytorch_model_*.bin of the authors' program.")],
    out_path: Annotated[Path, typer.Option("--out", "-o", help="Model folder to create.")],
    heads: Annotated[int, typer.Option(min=1, help="Attention heads of that model.")] = 8,
    overwrite: Overwrite = False,
) -> None:
    """Turn a checkpoint of the authors' program into a model folder."""
    from emotailor.training.import_checkpoint import import_checkpoint as run

    card = run(file, out_path, heads=heads, overwrite=overwrite)
    dims = ", ".join(f"{m} {d}" for m, d in card.dims.items())
    _print(f"{out_path}: TAILOR for {', '.join(card.label_names)} from features {dims}")


@app.command()
def demo(
    out_path: Annotated[Path, typer.Option("--out", "-o", help="Folder of the demo.")] = Path(
        "runs/demo"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="Seconds instead of minutes.")] = False,
) -> None:
    """Make data, train a small TAILOR, test it beside baselines, explain three predictions."""
    from emotailor.commands.demo import run_demo

    run_demo(out_path, out, quick=quick)


@app.command()
def doctor() -> None:
    """Say what this machine has: versions, devices, speed, and what would be missing."""
    from emotailor.commands.doctor import examine

    healthy, table = examine()
    _print(table)
    if not healthy:
        raise typer.Exit(1)


# ---------------------------------------------------------------------- errors


class StopRequested(BaseException):
    """SIGINT or SIGTERM arrived where nothing can be saved."""


def _stop(number: int, _: FrameType | None) -> None:
    raise StopRequested(signal.Signals(number).name)


@contextmanager
def _clean_stops() -> Iterator[None]:
    """Let SIGINT and SIGTERM unwind the stack, so that nothing temporary stays behind."""
    old = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            old[number] = signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    err.print(Text.assemble(("warning: ", "yellow"), str(message)), soft_wrap=True)


def _describe(error: OSError) -> str:
    """Say what the operating system refused, and what may help."""
    from emotailor.files import written_at

    where = f": {written_at(Path(error.filename))}" if isinstance(error.filename, str) else ""
    remedies = {
        errno.EACCES: "name a place that you may write to, with --out",
        errno.EEXIST: "there is a file where a folder is needed: name another place with --out",
        errno.ENOTDIR: "there is a file where a folder is needed: name another place with --out",
        errno.EROFS: "name a place that can be written to, with --out",
        errno.ENOSPC: "make room there, then run the same command again",
    }
    return str(
        EmotailorError(f"{error.strerror or error}{where}", fix=remedies.get(error.errno or 0))
    )


def _fail(message: str, code: int) -> NoReturn:
    err.print(Text.assemble(("error: ", "red"), message), soft_wrap=True)
    sys.exit(code)


def main() -> None:
    """Run the command line; a user's mistake ends in one message and an exit code."""
    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):  # names that the terminal cannot show are no failure
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with _clean_stops():
            app(prog_name="emotailor")
    except EmotailorError as error:
        _fail(str(error), error.exit_code)
    except StopRequested as stop:
        _fail(f"stopped by {stop}", 130)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        _fail(_describe(error), 1)
    except (MemoryError, RuntimeError) as error:  # torch reports a lack of memory as the latter
        lacking = isinstance(error, MemoryError) or "memory" in str(error)
        if not lacking:
            raise
        what = f"not enough memory: {str(error).splitlines()[0]}" if str(error) else "no memory"
        fix = "a smaller training.batch_size with a larger training.accumulate needs less"
        _fail(str(EmotailorError(what, fix=fix)), 1)
