"""Checkpoints from which a killed training goes on as if nothing had happened.

``state.json`` holds the position and names one safetensors file with parameters, optimizer moments
and random states; it is replaced last, in one step. ``before.json`` is the state before that, with
its own tensors: where a file of the newest checkpoint is damaged, the training goes on from there.

Nothing goes on from the end of a training. Its checkpoint says so, twice, and holds the parameters
of the selected model as long as that is the model of the last epoch.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer

from emotailor.config import first_problem
from emotailor.errors import ModelError
from emotailor.files import remove_others, write_hashed, write_json
from emotailor.training.history import EpochRecord
from emotailor.training.model_folder import load_model, load_tensors, save_tensors
from emotailor.training.optimizer import BertAdam
from emotailor.training.precision import Precision
from emotailor.verified import is_there, read_json, verify_file

STATE_FILE = "state.json"
BEFORE_FILE = "before.json"
SCHEMA_VERSION = 3
EXPECTED = f"a state of schema version {SCHEMA_VERSION} or before, as the training wrote it"
FIX = "remove the run folder and train again"

KEPT = "kept."
"""Begins the names of the parameters that a finished training leaves."""

FoundT = TypeVar("FoundT")


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
        precision: what the steps run in; None before the first, and in files from before it was
            written down.
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
    precision: Precision | None = None


class StoredProgress(BaseModel):
    """A :class:`Progress` as stored: its fields, checked."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, from_attributes=True
    )

    epoch: int = Field(ge=0)
    batch: int = Field(ge=0)
    step: int = Field(ge=0)
    sums: dict[str, float]
    samples: int = Field(ge=0)
    history: list[EpochRecord]
    best: EpochRecord | None
    seconds: float = Field(ge=0)
    finished: bool
    precision: Precision | None = None

    @model_validator(mode="after")
    def _check(self) -> "StoredProgress":
        epochs = [record.epoch for record in self.history]
        if epochs != list(range(1, self.epoch + 1)):
            raise ValueError("history has not one record for each epoch")

        if self.best is not None and self.best not in self.history:
            raise ValueError("best is no record of the history")
        if self.best is None and self.history:
            raise ValueError("best is not given, though an epoch is done")
        if self.best is None and self.finished:
            raise ValueError("finished is true, though no epoch is done")

        if bool(self.batch) != bool(self.samples):
            raise ValueError("samples do not go with the batches")
        return self

    def restored(self) -> Progress:
        """Return the progress, to go on with."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return Progress(**values | {"sums": dict(self.sums), "history": list(self.history)})


class CheckpointState(BaseModel):
    """The content of ``state.json`` and of ``before.json``.

    Attributes:
        schema_version: version of the format; files from before it was written down have 1.
        progress: where the training stands.
        file: name of the tensor file beside it; empty where there is none, as for a fitted system.
        sha256: of the tensor file; empty where there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = Field(1, ge=1, le=SCHEMA_VERSION)
    progress: StoredProgress
    file: str = Field(pattern=r"^([\w-][\w.-]*)?$")  # a plain name
    sha256: str = Field(pattern=r"^([0-9a-f]{64})?$")


