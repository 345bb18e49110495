"""One HTML page about a run or a benchmark, for a reader who has nothing else.

The page is one file without network or scripts. The markup is in ``page.py``, its style in
``page.css``; what is on it is collected in ``report_run.py`` and ``report_benchmark.py``. A page of
several benchmarks takes their sections::

    sections, missing = benchmark_sections(folder)
    Page("Title", sections=[Section(folder.name, sections), ...]).write(file)
"""

from dataclasses import dataclass
from pathlib import Path

from emotailor.comparison.results import find_benchmark
from emotailor.errors import ModelError
from emotailor.folders import check_file
from emotailor.report.benchmark import benchmark_page

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
        path: folder of it.
        out: file to write; by default ``report.html`` in ``path``.
        data: stored data set, for a run; by default the one it was trained on. Where that is gone,
            what needs it is left out.
        split: of it, for a run; by default ``test``.
        device: to compute on.

    Raises:
        ModelError: there is nothing to report on, or the model is damaged.
        DataError: the benchmark is damaged or has not ended, or ``data`` cannot be used.
        ConfigError: there is a file at ``out`` that is no page.
    """
    path = Path(path)
    file = path / FILE if out is None else Path(out)
    check_file(file, "HTML page", b"<!doctype html>")
    if find_benchmark(path) is not None:
        page, missing = benchmark_page(path)
    else:
        _check_run(path)
        from emotailor.report.run import run_page

        page, missing = run_page(
            path, data=None if data is None else Path(data), split=split, device=device
        )
    return Report(page.write(file), tuple(missing))


def _is_table(file: Path) -> bool:
    return find_benchmark(file.parent) == file


def _check_run(path: Path) -> None:
    """Refuse what is neither a run nor a model, and say where one is."""
    from emotailor.training.model_folder import find_model_folder

    try:
        find_model_folder(path)
    except ModelError as error:
        if (path / "reproduction.json").is_file():
            tables = sorted({p.parent.name for p in path.glob("*/*.json") if _is_table(p)})
            raise ModelError(
                f"{path} is a reproduction, which writes its own report",
                expected="a run, a model or a benchmark",
                fix=f"open {path / FILE}"
                + (f", or name a table in it, as {path / tables[0]}" if tables else ""),
            ) from None
        inside = sorted(p.parent.parent.name for p in path.glob("*/model/model.json"))
        if inside:
            raise ModelError(
                f"{path} is a folder of runs: {', '.join(inside)}",
                expected="one run, or a benchmark",
                fix=f"name one of them, as {path / inside[0]}",
            ) from None
        raise ModelError(
            error.found, expected="a run folder, a model folder or a benchmark", fix=error.fix
        ) from None
