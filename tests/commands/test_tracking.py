"""The figures of a run in its tracker."""

from pathlib import Path

import pytest

from emotailor.commands import tracking
from emotailor.figures.make import FigureReport
from emotailor.runs.train import PlannedRun
from emotailor.training.run import train
from tests.runs.runs import tiny_config


def test_figures_of_validation_data_are_shown_once_each(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(data)
    run = PlannedRun(config, tmp_path / "run")
    train(config, run.folder)
    asked = {}
    shown = []

    def make_figures(folder: Path, **options: object) -> FigureReport:
        asked.update(options)
        out = options["out"]
        assert isinstance(out, Path)
        written = tuple(out / f"reliability.{end}" for end in ("json", "png", "svg"))
        return FigureReport(
            folder=out,
            written=written,
            skipped={},
            claims=(),
            split="valid",
            planted=False,
            notes=(),
        )

    def track_images(name: str, folder: Path, images: dict[str, Path], step: int) -> bool:
        shown.append((name, folder, images, step))
        return True

    monkeypatch.setattr(tracking, "make_figures", make_figures)
    monkeypatch.setattr(tracking, "track_images", track_images)
    place = run.folder / "tracking" / "figures"
    assert tracking.track_figures("kept", [run]) == [place]
    assert asked == {"out": place, "data": str(data), "split": "valid", "device": "cpu"}
    # 23 samples less those without labels, in batches of 8, twice
    (found,) = shown
    assert found[:3] == ("kept", run.folder, {"reliability": place / "reliability.png"})
    assert found[3] == 6
