"""What the model of every epoch predicts on one split, kept for ``evaluate --protocols`` alone.

Papers choose epoch and threshold by different rules, some of them on the test split. To say what
each rule would report of one training, the predictions of all its epochs are needed. They are kept
only where ``training.protocols`` asks for it::

    RUN/epochs/index.json                      data, split, labels; a file and its hash per epoch
    RUN/epochs/epoch-0001-HASH.safetensors     probabilities, (n, L), float32

Nothing is chosen by them: they are computed after the epoch has been judged, with random states
that are put back, and ``runs/protocols.py`` is the only reader (a test looks).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError

from emotailor.config import first_problem
from emotailor.errors import ModelError
from emotailor.files import remove_others, write_hashed, write_json
from emotailor.models.base import EmotionModel
from emotailor.training.history import EpochRecord
from emotailor.training.inference import predict_probabilities
from emotailor.training.model_folder import load_tensors, save_tensors
from emotailor.training.setup import TrainingData
from emotailor.verified import is_there, read_json, verify_file

FOLDER = "epochs"
INDEX_FILE = "index.json"
VERSION = 2  # files of this format had a hash from the beginning
TENSOR = "probabilities"
EXPECTED = "predictions of every epoch, as a training wrote them"
FIX = "train again into another folder with --protocols; the model works without them"


class StoredEpoch(BaseModel):
    """One epoch in the index.

    Attributes:
        epoch: number of epochs done, from 1.
        step: number of optimizer steps done.
        file: name of the file with the predictions.
        sha256: of that file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epoch: int = Field(ge=1)
    step: int = Field(ge=0)
    file: str = Field(pattern=r"^[\w-][\w.-]*$")  # a name in this folder, never a path
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Index(BaseModel):
    """The content of ``index.json``.

    Attributes:
        version: of the format.
        split: the split that was predicted.
        fingerprint: of its data set.
        label_names: the labels, in the order of the columns.
        samples: number of its samples with labels.
        epochs: one entry per epoch, in their order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = Field(VERSION, ge=VERSION, le=VERSION)
    split: str
    fingerprint: str
    label_names: tuple[str, ...]
    samples: int
    epochs: tuple[StoredEpoch, ...] = ()

    def same_data(self, other: "Index") -> bool:
        """Whether two indexes are of the same samples and labels."""
        nothing: tuple[StoredEpoch, ...] = ()
        ours = self.model_copy(update={"epochs": nothing})
        theirs = other.model_copy(update={"epochs": nothing})
        return ours == theirs


@dataclass(frozen=True)
class KeptEpochs:
    """What a training has kept.

    Attributes:
        index: of which data, and which epochs.
        probabilities: for each entry of the index (n, L), in the order of the split.
    """

    index: Index
    probabilities: Sequence[Float32[np.ndarray, "n labels"]]


# ---------------------------------------------------------------------- writing


def keep_epoch(run: Path, model: EmotionModel, data: TrainingData, record: EpochRecord) -> None:
    """Keep what a model predicts on the split of ``training.protocols``; without one, do nothing.

    What an earlier call kept of this epoch or of later ones is replaced.

    Args:
        run: run folder.
        model: of the epoch; neither it nor any random state is changed.
        data: what the run is trained on.
        record: of the epoch.
    """
    split = data.kept_split
    if split is None:
        return

    with _random_states_put_back(model.device):
        probabilities = predict_probabilities(
            model,
            split,
            data.dims,
            aligned=data.dataset.aligned,
            standardizer=data.standardizer,
            batch_size=data.config.training.batch_size,
        )

    folder = run / FOLDER
    stem = f"epoch-{record.epoch:04d}"
    tensors = {TENSOR: torch.from_numpy(probabilities)}
    write = partial(save_tensors, tensors)
    name, digest = write_hashed(folder, stem, ".safetensors", write)
    entry = StoredEpoch(epoch=record.epoch, step=record.step, file=name, sha256=digest)

    new = Index(
        split=split.name,
        fingerprint=data.dataset.card.fingerprint,
        label_names=data.label_names,
        samples=len(split),
    )
    earlier = _earlier(folder, new, record.epoch)
    index = new.model_copy(update={"epochs": (*earlier, entry)})

    # the index is replaced last: a kill before leaves the epoch to be kept again
    write_json(folder / INDEX_FILE, index.model_dump(mode="json"))
    named = [one.file for one in index.epochs]
    remove_others(folder, "epoch", ".safetensors", *named)


def _earlier(folder: Path, new: Index, epoch: int) -> list[StoredEpoch]:
    """Return what is kept of the epochs before; nothing where it is damaged or of other data."""
    if not is_there(folder / INDEX_FILE):
        return []
    try:
        found = _read_index(folder)
    except ModelError:  # the reader will say which epochs are missing
        return []

    if not found.same_data(new):
        return []
    return [one for one in found.epochs if one.epoch < epoch]


@contextmanager
def _random_states_put_back(device: torch.device) -> Iterator[None]:
    """Let a training go on as if nothing had been predicted: some systems draw numbers then."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


# ---------------------------------------------------------------------- reading


def read_epochs(run: Path) -> KeptEpochs | None:
    """Return the predictions of every epoch; None where none were kept.

    Raises:
        ModelError: they are damaged.
    """
    folder = run / FOLDER
    if not is_there(folder / INDEX_FILE):
        return None

    index = _read_index(folder)
    shape = (index.samples, len(index.label_names))
    probabilities = []
    for one in index.epochs:
        file = folder / one.file
        verify_file(file, one.sha256, error=ModelError, fix=FIX)
        probabilities.append(_read(file, shape))
    return KeptEpochs(index, probabilities)


def _read_index(folder: Path) -> Index:
    file = folder / INDEX_FILE
    values = read_json(file, error=ModelError, expected=EXPECTED, fix=FIX)
    try:
        return Index.model_validate(values)
    except ValidationError as error:
        why = first_problem(error)
        raise ModelError(f"{file} is damaged: {why}", expected=EXPECTED, fix=FIX) from error


def _read(file: Path, shape: tuple[int, int]) -> Float32[np.ndarray, "n labels"]:
    try:
        tensors = load_tensors(file)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file} cannot be read: {error}", fix=FIX) from error

    found = tensors.get(TENSOR)
    if found is None or tuple(found.shape) != shape or found.dtype != torch.float32:
        raise ModelError(f"{file} is damaged: no {TENSOR} of shape {shape}", fix=FIX)
    return found.numpy()
