"""The folder of a run: who may write it, whose it is, and what a stop leaves in it."""

import json
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotailor.errors import ConfigError
from emotailor.files import write_json, write_text
from emotailor.folders import FolderKind, held, is_held
from emotailor.training.checkpoint import STATE_FILE
from emotailor.training.run_config import RunConfig

CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.jsonl"

STOP_SIGNALS = [signal.SIGINT, signal.SIGTERM]
if sys.platform == "win32":
    STOP_SIGNALS.append(signal.SIGBREAK)  # Windows has no SIGTERM between processes


def _is_identity(content: Any) -> bool:
    """Return whether a ``config.json`` is one that a training wrote."""
    return isinstance(content, dict) and set(content) == {"config", "fingerprint"}


FOLDER = FolderKind(
    name="run folder",
    marker=CONFIG_FILE,
    recognises=_is_identity,
    writes=(METRICS_FILE,),  # of a run that has trained nothing yet
)


@dataclass(frozen=True)
class TrainResult:
    """How a training ended.

    Attributes:
        run: the run folder; its model is ``run / "model"``.
        best: epoch, losses and validation scores of the selected model.
        history: one such record per epoch.
    """

    run: Path
    best: Mapping[str, Any]
    history: list[dict[str, Any]]


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
            ConfigError: another process holds it.
        """
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
        file = self.path / CONFIG_FILE
        identity = {"config": config.to_json(), "fingerprint": fingerprint}
        if not (self.checkpoint / STATE_FILE).is_file() and not self.model.exists():
            FOLDER.check(self.path)
            write_json(file, identity)  # nothing has been trained here yet
            return
        try:
            old = json.loads(file.read_text(encoding="utf-8"))
            # settings that came after the run was started have their defaults
            old["config"] = RunConfig.parse(old["config"]).to_json()
        except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
            what = "is missing" if isinstance(error, FileNotFoundError) else "is damaged"
            raise ConfigError(
                f"{file} {what}: nothing says with which settings {self.path} was trained",
                expected="the file that the training wrote",
                fix="put it back from a copy, or choose another --out (the model still works)",
            ) from None
        differences = _differences(old, identity)
        # where the data lie and on what device may change without changing the run
        ignored = ("config.data.path:", "config.training.device:", "config.training.checkpoint")
        differences = [line for line in differences if not line.startswith(ignored)]
        if differences:
            raise ConfigError(
                f"{self.path} holds a run with other settings: " + "; ".join(differences[:5]),
                expected="the settings it was started with, to go on with it",
                fix="choose another --out, or remove that folder",
            )

    def write_history(self, history: list[dict[str, Any]]) -> None:
        """Write ``metrics.jsonl``, one record per epoch."""
        lines = [json.dumps(entry, allow_nan=False) + "\n" for entry in history]
        write_text(self.path / METRICS_FILE, "".join(lines))


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
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(set(old) | set(new))
        return [
            line
            for key in keys
            for line in _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if old == new else [f"{path}: {old!r} there, {new!r} now"]
