"""The command serve: a model over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from emotailor.cli import completion
from emotailor.cli.console import err, say


def add_to(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(serve)


def serve(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL",
            help="A run folder or a model folder. Left out, the model that ships reads the words.",
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
) -> None:
    """Answer over HTTP: features and videos in, emotions with their evidence out.

    Ctrl+C lets what runs come to its end, a second one ends it at once.
    """
    from emotailor.service.needed import need_server

    need_server()
    from emotailor.service.access import Access
    from emotailor.service.app import new_service
    from emotailor.service.run import run_site

    site = new_service(Access(host, token))
    run_site(site, port=port, tell=lambda address: say(f"listening on {address}"))
    err.print("stopped")
