"""Commands that make, show and check data sets."""

import shlex
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from emotailor.cli import completion
from emotailor.cli.console import err, out, say
from emotailor.cli.options import (
    DataName,
    DataPath,
    LabelNames,
    LabelRule,
    LabelThreshold,
    Longer,
    LongerSamples,
    MostSteps,
    NewDataPath,
    Overwrite,
    Rule,
    Split,
    SplitSeed,
    of_modalities,
    several,
)
from emotailor.cli.pages import App
from emotailor.text import indented, visible


class PoolingChoice(StrEnum):
    """What a vector of text is of."""

    words = "words"
    sentence = "sentence"


group = App(help="Make, look at and check data sets.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(group, name="data")


def _next_command(dataset: Mapping[str, Any], path: Path) -> str:
    """Return what a data set is for: to train on, to divide before that, or to predict."""
    from emotailor.data.sample import UNSPLIT

    place = shlex.quote(str(path))
    if "train" in dataset and dataset["train"].labelled.any():
        return f"emotailor train --data {place}"

    # with labels but one split, nobody meant to predict alone
    only = next(iter(dataset.values()))
    if list(dataset) == [UNSPLIT] and only.labelled.any():
        divided = shlex.quote(f"{path}-split")
        return f"emotailor data convert {place} --split 70/10/20 --out {divided}"
    return f"emotailor predict RUN {place}"


@group.command("convert")
def convert(
    source: Annotated[
        Path,
        typer.Argument(
            help="A file. For csd, frames, fet, pom, table, samples and stored also a folder."
        ),
    ],
    out_path: NewDataPath,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            autocompletion=completion.formats,
            help="One of the formats above, or a reader of your own: package.module:function or "
            "path/file.py:function. By default the content of the file decides.",
        ),
    ] = None,
    name: DataName = None,
    labels: Annotated[
        Path | None, typer.Option(help="A file with the emotion labels. They are joined by id.")
    ] = None,
    label_names: LabelNames = None,
    label_threshold: LabelThreshold = 0.0,
    label_rule: LabelRule = Rule.above,
    folds: Annotated[
        Path | None, typer.Option(help="A file that says which video is in which split.")
    ] = None,
    split_by_hash: Annotated[
        bool,
        typer.Option(
            "--split-by-hash",
            help="Without --folds: split the videos 70/10/20 % by a hash of their ids.",
        ),
    ] = False,
    split: Split = None,
    split_seed: SplitSeed = 0,
    unlabelled: Annotated[
        bool,
        typer.Option(
            "--unlabelled", help="Keep samples whose labels nobody knows, for prediction."
        ),
    ] = False,
    align: Annotated[
        bool | None,
        typer.Option(
            "--align/--no-align",
            help="Make word-aligned or native sequences. By default those that the source has.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Take at most N samples per split, to try it."),
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODALITY=FILE",
            help="The features of all rows of a table, such as text=vectors.safetensors: an .npz "
            "or .safetensors with values and offsets, or an .npy. May be repeated.",
        ),
    ] = None,
    join: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Another table, whose columns are joined by id. May be repeated.",
        ),
    ] = None,
    flags: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODALITY=COLUMN",
            help="A column of names that become features, such as visual=aus: 1 for each name "
            "that a row has, else 0, at every step. May be repeated.",
        ),
    ] = None,
    flag_names: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="With --flags: the names that features stand for, separated by commas. By "
            "default all that the column has.",
        ),
    ] = None,
    max_steps: MostSteps = None,
    longer: LongerSamples = Longer.first_steps,
    train_share: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Take a share of the training split, such as 0.1 for a quick look. A hash of "
            "the id decides which samples.",
        ),
    ] = 1.0,
    text_column: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Of a table: the column with what is said. By default text, with --encoder.",
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.encoders,
            help="Make features of text from what is said: minilm, the folder of a Hugging Face "
            "model, or a file of GloVe or word2vec vectors.",
        ),
    ] = None,
    pooling: Annotated[
        PoolingChoice,
        typer.Option(help="With --encoder: a vector for each word, or one for each sample."),
    ] = PoolingChoice.words,
    overwrite: Overwrite = False,
) -> None:
    """Turn the files people have into a stored data set.

    Formats, told apart by their content:

    tailor: train_valid_test.pt of TAILOR, HHMPN and CARAT

    mult: mosei_senti_data[_noalign].pkl of MulT, with --labels

    mmsa: aligned_50.pkl or unaligned_50.pkl of MMSA, with --labels

    csd: a folder of CMU-MultimodalSDK files, with --folds or --split-by-hash

    frames: a folder of OpenFace, openSMILE or COVAREP files per video, with --labels

    fet: a folder of pickles of MMSA-FET, one per clip, with --labels

    table: a CSV with id, split and labels, and features beside it, in files that it names, or in
    --features

    npz: one .npz or .safetensors with a row per sample, or all steps end to end

    samples: a folder of one .npz per sample, or of .npy in folders visual, audio, text

    stored: a stored data set, to divide it with --split

    pom: a folder of .h5 files per split, POM of MFN or CMU-MOSEI in 20 steps

    Labels and splits may be absent: the samples are then for prediction, in one split "all".

    A reader of your own is a function that takes a path and options and returns a Reading: see
    the page about data. Installed packages may offer more formats.
    """
    from emotailor.data.cutting import parse_max_steps
    from emotailor.data.inspect import inspect_dataset, render
    from emotailor.data.readers.convert import convert as convert_source

    names = several(label_names)
    named = several(flag_names)
    of_rows = of_modalities(features, "--features", "FILE")
    of_columns = of_modalities(flags, "--flags", "COLUMN")
    most = None if max_steps is None else parse_max_steps(max_steps)
    dataset = convert_source(
        source,
        out_path,
        format=format_name,
        name=name,
        labels=labels,
        label_names=[part.strip() for part in names] if names else None,
        label_threshold=label_threshold,
        label_rule=label_rule.value,
        folds=folds,
        split_by_hash=split_by_hash,
        split=split,
        split_seed=split_seed,
        unlabelled=unlabelled,
        align=align,
        overwrite=overwrite,
        limit=limit,
        max_steps=most,
        longer=longer.value,
        train_share=train_share,
        features={m: Path(file) for m, file in of_rows.items()},
        join=join or (),
        flags=of_columns,
        flag_names=[part.strip() for part in named] if named else None,
        text_column=text_column,
        encoder=encoder,
        pooling=pooling.value,
        console=err,
    )
    say(render(inspect_dataset(dataset)), f"stored in {out_path}")
    say(f"next: {_next_command(dataset, out_path)}")


