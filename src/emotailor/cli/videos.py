"""Commands about videos."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from emotailor.cli import completion
from emotailor.cli.console import err, say
from emotailor.cli.options import (
    DataName,
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
    several,
)

FaceModelFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="MediaPipe's face_landmarker.task. By default where `emotailor data face-model` says.",
    ),
]
Transcripts = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="What is said, instead of recognising it: a folder with NAME.srt, .vtt, .json or "
        ".txt for each video, or for one video the file.",
    ),
]
SpeechModel = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The speech recogniser: the name or the folder of a model of faster-whisper. By "
        "default tiny.en, for English.",
    ),
]
Language = Annotated[
    str | None,
    typer.Option(
        metavar="CODE", help="The language that is spoken, such as de. By default as heard."
    ),
]
NoFace = Annotated[bool, typer.Option("--no-face", help="Do not look for a face.")]
NoVoice = Annotated[bool, typer.Option("--no-voice", help="Make no features of the sound.")]
Processes = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="How many videos at a time. By default one for each core."
    ),
]
Extracting = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any setting of the extraction, such as utterance.pause=1. May be repeated.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(extract)


def extract(
    source: Annotated[
        Path, typer.Argument(help="A video or a sound, or a folder of them, also in folders below.")
    ],
    out_path: NewDataPath,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="A table: the name of a video in the column id, start and end in seconds where a "
            "row is about a part of it, a column for each label, perhaps split."
        ),
    ] = None,
    label_names: LabelNames = None,
    label_threshold: LabelThreshold = 0.0,
    label_rule: LabelRule = Rule.above,
    split: Split = None,
    split_seed: SplitSeed = 0,
    name: DataName = None,
    transcripts: Transcripts = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.encoders,
            help="What makes features of words. By default minilm.",
        ),
    ] = None,
    align: Annotated[
        bool | None,
        typer.Option(
            "--align/--no-align",
            help="Make one step for each word, which is the default, or native sequences.",
        ),
    ] = None,
    no_face: NoFace = False,
    no_voice: NoVoice = False,
    face_model: FaceModelFile = None,
    speech_model: SpeechModel = None,
    language: Language = None,
    settings: Extracting = None,
    max_steps: MostSteps = None,
    longer: LongerSamples = Longer.first_steps,
    processes: Processes = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a data set of videos: faces, voices and words, cut into utterances.

    With --labels the samples are the rows of a table, for training; without, they are utterances,
    for prediction. What is extracted of a video is kept until the data set is complete: after a
    stop the same command goes on. A video that cannot be read is named and left out, and the exit
    code is then 1.
    """
    from emotailor.data.cutting import parse_max_steps
    from emotailor.data.inspect import inspect_dataset, render
    from emotailor.extraction.config import chosen_config
    from emotailor.extraction.dataset import extract as extract_videos

    names = several(label_names)
    config = chosen_config(
        settings or [],
        encoder=encoder,
        aligned=align,
        visual="none" if no_face else None,
        audio="none" if no_voice else None,
        speech_model=speech_model,
        language=language,
    )
    result = extract_videos(
        source,
        out_path,
        labels=labels,
        label_names=[part.strip() for part in names] if names else None,
        label_threshold=label_threshold,
        label_rule=label_rule.value,
        split=split,
        split_seed=split_seed,
        name=name,
        config=config,
        transcripts=transcripts,
        face_model=face_model,
        max_steps=None if max_steps is None else parse_max_steps(max_steps),
        longer=longer.value,
        processes=processes,
        overwrite=overwrite,
        console=err,
    )
    say(render(inspect_dataset(result.dataset)))
    if result.reused:
        say(f"{result.reused} videos were extracted by an earlier call")
    say(f"stored in {out_path}")

    if labels is None:
        say(f"next: emotailor predict RUN {shlex.quote(str(out_path))}")
    else:
        say(f"next: emotailor train --data {shlex.quote(str(out_path))}")
    if result.failures:
        for video, error in result.failures.items():
            err.print(f"warning: left out: {video}: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(1)
