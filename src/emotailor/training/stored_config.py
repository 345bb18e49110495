"""``config.json``: the settings of a run and the data it was trained on.

The one owner of the file: everybody else reads it by ``read_run_config``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emotailor.config import first_problem
from emotailor.errors import ConfigError
from emotailor.files import write_json
from emotailor.training.config import TrainingConfig
from emotailor.training.run_config import KEPT_START, RunConfig
from emotailor.verified import HASH_KEY, is_there, read_json

CONFIG_FILE = "config.json"
SCHEMA_VERSION = 2

EXPECTED = "the file that the training wrote"
FIX = "put it back from a copy, or choose another --out (the model still works)"

_MODEL_CARD = "model.json"

_SIGNS = {"config", "fingerprint"}
"""Keys by which a file is known to be the ``config.json`` of a run."""


class StoredConfig(BaseModel):
    """Everything that determines a run, as stored.

    Attributes:
        schema_version: version of the format; files from before it was written down have 1.
        config: the settings; those that came after the run was started have their defaults.
        fingerprint: of the data set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = Field(1, ge=1, le=SCHEMA_VERSION)
    config: RunConfig
    fingerprint: str


def write_run_config(run: Path, config: RunConfig, fingerprint: str) -> None:
    """Write the settings of a run into its folder.

    Args:
        run: run folder.
        config: the settings.
        fingerprint: of the data set.
    """
    stored = {
        "schema_version": SCHEMA_VERSION,
        "config": config.to_json(),
        "fingerprint": fingerprint,
    }
    write_json(run / CONFIG_FILE, stored)


def has_run_config(folder: Path) -> bool:
    """Return whether a folder has the settings of a run.

    A model folder has its card beside its other files, a run in a folder of its own. So the
    ``config.json`` of a published model, which the Hugging Face Hub looks for, is none of a run.
    """
    return is_there(folder / CONFIG_FILE) and not is_there(folder / _MODEL_CARD)


def read_run_config(run: Path) -> StoredConfig:
    """Read the settings of a run.

    Args:
        run: run folder.

    Raises:
        ConfigError: the file is missing, damaged or of a later version.
    """
    file = run / CONFIG_FILE
    if not is_there(file):
        raise _unusable(file, "is missing")

    values = read_json(file, error=ConfigError, expected=EXPECTED, fix=FIX)
    try:
        config = RunConfig.parse(values.get("config"), "the settings")
    except ConfigError as error:
        raise _unusable(file, f"is damaged or of another version ({error.found})") from error

    # the settings are parsed by the class of their system, the rest here
    try:
        return StoredConfig.model_validate({**values, "config": config})
    except ValidationError as error:
        raise _unusable(file, f"is damaged ({first_problem(error)})") from error


def kept_start(run: Path, start: str | None) -> Path | None:
    """Return the copy that a run keeps of the model that it started from, if it has one.

    Args:
        run: run folder.
        start: the model, as the user names it now; the copy of another one does not count.
    """
    copy = run / KEPT_START
    if start is None or not is_there(copy / "model.json"):
        return None
    try:
        stored = read_run_config(run)
    except ConfigError:  # nobody knows what the copy is of
        return None
    return copy if stored.config.training.start_from == start else None


def start_in(settings: Mapping[str, Any]) -> str | None:
    """Return the model that settings start from, as they name it; None where they name none."""
    training = settings.get("training")
    if isinstance(training, TrainingConfig):
        return training.start_from
    if not isinstance(training, Mapping):
        return None
    start = training.get("start_from")
    return start if isinstance(start, str) else None


def is_run_config(values: object) -> bool:
    """Whether the content of a JSON file is that of a run's ``config.json``."""
    return isinstance(values, Mapping) and set(values) - {"schema_version", HASH_KEY} == _SIGNS


def settings_in(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings in a configuration file, which may be the ``config.json`` of a run."""
    inner = values.get("config")
    if "fingerprint" in values and isinstance(inner, Mapping):
        return inner
    return values


def _unusable(file: Path, what: str) -> ConfigError:
    return ConfigError(
        f"{file} {what}: nothing says with which settings {file.parent} was trained",
        expected=EXPECTED,
        fix=FIX,
    )
