"""Commands about one run: train, evaluate, predict, import a checkpoint."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from emotailor.cli import completion
from emotailor.cli.console import out, say
from emotailor.cli.options import (
    BatchSize,
    ChosenThresholds,
    Data,
    Device,
    Epochs,
    KeepProtocols,
    LearningRate,
    Metrics,
    Modalities,
    OtherData,
    Overwrite,
    OwnDevice,
    OwnSystem,
    Patience,
    Preset,
    PresetOption,
    RunFile,
    Track,
    modality_names,
    training_settings,
    use_own,
)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(train)
    app.command()(evaluate)
    app.command()(calibrate)
    app.command("import-checkpoint")(import_checkpoint)


def train(
    data: Data,
    out_path: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The run folder. By default runs/DATA-MODEL-seedN."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="The system: a name of `emotailor models`, or a class of your own as "
            "package.module:Class or path/file.py:Class. By default tailor, or what the file "
            "says.",
            autocompletion=completion.systems,
        ),
    ] = None,
    preset: PresetOption = Preset.tuned,
    config_file: RunFile = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any setting, such as model.hidden_size=128. It wins over the file; options win "
            "over it. May be repeated.",
        ),
    ] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    patience: Patience = None,
    modalities: Modalities = None,
    start_from: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="Take the weights of a trained model where they fit: a run folder, a model "
            "folder, words, which ships, or hf://user/name. Its settings hold where nothing else "
            "is given.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="The seed of the first run. By default 42.")
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="The number of runs: seed, seed + 1, ..."),
    ] = 1,
    device: OwnDevice = None,
    losses: Annotated[
        bool,
        typer.Option("--losses", help="Show what each part of the loss adds to it, too."),
    ] = False,
    protocols: KeepProtocols = False,
    track: Track = None,
) -> None:
    """Train a system on a data set. Run the same command again to resume after a stop."""
    from emotailor.runs.train import plan_runs, train_runs

    kept = "test" if protocols else None
    runs = plan_runs(
        data=data,
        out=out_path,
        system=model,
        preset=preset.value,
        config_file=config_file,
        settings=settings or [],
        modalities=modality_names(modalities),
        seed=seed,
        seeds=seeds,
        device=device,
        training=training_settings(
            epochs,
            batch_size,
            learning_rate,
            patience,
            kept_split=kept,
            start_from=start_from,
        ),
    )
    train_runs(runs, out, parts=losses, track=track)
    if track is not None:
        from emotailor.commands.tracking import track_figures

        folders = track_figures(track, runs)
        say(*(f"tracked: the figures in {folder}, of validation data" for folder in folders))

    # several seeds are evaluated together, and code of others is loaded where it is named alone
    where = runs[0].folder if seeds == 1 else runs[0].folder.parent
    own = f" --model {shlex.quote(model)}" if model and ":" in model else ""
    rules = " --protocols" if protocols else ""
    say(f"next: emotailor evaluate {shlex.quote(str(where))}{own}{rules}")


def evaluate(
    run: Annotated[
        list[Path],
        typer.Argument(
            help="Run folders, model folders, or a folder of seeds.",
            autocompletion=completion.runs,
        ),
    ],
    split: Annotated[
        str, typer.Option(help="The split to evaluate on.", autocompletion=completion.splits)
    ] = "test",
    data: OtherData = None,
    thresholds: ChosenThresholds = None,
    metrics: Metrics = None,
    paper: Annotated[
        bool,
        typer.Option(
            "--paper", help="Show the numbers of TAILOR's paper too, where the data are CMU-MOSEI."
        ),
    ] = False,
    protocols: Annotated[
        bool,
        typer.Option(
            "--protocols",
            help="Show what the rules of other programs would have reported of the same training, "
            "where it was run with --protocols, too.",
        ),
    ] = False,
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODALITIES",
            help="Show how the model does without some modalities, too: visual, or visual,audio "
            "for both together, or each for every one by itself. May be repeated.",
        ),
    ] = None,
    corrupt: Annotated[
        bool,
        typer.Option(
            "--corrupt",
            help="Show how it does with noise, delays and missing steps in each modality, and with "
            "misheard words, too.",
        ),
    ] = False,
    resamples: Annotated[
        int, typer.Option(min=0, help="The number of resamples of the bootstrap.")
    ] = 2000,
    device: Device = "auto",
    model: OwnSystem = None,
) -> None:
    """Evaluate trained runs: print and store metrics, intervals and predictions."""
    from emotailor.comparison.published import published_beside
    from emotailor.data.store import open_dataset
    from emotailor.runs.data import trained_on
    from emotailor.runs.evaluate import (
        evaluate_run,
        find_runs,
        render_evaluations,
        store_summary,
    )
    from emotailor.shipped.find import is_named

    use_own(model)
    folders = [folder for path in run for folder in find_runs(path)]
    results = [
        evaluate_run(
            folder,
            data=data,
            split=split,
            thresholds=thresholds.value if thresholds else None,
            resamples=resamples,
            device=device,
            metrics=metrics or (),
            protocols=protocols,
            without=without or (),
            corrupt=corrupt,
        )
        for folder in folders
    ]

    # the numbers first: they are not lost where they cannot be stored
    stored = [f"stored: {path}" for result in results for path in result.stored]
    beside = None
    why_not = ""
    if paper:
        where = trained_on(folders[0]) if data is None else data
        beside, why_not = published_beside(open_dataset(where), split)
    notes = [f"note: no published numbers: {why_not}"] if why_not else []
    say(render_evaluations(results, published=beside), *notes, *stored)

    for result in results:
        if result.not_stored is not None:
            raise result.not_stored
    if len(run) == 1 and len(results) > 1:
        say(store_summary(results, run[0]))

    # a page is about one run, and is stored in it
    if is_named(folders[0]):
        return
    command = ["emotailor", "report", str(folders[0]), "--split", split]
    command += [] if data is None else ["--data", str(data)]
    command += [] if model is None else ["--model", model]
    say(f"next: {shlex.join(command)}")


def calibrate(
    run: Annotated[
        list[Path], typer.Argument(help="Run folders, model folders, or a folder of seeds.")
    ],
    method: Annotated[
        Literal["temperature", "platt", "none"],
        typer.Option(
            help="One number for all labels; two for each label; or as the training left it."
        ),
    ] = "temperature",
    data: OtherData = None,
    split: Annotated[str, typer.Option(help="A split to measure the effect on, too.")] = "test",
    device: Device = "auto",
    model: OwnSystem = None,
) -> None:
    """Scale the probabilities of a trained model so that they can be believed; decisions stay."""
    from emotailor.runs.calibrate import calibrate_run, render_calibration
    from emotailor.runs.evaluate import find_runs

    use_own(model)
    for path in run:
        for folder in find_runs(path):
            result = calibrate_run(folder, method=method, data=data, test=split, device=device)
            say(render_calibration(result))
            say(f"next: emotailor evaluate {shlex.quote(str(folder))}")


def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="A pytorch_model_*.bin of the authors' program.")],
    out_path: Annotated[Path, typer.Option("--out", "-o", help="The model folder to create.")],
    heads: Annotated[
        int, typer.Option(min=1, help="The number of attention heads of that model.")
    ] = 8,
    overwrite: Overwrite = False,
) -> None:
    """Turn a checkpoint of the authors' program into a model folder."""
    from emotailor.training.import_checkpoint import import_checkpoint as run

    card = run(file, out_path, heads=heads, overwrite=overwrite)
    dims = ", ".join(f"{m} {d}" for m, d in card.dims.items())
    say(
        f"{out_path}: TAILOR for {', '.join(card.label_names)} from features {dims}",
        f"next: emotailor evaluate {shlex.quote(str(out_path))} --data DATA",
    )
