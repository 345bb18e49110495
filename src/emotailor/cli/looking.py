"""Commands that show a run or a comparison: figures, report."""

from pathlib import Path
from typing import Annotated

import typer

from emotailor.cli import completion
from emotailor.cli.console import say
from emotailor.cli.options import Device, ModelPath, OtherData, OwnSystem, use_own


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(figures)
    app.command()(report)


def figures(
    run: ModelPath,
    out_path: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The folder to write to. By default RUN/figures."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN2",
            help="A run without adversarial terms, to stand beside RUN in Figure 6.",
            autocompletion=completion.runs,
        ),
    ] = None,
    data: OtherData = None,
    split: Annotated[
        str, typer.Option(help="The split to look at.", autocompletion=completion.splits)
    ] = "test",
    device: Device = "auto",
    model: OwnSystem = None,
) -> None:
    """Draw the paper's figures for a run, and more. Check the paper's claims."""
    from emotailor.figures.make import make_figures, render_report

    use_own(model)
    made = make_figures(run, out=out_path, against=against, data=data, split=split, device=device)
    say(render_report(made))


def report(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|BENCHMARK",
            help="A run, a model or a benchmark.",
            autocompletion=completion.runs_and_comparisons,
        ),
    ],
    out_path: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="The file to write. By default report.html in that folder."
        ),
    ] = None,
    data: OtherData = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="The split of a run to look at. By default test.",
            autocompletion=completion.splits,
        ),
    ] = None,
    device: Device = "auto",
    model: OwnSystem = None,
) -> None:
    """Write one HTML page about a run or a benchmark, to mail and to read anywhere."""
    from emotailor.report.write import write_report

    use_own(model)
    written = write_report(path, out=out_path, data=data, split=split, device=device)
    say(*(f"note: {line}" for line in written.missing), f"stored: {written.file}")
