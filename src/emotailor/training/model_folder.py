"""Trained models on disk: ``model.json`` beside one safetensors file, never pickle.

``model.json`` names the weights file and its SHA-256 and is replaced last, in one step: a kill at
any moment leaves the old model or the new one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from emotailor import __version__
from emotailor.config import Config, first_problem
from emotailor.data.batching import Standardizer
from emotailor.data.card import FileCard
from emotailor.data.extraction import Extraction
from emotailor.data.sample import MODALITIES, Modality
from emotailor.data.tensors import true_errors
from emotailor.errors import ConfigError, DataError, ModelError
from emotailor.evaluation.scaling import Scaling
from emotailor.evaluation.thresholds import ThresholdMode, Thresholds
from emotailor.files import remove_others, write_hashed, write_json
from emotailor.folders import FolderKind, has_format
from emotailor.models.adapters.config import AdapterConfig
from emotailor.models.adapters.model import Adapters
from emotailor.models.alignment.config import AlignmentConfig
from emotailor.models.base import EmotionModel
from emotailor.models.factory import build_model
from emotailor.models.table import find_system
from emotailor.shapes import shapes_alone
from emotailor.shipped.find import check_no_file, meant_by
from emotailor.shipped.hub import hub_name, is_on_hub
from emotailor.text import NAME, is_name
from emotailor.training.adapters import load_adapters
from emotailor.verified import read_json, read_settled, verify_file

SCHEMA_VERSION = 5
CARD_FILE = "model.json"
MADE_SINCE = (
    "model.onnx",
    "evaluation-*.json",
    "predictions-*.csv",
    "baselines-*.json",
    "figures",
    "report.html",
)
"""What commands write beside a model."""

FOLDER = FolderKind(
    name="model folder",
    marker=CARD_FILE,
    recognises=has_format("emotailor-model"),
    writes=(
        CARD_FILE,
        "weights-*.safetensors",
        *MADE_SINCE,
    ),
    signs=(CARD_FILE,),
    below=("figures",),
    error=DataError,
)
AGAIN = "run its `emotailor train` again, which makes it anew where its checkpoint can"


class Scaled(BaseModel):
    """What was changed when the probabilities of a model were scaled.

    Attributes:
        scaling: how its probabilities are scaled.
        thresholds: its thresholds before; those of the card are for scaled probabilities.
        data: name, fingerprint, split and number of samples that the scaling was fitted on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    scaling: Scaling
    thresholds: dict[ThresholdMode, Thresholds]
    data: dict[str, Any]


class ModelCard(BaseModel):
    """Everything needed to use a trained model but its parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    format: str = Field("emotailor-model", pattern="^emotailor-model$")
    schema_version: int = Field(1, ge=1, le=SCHEMA_VERSION)
    system: str
    config: dict[str, Any]
    alignment: AlignmentConfig = AlignmentConfig(kind="none")  # what older folders have
    adapters: AdapterConfig = AdapterConfig()
    label_names: tuple[str, ...] = Field(min_length=1)
    dims: dict[Modality, Annotated[int, Field(ge=1)]] = Field(min_length=1)
    aligned: bool
    standardized: bool
    thresholds: dict[ThresholdMode, Thresholds] = Field(min_length=1)
    extraction: dict[Modality, Extraction] = Field(default_factory=dict)  # of its features
    data: dict[str, Any] = Field(default_factory=dict)  # name and fingerprint of the training data
    selection: dict[str, Any] = Field(default_factory=dict)  # epoch and validation scores
    versions: dict[str, str] = Field(
        default_factory=lambda: {"emotailor": __version__, "torch": str(torch.__version__)}
    )
    device: str | None = None  # that it was trained on
    weights: FileCard | None = None
    scaled: Scaled | None = None  # None: the probabilities are those of the network
    decides: ThresholdMode | None = None  # thresholds taken by default; None: tuned, else fixed

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of the training data; None for an imported model."""
        return self.data.get("fingerprint")

    @property
    def selected_epoch(self) -> int | None:
        """The epoch whose model was kept; None for an imported model."""
        return self.selection.get("epoch")

    @property
    def default_thresholds(self) -> ThresholdMode:
        """The kind of thresholds that decides where nobody asks for another."""
        if self.decides is not None:
            return self.decides
        return "tuned" if "tuned" in self.thresholds else "fixed"

    @property
    def unscaled_thresholds(self) -> dict[ThresholdMode, Thresholds]:
        """The thresholds for the probabilities of the network, as the training chose them."""
        return self.thresholds if self.scaled is None else self.scaled.thresholds

    @model_validator(mode="after")
    def _check(self) -> "ModelCard":
        if len(set(self.label_names)) != len(self.label_names):
            raise ValueError("label_names must be distinct")
        if not all(is_name(name) for name in self.label_names):
            raise ValueError(f"label_names must be {NAME}")
        for mode, thresholds in self.thresholds.items():
            if set(thresholds.values) != set(self.label_names):
                raise ValueError(f"thresholds.{mode} must be for the labels in label_names")
        if self.decides is not None and self.decides not in self.thresholds:
            raise ValueError(f"decides: there are no thresholds.{self.decides}")
        if self.scaled is not None:
            scaling = self.scaled.scaling
            if not set(self.label_names) == set(scaling.slopes) == set(scaling.intercepts):
                raise ValueError("scaled.scaling must be for the labels in label_names")
        return self


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for use."""

    card: ModelCard
    model: EmotionModel
    standardizer: Standardizer | None


def save_model(
    folder: Path,
    card: ModelCard,
    model: EmotionModel,
    standardizer: Standardizer | None,
    *,
    half: bool = False,
) -> ModelCard:
    """Write a model folder, replacing the model in it if there is one; return its card.

    Args:
        folder: to write.
        card: of the model.
        model: whose parameters are written.
        standardizer: of its features.
        half: store parameters as float16, in half the space. A loaded model computes in float32.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if half:
        for name, parameter in model.named_parameters():
            tensors[f"model.{name}"] = parameter.half()
    if standardizer is not None:
        for m in card.dims:
            mean = torch.from_numpy(standardizer.mean[m])
            std = torch.from_numpy(standardizer.std[m])
            tensors[f"standardizer.mean.{m}"] = mean
            tensors[f"standardizer.std.{m}"] = std

    write = partial(save_tensors, tensors)
    name, digest = write_hashed(folder, "weights", ".safetensors", write)

    # the card names the new weights, and only then are the old ones removed: a program that is
    # killed in between leaves a whole model
    weights = FileCard(file=name, sha256=digest)
    card = card.model_copy(update={"weights": weights, "schema_version": SCHEMA_VERSION})
    save_card(folder, card)
    remove_others(folder, "weights", ".safetensors", name)
    return card


