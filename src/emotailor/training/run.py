"""Training of any system: by gradients or by one fit, whichever it needs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emotailor.errors import ConfigError
from emotailor.models.base import EmotionModel, FittedModel
from emotailor.models.factory import model_class
from emotailor.models.system import Preset
from emotailor.models.table import use_system
from emotailor.training.fitting import Fitter
from emotailor.training.loop import Trainer
from emotailor.training.progress import OnEpoch, Reporter, ShowProgress, reporter_for
from emotailor.training.run_config import RunConfig
from emotailor.training.run_folder import TrainResult
from emotailor.training.stored_config import kept_start, start_in


def start(
    config: RunConfig,
    run: str | Path,
    reporter: Reporter | None = None,
    on_epoch: OnEpoch | None = None,
) -> Trainer | Fitter:
    """Return what trains the system of ``config``, ready to go."""
    run = Path(run)
    if issubclass(model_class(config.system), FittedModel):
        return Fitter(config, run, reporter, on_epoch)
    return Trainer(config, run, reporter, on_epoch)


def train(
    config: RunConfig | Mapping[str, Any],
    run: str | Path,
    reporter: Reporter | None = None,
    *,
    model: str | type[EmotionModel] | None = None,
    preset: Preset = "tuned",
    progress: ShowProgress = "auto",
    on_epoch: OnEpoch | None = None,
    track: str | None = None,
) -> TrainResult:
    """Train a system into a run folder, or resume a training that was stopped.

    Args:
        config: all settings, or a table of those that differ from the defaults, such as
            ``{"data": {"path": "data/mosei"}, "training": {"epochs": 5}}``.
        run: the run folder.
        reporter: is told what happens, instead of what ``progress`` shows.
        model: the system: a name of the table, ``module:Class``, ``path/to/file.py:Class``, or the
            class itself. By default what ``config`` says, or TAILOR.
        preset: where the settings come from that a table leaves out.
        progress: show a line per epoch, and in a terminal a bar; ``auto``: in a terminal and in a
            notebook.
        on_epoch: is called with the :class:`EpochRecord` of each epoch when it is validated and its
            model is stored. Where it returns False, the training ends there and is done: the best
            model is kept, the same call does nothing more. An error of it comes out here; what is
            trained is saved, and the same call goes on behind that epoch.
        track: name of a tracker that is told of losses, scores, learning rate and speed, such as
            ``tensorboard``, ``wandb`` or ``mlflow``.

    Raises:
        ConfigError: a setting is wrong, or the folder holds a run with other settings.
        DataError: the data cannot be used.
        ModelError: the system cannot be trained on the data.
    """
    if reporter is None:
        reporter = reporter_for(progress)
    row = None if model is None else use_system(model)
    if isinstance(config, RunConfig):
        if row is not None and row.name != config.system:
            raise ConfigError(
                f"the settings are for the system {config.system!r}, and model is {row.name!r}",
                expected="the same system twice",
                fix="leave model out, or build the settings with system=model",
            )
        return start(config, run, tracked(reporter, track, Path(run), config), on_epoch).train()

    if not isinstance(config, Mapping):
        raise ConfigError(
            f"settings of the class {type(config).__name__}",
            expected='a RunConfig, or a table such as {"data": {"path": "data/mosei"}}',
        )

    # what nobody says depends on the system, and on the size of the data
    name = None if row is None else row.name
    kept = kept_start(Path(run), start_in(config))
    settings = RunConfig.for_data(config, system=name, preset=preset, kept=kept)
    return start(settings, run, tracked(reporter, track, Path(run), settings), on_epoch).train()


def tracked(reporter: Reporter, track: str | None, run: Path, config: RunConfig) -> Reporter:
    """Return a reporter that tells a tracker as well; the same one without a tracker.

    Args:
        reporter: what shows the training.
        track: name of the tracker; None for none.
        run: run folder.
        config: settings of the run.

    Raises:
        ConfigError: there is no such tracker.
    """
    if track is None:
        return reporter
    from emotailor.training.tracking import TrackedReporter

    return TrackedReporter(reporter, track, run, config)