# ---------------------------------------------------------------------- writing


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
    """Write a checkpoint; the newest one in ``folder`` becomes the one before.

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

    # what is named by state.json stays until before.json names it: two checkpoints are always whole
    write = partial(save_tensors, tensors)
    file, digest = write_hashed(folder, "state", ".safetensors", write)
    save_progress(folder, progress, file=file, digest=digest)


def save_progress(folder: Path, progress: Progress, *, file: str = "", digest: str = "") -> None:
    """Write where a training stands, and which tensors belong to it (none after a fit)."""
    newest = CheckpointState(
        schema_version=SCHEMA_VERSION,
        progress=StoredProgress.model_validate(progress),
        file=file,
        sha256=digest,
    )
    before = _readable_state(folder / STATE_FILE)
    if before is None or before.file == file:
        before = _readable_state(folder / BEFORE_FILE)

    _write_state(folder / STATE_FILE, newest)
    if before is not None:
        _write_state(folder / BEFORE_FILE, before)
    _remove_unnamed(folder, newest, before)


def save_finished(folder: Path, progress: Progress, kept: nn.Module | None) -> None:
    """Write the end of a training in place of its checkpoints, which take three times the space.

    Args:
        folder: of the checkpoint.
        progress: where the training ended.
        kept: the model of the last epoch, if that is the one that was selected.
    """
    file = ""
    digest = ""
    if kept is not None:
        tensors = {f"{KEPT}{name}": tensor for name, tensor in kept.state_dict().items()}
        write = partial(save_tensors, tensors)
        file, digest = write_hashed(folder, "state", ".safetensors", write)

    end = CheckpointState(
        schema_version=SCHEMA_VERSION,
        progress=StoredProgress.model_validate(progress),
        file=file,
        sha256=digest,
    )
    # one damaged file must not make a finished training an unknown one
    _write_state(folder / STATE_FILE, end)
    _write_state(folder / BEFORE_FILE, end)
    _remove_unnamed(folder, end)


def _write_state(file: Path, state: CheckpointState) -> None:
    values = state.model_dump(mode="json")
    write_json(file, {**values, "schema_version": SCHEMA_VERSION})


def _readable_state(file: Path) -> CheckpointState | None:
    """Return a state; None where there is none, or it is damaged."""
    if not is_there(file):
        return None
    try:
        return _read_state(file)
    except ModelError:
        return None


def _remove_unnamed(folder: Path, *states: CheckpointState | None) -> None:
    """Remove the tensors that belong to none of the states."""
    named = [state.file for state in states if state is not None]
    remove_others(folder, "state", ".safetensors", *named)


# ---------------------------------------------------------------------- reading


def has_checkpoint(folder: Path) -> bool:
    """Whether a training has stored its state in ``folder``."""
    return is_there(folder / STATE_FILE) or is_there(folder / BEFORE_FILE)


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=2)


def read_progress(folder: Path, tell: Callable[[str], object] = _warn) -> Progress | None:
    """Return where the training in ``folder`` stands, or None where it has no checkpoint.

    Args:
        folder: of the checkpoint.
        tell: is told where the newest state is damaged, and the one before is returned.

    Raises:
        ModelError: the checkpoint is damaged, and there is none before it.
    """
    if not has_checkpoint(folder):
        return None

    found = _newest_whole(folder, _read_state, tell)
    return found.progress.restored()


def _newest_whole(
    folder: Path, read: Callable[[Path], FoundT], tell: Callable[[str], object]
) -> FoundT:
    """Return what is read of the newest checkpoint; where that is damaged, of the one before.

    Args:
        folder: of the checkpoint.
        read: reads the checkpoint of a state file; raises ModelError where it is damaged.
        tell: is told of the damage.

    Raises:
        ModelError: both are damaged, or there is no other.
    """
    try:
        return read(folder / STATE_FILE)
    except ModelError as damage:
        before = _readable_state(folder / BEFORE_FILE)
        if before is None:
            raise

        # if this one is damaged, too, the newest is what has to be told of
        try:
            found = read(folder / BEFORE_FILE)
        except ModelError:
            raise damage from None

        tell(f"{damage.found}; {_instead(before.progress)}")
        return found


def _instead(progress: StoredProgress) -> str:
    """Say what is used where the newest checkpoint is damaged."""
    if progress.finished:
        return "its copy is used"
    return f"the checkpoint before it is used, of epoch {progress.epoch + 1}, step {progress.step}"


def _read_state(file: Path) -> CheckpointState:
    """Read the state of a checkpoint.

    Raises:
        ModelError: it is damaged.
    """
    values = read_json(file, error=ModelError, expected=EXPECTED, fix=FIX)
    try:
        return CheckpointState.model_validate(values)
    except ValidationError as error:
        raise ModelError(
            f"{file} is damaged: {first_problem(error)}", expected=EXPECTED, fix=FIX
        ) from error


def _read_all(file: Path) -> tuple[CheckpointState, dict[str, Tensor]]:
    """Read a state and its tensors.

    Raises:
        ModelError: one of the two is damaged.
    """
    state = _read_state(file)
    tensors = file.with_name(state.file)
    verify_file(tensors, state.sha256, error=ModelError, fix=FIX)
    try:
        return state, load_tensors(tensors)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{tensors} is damaged: {error}", fix=FIX) from error


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
    folder: Path,
    models: Mapping[str, nn.Module],
    optimizer: Optimizer,
    device: torch.device,
    *,
    tell: Callable[[str], object] = _warn,
    repair: bool = True,
) -> Progress:
    """Bring parameters, moments and random states back; return the position.

    Args:
        folder: of the checkpoint.
        models: what :func:`save_checkpoint` was given.
        optimizer: of the trained model.
        device: whose random state counts.
        tell: is told where the newest checkpoint is damaged, and the one before is used.
        repair: remove a damaged newest checkpoint, so that the one used is the newest again.

    Raises:
        ModelError: the checkpoint is damaged and there is none before it, or it belongs to another
            model.
    """
    state, tensors = _newest_whole(folder, _read_all, tell)
    misfit = _misfit(tensors, models, optimizer, device)
    if misfit is not None:
        raise ModelError(
            f"{folder / state.file} does not fit the model: {misfit}",
            expected="the checkpoint of a training with these settings",
            fix=FIX,
        )

    for name, model in models.items():
        model.load_state_dict(_below(f"{name}.", tensors))

    # the groups hold settings alone, which the run has already
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": _moments(tensors), "param_groups": groups})

    # dropout goes on where it stopped
    _set_random_states(folder / state.file, tensors, device)
    if repair and _readable_state(folder / STATE_FILE) != state:
        _write_state(folder / STATE_FILE, state)
        _remove_unnamed(folder, state)
    return state.progress.restored()


def load_kept(folder: Path, model: nn.Module, *, tell: Callable[[str], object] = _warn) -> None:
    """Bring the selected model of a finished training back.

    Args:
        folder: of the checkpoint.
        model: of the same settings.
        tell: is told where the newest checkpoint is damaged, and its copy is used.

    Raises:
        ModelError: the checkpoint is damaged, or belongs to another model.
    """
    state, tensors = _newest_whole(folder, _read_all, tell)
    parameters: dict[str, Tensor] = {}
    # earlier versions left a whole checkpoint, with the average of parameters if there was one
    for prefix in (KEPT, "averaged.", "model."):
        parameters = parameters or _below(prefix, tensors)

    try:
        model.load_state_dict(parameters)
    except RuntimeError as error:
        raise ModelError(
            f"{folder / state.file} does not fit the model",
            expected="the checkpoint of a training with these settings",
            fix=FIX,
        ) from error


def _set_random_states(file: Path, tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Set the random states of torch.

    Raises:
        ModelError: torch does not take them.
    """
    try:
        torch.set_rng_state(tensors["random.cpu"])
        if device.type == "cuda" and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], device)
    except (RuntimeError, TypeError) as error:
        raise ModelError(f"{file} is damaged: its random state is none", fix=FIX) from error