def save_card(folder: Path, card: ModelCard) -> None:
    """Replace the card of a model whose weights stay as they are.

    Raises:
        OSError: it cannot be written; then the earlier one is still there.
    """
    written = card.model_copy(update={"schema_version": SCHEMA_VERSION})
    write_json(folder / CARD_FILE, written.model_dump(mode="json"))


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors of any device as safetensors."""
    plain = {}
    for name, tensor in tensors.items():
        plain[name] = tensor.detach().cpu().contiguous()
    save_file(plain, path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; every tensor has aligned memory of its own.

    The library returns views into the file, at any address. Matrix products may then take another
    kernel than they did for the tensors that were saved, and differ in the last bit.

    Raises:
        OSError: the file cannot be read.
        SafetensorError: its content is damaged.
    """
    with true_errors(path):
        views = load_file(path)
    return {name: view.clone() for name, view in views.items()}


def find_model_folder(path: Path) -> Path:
    """Return the model folder at ``path``: itself, or the ``model`` folder of a run.

    Raises:
        ModelError: there is none.
    """
    check_no_file(path)
    for folder in (path, path / "model"):
        if (folder / CARD_FILE).is_file():
            return folder

    if is_on_hub(path):
        name = hub_name(path)
        raise ModelError(
            f"{name} is not a folder of yours, which something could be written into",
            expected="a folder with a copy of the model",
            fix=f"hf download {name.removeprefix('hf://')} --local-dir DIR, then name DIR",
        )

    found = f"no trained model at {path}"
    if not path.exists():
        found += ", which does not exist"
    raise ModelError(
        found,
        expected="a run folder of `emotailor train`, or a model folder with a model.json",
        fix=_how_to_find(path),
    )


def _how_to_find(path: Path) -> str:
    """What to do where a folder holds no model: it may hold runs, or an unfinished training."""
    for pattern in ("*/model/model.json", "*/*/model/model.json"):
        below = sorted(path.glob(pattern))
        if below:
            run = below[0].parents[1]
            return f"name a run in it, such as {run}"

    if _has_checkpoint(path):
        return f"{AGAIN}, or check the path"
    return "train a model first, or check the path"


def _has_checkpoint(run: Path) -> bool:
    return (run / "checkpoint" / "state.json").is_file()


def _remedy(folder: Path) -> str:
    """What to do about a damaged model."""
    copy = "copy the model folder again"
    if not _has_checkpoint(folder.parent):
        return copy
    return f"{AGAIN}, or {copy}"


def read_model_card(folder: Path) -> ModelCard:
    """Read the ``model.json`` of a model folder.

    Raises:
        ModelError: it is damaged or of another version.
    """
    file = folder / CARD_FILE
    expected = f"a model of schema version {SCHEMA_VERSION} or before"
    fix = f"{_remedy(folder)}, or use the version of emotailor that wrote it"

    values = read_json(file, error=ModelError, expected=expected, fix=fix)
    try:
        return ModelCard.model_validate(values)
    except ValidationError as error:
        raise ModelError(
            f"{file} is damaged or of another version: {first_problem(error)}",
            expected=expected,
            fix=fix,
        ) from error


def check_model(path: str | Path) -> tuple[ModelCard, Path]:
    """Check the files of a model without building it; return its card and its weights file.

    A training may replace the model meanwhile: then the new one is checked.

    Raises:
        ModelError: there is none, or a file is missing, truncated or altered.
    """
    folder = find_model_folder(Path(path))
    return read_settled(folder / CARD_FILE, partial(_check_files, folder))


