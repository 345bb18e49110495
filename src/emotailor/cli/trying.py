"""Commands to try the program, and to see what the machine has."""

from pathlib import Path
from typing import Annotated

import typer

from emotailor.cli.console import out, say


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(demo)
    app.command()(doctor)


def demo(
    out_path: Annotated[
        Path, typer.Option("--out", "-o", help="The folder for everything that is written.")
    ] = Path("runs/demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Take seconds instead of minutes.")
    ] = False,
) -> None:
    """Make data, train a small TAILOR, test it, explain three answers, write a page."""
    from emotailor.commands.demo import run_demo

    run_demo(out_path, out, quick=quick)


def doctor() -> None:
    """Show what this machine has: versions, devices, speed, and what is missing."""
    from emotailor.commands.doctor import examine

    healthy, table = examine()
    say(table)
    if not healthy:
        raise typer.Exit(1)
