"""The command export: a model as one ONNX file."""

from pathlib import Path
from typing import Annotated

import typer

from emotailor.cli import completion
from emotailor.cli.console import say
from emotailor.cli.options import OtherData, Overwrite, OwnSystem, use_own


def add_to(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(export)


def export(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A run folder or a model folder.",
            autocompletion=completion.runs,
        ),
    ],
    onnx: Annotated[
        Path, typer.Option("--onnx", metavar="FILE", help="The file to write, called .onnx.")
    ],
    data: OtherData = None,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="Round the weights to 8 bits: smaller and faster, and some decisions change. How "
            "many, and for which labels, is counted on the data.",
        ),
    ] = False,
    overwrite: Overwrite = False,
    own_system: OwnSystem = None,
) -> None:
    """Write a model as one ONNX file, which ONNX Runtime runs without PyTorch.

    The file gets its name after ONNX Runtime gave the same numbers as PyTorch, within 1e-4.
    """
    from emotailor.runs.export import export_onnx

    use_own(own_system)
    done = export_onnx(model, onnx, data=data, int8=int8, overwrite=overwrite)
    say(*done.lines(), f"next: emotailor predict {onnx} SOURCE")
