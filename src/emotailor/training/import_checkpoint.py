"""Turns a checkpoint of the authors' TAILOR program into one of our model folders."""

import pickle
import pickletools
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

import torch
from torch import Tensor

from emotailor.config import Config
from emotailor.data.sample import Modality
from emotailor.errors import ConfigError, ModelError
from emotailor.evaluation.thresholds import Thresholds
from emotailor.files import sha256_of
from emotailor.models.base import EmotionModel
from emotailor.models.factory import build_model
from emotailor.models.tailor.checkpoint import LABELS, convert_state, dims_of, infer_config
from emotailor.shapes import shapes_alone
from emotailor.training.model_folder import FOLDER, ModelCard, save_model

EXPECTED = "a state dict saved by torch.save, holding tensors and nothing else"
FIX = "get an intact copy of the checkpoint, with the parameters alone"

_ZIP = b"PK\x03\x04"
_PICKLES = 5  # of a file from before torch wrote zip archives, ahead of the numbers
_MAX_SHARED = 4
"""How often the numbers of a file may be shared between its tensors, on average."""

_MAX_REUSED = 20
"""Tuples of a pickle that are used again. Each may double the time to hash the ones around it."""

_MAX_OPERATIONS = 2_000_000
"""Operations of a pickle; a state dict has some dozen for each tensor."""

_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_NO_TUPLE = {
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "GLOBAL", "STACK_GLOBAL",
    "EMPTY_DICT", "EMPTY_LIST", "REDUCE", "BINPERSID",
}  # fmt: skip
"""Operations of a pickle whose results are no tuples."""

_NUMBERS = (
    torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
)  # fmt: skip

_LABELS = "decoder.embeddings.word_embeddings.weight"
"""The parameter with a row for each label."""

