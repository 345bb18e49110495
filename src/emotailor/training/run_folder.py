"""The folder of a run: who may write it, whose it is, and what a stop leaves in it."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotailor.errors import ConfigError
from emotailor.evaluation.notebook import format_number, html_table
from emotailor.folders import FolderKind, held, is_held
from emotailor.training.checkpoint import has_checkpoint
from emotailor.training.every_epoch import FOLDER as EPOCHS
from emotailor.training.history import METRICS_FILE, EpochRecord, history_frame
from emotailor.training.run_config import KEPT_START, RunConfig
from emotailor.training.stored_config import (
    CONFIG_FILE,
    is_run_config,
    read_run_config,
    write_run_config,
)

STOP_SIGNALS = [signal.SIGINT, signal.SIGTERM]
if sys.platform == "win32":
    STOP_SIGNALS.append(signal.SIGBREAK)  # Windows has no SIGTERM between processes


FOLDER = FolderKind(
    name="run folder",
    marker=CONFIG_FILE,
    recognises=is_run_config,
    writes=(METRICS_FILE,),  # of a run that has trained nothing yet
    below=("checkpoint", "model", KEPT_START, EPOCHS, "figures", "tracking"),
)


@dataclass(frozen=True, repr=False)
class TrainResult:
    """How a training ended.

    Attributes:
        run: the run folder; its model is ``run / "model"``.
        best: record of the epoch whose model was selected.
        history: one record per epoch.
    """

    run: Path
    best: EpochRecord
    history: list[EpochRecord]

    def __repr__(self) -> str:
        micro_f1 = format_number(self.best.valid["micro_f1"])
        best = f"best epoch {self.best.epoch} of {len(self.history)}"
        return f"TrainResult({self.run}: {best}, validation micro-F1 {micro_f1})"

    def _repr_html_(self) -> str:
        scores = ("loss", "accuracy", "micro_f1")
        rows = []
        for record in self.history:
            train = format_number(record.train.get("total"))
            valid = [format_number(record.valid[name]) for name in scores]
            mark = "best" if record.epoch == self.best.epoch else ""
            rows.append((record.epoch, train, *valid, mark))
        header = ("epoch", "train loss", *(f"valid {name}" for name in scores), "")
        return html_table(header, rows, caption=str(self.run))

    def to_dataframe(self) -> Any:
        """Return a ``pandas.DataFrame``: a row per epoch.

        Raises:
            ConfigError: pandas is not installed.
        """
        return history_frame(self.history)


class RunFolder:
    """A run folder on disk.

    Args:
        path: of the folder; created when it is held.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def checkpoint(self) -> Path:
        """The folder of the checkpoint."""
        return self.path / "checkpoint"

    @property
    def model(self) -> Path:
        """The folder of the selected model."""
        return self.path / "model"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder: two processes must not write the same one.

        Raises:
            ConfigError: another process holds it, or it holds something else.
        """
        # not even a lock is written into a folder of somebody else
        if not self._is_trained():
            FOLDER.check(self.path)
        with held(self.path):
            yield

    def is_held(self) -> bool:
        """Whether a process holds the folder."""
        return is_held(self.path)

    def claim(self, config: RunConfig, fingerprint: str) -> None:
        """Make the folder this run's, or find that it is already.

        Args:
            config: everything that determines the run.
            fingerprint: of its data set.

        Raises:
            ConfigError: it holds something else, or a run with other settings.
        """
        if self._is_trained():
            self.check_settings(config, fingerprint)
        else:
            FOLDER.check(self.path)
            write_run_config(self.path, config, fingerprint)
        self.sweep()

    def sweep(self) -> None:
        """Remove what killed processes have left in the folder and in those below it."""
        FOLDER.sweep(self.path)

    def check_settings(self, config: RunConfig, fingerprint: str) -> None:
        """Refuse to go on with a run that was started with other settings.

        Args:
            config: everything that determines the run.
            fingerprint: of its data set.

        Raises:
            ConfigError: the settings differ, or those in the folder cannot be read.
        """
        stored = read_run_config(self.path)
        there = {"config": stored.config.to_json(), "fingerprint": stored.fingerprint}
        now = {"config": config.to_json(), "fingerprint": fingerprint}
        lines = _differences(there, now)

        # where the data lie and on what device may change without changing the run
        ignored = ("config.data.path:", "config.training.device:", "config.training.checkpoint")
        differences = [line for line in lines if not line.startswith(ignored)]
        if not differences:
            return

        shown = "; ".join(differences[:5])
        raise ConfigError(
            f"{self.path} holds a run with other settings: {shown}",
            expected="the settings it was started with, to resume it",
            fix="choose another --out, or remove that folder; to resume it, give its own settings, "
            f"--config {self.path / CONFIG_FILE}, in the place of all others",
        )

    def _is_trained(self) -> bool:
        """Whether something has been trained here already."""
        return has_checkpoint(self.checkpoint) or self.model.exists()


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collect the signals that ask to stop, instead of dying in the middle of a step."""
    received: list[int] = []
    try:
        old = {
            number: signal.signal(number, lambda signum, _: received.append(signum))
            for number in STOP_SIGNALS
        }
    except ValueError:  # only the main thread may set handlers
        old = {}
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Return a line for each value that differs between two nested tables, with its path."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted(set(old) | set(new)):
            inner = f"{path}.{key}".removeprefix(".")
            lines += _differences(old.get(key), new.get(key), inner)
        return lines

    if old == new:
        return []
    return [f"{path}: {old!r} there, {new!r} now"]