@group.command("inspect")
def inspect(
    path: DataPath,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print dims, lengths, label counts and co-occurrence of a data set."""
    from emotailor.data.inspect import inspect_dataset, render
    from emotailor.data.store import open_dataset

    report = inspect_dataset(open_dataset(path))
    if as_json:
        print(visible(report.model_dump_json(indent=2)))
    else:
        say(render(report))


@group.command("show")
def show(
    path: DataPath,
    sample_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a sample.")],
) -> None:
    """Print what is known of one sample: labels, lengths, words, times, missing steps."""
    from emotailor.data.inspect import render_sample
    from emotailor.data.store import open_dataset

    print(visible(render_sample(open_dataset(path), sample_id)))


@group.command("validate")
def validate(
    path: DataPath,
    quick: Annotated[
        bool, typer.Option("--quick", help="Skip the checks that read every value.")
    ] = False,
) -> None:
    """Check hashes, shapes, finiteness, label names and leaks between splits.

    Exits with 1 where the data cannot be trusted. Warnings alone exit with 0.
    """
    from emotailor.data.validate import validate_dataset

    problems = validate_dataset(path, deep=not quick)
    for problem in problems:
        color = "red" if problem.severity == "error" else "yellow"
        found = indented(f"{problem.where}: {problem.what}")
        remedy = indented(problem.fix)
        line = Text.assemble((f"{problem.severity}: ", color), f"{found}\n  {remedy}")
        out.print(line, soft_wrap=True)

    errors = sum(problem.severity == "error" for problem in problems)
    say(f"{path}: {errors} errors, {len(problems) - errors} warnings")
    if errors:
        raise typer.Exit(1)


@group.command("synthesize")
def synthesize(
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
        bool, typer.Option(help="Draw one step per word, or each modality at its own rate.")
    ] = True,
    seed: Annotated[int, typer.Option(help="The seed. The same seed draws the same data.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Draw data with CMU-MOSEI's label statistics and a planted truth.

    Settings: train, valid, test (samples), noise, window, missing, visual_dim, audio_dim, text_dim.
    """
    from emotailor.config import merge, parse_overrides
    from emotailor.data.inspect import inspect_dataset, render
    from emotailor.data.synthetic import SyntheticConfig
    from emotailor.data.synthetic import synthesize as draw

    values = merge({"aligned": aligned, "seed": seed}, parse_overrides(settings or []))
    config = SyntheticConfig.parse(values, "the synthetic data")
    dataset = draw(config, out_path, overwrite=overwrite)
    say(render(inspect_dataset(dataset)), f"stored in {out_path}")
    say(f"next: {_next_command(dataset, out_path)}")


@group.command("face-model")
def face_model(
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Fetch it from its official address, once.")
    ] = False,
) -> None:
    """Say where the model is that finds faces in videos, or fetch it (3.8 MB).

    Without --fetch no connection is opened.
    """
    from emotailor.extraction.face_model import fetch_face_model, find_face_model

    if fetch:
        say(f"stored in {fetch_face_model()}")
    model = find_face_model()
    say(f"{model.path}: SHA-256 {model.sha256}", *model.notes)
