"""Training of any system: by gradients or by one fit, whichever it needs."""

from pathlib import Path

from emotailor.models.base import FittedModel
from emotailor.models.factory import model_class
from emotailor.training.fitting import Fitter
from emotailor.training.loop import Trainer
from emotailor.training.progress import Reporter
from emotailor.training.run_config import RunConfig
from emotailor.training.run_folder import TrainResult


def start(config: RunConfig, run: str | Path, reporter: Reporter | None = None) -> Trainer | Fitter:
    """Return what trains the system of ``config``, ready to go."""
    kind = Fitter if issubclass(model_class(config.system), FittedModel) else Trainer
    return kind(config, Path(run), reporter)


def train(config: RunConfig, run: str | Path, reporter: Reporter | None = None) -> TrainResult:
    """Train a system into a run folder; see :class:`Trainer` and :class:`Fitter`."""
    return start(config, run, reporter).train()
