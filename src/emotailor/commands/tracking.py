"""Figures of a trained run, shown in the tracker that was told of its training."""

from collections.abc import Sequence
from pathlib import Path

from emotailor.figures.make import make_figures
from emotailor.runs.train import PlannedRun
from emotailor.training.checkpoint import read_progress
from emotailor.training.tracking import FOLDER, track_images


def track_figures(name: str, runs: Sequence[PlannedRun]) -> list[Path]:
    """Draw the figures of runs on their validation data, and show them in a tracker.

    Args:
        name: of the tracker.
        runs: trained runs.

    Returns:
        The folders of figures; none where the tracker takes no pictures.
    """
    folders = []
    for run in runs:
        config = run.config
        report = make_figures(
            run.folder,
            # those of the test split lie in the run
            out=run.folder / FOLDER / "figures",
            data=config.data.path,
            split=config.data.valid_split,
            device=config.training.device,
        )
        images = {file.stem: file for file in report.written if file.suffix == ".png"}
        progress = read_progress(run.folder / "checkpoint")
        step = 0 if progress is None else progress.step
        if track_images(name, run.folder, images, step):
            folders.append(report.folder)
    return folders
