"""Turns a checkpoint of the authors' TAILOR program into one of our model folders."""

import pickle
import warnings
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from emotailor.errors import ConfigError, ModelError
from emotailor.evaluation.thresholds import Thresholds
from emotailor.files import sha256_of
from emotailor.models.factory import build_model
from emotailor.models.tailor.checkpoint import LABELS, convert_state, dims_of, infer_config
from emotailor.training.model_folder import FOLDER, ModelCard, save_model


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a torch file of parameters; nothing in it is executed.

    Raises:
        ModelError: the file is missing, damaged, holds code, or is not a table of tensors.
    """
    if not path.is_file():
        raise ModelError(f"no file at {path}", expected="a checkpoint such as pytorch_model_19.bin")
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's guesses at what the file is
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError,
            zipfile.BadZipFile, AttributeError, IndexError, TypeError) as error:  # fmt: skip
        # torch's own message advises to read the file without protection: do not repeat it
        unsafe = isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error)
        what = "holds objects other than tensors" if unsafe else "is damaged or no torch file"
        raise ModelError(
            f"{path} {what}; nothing in it was executed",
            expected="a state dict saved by torch.save, holding tensors and nothing else",
            fix="get an intact copy of the checkpoint, with the parameters alone",
        ) from error

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
            f"{path}: entry {wrong[0]!r} is not a tensor of numbers",
            expected="a state dict: a table from parameter names to tensors",
        )

    lost = [k for k, v in loaded.items() if not v.isfinite().all()]
    if lost:
        raise ModelError(
            f"{path}: NaN or infinite values in {len(lost)} of {len(loaded)} parameters, such as "
            f"{lost[0]}",
            expected="finite parameters",
            fix="take a checkpoint from before the training diverged",
        )

    # a wrapper for several GPUs puts "module." before every name
    return {k.removeprefix("module."): v.float() for k, v in loaded.items()}


def _is_plain(value: object) -> bool:
    """Whether a value is a tensor whose numbers can be read."""
    if not isinstance(value, Tensor) or value.device.type != "cpu":
        return False

    is_special = value.is_quantized or value.is_complex()
    return value.layout == torch.strided and not is_special


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

        labels = len(tensors["decoder.embeddings.word_embeddings.weight"])
        if labels != len(LABELS):
            raise ModelError(
                f"{labels} labels", expected=f"the {len(LABELS)} of CMU-MOSEI: {', '.join(LABELS)}"
            )

        model = build_model("tailor", config, dims, labels)
        model.load_state_dict(state)
    except ModelError as error:
        raise ModelError(
            f"{path}: {error.found}", expected=error.expected, fix=error.fix
        ) from error
    except ConfigError as error:
        if "heads" in error.found:
            raise ConfigError(f"--heads {heads}: {error.found}") from error
        raise ModelError(
            f"{path}: its parameters have impossible sizes: {error.found}",
            expected="the parameters of the authors' TAILOR, aligned setting",
        ) from error
    except (RuntimeError, IndexError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ModelError(
            f"{path}: parameters of unexpected shapes: {reason}",
            expected="the parameters of the authors' TAILOR, aligned setting",
            fix="get an intact copy of the checkpoint",
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
