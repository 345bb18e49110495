"""One HTML page about a run or a benchmark, for a reader who has nothing else.

The page is one file without network or scripts. The markup is in ``page.py``, its style in
``page.css``; what is on it is collected in ``run.py`` and ``benchmark.py``. A page of several
benchmarks takes their sections::

    sections, missing = benchmark_sections(folder)
    Page("Title", sections=[Section(folder.name, sections), ...]).write(file)
"""

from dataclasses import dataclass
from pathlib import Path

from emotailor.comparison.results import find_benchmark
from emotailor.errors import ModelError
from emotailor.folders import check_file
from emotailor.report.benchmark import benchmark_page
from emotailor.shipped.find import beside, is_named

FILE = "report.html"


@dataclass(frozen=True)
class Report:
    """A report that was written.

    Attributes:
        file: the page.
        missing: what had to be left out of it, and why.
    """

    file: Path
    missing: tuple[str, ...]


def write_report(
    path: str | Path,
    *,
    out: str | Path | None = None,
    data: str | Path | None = None,
    split: str | None = None,
    device: str = "auto",
) -> Report:
    """Write the report of a run, a model, a benchmark or ablations.

    Metrics, predictions and figures that are stored are used, if they are of this model and these
    data; others are made and stored.

    Args:
        path: folder of the run, the model, the benchmark or the ablations; or the name of a model.
        out: file to write; by default ``report.html`` in ``path``; for a model with a name
            it must be said.
        data: stored data set, for a run; by default the one it was trained on. Where that is gone,
            what needs it is left out.
        split: split of the data set, for a run; by default ``test``.
        device: device to compute on.

    Raises:
        ModelError: there is nothing to report on, or the model is damaged.
        DataError: the benchmark is damaged or has not ended, or ``data`` cannot be used.
        ConfigError: there is a file at ``out`` that is no page, or nobody says where to write.
    """
    path = Path(path)
    file = beside(path, FILE) if out is None else Path(out)
    check_file(file, "HTML page", b"<!doctype html>")  # before minutes of work

    if find_benchmark(path) is not None:
        page, missing = benchmark_page(path)
    else:
        from emotailor.report.run import run_page
        from emotailor.training.run_folder import RunFolder

        if not is_named(path):
            _check_run(path)
            # what is stored is not written again
            RunFolder(path).sweep()
        given = None if data is None else Path(data)
        page, missing = run_page(path, data=given, split=split, device=device)

    page.write(file)
    return Report(file, tuple(missing))


def _check_run(path: Path) -> None:
    """Refuse what is neither a run nor a model, and say where one is."""
    from emotailor.training.model_folder import find_model_folder

    try:
        find_model_folder(path)
    except ModelError as error:
        # other folders that this program writes are told apart, to say what to name instead
        if (path / "reproduction.json").is_file():
            raise _is_reproduction(path) from error

        models = path.glob("*/model/model.json")
        runs = sorted(file.parent.parent.name for file in models)
        if runs:
            raise ModelError(
                f"{path} is a folder of runs: {', '.join(runs)}",
                expected="one run, or a benchmark",
                fix=f"name one of them, as {path / runs[0]}",
            ) from error

        raise ModelError(
            error.found,
            expected="a run folder, a model folder or a benchmark",
            fix=error.fix,
        ) from error


def _is_reproduction(path: Path) -> ModelError:
    """Return the error for the folder of a reproduction, which names a table in it."""
    folders = sorted(place for place in path.iterdir() if place.is_dir())
    tables = [folder for folder in folders if find_benchmark(folder) is not None]

    fix = f"open {path / FILE}"
    if tables:
        fix += f", or name a table in it, as {tables[0]}"
    return ModelError(
        f"{path} is a reproduction, which writes its own report",
        expected="a run, a model or a benchmark",
        fix=fix,
    )