FoundT = TypeVar("FoundT")


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a torch file of parameters; nothing in it is executed.

    Raises:
        ModelError: the file is missing, damaged, holds code, is not a table of tensors, or its
            tensors have more numbers than the file.
    """
    if not path.is_file():
        raise ModelError(f"no file at {path}", expected="a checkpoint such as pytorch_model_19.bin")

    _check_pickles(path)
    loaded = _of_library(path, partial(_load, path))

    # a checkpoint of a whole training has the parameters as one of its entries
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]

    if not isinstance(loaded, dict) or not loaded:
        raise ModelError(
            f"{path} holds a {type(loaded).__name__}",
            expected="a state dict: a table from parameter names to tensors",
        )

    wrong = [k for k, v in loaded.items() if not isinstance(k, str) or not _is_plain(v)]
    if wrong:
        raise ModelError(
            f"{path}: entry {wrong[0]!r:.100} is not a tensor of numbers",
            expected="a state dict: a table from parameter names to tensors",
        )

    # a view can repeat few numbers without end
    size = path.stat().st_size
    numbers = sum(tensor.numel() for tensor in loaded.values())
    if numbers > _MAX_SHARED * size:
        raise ModelError(
            f"{path}: its tensors have {numbers:,} numbers, and the file {size:,} bytes",
            expected="tensors that have their numbers in the file",
            fix=FIX,
        )

    # a wrapper for several GPUs puts "module." before every name
    tensors = {}
    for name, tensor in loaded.items():
        tensors[name.removeprefix("module.")] = tensor.detach().float()

    lost = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if lost:
        raise ModelError(
            f"{path}: NaN or infinite values in {len(lost)} of {len(tensors)} parameters, such as "
            f"{lost[0]}",
            expected="finite parameters",
            fix="take a checkpoint from before the training diverged",
        )
    return tensors


def _load(path: Path) -> Any:
    with warnings.catch_warnings(action="ignore"):  # torch's guesses at what the file is
        return torch.load(path, map_location="cpu", weights_only=True)


def _of_library(path: Path, read: Callable[[], FoundT]) -> FoundT:
    """Return what a library reads of a file.

    The libraries say in no one way that a file is damaged: torch raises errors of assertions, of
    ``struct``, of memory, of missing keys. So ``read`` must call a library and nothing of ours.

    Raises:
        ModelError: the library cannot read it.
    """
    try:
        return read()
    except Exception as error:
        # torch's own message advises to read the file without protection: do not repeat it
        is_unsafe = isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error)
        what = "holds objects other than tensors" if is_unsafe else "is damaged or no torch file"
        raise ModelError(
            f"{path} {what}; nothing in it was executed", expected=EXPECTED, fix=FIX
        ) from error


def _check_pickles(path: Path) -> None:
    """Refuse a file that claims more than it holds, or that would be read without end.

    Raises:
        ModelError: it is such a file, or damaged.
    """
    with path.open("rb") as file:
        if file.read(len(_ZIP)) == _ZIP:
            reused = sum(_reused(path, content) for content in _pickles_of_zip(path))
        else:
            file.seek(0)
            # each is read from where the one before ends
            reused = sum(_reused(path, file) for _ in range(_PICKLES))

    if reused > _MAX_REUSED:
        raise ModelError(
            f"{path}: its table uses {reused} parts again and again", expected=EXPECTED, fix=FIX
        )


def _pickles_of_zip(path: Path) -> Iterator[bytes]:
    """Yield the pickles of a torch file.

    Raises:
        ModelError: it is damaged, compressed, or claims to hold more than it has bytes.
    """
    with _of_library(path, partial(zipfile.ZipFile, path)) as archive:
        members = archive.infolist()
        claimed = sum(member.file_size for member in members)
        compressed = [m.filename for m in members if m.compress_type != zipfile.ZIP_STORED]
        if compressed or claimed > path.stat().st_size:
            raise ModelError(
                f"{path} is damaged or no torch file: it claims to hold more than it has bytes",
                expected=EXPECTED,
                fix=FIX,
            )

        for member in members:
            if member.filename.endswith(".pkl"):
                yield _of_library(path, partial(archive.read, member))


def _reused(path: Path, content: bytes | IO[bytes]) -> int:
    """Return how often a pickle uses a tuple again that it has made before.

    Raises:
        ModelError: it is damaged, or has more operations than any of a state dict.
    """
    operations = pickletools.genops(content)
    tuples = set()
    reused = 0
    is_tuple = False  # whether what was made last may be one
    for _ in range(_MAX_OPERATIONS):
        operation = _of_library(path, partial(next, operations, None))
        if operation is None:
            return reused

        code, argument, _position = operation
        if code.name in _PUTS:
            if is_tuple:
                tuples.add(argument)
        elif code.name in _GETS:
            is_tuple = argument in tuples
            reused += is_tuple
        else:
            is_tuple = code.name not in _NO_TUPLE
            reused += code.name in ("DUP", "MEMOIZE")  # torch writes neither

    raise ModelError(
        f"{path} is damaged or no torch file: its table has no end", expected=EXPECTED, fix=FIX
    )


def _is_plain(value: object) -> bool:
    """Whether a value is a tensor whose numbers can be read."""
    if not isinstance(value, Tensor) or value.device.type != "cpu":
        return False
    return value.layout == torch.strided and value.dtype in _NUMBERS


def import_checkpoint(
    path: str | Path, output: str | Path, *, heads: int = 8, overwrite: bool = False
) -> ModelCard:
    """Store the authors' parameters as a model folder; return its card.

    Args:
        path: ``pytorch_model_*.bin`` of their program, aligned setting.
        output: model folder to create.
        heads: attention heads, which leave no trace in the parameters (the authors': 8).
        overwrite: replace an existing model folder.

    Raises:
        ModelError: the file is not their checkpoint; the message says what is missing.
        ConfigError: the width of the model is no multiple of ``heads``.
        DataError: ``output`` exists and ``overwrite`` is false, or it is no model folder.
    """
    path = Path(path)
    output = Path(output)
    FOLDER.check_new(output, overwrite=overwrite)

    tensors = read_state_dict(path)
    try:
        config = infer_config(tensors, heads=heads)
        state = convert_state(tensors, config)
        dims = dims_of(tensors)
        model = _model_of(state, config, dims, len(tensors[_LABELS]))
    except ModelError as error:
        raise ModelError(
            f"{path}: {error.found}", expected=error.expected, fix=error.fix or FIX
        ) from error
    except ConfigError as error:
        if "heads" in error.found:
            raise ConfigError(f"--heads {heads}: {error.found}") from error
        raise ModelError(
            f"{path}: its parameters have impossible sizes: {error.found}",
            expected="the parameters of the authors' TAILOR, aligned setting",
        ) from error

    card = ModelCard(
        system="tailor",
        config=config.to_json(),
        label_names=LABELS,
        dims=dims,
        aligned=True,
        standardized=False,
        thresholds={"fixed": Thresholds.fixed(LABELS)},
        data={"imported": path.name, "sha256": sha256_of(path)},
    )
    with FOLDER.replacing(output, overwrite=overwrite) as folder:
        return save_model(folder, card, model, None)


def _model_of(
    state: dict[str, Tensor], config: Config, dims: dict[Modality, int], labels: int
) -> EmotionModel:
    """Build the model of some parameters.

    Raises:
        ModelError: they are of other labels, or their shapes are not those of one model.
    """
    if labels != len(LABELS):
        raise ModelError(
            f"{labels} labels", expected=f"the {len(LABELS)} of CMU-MOSEI: {', '.join(LABELS)}"
        )

    # parameters that are replaced at once get no memory, which altered sizes could claim
    with shapes_alone():
        model = build_model("tailor", config, dims, labels)
        wanted = model.state_dict()

    for name, tensor in state.items():
        if name not in wanted or tensor.shape != wanted[name].shape:
            raise ModelError(
                f"parameters of unexpected shapes: {name} {tuple(tensor.shape)}",
                expected="the parameters of the authors' TAILOR, aligned setting",
            )
    model.load_state_dict(state, assign=True)
    return model
