"""Checkpoints from which a killed training goes on as if nothing had happened.

``state.json`` holds the position and names one safetensors file with parameters, optimizer moments
and random states; it is replaced last, in one step.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer

from emotailor.config import first_problem
from emotailor.errors import ModelError
from emotailor.files import remove_others, sha256_of, write_hashed, write_json
from emotailor.training.history import EpochRecord
from emotailor.training.model_folder import load_model, load_tensors, save_tensors
from emotailor.verified import read_json

STATE_FILE = "state.json"
SCHEMA_VERSION = 2
EXPECTED = f"a state of schema version {SCHEMA_VERSION} or before, as the training wrote it"
FIX = "remove the run folder and train again"


@dataclass
class Progress:
    """Where a training stands.

    Attributes:
        epoch: the epoch under way, from 0.
        batch: batches of it already used.
        step: optimizer steps done.
        sums: loss name -> sum over the samples of this epoch so far.
        samples: samples of this epoch so far.
        history: one record per finished epoch.
        best: the record with the highest validation score.
        seconds: time spent training.
        finished: nothing is left to do.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    samples: int = 0
    history: list[EpochRecord] = field(default_factory=list)
    best: EpochRecord | None = None
    seconds: float = 0.0
    finished: bool = False


class CheckpointState(BaseModel):
    """The content of ``state.json``.

    Attributes:
        schema_version: version of the format; files from before it was written down have 1.
        progress: where the training stands.
        file: name of the tensor file beside it; empty for a fitted system.
        sha256: of the tensor file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = Field(1, ge=1, le=SCHEMA_VERSION)
    progress: Progress
    file: str
    sha256: str

    @field_validator("file")
    @classmethod
    def _check_name(cls, file: str) -> str:
        if Path(file).name != file:
            raise ValueError("the name of the tensor file is not a plain name")
        return file


def _random_states(device: torch.device) -> dict[str, Tensor]:
    states = {"random.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["random.cuda"] = torch.cuda.get_rng_state(device)
    return states


def save_checkpoint(
    folder: Path,
    progress: Progress,
    models: Mapping[str, nn.Module],
    optimizer: Optimizer,
    device: torch.device,
) -> None:
    """Write a checkpoint, replacing the one in ``folder``.

    Args:
        folder: of the checkpoint.
        progress: where the training stands.
        models: the trained model, and any other whose parameters belong to the state, by name.
        optimizer: of the trained model.
        device: whose random state counts.
    """
    tensors = _random_states(device)
    for key, model in models.items():
        for name, tensor in model.state_dict().items():
            tensors[f"{key}.{name}"] = tensor

    moments = optimizer.state_dict()["state"]
    for index, values in moments.items():
        for name, value in values.items():
            tensors[f"optimizer.{index}.{name}"] = value

    # a program that is killed at any moment leaves the state before or the new one, both whole
    write = partial(save_tensors, tensors)
    file, digest = write_hashed(folder, "state", ".safetensors", write)
    save_progress(folder, progress, file=file, digest=digest)
    remove_others(folder, "state", ".safetensors", keep=file)


def save_progress(folder: Path, progress: Progress, *, file: str = "", digest: str = "") -> None:
    """Write where a training stands, and which tensors belong to it (none after a fit)."""
    state = CheckpointState(
        schema_version=SCHEMA_VERSION, progress=progress, file=file, sha256=digest
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / STATE_FILE, state.model_dump(mode="json"))


def has_checkpoint(folder: Path) -> bool:
    """Whether a training has stored its state in ``folder``."""
    return (folder / STATE_FILE).is_file()


def read_progress(folder: Path) -> Progress | None:
    """Return where the training in ``folder`` stands, or None where it has no checkpoint.

    Raises:
        ModelError: the checkpoint is damaged.
    """
    if not has_checkpoint(folder):
        return None
    return _read_state(folder).progress


def _read_state(folder: Path) -> CheckpointState:
    """Read the state of a checkpoint.

    Raises:
        ModelError: it is damaged.
    """
    file = folder / STATE_FILE
    values = read_json(file, error=ModelError, expected=EXPECTED, fix=FIX)
    try:
        return CheckpointState.model_validate(values)
    except ValidationError as error:
        raise ModelError(
            f"{file} is damaged: {first_problem(error)}", expected=EXPECTED, fix=FIX
        ) from error


def damage_of(model: Path) -> ModelError | None:
    """Return what is wrong with the stored model of a run, or None: it is whole."""
    try:
        load_model(model)
    except ModelError as error:
        return error
    return None


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, by the rest of the name."""
    found = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            found[name.removeprefix(prefix)] = tensor
    return found


def _moments(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """Return what the optimizer remembers of each parameter, by the number of the parameter."""
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in _below("optimizer.", tensors).items():
        index, name = key.split(".", 1)
        moments.setdefault(int(index), {})[name] = value
    return moments


def load_checkpoint(
    folder: Path, models: Mapping[str, nn.Module], optimizer: Optimizer, device: torch.device
) -> Progress:
    """Bring parameters, moments and random states back; return the position.

    Raises:
        ModelError: the checkpoint is damaged or belongs to another model.
    """
    state = _read_state(folder)
    file = folder / state.file
    try:
        if sha256_of(file) != state.sha256:
            raise ValueError("its SHA-256 differs from the recorded one")
        tensors = load_tensors(file)

        for name, model in models.items():
            model.load_state_dict(_below(f"{name}.", tensors))

        # the groups hold settings alone, which the run has already
        groups = optimizer.state_dict()["param_groups"]
        moments = _moments(tensors)
        optimizer.load_state_dict({"state": moments, "param_groups": groups})

        # dropout goes on where it stopped
        torch.set_rng_state(tensors["random.cpu"])
        if device.type == "cuda" and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], device)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"the checkpoint {file} cannot be used: {str(error).splitlines()[0]}",
            fix="remove the run folder and train again",
        ) from error
    return state.progress
