"""The command line: every function parses, calls and prints; nothing is computed here.

There is a file for each group of commands. Exit codes are those of ``errors.py``.
"""

import os
import sys
import warnings
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated

import typer

from emotailor import __version__
from emotailor.cli import (
    comparing,
    data,
    exporting,
    looking,
    predicting,
    running,
    serving,
    sharing,
    systems,
    trying,
    videos,
)
from emotailor.cli.console import err, out
from emotailor.cli.errors import TRACEBACK, fail, reported, show_warning
from emotailor.cli.pages import App
from emotailor.cli.usage import USAGE_ERROR, explain

__all__ = ["app", "err", "main", "out"]

app = App(
    help="Multi-modal, multi-label emotion recognition: TAILOR, from data to a prediction.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
GROUPS = (
    data,
    videos,
    systems,
    running,
    predicting,
    exporting,
    serving,
    comparing,
    looking,
    sharing,
    trying,
)
for group in GROUPS:
    group.add_to(app)


def _version(wanted: bool | None) -> None:
    if wanted:
        print(f"emotailor {__version__}")
        raise typer.Exit


def _traceback(wanted: bool | None) -> None:
    if wanted:
        os.environ[TRACEBACK] = "1"  # the processes of a benchmark see it too


@app.callback()
def _root(
    version: Annotated[
        bool | None,
        typer.Option(
            "--version", "-V", callback=_version, is_eager=True, help="Print the version."
        ),
    ] = None,
    show_traceback: Annotated[
        bool | None,
        typer.Option(
            "--traceback",
            callback=_traceback,
            is_eager=True,
            help=f"With an error, show where it comes from. {TRACEBACK}=1 does the same.",
        ),
    ] = None,
) -> None:
    pass


@app.command("help", add_help_option=False, hidden=True)
def show_help(
    command: Annotated[list[str] | None, typer.Argument(help="A command, such as train.")] = None,
) -> None:
    """Show the help of a command, as --help behind it does."""
    _call([*(command or []), "--help"])


def _call(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command; return its exit code.

    Args:
        arguments: of the command line; None for those of this process.
    """
    # by itself typer would print its own messages and exit
    try:
        code = app(arguments, prog_name="emotailor", standalone_mode=False)
    except USAGE_ERROR as error:
        # typer does not say where it has this class from
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error)  # the help itself
            return 2
        fail(str(explain(error)), 2, error)
    # a command returns nothing; typer.Exit comes back as its code
    return code if isinstance(code, int) else 0


def main() -> None:
    """Run the command line; a user's mistake ends in one message and an exit code."""
    warnings.showwarning = show_warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # a name that the terminal cannot show is no failure
            stream.reconfigure(errors="backslashreplace")

    with reported():
        sys.exit(_call())
