"""Commands that show a run or a comparison: figures, report."""

from pathlib import Path
from typing import Annotated

import typer

from emotailor.cli import completion
from emotailor.cli.console import err, say
from emotailor.cli.options import Device, ModelPath, OtherData, OwnSystem, use_own


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(figures)
    app.command()(report)
    app.command()(page)


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


def page(
    run: ModelPath,
    other: Annotated[
        Path | None,
        typer.Argument(
            metavar="OTHER",
            help="A second run, to stand beside the first.",
            show_default=False,
            autocompletion=completion.runs,
        ),
    ] = None,
    data: OtherData = None,
    split: Annotated[
        str, typer.Option(help="The split to look at.", autocompletion=completion.splits)
    ] = "test",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port. 0 takes one that is free.")
    ] = 8000,
    device: Device = "auto",
    model: OwnSystem = None,
) -> None:
    """Look at a run, or at two, sample by sample, in a browser on this machine.

    Lists of what is right and wrong, the most confident mistakes, and the evidence at every word.
    Ctrl+C ends it.
    """
    from emotailor.service.needed import need_server

    need_server()
    from emotailor.browse.app import new_browser
    from emotailor.browse.judged import open_judged, open_other
    from emotailor.service.access import Access
    from emotailor.service.run import run_site

    use_own(model)
    one = open_judged(run, data=data, split=split, device=device, tell=_tell)
    two = None
    if other is not None:
        two = open_other(one, other, data=data, device=device, tell=_tell)
    site = new_browser(one, two, Access())
    run_site(site, port=port, tell=lambda address: say(f"listening on {address}"))
    err.print("stopped")


def _tell(line: str) -> None:
    err.print(line, markup=False, soft_wrap=True)
