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
from emotailor.training.progress import Reporter
from emotailor.training.run_config import RunConfig
from emotailor.training.run_folder import TrainResult


def start(config: RunConfig, run: str | Path, reporter: Reporter | None = None) -> Trainer | Fitter:
    """Return what trains the system of ``config``, ready to go."""
    run = Path(run)
    if issubclass(model_class(config.system), FittedModel):
        return Fitter(config, run, reporter)
    return Trainer(config, run, reporter)


def train(
    config: RunConfig | Mapping[str, Any],
    run: str | Path,
    reporter: Reporter | None = None,
    *,
    model: str | type[EmotionModel] | None = None,
    preset: Preset = "tuned",
) -> TrainResult:
    """Train a system into a run folder, or resume a training that was stopped.

    Args:
        config: all settings, or a table of those that differ from the defaults, such as
            ``{"data": {"path": "data/mosei"}, "training": {"epochs": 5}}``.
        run: the run folder.
        reporter: is told what happens.
        model: the system: a name of the table, ``module:Class``, ``path/to/file.py:Class``, or the
            class itself. By default what ``config`` says, or TAILOR.
        preset: where the settings come from that a table leaves out.

    Raises:
        ConfigError: a setting is wrong, or the folder holds a run with other settings.
        DataError: the data cannot be used.
        ModelError: the system cannot be trained on the data.
    """
    row = None if model is None else use_system(model)
    if isinstance(config, RunConfig):
        if row is not None and row.name != config.system:
            raise ConfigError(
                f"the settings are for the system {config.system!r}, and model is {row.name!r}",
                expected="the same system twice",
                fix="leave model out, or build the settings with system=model",
            )
        return start(config, run, reporter).train()

    # the defaults of the settings depend on the system
    name = str(config.get("system", "tailor"))
    if row is not None:
        name = row.name
    settings = RunConfig.for_data(config, system=name, preset=preset)
    return start(settings, run, reporter).train()