def _check_files(folder: Path) -> tuple[ModelCard, Path]:
    """Check the files of a model as they are now.

    Raises:
        ModelError: a file is missing, truncated or altered.
    """
    card = read_model_card(folder)
    if card.weights is None:
        raise ModelError(f"{folder / CARD_FILE} names no weights file", fix=_remedy(folder))

    file = folder / card.weights.file
    verify_file(file, card.weights.sha256, error=ModelError, fix=_remedy(folder))
    return card, file


def load_model(path: str | Path, device: torch.device | str = "cpu") -> LoadedModel:
    """Load a trained model from a run folder or a model folder, in evaluation mode.

    The name of a model that comes with the package is as good as its folder.

    A training may replace the model meanwhile: then the new one is loaded.

    Raises:
        ModelError: there is none, a file is missing, truncated or altered, or its system or
            settings are unknown to this version.
    """
    folder = find_model_folder(meant_by(path))
    card, file, tensors = read_settled(folder / CARD_FILE, partial(_read_files, folder))

    config = _settings_of(card, folder)
    adapters = _adapters_of(card, folder)
    try:
        model = _model_of(card, config, tensors, adapters)
        standardizer = _standardizer_of(card, tensors) if card.standardized else None
    except (RuntimeError, KeyError) as error:
        raise ModelError(
            f"{file} does not fit the settings in {CARD_FILE}: {_first_reason(error)}",
            fix=f"{_remedy(folder)}; one of the two was altered",
        ) from error

    model.eval()
    return LoadedModel(card, model.to(device), standardizer)


def _read_files(folder: Path) -> tuple[ModelCard, Path, dict[str, Tensor]]:
    """Read the files of a model as they are now: its card, its weights file and what that holds.

    Raises:
        ModelError: a file is missing, truncated or altered.
    """
    card, file = _check_files(folder)
    try:
        return card, file, load_tensors(file)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file} cannot be read: {error}", fix=_remedy(folder)) from error


def _settings_of(card: ModelCard, folder: Path) -> Config:
    """Return the settings of the system in a model card.

    Raises:
        ModelError: the system or its settings are unknown to this version.
    """
    try:
        return find_system(card.system).config.parse(card.config, "config")
    except ConfigError as error:
        version = card.versions.get("emotailor")
        raise ModelError(
            f"{folder / CARD_FILE}: {error.found}",
            expected=error.expected,
            fix=error.fix or f"use the version of emotailor that wrote it ({version})",
        ) from error


def _adapters_of(card: ModelCard, folder: Path) -> Adapters | None:
    """Load the text encoder that a model was trained with; None where there is none.

    Raises:
        ModelError: it is not there, or another one by now.
    """
    extraction = card.extraction.get("text")
    try:
        return load_adapters(card.adapters, extraction)
    except ConfigError as error:
        expected = "the encoder" if extraction is None else extraction.describe()
        raise ModelError(
            f"the model in {folder} needs its text encoder: {error.found}",
            expected=f"{expected}, to which the model has what training added",
            fix=f"put it back where it was ({card.adapters.encoder}), or install its package",
        ) from error


def _model_of(
    card: ModelCard,
    config: Config,
    tensors: Mapping[str, Tensor],
    adapters: Adapters | None,
) -> EmotionModel:
    """Build the model of a card and give it the stored parameters.

    Raises:
        RuntimeError: the parameters do not fit the settings.
    """
    prefix = "model."
    state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    sizes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    dims = _dims_of(card)
    labels = len(card.label_names)

    # parameters that are replaced at once get no memory, which altered settings could claim,
    # and are not drawn, which takes seconds for large recurrent layers
    with shapes_alone():
        model = build_model(card.system, config, dims, labels, card.alignment, adapters=adapters)
        model.resize(sizes)
        expected = model.state_dict()

    for name in sorted(state.keys() & expected.keys()):
        wanted = tuple(expected[name].shape)
        if sizes[name] != wanted:
            raise RuntimeError(f"{name} has the shape {sizes[name]}, not {wanted}")

        # float16 saves space on disk alone
        if state[name].dtype == torch.float16:
            state[name] = state[name].to(expected[name].dtype)

    model.load_state_dict(state, assign=True)
    return model


def _standardizer_of(card: ModelCard, tensors: Mapping[str, Tensor]) -> Standardizer:
    """Return the stored standardizer.

    Raises:
        KeyError: a modality has no stored statistics.
    """
    means = {}
    stds = {}
    for m in _dims_of(card):
        means[m] = tensors[f"standardizer.mean.{m}"].numpy()
        stds[m] = tensors[f"standardizer.std.{m}"].numpy()
    return Standardizer(means, stds)


def _dims_of(card: ModelCard) -> dict[Modality, int]:
    """Return the feature widths of a card, in the order that models are built with."""
    return {m: card.dims[m] for m in MODALITIES if m in card.dims}


def _first_reason(error: Exception) -> str:
    """The line of torch's message that says what is wrong, not the one that says where."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        return type(error).__name__

    # the first line says where, unless it is the only one
    return lines[0] if len(lines) == 1 else lines[1]
