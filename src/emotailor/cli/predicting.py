"""The command predict: videos, samples and texts."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from emotailor.cli import completion
from emotailor.cli.console import err, note, out, say
from emotailor.cli.options import (
    ChosenThresholds,
    Device,
    Overwrite,
    OwnSystem,
    Runtime,
    use_own,
)
from emotailor.cli.usage import USAGE_ERROR
from emotailor.cli.videos import (
    Extracting,
    FaceModelFile,
    Language,
    NoFace,
    NoVoice,
    Processes,
    SpeechModel,
    Transcripts,
)

if TYPE_CHECKING:
    from emotailor.evaluation.thresholds import ThresholdMode
    from emotailor.runs.videos import VideoJob

Form = Literal["json", "csv", "srt", "html"]


def add_to(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(predict)


def predict(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN",
            help="A run folder, a model folder or an ONNX file. Left out, the model that ships "
            "reads the words of videos or of --text.",
            show_default=False,
            autocompletion=completion.runs,
        ),
    ] = None,
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="SOURCE",
            help="Videos, sounds, or folders of them. Or stored data sets, files that `emotailor "
            "data convert` reads, .npz files with visual, audio, text arrays, folders of these, "
            "or a CSV with a column path.",
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Instead of sources: what is said, for a model trained on text that emotailor "
            "encoded. May be repeated.",
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.encoders,
            help="With --text: the folder or file of the encoder that made the training data. By "
            "default the model says it.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="The split of a data set, or all. By default test, or all where there is none."
        ),
    ] = None,
    sample_id: Annotated[
        list[str] | None, typer.Option("--id", help="Only this sample. May be repeated.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first samples, this many.")
    ] = None,
    explain: Annotated[
        bool | None,
        typer.Option(
            "--explain/--no-explain",
            help="Show the evidence for each emotion. By default for up to 20 samples.",
        ),
    ] = None,
    thresholds: ChosenThresholds = None,
    max_steps: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Cut longer sequences to their first N steps; text=50,audio=400 for each modality "
            "of unaligned data.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line.")
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print a CSV with a row per sample.")
    ] = False,
    as_srt: Annotated[
        bool, typer.Option("--srt", help="Of a video: print the emotions as subtitles.")
    ] = False,
    as_html: Annotated[bool, typer.Option("--html", help="Of a video: print a page.")] = False,
    out_path: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Write to this file instead, .csv or .jsonl; of a video also .srt, .html and "
            ".json, or to a folder, with the files of each video.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first sample that cannot be predicted.")
    ] = False,
    device: Device = "auto",
    runtime: Runtime = "torch",
    model: OwnSystem = None,
    transcripts: Transcripts = None,
    no_face: NoFace = False,
    no_voice: NoVoice = False,
    face_model: FaceModelFile = None,
    speech_model: SpeechModel = None,
    language: Language = None,
    settings: Extracting = None,
    processes: Processes = None,
) -> None:
    """Name the emotions of samples, and show which modality and steps are evidence for each.

    emotailor predict clip.mp4: a timeline of what is said, with the emotions of each utterance.

    emotailor predict videos/ --out results: the files of each video. After a stop the same command
    goes on.

    Of other samples, up to 20 get a table each, more a line each. Where single samples cannot be
    predicted, the others are, and the exit code is 1. Where none can, it is that of the first
    reason.
    """
    from emotailor.commands.videos import are_videos, named_model, videos_at
    from emotailor.data.cutting import parse_max_steps
    from emotailor.extraction.config import chosen_config
    from emotailor.extraction.find import transcripts_in
    from emotailor.runs.videos import VideoJob

    folder, rest = named_model(run, sources or [], has_text=bool(text))
    if not rest and not text:
        raise USAGE_ERROR("emotailor predict needs a video, SOURCE, or --text with what is said")
    form = _chosen_form(as_json=as_json, as_csv=as_csv, as_srt=as_srt, as_html=as_html)

    use_own(model)
    if runtime == "onnx":
        from emotailor.runs.export import onnx_for

        folder = onnx_for(folder, note)
    deciding: ThresholdMode | None = thresholds.value if thresholds else None
    if are_videos(rest):
        of_samples = {"--split": split, "--id": sample_id, "--limit": limit, "--text": text}
        _refuse_given(of_samples, "videos")
        config = chosen_config(
            settings or [],
            visual="none" if no_face else None,
            audio="none" if no_voice else None,
            speech_model=speech_model,
            language=language,
        )
        videos = videos_at(rest)
        _predict_videos(
            VideoJob(
                folder,
                videos,
                config=config,
                transcripts={} if transcripts is None else transcripts_in(transcripts, videos),
                face_model=face_model,
                encoder=encoder,
                thresholds=deciding,
                explain=explain is not False,
                max_steps=None if max_steps is None else parse_max_steps(max_steps),
                processes=processes,
                device=device,
            ),
            form,
            out_path,
            overwrite=overwrite,
        )
        return

    of_videos = {
        "--transcripts": transcripts,
        "--face-model": face_model,
        "--speech-model": speech_model,
        "--language": language,
        "--set": settings,
        "--processes": processes,
        "--no-face": no_face or None,
        "--no-voice": no_voice or None,
        "--srt": as_srt or None,
        "--html": as_html or None,
    }
    _refuse_given(of_videos, "samples")
    from emotailor.runs.job import Job, run_job

    job = Job(
        folder,
        rest,
        texts=text or [],
        encoder=encoder,
        split=split,
        ids=sample_id or [],
        limit=limit,
        explain=explain,
        thresholds=deciding,
        max_steps=max_steps,
        form=form if form in ("json", "csv") else None,
        out=out_path,
        overwrite=overwrite,
        strict=strict,
        device=device,
    )
    tally = run_job(job, out, err)
    if tally.failed:
        raise typer.Exit(1)


def _chosen_form(*, as_json: bool, as_csv: bool, as_srt: bool, as_html: bool) -> Form | None:
    """Return the form that is asked for; None for what a reader likes."""
    asked: dict[Form, bool] = {"json": as_json, "csv": as_csv, "srt": as_srt, "html": as_html}
    chosen = [form for form, is_asked in asked.items() if is_asked]
    # a line of one form would be a damaged line of the other
    if len(chosen) > 1:
        listed = " and ".join(f"--{form}" for form in chosen)
        raise typer.BadParameter(f"{listed}: choose one")
    return chosen[0] if chosen else None


def _refuse_given(options: Mapping[str, Any], what: str) -> None:
    """Refuse options that are of no use for what is predicted."""
    given = [name for name, value in options.items() if value]
    if given:
        raise typer.BadParameter(f"{', '.join(given)}: of no use for {what}")


def _predict_videos(
    job: "VideoJob", form: Form | None, out_path: Path | None, *, overwrite: bool
) -> None:
    """Print the timelines of videos, or write them to a file or a folder."""
    from emotailor.commands.videos import ENDINGS, predict_to_folder, print_videos, write_videos

    if out_path is None:
        failures = print_videos(job, form, out, err)
    elif out_path.suffix.lower() in ENDINGS and not out_path.is_dir():
        failures = write_videos(job, out_path, err, overwrite=overwrite)
        say(f"stored: {out_path}")
    else:
        result = predict_to_folder(job, out_path, console=err)
        failures = {**result.failures, **result.lacks}
        count = len(result.predicted)
        before = f", {len(result.reused)} by an earlier call" if result.reused else ""
        lacking = f", {len(result.lacks)} without predictions" if result.lacks else ""
        say(f"{count} predicted{before}, {len(result.failures)} failed{lacking}")
        say(f"stored: {out_path}, with all of them in {out_path / 'index.html'}")

    for video, error in failures.items():
        err.print(f"warning: not predicted: {video}: {error}", markup=False, soft_wrap=True)
    if failures:
        raise typer.Exit(1)
