"""Trackers that others look at, beside a training's own files, such as TensorBoard.

``metrics.jsonl`` stays the truth. A tracker is told of it, and nothing is read from one.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from emotailor.encoders.packages import need
from emotailor.errors import ConfigError
from emotailor.training.history import EpochRecord
from emotailor.training.progress import Reporter
from emotailor.training.run_config import RunConfig

FOLDER = "tracking"
"""Folder in a run folder for trackers that write files."""

PACKAGES = {"tensorboard": "emotailor[track]", "comet_ml": "comet-ml"}
"""Name of a tracker -> what installs it, where that has another name."""


def check_tracker(name: str) -> None:
    """Refuse a tracker that is not there, before anything is trained.

    Raises:
        ConfigError: accelerate knows none of that name, or its package is not installed.
    """
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
    from accelerate.utils import LoggerType

    if name not in LOGGER_TYPE_TO_CLASS:
        raise ConfigError(
            f"no tracker is called {name!r}", expected=f"one of {', '.join(LOGGER_TYPE_TO_CLASS)}"
        )
    # a tracker that somebody registered needs what it needs
    ours = name in {str(one) for one in LoggerType}
    if ours and name not in {str(one) for one in get_available_trackers()}:
        need(name, f"the tracker {name}", f"pip install '{PACKAGES.get(name, name)}'")


def open_tracker(name: str, run: Path) -> Any:
    """Return a tracker of a run, begun.

    Args:
        name: as accelerate has it.
        run: run folder; its name is that of the run.

    Raises:
        ConfigError: it does not start, as where nobody is logged in.
    """
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind = LOGGER_TYPE_TO_CLASS[name]
    try:
        # one that writes files does so in the run
        places = (FOLDER, run) if kind.requires_logging_directory else (run.resolve().name,)
        tracker = kind(*places)
        tracker.start()
    except Exception as error:  # each has errors of its own
        first = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"the tracker {name} does not start: {first}",
            expected="a tracker that is set up, as its own documentation says",
            fix="set it up, or leave --track out",
        ) from error
    return tracker


class TrackedReporter(Reporter):
    """Hands everything on to another reporter, and the numbers to a tracker.

    Args:
        shown: the other reporter.
        name: of the tracker.
        run: run folder.
        config: settings of the run, which the tracker is told of.

    Raises:
        ConfigError: there is no such tracker.
    """

    def __init__(self, shown: Reporter, name: str, run: Path, config: RunConfig) -> None:
        check_tracker(name)
        self._shown = shown
        self._name = name
        self._run = run
        self._config = config
        self._tracker: Any = None
        self._rate: float | None = None
        self._samples = 0
        self._since = time.monotonic()

    def __enter__(self) -> "TrackedReporter":
        self._shown.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the tracker, whatever happened."""
        if self._tracker is not None:
            self._tracker.finish()
        self._shown.__exit__(kind, error, trace)

    def losses(self, weights: Mapping[str, float]) -> None:
        """Hand the weights on."""
        self._shown.losses(weights)

    def start(self, total_steps: int, done_steps: int) -> None:
        """Begin the tracker: from here on something is trained."""
        self._shown.start(total_steps, done_steps)
        self._since = time.monotonic()
        self._tracker = open_tracker(self._name, self._run)
        if not done_steps:
            self._tracker.store_init_configuration(flat_settings(self._config))

    def rate(self, rate: float) -> None:
        """Keep the learning rate for the next step that is told."""
        self._shown.rate(rate)
        self._rate = rate

    def step(self, step: int, samples: int, losses: Mapping[str, float]) -> None:
        """Track the mean losses of the epoch so far, the learning rate and the speed."""
        self._shown.step(step, samples, losses)
        now = time.monotonic()
        done = max(samples - self._samples, 0)
        seconds = max(now - self._since, 1e-9)
        self._samples = samples
        self._since = now

        values = {f"train/{name}": value for name, value in losses.items()}
        values["samples_per_second"] = done / seconds
        if self._rate is not None:
            values["learning_rate"] = self._rate
        self._tracker.log(values, step=step)

    def epoch(self, record: EpochRecord, *, best: bool) -> None:
        """Track the mean losses of the epoch, and what validation measured."""
        self._shown.epoch(record, best=best)
        self._samples = 0
        self._since = time.monotonic()

        values: dict[str, float] = {"epoch": record.epoch, "seconds": record.seconds}
        values |= {f"epoch_train/{name}": value for name, value in record.train.items()}
        for name, value in record.valid.items():
            if value is not None:
                values[f"valid/{name}"] = value
        self._tracker.log(values, step=record.step)

    def message(self, text: str) -> None:
        """Hand the line on."""
        self._shown.message(text)


def flat_settings(config: RunConfig) -> dict[str, bool | int | float | str]:
    """Return settings as ``room.key`` -> a plain value, as trackers take them."""
    flat: dict[str, bool | int | float | str] = {}

    def add(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                add(f"{prefix}.{key}" if prefix else key, inner)
        elif isinstance(value, bool | int | float | str):
            flat[prefix] = value
        elif value is not None:
            flat[prefix] = ", ".join(map(str, value))

    add("", config.to_json())
    return flat


def track_images(name: str, run: Path, images: Mapping[str, Path], step: int) -> bool:
    """Show pictures of a run in a tracker; return whether it takes any.

    Args:
        name: of the tracker.
        run: run folder.
        images: title -> PNG file.
        step: at which they were made.
    """
    import numpy as np
    from matplotlib.image import imread

    tracker = open_tracker(name, run)
    try:
        if not hasattr(tracker, "log_images"):
            return False
        for title, file in images.items():
            # W&B takes a list of pictures, TensorBoard one array of them
            picture = np.asarray(imread(file))[..., :3]  # (height, width, 3), from 0 to 1
            more = {"dataformats": "NHWC"} if name == "tensorboard" else {}
            tracker.log_images({title: picture[None]}, step=step, **more)
        return True
    finally:
        tracker.finish()
