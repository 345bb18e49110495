"""The command serve: a model over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from emotailor.cli import completion
from emotailor.cli.console import err, note, say
from emotailor.cli.options import ChosenThresholds, Device, OwnSystem, Runtime, use_own
from emotailor.cli.videos import (
    Extracting,
    FaceModelFile,
    Language,
    NoFace,
    NoVoice,
    Processes,
    SpeechModel,
)

MEGABYTE = 1_000_000


def add_to(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(serve)


def serve(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL",
            help="A run folder, a model folder or an ONNX file. Left out, the model that ships "
            "reads the words.",
            show_default=False,
            autocompletion=completion.runs,
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen on. Others than 127.0.0.1 need --token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port. 0 takes one that is free.")
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="EMOTAILOR_TOKEN",
            show_envvar=True,
            help="What everybody has to know who asks. In a command line others can read it.",
        ),
    ] = None,
    thresholds: ChosenThresholds = None,
    max_upload: Annotated[
        int, typer.Option(min=1, metavar="MB", help="The most megabytes of a video.")
    ] = 300,
    max_duration: Annotated[
        float,
        typer.Option(min=1, max=86_400, metavar="SECONDS", help="The most seconds of a video."),
    ] = 1800.0,
    max_body: Annotated[
        int,
        typer.Option(min=1, metavar="MB", help="The most megabytes of a request with features."),
    ] = 32,
    max_samples: Annotated[
        int, typer.Option(min=1, metavar="N", help="The most samples of a request with features.")
    ] = 256,
    max_steps: Annotated[
        int, typer.Option(min=1, metavar="N", help="The most steps of a sample. Longer: refused.")
    ] = 2000,
    max_waiting: Annotated[
        int, typer.Option(min=1, metavar="N", help="The most videos that wait.")
    ] = 16,
    keep: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many videos that are done are kept.")
    ] = 32,
    keep_minutes: Annotated[
        float,
        typer.Option(min=0.1, max=527_040, metavar="MINUTES", help="How long these are kept."),
    ] = 60.0,
    jointly: Annotated[
        bool,
        typer.Option(
            "--jointly",
            help="Compute samples of several requests in one pass: faster where many ask at a "
            "time, but the last digits depend on who asks beside.",
        ),
    ] = False,
    processes: Processes = None,
    device: Device = "auto",
    runtime: Runtime = "torch",
    own: OwnSystem = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.encoders,
            help="The folder or file of the encoder of words. By default the model says it.",
        ),
    ] = None,
    no_face: NoFace = False,
    no_voice: NoVoice = False,
    face_model: FaceModelFile = None,
    speech_model: SpeechModel = None,
    language: Language = None,
    settings: Extracting = None,
) -> None:
    """Answer over HTTP: features and videos in, emotions with their evidence out.

    Ctrl+C lets what runs come to its end, a second one ends it at once.
    """
    from emotailor.service.needed import need_server

    need_server()
    from emotailor.extraction.config import chosen_config
    from emotailor.runs.videos import VideoJob
    from emotailor.service.access import Access
    from emotailor.service.app import Service, ServiceJob
    from emotailor.service.config import Limits
    from emotailor.service.run import run_site

    # what can be refused is refused before the model is loaded
    access = Access(host, token)
    access.check()
    use_own(own)
    if runtime == "onnx":
        from emotailor.runs.export import onnx_for

        model = onnx_for(model, note)
    config = chosen_config(
        settings or [],
        visual="none" if no_face else None,
        audio="none" if no_voice else None,
        speech_model=speech_model,
        language=language,
    )
    videos = VideoJob(
        model,
        (),
        config=config,
        face_model=face_model,
        encoder=encoder,
        thresholds=thresholds.value if thresholds else None,
        processes=processes,
        device=device,
    )
    limits = Limits(
        upload=max_upload * MEGABYTE,
        duration=max_duration,
        body=max_body * MEGABYTE,
        samples=max_samples,
        steps=max_steps,
        waiting=max_waiting,
        kept=keep,
        kept_seconds=60 * keep_minutes,
    )
    service = Service(ServiceJob(videos, limits, jointly), access)
    if service.no_videos is not None:
        err.print(f"note: no videos: {service.no_videos.found}", markup=False, soft_wrap=True)
    with service.running():
        run_site(
            service.site,
            port=port,
            tell=lambda address: say(f"listening on {address}"),
            finish=service.finish,
        )
    say("stopped")
