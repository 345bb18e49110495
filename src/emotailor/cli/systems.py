"""Commands about the systems: list them, show one, start a new one."""

from pathlib import Path
from typing import Annotated, Any

import typer

from emotailor.cli import completion
from emotailor.cli.console import say
from emotailor.cli.pages import App, Group


class _ListByDefault(Group):
    """A group of commands that lists when none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["list"])


group = App(help="List the systems, show one, or start a new one.", cls=_ListByDefault)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(group, name="models")


@group.command("list")
def list_systems() -> None:
    """List the systems: name, paper, modalities, how they are trained. The default."""
    from emotailor.commands.models import list_models

    say(
        list_models(),
        "more of one: emotailor models show NAME",
        "the model that ships: emotailor models show words",
    )


@group.command("show")
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="The name of a system, such as mult, or a system of your own; or words, the "
            "model that ships.",
            autocompletion=completion.systems,
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option("--data", "-d", help="Show the sizes for this data set, not for CMU-MOSEI."),
    ] = None,
) -> None:
    """Show paper, inputs, size, losses, training recipe and all settings of a system.

    Of the model that ships: what it was made of, how it does, and what it must not be used for.
    """
    from emotailor.shipped.find import NAMES

    if name in NAMES:
        from emotailor.commands.shipped import render_shipped
        from emotailor.shipped.card import read_card

        say(render_shipped(read_card(name)))
        return

    from emotailor.commands.models import describe, render_card
    from emotailor.models.table import use_system

    say(render_card(describe(use_system(name).name, data)))


@group.command("new")
def new(
    name: Annotated[
        str, typer.Argument(help="A name for your system, such as my_model. It names the file.")
    ],
    folder: Annotated[
        Path, typer.Option("--out", "-o", help="The folder to write the two files into.")
    ] = Path(),
) -> None:
    """Write a working system to start from, and a test that it passes."""
    from emotailor.commands.new_system import write_system

    written = write_system(name, folder)
    say(
        f"wrote {written.module}, and {written.test} with its test",
        f"try it:  emotailor train --model {written.reference} --data DATA",
        f"test it: python -m pytest {written.test}",
    )
