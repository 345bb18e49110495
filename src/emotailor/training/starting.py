"""Training that starts from a trained model: what is taken from it, and how it is kept.

- A weight is taken where the model to be trained has one for the same purpose, of the same shape.
  Purposes are names, in which the modalities of both models count (``EmotionModel.role_of``).
- Weights with a place for each label are taken by the names of the labels, where both models know
  the same ones; else they are fresh.
- Of another system, the adapters of its text encoder are taken and nothing else.
- Features are standardised as those of the source were: its weights expect that.
- The run folder keeps a copy of the source, and is resumed from that.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Shaped
from torch import Tensor

from emotailor.data.batching import Standardizer
from emotailor.data.card import DatasetCard
from emotailor.data.extraction import check_extraction
from emotailor.data.sample import Modality
from emotailor.errors import ConfigError, ModelError
from emotailor.models.adapters.model import TextAdapted
from emotailor.models.base import EmotionModel
from emotailor.training.config import TrainingConfig
from emotailor.training.model_folder import LoadedModel, load_model, save_model
from emotailor.training.run_config import KEPT_START
from emotailor.training.stored_config import kept_start

Shapes = Mapping[str, torch.Size]


@dataclass(frozen=True)
class Start:
    """What a training starts from.

    Attributes:
        name: as the user named it.
        loaded: the trained model.
        kept: whether it was read from the run folder.
    """

    name: str
    loaded: LoadedModel
    kept: bool


@dataclass(frozen=True)
class Taken:
    """What was taken of a trained model.

    Attributes:
        taken: names of the parameters that were taken.
        fresh: names of those that were not.
        numbers: how many numbers were taken.
        of: how many there are.
    """

    taken: tuple[str, ...]
    fresh: tuple[str, ...]
    numbers: int
    of: int

    def describe(self, source: str) -> str:
        """Return what was taken, in a line."""
        count = len(self.taken) + len(self.fresh)
        found = f"started from {source}: {len(self.taken)} of {count} weights"
        found += f" ({self.numbers:,} of {self.of:,} numbers)"
        if not self.fresh:
            return f"{found}, none is fresh"
        return f"{found}; fresh: {_in_short(self.fresh)}"


def _in_short(names: Iterable[str]) -> str:
    """Return parts of a model and how many parameters of each are meant."""
    parts: Counter[str] = Counter()
    for name in names:
        pieces = [piece for piece in name.split(".") if piece != "model"]
        parts[".".join(pieces[:2])] += 1
    shown = [f"{part} ({count})" for part, count in parts.items()]
    return ", ".join(shown[:8]) + (", …" if len(shown) > 8 else "")


def load_start(settings: TrainingConfig, run: Path) -> Start | None:
    """Load what a training starts from; None where it starts anew.

    A run that was started before has kept it, and its source may have changed or gone since.

    Args:
        settings: of the training.
        run: its folder.

    Raises:
        ModelError: there is no such model, or it is damaged.
    """
    name = settings.start_from
    if name is None:
        return None
    kept = kept_start(run, name)
    return Start(name, load_model(kept or name), kept=kept is not None)


def keep_start(start: Start, run: Path) -> None:
    """Keep what a run starts from in its folder, unless it was read from there."""
    if start.kept:
        return
    loaded = start.loaded
    save_model(run / KEPT_START, loaded.card, loaded.model, loaded.standardizer)


def check_start(start: Start, dims: Mapping[Modality, int], dataset: DatasetCard) -> None:
    """Refuse a model that was trained on features of another kind.

    Args:
        start: what to start from.
        dims: the modalities of the training and their widths.
        dataset: card of its data.

    Raises:
        ConfigError: the two have no modality in common.
        ModelError: a modality that they share has another width, or was extracted in another way.
    """
    card = start.loaded.card
    shared = [m for m in dims if m in card.dims]
    if not shared:
        raise ConfigError(
            f"{start.name} takes {', '.join(card.dims)}, and the training {', '.join(dims)}",
            expected="a model that shares a modality with the data",
            fix="leave --start-from out",
        )

    check_extraction(dataset.extraction, card.extraction, shared, dataset.name)
    for m in shared:
        if dims[m] != card.dims[m]:
            raise ModelError(
                f"{m} of {dataset.name} has {dims[m]} features",
                expected=f"the {card.dims[m]} that {start.name} was trained on",
                fix="encode the data as those of that model, or leave --start-from out",
            )


def standardized_as(own: Standardizer, start: Start) -> Standardizer:
    """Return the standardizer of a training, with that of the source for what both share."""
    source = start.loaded.standardizer
    if source is None:
        return own
    mean = {m: source.mean.get(m, values) for m, values in own.mean.items()}
    std = {m: source.std.get(m, values) for m, values in own.std.items()}
    return Standardizer(mean, std)


def take_weights(
    model: EmotionModel,
    start: Start,
    label_names: Sequence[str],
    with_one_more: Shapes,
    *,
    same_system: bool,
) -> Taken:
    """Give a fresh model the weights of a trained one, as far as they fit.

    Args:
        model: fresh.
        start: what to start from.
        label_names: the labels of the model, in the order of its outputs.
        with_one_more: parameter -> its shape if the model had one label more.
        same_system: whether both are of one system.

    Raises:
        ConfigError: nothing fits.
    """
    source = start.loaded.model
    known: dict[str, Tensor] = {}
    for name, parameter in source.named_parameters():
        known[source.role_of(name)] = parameter.detach()

    theirs = start.loaded.card.label_names
    taken = []
    fresh = []
    numbers = 0
    for name, parameter in model.named_parameters():
        role = model.role_of(name)
        found = known.get(role)
        if not same_system and not role.startswith(TextAdapted.ROLE):
            found = None
        if found is not None:
            axes = _label_axes(parameter.shape, with_one_more.get(name))
            found = _in_order(found, axes, theirs, label_names)
        if found is None or found.shape != parameter.shape:
            fresh.append(name)
            continue

        with torch.no_grad():
            parameter.copy_(found)
        taken.append(name)
        numbers += parameter.numel()

    if not taken:
        raise ConfigError(
            f"nothing of {start.name} fits the model that is to be trained",
            expected="the same system, or another behind the same text encoder with adapters",
            fix="leave --start-from out",
        )
    total = sum(parameter.numel() for parameter in model.parameters())
    return Taken(tuple(taken), tuple(fresh), numbers, total)


def _label_axes(shape: torch.Size, larger: torch.Size | None) -> list[int]:
    """Return the axes of a parameter that grow with the number of labels."""
    if larger is None or len(larger) != len(shape):
        return []
    return [axis for axis, size in enumerate(shape) if size != larger[axis]]


def _in_order(
    values: Shaped[Tensor, "..."], axes: Sequence[int], theirs: Sequence[str], ours: Sequence[str]
) -> Shaped[Tensor, "..."] | None:
    """Return a weight with the labels in another order; None where the labels are others."""
    if not axes or tuple(theirs) == tuple(ours):
        return values
    if set(theirs) != set(ours):
        return None

    order = torch.tensor([list(theirs).index(name) for name in ours])
    for axis in axes:
        # such as one place more for the end of a sequence: nobody knows whose place is whose
        if axis >= values.dim() or values.shape[axis] != len(theirs):
            return None
        values = values.index_select(axis, order)
    return values
