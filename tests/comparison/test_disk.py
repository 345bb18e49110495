"""The disk that the runs of a comparison will take, computed by hand from their parameters."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.filesize import decimal

import emotailor
from emotailor.comparison.benchmark import plan_benchmark
from emotailor.comparison.disk import describe_disk
from emotailor.comparison.plan import Plan
from emotailor.training.sizes import size_of

TINY = Path(__file__).parents[2] / "examples" / "tiny.toml"


def planned(data: Path, out: Path) -> Plan:
    models = ("br", "simm", "tailor")
    return plan_benchmark(data, out, models=models, seeds=2, config_file=TINY, jobs=2)


def test_the_disk_of_all_runs(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(data, tmp_path / "out")
    sizes = {}
    for system in plan.systems:
        config = system.runs[0].config
        sizes[system.row.name] = size_of(config, plan.dataset).parameters
    assert sizes["br"] == 0

    # two seeds each, a model twice, in four bytes a parameter
    in_the_end = 2 * 2 * 4 * (sizes["simm"] + sizes["tailor"])
    averages = {system.row.name: system.runs[0].config.training.average for system in plan.systems}
    copies = 4 if averages["tailor"] else 3
    # of two trainings at a time, two of TAILOR are the largest
    further = 2 * 4 * sizes["tailor"] * (1 + 2 * copies - 2)
    assert sizes["tailor"] > sizes["simm"]
    words = (
        f"disk: up to {decimal(in_the_end)} in the end, {decimal(in_the_end + further)} meanwhile"
    )
    assert describe_disk([plan]) == words
    assert describe_disk([plan, plan]) == words  # what both have is trained once

    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))
    assert describe_disk([plan]) == f"{words}; only 1.0 kB are free at {tmp_path / 'out'}"


def test_what_is_done_needs_nothing_more(data: Path, tmp_path: Path) -> None:
    plan = planned(data, tmp_path / "out")
    for run in plan.runs.values():
        emotailor.train(run.config, run.folder)
    assert describe_disk([planned(data, tmp_path / "out")]) == ""
