"""Commands that hand a model on: publish."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from emotailor.cli import completion
from emotailor.cli.console import say
from emotailor.cli.options import Overwrite, OwnSystem, use_own


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(publish)


def publish(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A run folder, a model folder, or the name of a model.",
            autocompletion=completion.runs,
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to create.")],
    licence: Annotated[
        str,
        typer.Option(
            "--license",
            metavar="NAME",
            help="The licence of the weights as the Hub calls it, such as mit or cc-by-nc-4.0.",
        ),
    ],
    repository: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="USER/NAME",
            help="What it will be called on the Hub: the commands in its card name it so.",
        ),
    ] = None,
    languages: Annotated[
        list[str] | None,
        typer.Option(
            "--language", metavar="CODE", help="A language of its words: en. May be repeated."
        ),
    ] = None,
    overwrite: Overwrite = False,
    own_system: OwnSystem = None,
) -> None:
    """Write a model as a folder for the Hugging Face Hub: model card, weights and settings."""
    from emotailor.sharing.publish import publish as run

    use_own(own_system)
    written = run(
        model,
        folder,
        licence=licence,
        repository=repository,
        languages=languages or (),
        overwrite=overwrite,
    )
    name = written.repository or "USER/NAME"
    say(
        f"stored: {folder}: {', '.join(written.files)}",
        f"next: hf upload {name} {shlex.quote(str(folder))}",
    )