def _derived(model: nn.Module) -> set[str]:
    """The buffers that a model can compute from others, where an earlier version stored none."""
    found = set()
    for place, module in model.named_modules():
        names = getattr(module, "derived_buffers", ())
        found |= {f"{place}.{name}" for name in names}
    return found


def _misfit(
    tensors: Mapping[str, Tensor],
    models: Mapping[str, nn.Module],
    optimizer: Optimizer,
    device: torch.device,
) -> str | None:
    """Say what of the tensors does not fit what they are to be loaded into; None if all does."""
    wanted = _random_states(device)
    optional = {"random.cuda"}  # a training may go on on another device
    for key, model in models.items():
        optional |= {f"{key}.{name}" for name in _derived(model)}
        for name, tensor in model.state_dict().items():
            wanted[f"{key}.{name}"] = tensor

    moments = {name: tensors[name] for name in tensors if name.startswith("optimizer.")}
    missing = wanted.keys() - tensors.keys() - optional
    if missing:
        return f"it has no {min(missing)}"
    strange = tensors.keys() - wanted.keys() - moments.keys() - optional
    if strange:
        return f"it has {min(strange)} too"

    for name in sorted(wanted.keys() & tensors.keys()):
        wrong = _other_kind(tensors[name], wanted[name])
        if wrong is not None:
            return f"{name} {wrong}"
    return _misfit_of_moments(moments, optimizer)


def _misfit_of_moments(moments: Mapping[str, Tensor], optimizer: Optimizer) -> str | None:
    """Say what does not fit between stored moments and the parameters they belong to."""
    parameters = []
    for group in optimizer.param_groups:
        parameters += group["params"]

    names = ["exp_avg", "exp_avg_sq"]
    if not isinstance(optimizer, BertAdam):
        names.append("step")

    # a parameter without a gradient has none
    known = 0
    for index, parameter in enumerate(parameters):
        there = [name for name in names if f"optimizer.{index}.{name}" in moments]
        if there and there != names:
            return f"optimizer.{index} has not all moments"

        known += len(there)
        for name in there:
            wanted = torch.zeros(()) if name == "step" else parameter
            wrong = _other_kind(moments[f"optimizer.{index}.{name}"], wanted)
            if wrong is not None:
                return f"optimizer.{index}.{name} {wrong}"

    if known != len(moments):
        return "it has moments of other parameters"
    return None


def _other_kind(found: Tensor, wanted: Tensor) -> str | None:
    """Say how a tensor is of another shape or type than the wanted one; None where it is not."""
    if found.shape != wanted.shape:
        return f"has the shape {tuple(found.shape)}, not {tuple(wanted.shape)}"
    if found.dtype != wanted.dtype:
        return f"is {found.dtype}, not {wanted.dtype}"
    return None
